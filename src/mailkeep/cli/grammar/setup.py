"""Verbs that set a store up: init, peer, config, completion."""

from __future__ import annotations

from mailkeep.cli.grammar.core import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder

SHELLS = ("bash", "zsh", "fish")
LAYOUTS = ("auto", "maildir++", "fs")
ENCODINGS = ("auto", "utf-7", "utf-8")
DIRECTIONS = ("both", "pull", "push", "archive")
NAMES_OF = ("stores", "peers")


def init(build: Builder) -> None:
    """Describe init."""
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


def peer(build: Builder) -> None:
    """Describe peer and its actions."""
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


def config(build: Builder) -> None:
    """Describe config and its actions."""
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


def completion(build: Builder) -> None:
    """Describe completion."""
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
