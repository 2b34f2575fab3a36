"""The whole command line, described once: help, completion and man pages are made from this."""

from __future__ import annotations

import argparse

from mailkeep import __version__
from mailkeep.cli.run import Options
from mailkeep.domain.errors import EXIT_CODES, UsageError
from mailkeep.wire.units import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    Verbs = argparse._SubParsersAction[Any]

SHELLS = ("bash", "zsh", "fish")
LAYOUTS = ("auto", "maildir++", "fs")
ENCODINGS = ("auto", "utf-7", "utf-8")
DIRECTIONS = ("both", "pull", "push", "archive")
NAMES_OF = ("stores", "peers")
ROLES = ("read", "full")

DESCRIPTION = """\
Keeps Maildirs the same on several machines, and loses no mail.

A store is a Maildir with mailkeep's own state beside it: an index of what is there, and a
vault that holds every message for as long as it can be given back. Stores meet in sessions,
over ssh or any other command; each session brings both sides to the same state.
"""

FIRST_STEPS = (
    ("mailkeep init --store mail ~/Maildir", "look at the Maildir and index it"),
    ("mailkeep peer add server ssh://me@server/", "name the other machine (after mailkeep init there)"),
    ("mailkeep sync --dry-run", "see what a session would do, on both sides"),
    ("mailkeep sync", "do it: both directions, all peers"),
    ("mailkeep status", "see what there is, and what waits"),
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: exit status 64, and words on what to do."""

    examples: tuple[tuple[str, str], ...] = ()
    statuses: tuple[int, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Turn a fault of the command line into ours."""
        raise UsageError(message, untouched="anything", hint=f"{self.prog} --help")

    def teach(self, examples: tuple[tuple[str, str], ...], statuses: tuple[int, ...]) -> None:
        """Put examples and exit statuses below the options."""
        self.examples, self.statuses = examples, statuses
        lines = ["examples:"]
        for command, meaning in examples:
            lines += [f"  {command}", f"        {meaning}"]
        lines += ["", "exit status:"]
        lines += [f"  {status:<3} {EXIT_CODES[status][1]}" for status in statuses]
        self.epilog = "\n".join(lines)


def duration(text: str) -> int:
    """An option's duration, in seconds."""
    try:
        return parse_duration(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def count(text: str) -> int:
    """An option's number of things, from 1."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 1 on')
    return int(text)


def natural(text: str) -> int:
    """An option's number, from 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 0 on')
    return int(text)


def _common(default: object) -> argparse.ArgumentParser:
    """Options of every command, before the verb and behind it.

    Behind it, what is not said must not undo what was said before.
    """
    common = argparse.ArgumentParser(add_help=False)
    silent = argparse.SUPPRESS if default is argparse.SUPPRESS else None
    common.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        default=silent or False,
        help="say nothing unless something is wrong",
    )
    common.add_argument("-v", "--verbose", action="count", default=silent or 0, help="say more")
    common.add_argument(
        "--json",
        action="store_true",
        default=silent or False,
        help="print the result as one JSON object (docs/reference/json.md)",
    )
    return common


class _Builder:
    """Adds verbs to the command, each with the common options and its lesson."""

    def __init__(self, verbs: Verbs) -> None:
        self.verbs = verbs
        self.common = _common(argparse.SUPPRESS)
        self.store = argparse.ArgumentParser(add_help=False)
        self.store.add_argument(
            "--store",
            metavar="NAME",
            help="which store of the configuration (default: the only one, or the default one)",
        )

    def verb(
        self,
        name: str,
        summary: str,
        text: str,
        run: str,
        examples: tuple[tuple[str, str], ...],
        statuses: tuple[int, ...] = (0, 64, 78),
        *,
        store: bool = True,
        verbs: Verbs | None = None,
    ) -> Parser:
        parents = [self.common, self.store] if store else [self.common]
        parser = (verbs or self.verbs).add_parser(name, parents=parents, help=summary, description=text)
        assert isinstance(parser, Parser)
        parser.teach(examples, statuses)
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, summary: str, text: str) -> Verbs:
        parser = self.verbs.add_parser(name, help=summary, description=text)
        actions: Verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        return actions


