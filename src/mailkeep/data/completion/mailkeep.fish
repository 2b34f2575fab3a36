# mailkeep's completion for fish, made from its parser. mailkeep completion fish > ~/.config/fish/completions/mailkeep.fish
function _mailkeep_stores
    mailkeep config names stores 2>/dev/null
end

function _mailkeep_peers
    set -l words (commandline -opc)
    set -l store
    if set -l at (contains -i -- --store $words); and test $at -lt (count $words)
        set store --store $words[(math $at + 1)]
    end
    mailkeep config names peers $store 2>/dev/null
end


function _shtab_mailkeep_scan
  set -g _shtab_mailkeep_cmdpath ''
  set -g _shtab_mailkeep_npos 0
  set -l tokens (commandline -opc)
  set -e tokens[1]
  set -l expect_value 0
  for t in $tokens
    if test $expect_value -eq 1
      set expect_value 0
      continue
    end
    switch "$t"
      case '--*=*'
        continue
      case '-*'
        if contains -- $t $_shtab_mailkeep_opts_with_value
          set expect_value 1
        end
        continue
      case '*'
        if test $_shtab_mailkeep_npos -eq 0
          set -l candidate $t
          if test -n "$_shtab_mailkeep_cmdpath"
            set candidate "$_shtab_mailkeep_cmdpath $t"
          end
          if contains -- $candidate $_shtab_mailkeep_commands
            set -g _shtab_mailkeep_cmdpath $candidate
            continue
          end
        end
        set -g _shtab_mailkeep_npos (math $_shtab_mailkeep_npos + 1)
    end
  end
end

function _shtab_mailkeep_using
  _shtab_mailkeep_scan
  test "$_shtab_mailkeep_cmdpath" = "$argv"
end

set -g _shtab_mailkeep_commands init peer 'peer add' 'peer list' 'peer show' 'peer remove' 'peer forget' sync serve status log verify holds approve reject check selftest doctor backup rebuild config 'config show' 'config path' 'config names' completion
set -g _shtab_mailkeep_opts_with_value --command --direction --encoding --exclude --from --include --last --layout --map --messages --path --peer --recover --remote-store --role --scratch --seed --state --store --time --wait

complete -c mailkeep -e
complete -c mailkeep -f

