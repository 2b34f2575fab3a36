"""Each verb as a person and as a program uses it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from cli.machine import SRC, Machine, contents, files, mailbox, message
from mailkeep.cli.grammar.core import Parser
from mailkeep.cli.grammar.setup import SHELLS
from mailkeep.cli.parser import parser
from mailkeep.domain.errors import EXIT_CODES

pytestmark = pytest.mark.slow

ROOT = SRC.parent


def children(of: Any) -> dict[str, Parser]:
    return next((dict(a.choices) for a in of._actions if a.dest in ("verb", "action") and a.choices), {})


def leaves() -> list[tuple[str, ...]]:
    out: list[tuple[str, ...]] = []
    for verb, child in children(parser()).items():
        out += [(verb, action) for action in children(child)] or [(verb,)]
    return out


@pytest.fixture
def held(pair: Machine) -> Machine:
    """Ten messages on both sides, then six deleted here, of which four may vanish: held."""
    mailbox(pair.home / "Maildir", *map(message, range(10, 17)))
    pair.configure("[stores.mail.guard]\ncount = 4")
    pair.ok("sync")
    for file in files(pair.home / "Maildir")[:6]:
        file.unlink()
    done = pair.run("sync")
    assert done.code == 5, done
    assert "some deletions are held" in done.out
    return pair


# --- help and usage


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_help_teaches(words: tuple[str, ...]) -> None:
    at: Any = parser()
    for word in words:
        at = children(at)[word]
    text = at.format_help()
    assert "examples:" in text
    assert "exit status:" in text
    assert at.examples
    assert 0 in at.statuses
    assert set(at.statuses) <= set(EXIT_CODES)
    for action in at._actions:
        assert action.help, action


def test_every_option_that_takes_a_duration_says_its_units() -> None:
    for words in leaves():
        at: Any = parser()
        for word in words:
            at = children(at)[word]
        for action in at._actions:
            if action.metavar == "DURATION":
                assert "90s" in action.help


def test_help_and_version_end_with_0(here: Machine) -> None:
    assert here.ok("--help").out.startswith("usage: mailkeep")
    assert "mailkeep sync --dry-run" in here.ok("--help").out
    assert re.fullmatch(r"mailkeep \d+\.\d+\.\d+\n", here.ok("--version").out)
    assert here.ok("-v", "--version").out == here.ok("--version").out


def test_common_options_stand_before_the_verb_or_behind_it(pair: Machine) -> None:
    assert pair.ok("--json", "config", "path").json == pair.ok("config", "path", "--json").json
    assert pair.ok("-q", "sync").out == pair.ok("sync", "-q").out == ""


def test_man_pages_and_completion_are_those_of_the_parser() -> None:
    pytest.importorskip("shtab")
    done = subprocess.run(
        [sys.executable, ROOT / "tools/build_docs.py", "--check"], env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"make docs brings these up to date:\n{done.stdout}{done.stderr}"


def test_man_pages_are_pages_without_a_warning() -> None:
    if shutil.which("groff") is None:
        pytest.skip("no groff here")
    pages = sorted((ROOT / "docs/man").glob("*.1"))
    assert len(pages) == 1 + len(children(parser()))
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", *map(str, pages)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_printed_and_the_shell_takes_it(here: Machine, shell: str) -> None:
    script = here.ok("completion", shell).out
    for verb in children(parser()):
        assert verb in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=30)


def test_bash_completes_verbs_and_options(here: Machine) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    script = here.ok("completion", "bash").out
    function = re.search(r"complete .*-F (\S+) mailkeep", script)
    assert function
    ask = f'\nCOMP_WORDS=(mailkeep ver); COMP_CWORD=1; {function[1]} mailkeep ver mailkeep; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", script + ask], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["verify", "verify-copy"]


def asked(shell: str, words: list[str], script: Path, here: Machine) -> list[str]:
    """What a shell offers for the last of these words."""
    at, line = len(words) - 1, shlex.join(words) + (" " if not words[-1] else "")
    if not words[-1]:
        line = shlex.join(words[:-1]) + " "
    if shell == "bash":
        text = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={at}; _shtab_mailkeep mailkeep {shlex.quote(words[-1])} x"
        argv = ["bash", "-c", f'. {script}; {text}; printf "%s\\n" "${{COMPREPLY[@]}}"']
    elif shell == "fish":
        argv = ["fish", "--no-config", "-c", f"source {script}; complete -C {shlex.quote(line)}"]
    else:  # its completion runs in the line editor alone: the function that it calls there, with its words
        stubs = "compdef() { : }; _arguments() { : }; compadd() { shift; print -l -- $@ }; _files() { : }"
        name = "_mailkeep_stores" if words[-2] == "--store" else "_mailkeep_peers"
        argv = ["zsh", "-fc", f"{stubs}; . {script}; words=({shlex.join(words)}); CURRENT={at + 1}; {name}"]
    environment = here.environment(PATH=f"{here.home}/bin:{os.environ['PATH']}")
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "", done
    return sorted(line.split("\t")[0] for line in done.stdout.splitlines() if line)


@pytest.mark.parametrize("shell", SHELLS)
def test_names_of_the_configuration_are_completed(here: Machine, shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    here.config.parent.mkdir(parents=True)
    here.config.write_text(
        "[stores.mail]\npath = '/m'\ndefault = true\npeers.server.path = '/s'\npeers.stick.path = '/t'\n"
        "[stores.lists]\npath = '/l'\npeers.attic.path = '/a'\n"
    )
    command = here.home / "bin/mailkeep"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m mailkeep "$@"\n')
    command.chmod(0o700)
    script = tmp_path / "completion"
    script.write_text(here.ok("completion", shell).out)
    assert asked(shell, ["mailkeep", "sync", ""], script, here) == ["server", "stick"]
    assert asked(shell, ["mailkeep", "sync", "--store", ""], script, here) == ["lists", "mail"]
    assert asked(shell, ["mailkeep", "peer", "show", "--store", "lists", ""], script, here) == ["attic"]
    assert here.ok("config", "names", "stores", "--json").json["names"] == ["mail", "lists"]


def test_no_name_is_offered_where_there_is_no_configuration(here: Machine) -> None:
    assert here.ok("config", "names", "stores").out == ""
    assert here.run("config", "names", "peers").code == 78


# --- status, log, holds


def test_status_shows_a_store_to_people(pair: Machine) -> None:
    before = pair.ok("status", "--store", "mail").out
    assert "last met never; 3 messages changed here and not yet there" in before
    pair.ok("sync")
    out = pair.ok("status").out
    assert f"store mail: {pair.home}/Maildir" in out
    assert "3 messages in 1 mailbox (maildir++ layout)" in out
    assert "peer other (both)" in out
    assert "nothing waits for it" in out
    assert re.search(r"last met \d{4}-\d\d-\d\d \d\d:\d\d \(.* ago\)", out)
    assert "store other:" in out
    assert "no peer yet" in out
    assert "sync other: done" in out
    assert pair.ok("status", "-q").out == ""


def test_status_json(pair: Machine) -> None:
    pair.ok("sync")
    whole = pair.ok("status", "--json").json
    assert set(whole) == {"exit", "stores"}
    assert [store["store"] for store in whole["stores"]] == ["mail", "other"]
    store = whole["stores"][0]
    assert set(store) == {
        "annotations_pending", "busy", "distrust", "error", "exit", "expire_waiting", "holds", "layout", "mailboxes", "mailboxes_waiting", "messages", "messages_waiting",
        "path", "peers", "replica", "runs", "state", "store", "vault",
    }  # fmt: skip
    assert (store["messages"], store["mailboxes"], store["vault"], store["error"]) == (3, 1, "link", None)
    peer = store["peers"][0]
    assert set(peer) == {
        "address", "direction", "exclude", "include", "kind", "last_met", "map", "name", "remote_store", "replica",
        "waiting_by_mailbox", "waiting_messages",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", peer["last_met"])
    assert set(store["runs"][0]) == {
        "began",
        "changes_known",
        "counts",
        "ended",
        "exit",
        "peer",
        "run",
        "seconds",
        "verb",
    }
    assert store["runs"][0]["peer"] == "other"


def test_status_changes_nothing_and_needs_no_lock(pair: Machine) -> None:
    pair.ok("sync")
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in pair.state().glob("*")
        if path.is_file()
    }
    pair.ok("status")
    after = {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in pair.state().glob("*")
        if path.is_file()
    }
    assert {path.name: before[path] for path in before if path.suffix == ".db"} == {
        path.name: after[path] for path in after if path.suffix == ".db"
    }


def test_log_lists_runs_of_a_peer(pair: Machine) -> None:
    pair.ok("sync")
    runs = pair.ok("log", "--json").json["runs"]
    assert [run["verb"] for run in runs] == ["sync", "init"]
    assert [run["verb"] for run in pair.ok("log", "--peer", "other", "--json").json["runs"]] == ["sync"]
    assert len(pair.ok("log", "--last", "1", "--json").json["runs"]) == 1
    assert "sync other: done" in pair.ok("log").out


def test_a_timer_does_not_fill_the_log_while_deletions_wait(held: Machine) -> None:
    before = held.run("log", "--json").json["runs"]
    for _ in range(3):
        assert held.run("sync").code == 5
    runs = held.run("log", "--json").json["runs"]
    assert len(runs) <= len(before) + 1
    held.ok("reject")
    held.ok("sync")
    assert held.run("log", "--json").json["runs"][0]["exit"] == 0


def test_holds_are_shown_with_their_messages(held: Machine) -> None:
    done = held.run("holds")
    assert done.code == 5, done
    assert "hold 1: 6 messages, found here" in done.out
    assert "more than 4" in done.out
    assert "6  INBOX" in done.out
    table = held.run("holds", "--json").json["holds"][0]
    assert set(table) == {"archive", "hold", "mailboxes", "made", "messages", "origin", "reason"}
    assert table["mailboxes"] == {"INBOX": 6}
    rows = held.run("holds", "1", "--json").json["holds"][0]["list"]
    assert len(rows) == 6
    assert {row["subject"] for row in rows} >= {"number 0"}
    assert set(rows[0]) == {"content", "date", "flags", "from", "mailbox", "size", "subject", "uid"}
    assert "sender0@example.org" in held.run("holds", "1").out
    status = held.run("status")
    assert status.code == 5, status
    assert "6 deletions held in 1 hold" in status.err
    assert "held" in held.run("status", "-q").err


def test_reject_puts_everything_back(held: Machine) -> None:
    done = held.ok("reject", "--json").json
    assert set(done) == {"answered", "exit", "holds_left", "problems", "put_back", "removed", "store"}
    assert (done["answered"], done["holds_left"], done["put_back"]) == ([{"hold": 1, "messages": 6}], 0, 6)
    assert len(contents(held.home / "Maildir")) == 10
    held.ok("sync")
    assert len(contents(held.home / "Other")) == 10
    assert "no deletion is held" in held.ok("holds").out
    held.ok("verify")


def test_approve_lets_the_deletions_go_on_both_sides(held: Machine) -> None:
    assert "6 messages of 1 hold are deleted now" in held.ok("approve", "1").out
    held.ok("sync")
    assert len(contents(held.home / "Maildir")) == len(contents(held.home / "Other")) == 4
    assert [run["verb"] for run in held.ok("log", "--json").json["runs"]][:2] == ["sync", "approve"]
    held.ok("verify")
    held.ok("verify", "--store", "other")


def test_approving_what_is_not_there_says_so(held: Machine) -> None:
    done = held.run("approve", "7")
    assert done.code == 66, done
    assert 'there is no hold "7"' in done.err
    assert "holds: 1" in done.err
    held.run("holds")
    held.ok("approve", "all")
    done = held.run("reject")
    assert done.code == 66, done
    assert "no deletion is held" in done.err


# --- peers and configuration


def test_peers_are_added_listed_shown_and_removed(pair: Machine) -> None:
    pair.ok("peer", "add", "server", "ssh://me@server:2222/", "--direction", "pull", "--include", "*", "--exclude", "Spam*",
            "--map", "A=B", "--remote-store", "mail")  # fmt: skip
    table = pair.ok("peer", "show", "server", "--json").json["peer"]
    assert (table["kind"], table["address"], table["direction"]) == ("url", "ssh://me@server:2222/", "pull")
    assert (table["include"], table["exclude"], table["map"], table["remote_store"]) == (
        ["*"],
        ["Spam*"],
        {"A": "B"},
        "mail",
    )
    assert (table["last_met"], table["replica"]) == (None, None)
    assert [peer["name"] for peer in pair.ok("peer", "list", "--json").json["peers"]] == ["other", "server"]
    out = pair.ok("peer", "show", "server").out
    assert "name map: 'A' here is 'B' there" in out
    assert "exclude: Spam*" in out
    assert pair.run("peer", "add", "server", "x:").code == 78
    pair.ok("peer", "remove", "server")
    assert "server" not in pair.ok("peer", "list").out
    assert pair.run("peer", "remove", "server").code == 78
    assert (
        pair.ok("peer", "add", "cmd", "--command", "ssh -q box mailkeep serve", "--json").json["peer"]["kind"]
        == "command"
    )


def test_include_and_exclude_choose_mailboxes(pair: Machine) -> None:
    for name in ("Work", "Spam", "Work.Old"):
        mailbox(pair.home / f"Maildir/.{name}", message(len(name)))
    pair.ok("peer", "remove", "other")
    pair.ok(
        "peer",
        "add",
        "other",
        pair.home / "Other",
        "--include",
        "Work*",
        "--exclude",
        "Work/Old",
        "--include",
        "Nothing",
    )
    pair.ok("sync")
    assert {str(p.parent.relative_to(pair.home / "Other")) for p in (pair.home / "Other").glob("**/cur")} == {
        ".",
        "Work",
    }
    out = pair.ok("check").out
    assert "the pattern 'Nothing' fits no mailbox, here or there" in out
    assert "1 of 4 mailboxes here take part" in out


def test_config_show_names_the_source_of_each_value(pair: Machine) -> None:
    out = pair.ok("config", "show", "--store", "mail").out
    assert re.search(r'stores\.mail\.path = "\S+/Maildir" +# config\.toml:\d+', out)
    assert re.search(r"stores\.mail\.guard\.count = 1000 +# default", out)
    assert re.search(r'stores\.mail\.guard\.share = "25%" +# default', out)
    rows = pair.ok("config", "show", "--json").json
    assert set(rows) == {"exit", "exists", "file", "settings"}
    assert {"key": "stores.mail.retention.expunged", "value": "90d", "source": "default"} in rows["settings"]
    assert pair.ok("config", "path").out == f"{pair.config}\n"
    elsewhere = pair.ok("config", "path", "--json", XDG_CONFIG_HOME="/somewhere").json
    assert elsewhere["file"] == "/somewhere/mailkeep/config.toml"
    assert elsewhere["source"] == "environment XDG_CONFIG_HOME"
    assert not elsewhere["exists"]


def test_check_finds_everything_in_order(pair: Machine) -> None:
    pair.ok("sync")
    done = pair.ok("check")
    assert "everything is as it should be" in done.out
    assert "answers, with 1 mailbox\n" in done.out
    assert pair.ok("check", "-q").out == ""
    table = pair.ok("check", "--json").json
    assert set(table) == {"exit", "faults", "findings"}
    assert table["faults"] == 0
    assert set(table["findings"][0]) == {"hint", "level", "subject", "what"}


def test_check_names_what_is_wrong(pair: Machine) -> None:
    pair.ok("sync")
    pair.state().chmod(0o755)
    mailbox(pair.home / "Maildir/.a..b", message(1))
    pair.ok("peer", "add", "gone", "--command", "exit 127")
    done = pair.run("check")
    assert done.code == 4, done
    assert "can be entered by other users; to do: chmod 700" in done.err
    assert "the directory .a..b is no mailbox: it has an empty component" in done.err
    assert "peer gone: there is no mailkeep at the far end" in done.err
    assert "peer gone" not in pair.run("check", "--offline").err
    pair.state().chmod(0o700)
    shutil.rmtree(pair.home / "Maildir/.a..b")
    assert pair.run("check").code == 69


def test_check_changes_nothing_on_either_side(pair: Machine) -> None:
    before = [contents(pair.home / name) for name in ("Maildir", "Other")]
    pair.ok("check")
    assert [contents(pair.home / name) for name in ("Maildir", "Other")] == before
    assert not (pair.state() / "met").exists()
    assert [run["verb"] for run in pair.ok("log", "--json").json["runs"]] == ["init"]


# --- verify


def test_verify_finds_everything_whole(pair: Machine) -> None:
    pair.ok("sync")
    for words in ((), ("--quick",)):
        table = pair.ok("verify", "--json", *words).json
        assert set(table) == {
            "checked",
            "exit",
            "fault_count",
            "faults",
            "newest_backup",
            "notes",
            "quick",
            "repair",
            "seconds",
            "store",
        }
        assert (table["checked"]["contents"], table["checked"]["files"], table["fault_count"]) == (3, 3, 0)
    assert "3 contents" in pair.ok("verify").out
    assert pair.ok("verify", "-q").out == ""


def objects(pair: Machine) -> list[Path]:
    return sorted(path for path in (pair.state() / "objects").rglob("*") if path.is_file())


def fault(pair: Machine, kind: str, *words: str) -> str:
    done = pair.run("verify", *words)
    assert done.code == 4, done
    assert f"fault ({kind})" in done.err
    return done.err


def test_verify_repairs_a_lost_object_and_asks_a_peer_for_what_nothing_here_has(pair: Machine) -> None:
    pair.ok("sync")
    objects = sorted((pair.state() / "objects").glob("*/*"))
    objects[0].unlink()
    assert "--repair mends" in pair.run("verify").out
    done = pair.ok("verify", "--repair", "--json").json
    assert [row["kind"] for row in done["repair"]["healed"]] == ["content"]
    assert done["repair"]["asked"] == 0
    assert done["newest_backup"]
    pair.ok("verify")
    objects[1].unlink()
    lost = next(
        f
        for f in files(pair.home / "Maildir")
        if hashlib.sha256(f.read_bytes()).hexdigest() == objects[1].name
    )
    data = lost.read_bytes()
    lost.chmod(0o600)
    lost.write_bytes(b"X" + data[1:])
    index = apsw.Connection(str(pair.state() / "index.db"))
    st = lost.stat()  # as if nobody had written to it
    index.execute(
        "UPDATE record SET mtime = ?, ctime = ? WHERE ino = ?", (st.st_mtime_ns, st.st_ctime_ns, st.st_ino)
    )
    index.close()
    done = pair.run("verify", "--repair", "--json")
    assert done.code == 3, done
    assert done.json["repair"]["asked"] == 1
    pair.ok("sync")
    pair.ok("verify")
    assert sorted(contents(pair.home / "Maildir")) == sorted(contents(pair.home / "Other"))
    assert len(list((pair.state() / "damaged").iterdir())) == 1


@pytest.mark.parametrize("direction", ["both", "archive", "push"])
def test_a_far_end_that_was_rebuilt_knows_renamed_mailboxes_again(pair: Machine, direction: str) -> None:
    for name in ("One", "Two"):
        mailbox(pair.home / f"Maildir/.{name}", message(40 if name == "One" else 41))
    pair.ok("sync")
    (pair.home / "Maildir/.One").rename(pair.home / "Maildir/.Three")
    pair.ok("sync")
    (pair.home / "Maildir/.Two").rename(pair.home / "Maildir/.One")
    pair.ok("sync")
    before = sorted(str(p.relative_to(pair.home / "Other")) for p in (pair.home / "Other").glob("*/cur"))
    head = "[stores.mail.peers.other]\n"
    pair.config.write_text(pair.config.read_text().replace(head, f'{head}direction = "{direction}"\n', 1))
    (pair.state("other") / "index.db").unlink()
    done = pair.ok("rebuild", "--store", "other", "--from-mail", "--json").json
    assert (done["way"], done["messages"], done["spare"]) == ("mail", 5, 0)
    assert pair.ok("rebuild", "--store", "other", "--json").json["way"] == "none"
    table = pair.ok("sync", "--json").json["peers"][0]
    assert not table["same"]
    assert "again" not in table
    assert (
        sorted(str(p.relative_to(pair.home / "Other")) for p in (pair.home / "Other").glob("*/cur")) == before
    )
    assert len(list((pair.home / "Other").rglob("cur/*"))) == 5
    assert len(list((pair.home / "Maildir").rglob("cur/*"))) == 5
    pair.ok("sync")
    pair.ok("verify", "--store", "other")
    pair.ok("verify")


def test_backups_are_made_once_a_day_and_when_asked(pair: Machine) -> None:
    def made(*words: str) -> list[Any]:
        out: list[Any] = pair.ok("backup", "--list", "--check", "--json", *words).json["backups"]
        return out

    assert len(made()) == 1, "by init"
    pair.ok("sync")
    first = made()
    assert len(first) == 1, "no more than one a day"
    assert first[0]["fault"] is None
    pair.ok("backup")
    assert [row["path"] for row in made()] != [row["path"] for row in first], (
        "the last one of today takes its place"
    )
    assert len(made()) == 1
    pair.configure('[stores.mail.backup]\nevery = "1s"\ndaily = 0\nweekly = 0')
    mailbox(pair.home / "Maildir", message(70))
    before = made()
    pair.ok("sync")
    assert made() == before, "none is made"
    assert pair.ok("sync", "--json").json["exit"] == 0


def test_verify_names_a_damaged_object(pair: Machine) -> None:
    pair.ok("sync")
    victim = objects(pair)[0]
    size = victim.stat().st_size
    victim.chmod(0o600)
    victim.write_bytes(b"x" * size)
    assert victim.name in fault(pair, "content")
    assert "damaged" in fault(pair, "content")
    pair.ok("verify", "--quick")


def test_verify_names_a_missing_object_and_a_shortened_one(pair: Machine) -> None:
    pair.ok("sync")
    first, second, _ = objects(pair)
    first.unlink()
    second.chmod(0o600)
    second.write_bytes(b"short")
    said = fault(pair, "content", "--quick")
    assert first.name in said
    assert f"{second.name}: the vault's object has 5 bytes" in said


def test_verify_tells_what_was_not_scanned_yet_from_what_is_wrong(pair: Machine) -> None:
    pair.ok("sync")
    file = files(pair.home / "Maildir")[0]
    file.rename(file.with_name(file.name + "F"))
    done = pair.ok("verify", "--json").json
    assert done["checked"]["unscanned"] == 1
    pair.ok("sync")
    assert pair.ok("verify", "--json").json["checked"]["unscanned"] == 0


def test_verify_names_a_wrong_digest_and_a_journal(pair: Machine) -> None:
    import apsw

    pair.ok("sync")
    db = apsw.Connection(str(pair.state() / "index.db"))
    db.execute("UPDATE mailbox SET digest = zeroblob(32), count = count + 1")
    db.execute("UPDATE record SET todo = 1 WHERE no = 1")
    db.execute("UPDATE record SET uid = 2 WHERE no IN (1, 2)")
    db.close()
    said = fault(pair, "digest")
    assert "INBOX: its digest is not that of its messages" in said
    assert "4 are counted" in said
    assert "fault (journal)" in said
    assert "2 messages have UID 2" in said


def test_verify_names_a_marker_that_is_not_ours(pair: Machine) -> None:
    (pair.home / "Maildir/..mailkeep").unlink()
    assert "has no marker" in fault(pair, "marker")


# --- sync and init


def test_sync_json_and_a_dry_run(pair: Machine) -> None:
    dry = pair.ok("sync", "--dry-run", "--json").json
    assert dry["dry_run"]
    assert contents(pair.home / "Other") == []
    assert "nothing was changed on either side" in pair.ok("sync", "-n").out
    done = pair.ok("sync", "--json").json
    assert set(done) == {"dry_run", "exit", "peers", "problems", "scan", "seconds", "store"}
    assert set(done["peers"][0]) >= {
        "direction", "exit", "here", "messages_here", "messages_there", "peer", "problems", "received_bytes", "round_trips", "same",
        "seconds", "sent_bytes", "there",
    }  # fmt: skip
    assert done["peers"][0]["there"]["added"] == 3


def test_a_pipe_gets_no_progress_and_quiet_is_silent(here: Machine) -> None:
    mailbox(here.home / "Maildir", *(message(n) for n in range(400)))
    assert here.ok("init", "-q", here.home / "Maildir").out == ""
    here.ok("init", "-q", "--store", "other", "--create", here.home / "Other")
    here.ok("peer", "add", "-q", "--store", "mail", "other", here.home / "Other")
    done = here.run("sync", "-q", "--store", "mail")
    assert (done.code, done.out, done.err) == (0, "", "")
    mailbox(here.home / "Maildir", *(message(n) for n in range(400, 600)))
    assert (done := here.run("sync", "--store", "mail")).err == "", done
    assert len(contents(here.home / "Other")) == 600


def test_a_one_off_run_between_two_paths(here: Machine) -> None:
    mailbox(here.home / "A", message(1))
    mailbox(here.home / "B", message(2))
    here.ok("sync", "./A", "./B")
    assert contents(here.home / "A") == contents(here.home / "B") == sorted(map(message, (1, 2)))
    assert not here.config.exists()
    assert here.ok("sync", here.home / "A", here.home / "B", "--json").json["peers"][0]["same"]


def test_init_twice_is_harmless_and_says_so(pair: Machine) -> None:
    assert "is a store already" in pair.ok("init", pair.home / "Maildir").out
    done = pair.run("init", pair.home / "Other")
    assert done.code == 64, done
    assert "the store mail is configured already" in done.err
    table = pair.ok("init", "--json", pair.home / "Maildir").json
    assert set(table) == {
        "added", "adopted", "exit", "layout", "mailboxes", "messages", "path", "problems", "put_back", "state", "store", "vault",
    }  # fmt: skip


def test_nobody_else_can_look_into_the_state(pair: Machine) -> None:
    assert pair.state().stat().st_mode & 0o077 == 0


def test_hooks_get_the_result_of_the_run(pair: Machine) -> None:
    pair.configure(f"[stores.mail.hooks]\npost = 'env | grep ^MAILKEEP > {pair.home}/hook'\n")
    pair.ok("sync")
    text = (pair.home / "hook").read_text()
    assert "MAILKEEP_EXIT=0" in text
    assert "MAILKEEP_STORE=mail" in text
    result = re.search(r"^MAILKEEP_RESULT=(.*)$", text, re.MULTILINE)
    assert result
    assert json.loads(result[1])["peers"][0]["there"]["added"] == 3


# --- dry runs


def everything_below(*roots: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time of change and bytes of every file and directory."""
    out = {}
    for root in roots:
        for path in [root, *sorted(root.rglob("*"))]:
            st = path.stat()
            out[str(path)] = (st.st_mode, st.st_ctime_ns, path.read_bytes() if path.is_file() else b"")
    return out