def parser() -> Parser:
    """The parser of the command."""
    top = Parser(prog="mailkeep", description=DESCRIPTION, parents=[_common(None)])
    top.add_argument("--version", action="version", version=f"mailkeep {__version__}")
    top.teach(FIRST_STEPS, tuple(EXIT_CODES))
    build = _Builder(top.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs"))
    _init(build)
    _peer(build)
    _sync(build)
    _serve(build)
    _look(build)
    _holds(build)
    _check(build)
    _selftest(build)
    _recovery(build)
    _config(build)
    _completion(build)
    return top


def _init(build: _Builder) -> None:
    p = build.verb(
        "init",
        "make a store of a Maildir",
        "Look at a Maildir, say what was found, index it and enter it into the configuration.\n"
        "The mail stays where it is; state and vault go to the XDG state directory, or beside the\n"
        "Maildir when that is on another file system, so that the vault can share blocks with it.",
        "mailkeep.cli.init:init",
        (
            ("mailkeep init --store mail ~/Maildir", "the usual way"),
            ("mailkeep init --create --layout fs ~/Mail", "begin with an empty Maildir"),
            (
                "mailkeep init --adopt ~/Maildir",
                "marker or state were lost, or peers gave this store up: go on as a new replica",
            ),
        ),
        (0, 3, 6, 64, 66, 74, 77, 78),
    )
    p.add_argument("maildir", metavar="MAILDIR", help="the Maildir's root directory")
    p.add_argument(
        "--state", metavar="DIR", help="where to keep index and vault (default: chosen, see above)"
    )
    p.add_argument(
        "--layout", choices=LAYOUTS, default="auto", help="how mailboxes lie in the tree (default: auto)"
    )
    p.add_argument(
        "--encoding",
        choices=ENCODINGS,
        default="auto",
        help="how new mailbox names are written on disk (default: auto)",
    )
    p.add_argument("--create", action="store_true", help="make the directory if it is not there")
    p.add_argument(
        "--adopt",
        action="store_true",
        help="take over a Maildir whose marker or state is lost, or a store that peers gave up; they see a new replica",
    )
    p.add_argument(
        "--force",
        action="store_true",
        help="with --adopt: also into an empty Maildir; its mail is put back from the vault",
    )


def _peer(build: _Builder) -> None:
    actions = build.group(
        "peer",
        "name, list and drop peers",
        "Peers are other stores that this one meets: on another machine, on a disk, behind any command.",
    )
    add = build.verb(
        "add",
        "enter a peer",
        "Enter a peer into the configuration. Nothing is contacted.\n"
        "ADDRESS is ssh://[user@]host[:port]/ for the far end's own store, ssh://host/path or host:path for\n"
        "a Maildir there, or a path on this machine; --command names any other way to reach mailkeep serve.",
        "mailkeep.cli.peer:add",
        (
            ("mailkeep peer add server ssh://me@server/", "the default store over there"),
            ("mailkeep peer add stick /media/stick/Maildir", "a Maildir on this machine"),
            ('mailkeep peer add box --command "ssh -q box mailkeep serve --store mail"', "any command"),
            ("mailkeep peer add old server: --direction archive", "take everything, carry out no deletion"),
        ),
        verbs=actions,
    )
    add.add_argument("name", metavar="NAME", help="what to call it here")
    add.add_argument("address", metavar="ADDRESS", nargs="?", help="URL, host:path or path")
    add.add_argument("--command", metavar="COMMAND", help="a shell's line that speaks with mailkeep serve")
    add.add_argument(
        "--direction",
        choices=DIRECTIONS,
        help="which way changes go (default: both); with pull, local changes stay local; "
        "archive takes everything and carries out no deletion",
    )
    add.add_argument(
        "--remote-store", metavar="NAME", help="the store's name over there (default: its default store)"
    )
    add.add_argument(
        "--include",
        metavar="PATTERN",
        action="append",
        help="mailboxes that take part (* and %%; may be repeated)",
    )
    add.add_argument(
        "--exclude", metavar="PATTERN", action="append", help="mailboxes that do not (may be repeated)"
    )
    add.add_argument(
        "--map",
        metavar="HERE=THERE",
        action="append",
        help="a mailbox, with those below it, that has another name at the peer (may be repeated)",
    )
    build.verb(
        "list",
        "list the peers of a store",
        "List peers with address, direction, when they were last met, and how much waits for them; with -v also\n"
        "every replica that this store has heard of.",
        "mailkeep.cli.peer:list_peers",
        (("mailkeep peer list", "all peers of the default store"),),
        verbs=actions,
    )
    show = build.verb(
        "show",
        "show one peer",
        "Show a peer: its settings, when it was last met, and which changes here wait for it.",
        "mailkeep.cli.peer:show",
        (("mailkeep peer show server", "everything known of that peer"),),
        verbs=actions,
    )
    show.add_argument("name", metavar="PEER", help="the peer")
    remove = build.verb(
        "remove",
        "drop a peer from the configuration",
        "Take a peer out of the configuration. No mail changes, here or there; it may be added again later.",
        "mailkeep.cli.peer:remove",
        (("mailkeep peer remove stick", "no more sessions with it"),),
        verbs=actions,
    )
    remove.add_argument("name", metavar="PEER", help="the peer")
    forget = build.verb(
        "forget",
        "give a replica up that will not come back",
        "Wait for a replica no longer: what was deleted is remembered until every known replica has heard of it.\n"
        "Use it when a machine is gone for good, or its store was made anew. Stores that never met it hear\n"
        "of it by their next sessions; to those that did, say it too. Should it turn up all the same, it is\n"
        "refused; mailkeep init --adopt there makes it a new replica, which loses nothing. No mail changes,\n"
        "and the configuration stays (see mailkeep peer remove).",
        "mailkeep.cli.peer:forget",
        (
            ("mailkeep peer forget laptop", "the replica that last answered as this peer"),
            (
                "mailkeep peer forget 51f2c1aa",
                "by the beginning of its id, as mailkeep peer list -v shows it",
            ),
        ),
        (0, 6, 64, 66, 74, 78),
        verbs=actions,
    )
    forget.add_argument("replica", metavar="PEER", help="name of a peer, or the beginning of a replica's id")
    forget.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )


def _sync(build: _Builder) -> None:
    p = build.verb(
        "sync",
        "synchronise with peers",
        "Scan this store, then have one session with each peer (all of them, or those named).\n"
        "Two places instead of peers make a one-off run without configuration: sync HERE THERE,\n"
        "where THERE may be a path or host:path.",
        "mailkeep.cli.sync:sync",
        (
            ("mailkeep sync", "the default store with all its peers"),
            (
                "mailkeep sync --dry-run server",
                "what a session with one peer would do; nothing is changed anywhere",
            ),
            ("mailkeep sync ~/Maildir server:Maildir", "once, without configuration"),
            ("mailkeep sync -q --wait 5m", "for cron: silent, and patient with another run"),
        ),
        (0, 3, 5, 6, 64, 65, 66, 69, 74, 75, 76, 77, 78),
    )
    p.add_argument("peers", nargs="*", metavar="PEER", help="peers of the store; or two places")
    p.add_argument(
        "-n", "--dry-run", action="store_true", help="show what would be done, on both sides; change nothing"
    )
    p.add_argument(
        "--wait",
        metavar="DURATION",
        type=duration,
        help="wait so long for another run to end, here or there: 90s, 5m, 1h30m (default: not, here; 10s, there)",
    )
    p.add_argument(
        "--force",
        action="store_true",
        help="a one-way run goes on though its source looks like the wrong one",
    )


def _serve(build: _Builder) -> None:
    p = build.verb(
        "serve",
        "be the far end of a session",
        "Answer one session on standard input and output. mailkeep sync starts this on the other machine;\n"
        "as a forced command in authorized_keys it is all that a key may do there.",
        "mailkeep.cli.serve:serve",
        (
            ("mailkeep serve --store mail", "serve a store of the configuration"),
            (
                'restrict,command="mailkeep serve --store mail" ssh-ed25519 AAAA...',
                "a line of authorized_keys",
            ),
            ('restrict,command="mailkeep serve --store mail --role read" ...', "a key that may only fetch"),
            ('restrict,command="mailkeep serve --store mail --role append" ...', "a key that may only add"),
        ),
        (0, 3, 5, 6, 64, 65, 66, 69, 74, 76, 77, 78),
    )
    p.add_argument("--path", metavar="DIR", help="serve this Maildir instead of a configured store")
    p.add_argument(
        "--role", choices=ROLES, default="full", help="what the other side may do here (default: full)"
    )