complete -c mailkeep -n _shtab_mailkeep_using -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n _shtab_mailkeep_using -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n _shtab_mailkeep_using -s v -l verbose -d 'say more'
complete -c mailkeep -n _shtab_mailkeep_using -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n _shtab_mailkeep_using -l version -d 'show program'"'"'s version number and exit'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a init -d 'make a store of a Maildir'
complete -c mailkeep -n '_shtab_mailkeep_using init' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using init' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using init' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using init' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using init' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using init' -l state -xka "(__fish_complete_directories)" -d 'where to keep index and vault (default: chosen, see above)'
complete -c mailkeep -n '_shtab_mailkeep_using init' -l layout -xka "auto maildir++ fs" -d 'how mailboxes lie in the tree (default: auto)'
complete -c mailkeep -n '_shtab_mailkeep_using init' -l encoding -xka "auto utf-7 utf-8" -d 'how new mailbox names are written on disk (default: auto)'
complete -c mailkeep -n '_shtab_mailkeep_using init' -l create -d 'make the directory if it is not there'
complete -c mailkeep -n '_shtab_mailkeep_using init' -l adopt -d 'take over a Maildir whose marker or state is lost, or a store that peers gave up; they see a new replica'
complete -c mailkeep -n '_shtab_mailkeep_using init' -l force -d 'with --adopt: also into an empty Maildir; its mail is put back from the vault'
complete -c mailkeep -n '_shtab_mailkeep_using init; and test $_shtab_mailkeep_npos -eq 0' -ka "(__fish_complete_directories)" -d 'the Maildir'"'"'s root directory'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a peer -d 'name, list and drop peers'
complete -c mailkeep -n '_shtab_mailkeep_using peer' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using peer; and test $_shtab_mailkeep_npos -eq 0' -a add -d 'enter a peer'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -l command -x -d 'a shell'"'"'s line that speaks with mailkeep serve'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -l direction -xka "both pull push archive" -d 'which way changes go (default: both); with pull, local changes stay local; archive takes everything and carries out no deletion'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -l remote-store -x -d 'the store'"'"'s name over there (default: its default store)'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -l include -x -d 'mailboxes that take part (* and %; may be repeated)'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -l exclude -x -d 'mailboxes that do not (may be repeated)'
complete -c mailkeep -n '_shtab_mailkeep_using peer add' -l map -x -d 'a mailbox, with those below it, that has another name at the peer (may be repeated)'
complete -c mailkeep -n '_shtab_mailkeep_using peer; and test $_shtab_mailkeep_npos -eq 0' -a list -d 'list the peers of a store'
complete -c mailkeep -n '_shtab_mailkeep_using peer list' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using peer list' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using peer list' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using peer list' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using peer list' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using peer; and test $_shtab_mailkeep_npos -eq 0' -a show -d 'show one peer'
complete -c mailkeep -n '_shtab_mailkeep_using peer show' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using peer show' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using peer show' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using peer show' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using peer show' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using peer show; and test $_shtab_mailkeep_npos -eq 0' -ka "(_mailkeep_peers)" -d 'the peer'
complete -c mailkeep -n '_shtab_mailkeep_using peer; and test $_shtab_mailkeep_npos -eq 0' -a remove -d 'drop a peer from the configuration'
complete -c mailkeep -n '_shtab_mailkeep_using peer remove' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using peer remove' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using peer remove' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using peer remove' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using peer remove' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using peer remove; and test $_shtab_mailkeep_npos -eq 0' -ka "(_mailkeep_peers)" -d 'the peer'
complete -c mailkeep -n '_shtab_mailkeep_using peer; and test $_shtab_mailkeep_npos -eq 0' -a forget -d 'give a replica up that will not come back'
complete -c mailkeep -n '_shtab_mailkeep_using peer forget' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using peer forget' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using peer forget' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using peer forget' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using peer forget' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using peer forget' -l wait -x -d 'wait so long for another run to end: 90s, 5m'
complete -c mailkeep -n '_shtab_mailkeep_using peer forget; and test $_shtab_mailkeep_npos -eq 0' -ka "(_mailkeep_peers)" -d 'name of a peer, or the beginning of a replica'"'"'s id'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a sync -d 'synchronise with peers'
complete -c mailkeep -n '_shtab_mailkeep_using sync' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using sync' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using sync' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using sync' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using sync' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using sync' -s n -l dry-run -d 'show what would be done, on both sides; change nothing'
complete -c mailkeep -n '_shtab_mailkeep_using sync' -l wait -x -d 'wait so long for another run to end, here or there: 90s, 5m, 1h30m (default: not, here; 10s, there)'
complete -c mailkeep -n '_shtab_mailkeep_using sync' -l force -d 'a one-way run goes on though its source looks like the wrong one'
complete -c mailkeep -n '_shtab_mailkeep_using sync; and test $_shtab_mailkeep_npos -ge 0' -ka "(_mailkeep_peers)" -d 'peers of the store; or two places'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a serve -d 'be the far end of a session'
complete -c mailkeep -n '_shtab_mailkeep_using serve' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using serve' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using serve' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using serve' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using serve' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using serve' -l path -xka "(__fish_complete_directories)" -d 'serve this Maildir instead of a configured store'
complete -c mailkeep -n '_shtab_mailkeep_using serve' -l role -xka "read append full" -d 'what the other side may do here (default: full)'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a status -d 'what there is, what waits, when peers were met'
complete -c mailkeep -n '_shtab_mailkeep_using status' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using status' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using status' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using status' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using status' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a log -d 'runs that changed something or failed'
complete -c mailkeep -n '_shtab_mailkeep_using log' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using log' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using log' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using log' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using log' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using log' -l last -x -d 'how many runs (default: 20)'
complete -c mailkeep -n '_shtab_mailkeep_using log' -l peer -xka "(_mailkeep_peers)" -d 'only runs with this peer'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a verify -d 'read everything back and compare'
complete -c mailkeep -n '_shtab_mailkeep_using verify' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using verify' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using verify' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using verify' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using verify' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using verify' -l quick -d 'do not read contents: names, sizes and counts only'
complete -c mailkeep -n '_shtab_mailkeep_using verify' -l repair -d 'mend what is found; deletes nothing'
complete -c mailkeep -n '_shtab_mailkeep_using verify' -l wait -x -d 'wait so long for another run to end: 90s, 5m'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a holds -d 'deletions that wait for an answer'
complete -c mailkeep -n '_shtab_mailkeep_using holds' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using holds' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using holds' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using holds' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using holds' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using holds' -l last -x -d 'list so many messages (default: 50)'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a approve -d 'let held deletions happen'
complete -c mailkeep -n '_shtab_mailkeep_using approve' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using approve' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using approve' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using approve' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using approve' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using approve' -l wait -x -d 'wait so long for another run to end: 90s, 5m'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a reject -d 'put held messages back'
complete -c mailkeep -n '_shtab_mailkeep_using reject' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using reject' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using reject' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using reject' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using reject' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using reject' -l wait -x -d 'wait so long for another run to end: 90s, 5m'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a check -d 'is everything set up as it should be?'
complete -c mailkeep -n '_shtab_mailkeep_using check' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using check' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using check' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using check' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using check' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using check' -l offline -d 'contact no peer'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a selftest -d 'break mailkeep on a copy of your mail, and see whether anything is lost'
complete -c mailkeep -n '_shtab_mailkeep_using selftest' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using selftest' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using selftest' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using selftest' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using selftest' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using selftest' -l seed -x -d 'draws every choice (default: a new one)'
complete -c mailkeep -n '_shtab_mailkeep_using selftest' -l time -x -d 'how long: 90s, 10m (default: 60s)'
complete -c mailkeep -n '_shtab_mailkeep_using selftest' -l messages -x -d 'copy at most so many, the last of each mailbox, and 200 MiB (default: 1000)'
complete -c mailkeep -n '_shtab_mailkeep_using selftest' -l scratch -xka "(__fish_complete_directories)" -d 'where to make the scratch directory (default: the state directory, or beside the Maildir when that is on another file system)'
complete -c mailkeep -n '_shtab_mailkeep_using selftest; and test $_shtab_mailkeep_npos -eq 0' -ka "(__fish_complete_directories)" -d 'a Maildir whose mail is copied'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a doctor -d 'what is wrong with the set-up, and what to type'
complete -c mailkeep -n '_shtab_mailkeep_using doctor' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using doctor' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using doctor' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using doctor' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using doctor' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using doctor' -l offline -d 'contact no peer'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a backup -d 'back the index up, or list its backups'
complete -c mailkeep -n '_shtab_mailkeep_using backup' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using backup' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using backup' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using backup' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using backup' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using backup' -l list -d 'make none: list what there is'
complete -c mailkeep -n '_shtab_mailkeep_using backup' -l check -d 'read each through: is it whole?'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a rebuild -d 'replace an index that is lost or damaged'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -l from -x -d 'use this backup of the index, wherever it is'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -l from-mail -d 'use no backup: begin with what lies in Maildir and vault'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -l recover -x -d 'make messages there of contents that lie in the vault and in no mailbox, removed mail among them'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -s n -l dry-run -d 'say what would be done; change nothing'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -l force -d 'though the index is sound, or the Maildir has lost its marker'
complete -c mailkeep -n '_shtab_mailkeep_using rebuild' -l wait -x -d 'wait so long for another run to end: 90s, 5m'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a config -d 'show the configuration'
complete -c mailkeep -n '_shtab_mailkeep_using config' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using config; and test $_shtab_mailkeep_npos -eq 0' -a show -d 'every setting with its source'
complete -c mailkeep -n '_shtab_mailkeep_using config show' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using config show' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using config show' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using config show' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using config show' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using config; and test $_shtab_mailkeep_npos -eq 0' -a path -d 'where the file is'
complete -c mailkeep -n '_shtab_mailkeep_using config path' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using config path' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using config path' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using config path' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using config; and test $_shtab_mailkeep_npos -eq 0' -a names -d 'names of stores or peers, for scripts'
complete -c mailkeep -n '_shtab_mailkeep_using config names' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using config names' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using config names' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using config names' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using config names' -l store -xka "(_mailkeep_stores)" -d 'which store of the configuration (default: the only one, or the default one)'
complete -c mailkeep -n '_shtab_mailkeep_using config names; and test $_shtab_mailkeep_npos -eq 0' -ka "stores peers" -d 'stores, or peers'
complete -c mailkeep -n '_shtab_mailkeep_using; and test $_shtab_mailkeep_npos -eq 0' -a completion -d 'completion for your shell'
complete -c mailkeep -n '_shtab_mailkeep_using completion' -s h -l help -d 'show this help message and exit'
complete -c mailkeep -n '_shtab_mailkeep_using completion' -s q -l quiet -d 'say nothing unless something is wrong'
complete -c mailkeep -n '_shtab_mailkeep_using completion' -s v -l verbose -d 'say more'
complete -c mailkeep -n '_shtab_mailkeep_using completion' -l json -d 'print the result as one JSON object (docs/reference/json.md)'
complete -c mailkeep -n '_shtab_mailkeep_using completion; and test $_shtab_mailkeep_npos -eq 0' -ka "bash zsh fish" -d 'which shell'