@pytest.mark.slow
@pytest.mark.parametrize("made", ["neither", "here", "there"])
def test_a_dry_run_without_configuration_makes_no_store(here: Machine, made: str) -> None:
    mine = mailbox(here.home / "Mine", *map(message, range(4)))
    theirs = mailbox(here.home / "Theirs", *map(message, range(3, 9)))
    mailbox(theirs / ".Work", message(20))
    if made != "neither":
        here.ok("init", mine if made == "here" else theirs)
    scratch = here.home / "tmp"
    scratch.mkdir()
    before = everything_below(here.home)
    words = ("sync", "--dry-run", mine, theirs)
    done = here.run(*words, "--json", TMPDIR=str(scratch)).json["peers"][0]
    assert (done["here"]["added"], done["there"]["added"]) == (6, 3)
    assert here.run("sync", "--dry-run", mine, here.home / "nowhere", TMPDIR=str(scratch)).code == 66
    after = everything_below(here.home)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    if made == "neither":
        changed -= {str(scratch)}  # what was made in it is gone again
    else:
        ours = "/.local/state/", "/.cache"  # a store that there is, and what was read of the configuration
        changed -= {str(scratch), str(here.home)}
        changed = {path for path in changed if not any(part in path for part in ours)}
    assert changed == set()
    assert list(scratch.iterdir()) == []
    here.ok("sync", mine, theirs)
    assert contents(mine) == contents(theirs) == sorted(map(message, range(9)))


def test_serve_takes_every_role_with_other_options_too() -> None:
    for role in ("read", "append", "full"):
        assert parser().parse_args(["serve", "-v", "--role", role]).role == role