def _look(build: _Builder) -> None:
    build.verb(
        "status",
        "what there is, what waits, when peers were met",
        "Show stores: mailboxes, messages, held deletions, mailboxes that wait and why, peers, last runs.\n"
        "Takes no lock and changes nothing; beside a running session it shows the state before it.",
        "mailkeep.cli.status:status",
        (
            ("mailkeep status", "every store of the configuration"),
            ("mailkeep status -q", "only what is wrong; the exit status says it too"),
            ("mailkeep status --json | jq .stores[0].peers", "for programs"),
        ),
        (0, 3, 5, 65, 66, 74, 78),
    )
    p = build.verb(
        "log",
        "runs that changed something or failed",
        "List runs of this store, the last one first: when, which verb, which peer, how it ended, what it did.",
        "mailkeep.cli.log:log",
        (("mailkeep log", "the last 20 runs"), ("mailkeep log --last 500 --peer server", "of one peer")),
        (0, 66, 74, 78),
    )
    p.add_argument("--last", metavar="COUNT", type=count, default=20, help="how many runs (default: 20)")
    p.add_argument("--peer", metavar="PEER", help="only runs with this peer")
    p = build.verb(
        "verify",
        "read everything back and compare",
        "Hash every content in the vault, compare index, Maildir and vault, and count digests anew.\n"
        "Changes nothing, unless --repair is said: then contents are taken from where they are still whole (Maildir,\n"
        "vault, or a peer in the next session), and nothing is deleted: what is displaced goes to damaged/ in the\n"
        "state directory. It holds the store's lock meanwhile, so sessions wait.",
        "mailkeep.cli.verify:verify",
        (
            ("mailkeep verify", "everything, at the speed of the disk"),
            ("mailkeep verify --quick", "names and sizes only; no content is read"),
            ("mailkeep verify --repair", "mend what is found, as far as it can be"),
        ),
        (0, 3, 4, 6, 65, 66, 74, 77, 78),
    )
    p.add_argument("--quick", action="store_true", help="do not read contents: names, sizes and counts only")
    p.add_argument("--repair", action="store_true", help="mend what is found; deletes nothing")
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )


def _holds(build: _Builder) -> None:
    p = build.verb(
        "holds",
        "deletions that wait for an answer",
        "Show deletions that a guard stopped, because more messages would have vanished than is usual.\n"
        "Nothing happens to them until you approve or reject; the mail stays where it is.",
        "mailkeep.cli.holds:show",
        (
            ("mailkeep holds", "all of them, by mailbox"),
            ("mailkeep holds 3", "the messages of hold 3"),
        ),
        (0, 5, 64, 66, 78),
    )
    p.add_argument("hold", metavar="HOLD", nargs="?", help="number of a hold: list its messages")
    p.add_argument(
        "--last", metavar="COUNT", type=count, default=50, help="list so many messages (default: 50)"
    )
    for verb, run, summary, text in (
        (
            "approve",
            "mailkeep.cli.holds:approve",
            "let held deletions happen",
            "Carry out the deletions of a hold. The approval travels to the peers and covers these deletions only;\n"
            "contents stay in the vault for as long as the store's retention says.",
        ),
        (
            "reject",
            "mailkeep.cli.holds:reject",
            "put held messages back",
            "Put the messages of a hold back, here and, with the next sessions, everywhere.",
        ),
    ):
        p = build.verb(
            verb,
            summary,
            text,
            run,
            (
                (f"mailkeep {verb} 3", f"{verb} hold 3 of mailkeep holds"),
                (f"mailkeep {verb} all", "all that wait"),
            ),
            (0, 3, 6, 64, 66, 78),
        )
        p.add_argument(
            "hold", metavar="HOLD", nargs="*", help='numbers of holds, or "all" (default: the only one)'
        )
        p.add_argument(
            "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
        )


def _check(build: _Builder) -> None:
    p = build.verb(
        "check",
        "is everything set up as it should be?",
        "Check configuration, Maildir, marker, state, vault, mailbox names and, for each peer, patterns and\n"
        "name map both ways; peers are asked for their mailboxes. Changes nothing on either side.",
        "mailkeep.cli.check:check",
        (
            ("mailkeep check", "every store and its peers"),
            ("mailkeep check --offline", "without contacting peers"),
        ),
        (0, 4, 69, 78),
    )
    p.add_argument("--offline", action="store_true", help="contact no peer")


def _selftest(build: _Builder) -> None:
    p = build.verb(
        "selftest",
        "break mailkeep on a copy of your mail, and see whether anything is lost",
        "Copy mail into a scratch directory (or make some up), make two stores of it, and then kill and starve\n"
        "real runs between them at random moments, while mail programs go on; judge after each whether a message is\n"
        "lost, doubled, half there or sent again. Your own mail and stores are only read; nothing is linked to them.\n"
        "The scratch directory is removed at the end, unless something was found: then it is the evidence.",
        "mailkeep.cli.selftest:selftest",
        (
            ("mailkeep selftest", "a minute, with mail made up"),
            ("mailkeep selftest --store mail --time 10m", "with a copy of a store's mail"),
            ("mailkeep selftest --seed 4711 ~/Maildir", "the same choices as the run that told this seed"),
        ),
        (0, 4, 64, 66, 74, 78, 130),
    )
    p.add_argument("maildir", metavar="MAILDIR", nargs="?", help="a Maildir whose mail is copied")
    p.add_argument("--seed", metavar="NUMBER", type=natural, help="draws every choice (default: a new one)")
    p.add_argument(
        "--time", metavar="DURATION", type=duration, default=60, help="how long: 90s, 10m (default: 60s)"
    )
    p.add_argument(
        "--messages",
        metavar="COUNT",
        type=count,
        default=1000,
        help="copy at most so many, the last of each mailbox, and 200 MiB (default: 1000)",
    )
    p.add_argument(
        "--scratch",
        metavar="DIR",
        help="where to make the scratch directory (default: the state directory, or beside the Maildir when that is on"
        " another file system)",
    )


def _recovery(build: _Builder) -> None:
    p = build.verb(
        "doctor",
        "what is wrong with the set-up, and what to type",
        "Look at configuration, Maildir, marker, index, state directory, disk, permissions, clock, backups, held\n"
        "deletions and the way to each peer. Every finding says what it is, why it matters, and what to type.\n"
        "Only reads, takes no lock, and begins no session; -v tells what is fine, too.",
        "mailkeep.cli.doctor:doctor",
        (
            ("mailkeep doctor", "every store and its peers"),
            ("mailkeep doctor --offline -v", "without contacting peers, and with all that is fine"),
        ),
        (0, 4),
    )
    p.add_argument("--offline", action="store_true", help="contact no peer")
    p = build.verb(
        "backup",
        "back the index up, or list its backups",
        "Make a backup of the index now, beside those that runs make by themselves once a day, or list them.\n"
        "They lie in the state directory and help against a damaged index; mailkeep rebuild uses them.\n"
        "Takes no lock: a session may go on meanwhile.",
        "mailkeep.cli.backup:backup",
        (
            ("mailkeep backup", "make one now, whatever its turn"),
            ("mailkeep backup --list --check", "list them, each read through"),
        ),
        (0, 4, 6, 66, 74, 77, 78),
    )
    p.add_argument("--list", action="store_true", help="make none: list what there is")
    p.add_argument("--check", action="store_true", help="read each through: is it whole?")
    p = build.verb(
        "rebuild",
        "replace an index that is lost or damaged",
        "Put the newest good backup of the index in place of one that is lost, damaged or another store's; without\n"
        "a backup, make a new index from Maildir and vault. No mail is removed; the old index goes to damaged/ in\n"
        "the state directory. Peers see a new replica. With a sound index nothing is done.",
        "mailkeep.cli.rebuild:rebuild",
        (
            ("mailkeep rebuild --dry-run", "what is wrong, and what would be done"),
            ("mailkeep rebuild", "do it"),
            ("mailkeep rebuild --from ~/index.db", "from this backup"),
            ("mailkeep rebuild --recover Recovered", "and make messages of what only the vault has"),
        ),
        (0, 3, 5, 6, 64, 65, 66, 74, 77, 78),
    )
    p.add_argument(
        "--from", dest="source", metavar="FILE", help="use this backup of the index, wherever it is"
    )
    p.add_argument(
        "--from-mail", action="store_true", help="use no backup: begin with what lies in Maildir and vault"
    )
    p.add_argument(
        "--recover",
        metavar="MAILBOX",
        help="make messages there of contents that lie in the vault and in no mailbox, removed mail among them",
    )
    p.add_argument("-n", "--dry-run", action="store_true", help="say what would be done; change nothing")
    p.add_argument(
        "--force", action="store_true", help="though the index is sound, or the Maildir has lost its marker"
    )
    p.add_argument(
        "--wait", metavar="DURATION", type=duration, help="wait so long for another run to end: 90s, 5m"
    )


def _config(build: _Builder) -> None:
    actions = build.group(
        "config", "show the configuration", "The configuration is one TOML file, written by you and by init."
    )
    build.verb(
        "show",
        "every setting with its source",
        "Show every setting: its value, and whether the file (with the line) or a default says so.",
        "mailkeep.cli.config:show",
        (("mailkeep config show", "all"), ("mailkeep config show --store mail", "of one store")),
        (0, 77, 78),
        verbs=actions,
    )
    build.verb(
        "path",
        "where the file is",
        "Print the path of the configuration file, whether it is there or not.",
        "mailkeep.cli.config:path",
        (("$EDITOR $(mailkeep config path)", "edit it"),),
        (0, 78),
        store=False,
        verbs=actions,
    )

    names = build.verb(
        "names",
        "names of stores or peers, for scripts",
        "Print the names of all stores, or of a store's peers, one a line. Completion asks this.",
        "mailkeep.cli.config:names",
        (
            ("mailkeep config names stores", "every store"),
            ("mailkeep config names peers --store mail", "the peers of one"),
        ),
        (0, 77, 78),
        verbs=actions,
    )
    names.add_argument("of", choices=NAMES_OF, metavar="OF", help="stores, or peers")


def _completion(build: _Builder) -> None:
    p = build.verb(
        "completion",
        "completion for your shell",
        "Print a shell's completion for mailkeep.",
        "mailkeep.cli.completion:completion",
        (
            ('eval "$(mailkeep completion bash)"', "in ~/.bashrc"),
            ("mailkeep completion zsh > ~/.zfunc/_mailkeep", "a directory of $fpath"),
            ("mailkeep completion fish > ~/.config/fish/completions/mailkeep.fish", "fish"),
        ),
        (0, 64),
        store=False,
    )
    p.add_argument("shell", choices=SHELLS, help="which shell")


def run(argv: Sequence[str]) -> int:
    """Parse and run one command."""
    args = parser().parse_args(argv)
    options = Options(args.verb)
    options.args = args
    options.quiet, options.verbose, options.json = args.quiet, args.verbose, args.json
    options.store = getattr(args, "store", None)
    options.path = getattr(args, "path", None)
    options.role = getattr(args, "role", "full")
    options.dry = getattr(args, "dry_run", False)
    options.force = getattr(args, "force", False)
    options.wait = getattr(args, "wait", None) or 0
    if args.verb == "sync":
        _places(args.peers, options)
    module, _, name = args.run.partition(":")
    import importlib

    handler: Callable[[Any], int] = getattr(importlib.import_module(module), name)
    return handler(options)


def _places(words: list[str], options: Options) -> None:
    """`sync PATH PATH`: a one-off run without configuration; else names of peers."""
    places = [word for word in words if any(c in word for c in "/:~") or word in (".", "..")]
    if not places:
        options.peers = words
    elif len(words) != 2 or (":" in words[0].split("/")[0]):
        raise UsageError(
            f"{places[0]} is a place and not the name of a peer"
            if len(words) != 2
            else f"{words[0]} is not on this machine: a run starts from a Maildir here",
            untouched="anything",
            hint="mailkeep sync PEER..., or mailkeep sync MAILDIR OTHER, where OTHER is a path or host:path",
        )
    else:
        options.path, options.remote = words[0], words[1]
