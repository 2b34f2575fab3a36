"""`mailkeep init`: look at a Maildir, say what was found, and index it."""

from __future__ import annotations

import os

from mailkeep.cli.run import Options, Output, Place, default_state, find, limits_of, open_store, places
from mailkeep.domain.errors import EXIT_DONE, EXIT_SKIPPED, NoInput, UsageError, printable
from mailkeep.wire.units import format_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def init(options: Options) -> int:
    """Make a store of a Maildir and enter it into the configuration."""
    from mailkeep.system.configedit import add_store
    from mailkeep.system.configfile import load_settings

    output = Output(options)
    where = places()
    args = options.args
    name = _name(options.store or "mail")
    root = os.fsencode(os.path.abspath(os.path.expanduser(args.maildir)))
    settings = load_settings(where)
    known = settings.stores.get(name)
    if known is not None and os.path.realpath(known.path) != os.path.realpath(os.fsdecode(root)):
        raise UsageError(
            f"the store {name} is configured already, for {known.path}",
            untouched="anything",
            hint=f"mailkeep init --store OTHERNAME {args.maildir}",
        )
    if known is not None:
        place = find(name, None, where)
    else:
        state = (
            os.fsencode(os.path.abspath(os.path.expanduser(args.state)))
            if args.state
            else default_state(where, name, root)
        )
        place = Place(name, root, state, None)
    _check_root(root, args.create)
    place.state = place.state or default_state(where, name, root)
    if os.path.exists(os.path.join(place.state, b"index.db")):
        result = _again(place, output, adopt=args.adopt, force=args.force)
    elif args.adopt and os.path.isdir(os.path.join(place.state, b"objects")):
        result = _without_index(place, output, args.layout, args.encoding)
    else:
        result = make(place, output, adopt=args.adopt, layout=args.layout, encoding=args.encoding)
    from mailkeep.cli.backup import after_run

    after_run(place, output)
    if known is None:
        add_store(where, name, {"path": os.fsdecode(root), "state": os.fsdecode(place.state)})
        output.say(f"entered as the store {name} in {where.config_file}")
    output.say("next: mailkeep peer add server ssh://me@server/   then: mailkeep sync --dry-run")
    status = EXIT_SKIPPED if result["problems"] else EXIT_DONE
    output.result({"exit": status, "store": name, **result})
    return status


def _name(text: str) -> str:
    """A store's name, checked before anything is made under it."""
    from mailkeep.wire.tables import check_name

    try:
        return check_name(text)
    except ValueError as err:
        raise UsageError(str(err), untouched="anything", hint="mailkeep init --store mail PATH") from err


def _again(place: Place, output: Output, *, adopt: bool, force: bool) -> dict[str, Any]:
    """The state of a store is there already: it is this Maildir's, or is to be adopted."""
    from mailkeep.cli.look import Look
    from mailkeep.store.store import Store

    with Look(place) as look:
        trouble, messages = look.trouble, look.messages
    limits = limits_of(place.settings.guard) if place.settings is not None else None
    if trouble is None and adopt:
        return _renewed(place, output)
    if trouble is None:
        output.say(f"{printable(place.root)} is a store already; mailkeep status shows it")
        return _described(place, 0, [], adopted=False)
    if not adopt or not isinstance(trouble, NoInput):
        raise trouble
    if messages and not force and not _has_mail(place.root):
        raise NoInput(
            f"{printable(place.root)} holds no mail, and the index knows {messages:,} messages: this may be the wrong place",
            untouched="anything",
            hint="mount or name the right Maildir; to put everything back into this one from the vault: init --adopt --force",
        )
    store = Store.adopt(place.root, place.state, limits)
    try:
        report = store.scan()
        store.bump()
        store.end_run("adopt", None, EXIT_DONE, {"added": report.added, "put_back": report.put_back})
    finally:
        store.close()
    for at, why in report.problems:
        output.warn(f"{at}: {why}")
    output.say(
        f"{printable(place.root)} is adopted: {format_count(report.added, 'new message')}, {report.put_back:,} put back from the vault;"
        " peers see a new replica, and the next session with each compares everything"
    )
    return _described(place, report.added, report.problems, adopted=True, put_back=report.put_back)


def _renewed(place: Place, output: Output) -> dict[str, Any]:
    """A store in which nothing is wrong takes a new replica id: its peers gave the old one up."""
    store = open_store(place)
    try:
        with store.index.transaction():
            store.become_new()
        store.bump()
        store.end_run("renew", None, EXIT_DONE, {})
    finally:
        store.close()
    output.say(
        f"{printable(place.root)} is a new replica from now on, with all its mail; the next session with each peer"
        " compares everything"
    )
    return _described(place, 0, [], adopted=True)


def _without_index(place: Place, output: Output, layout: str, encoding: str) -> dict[str, Any]:
    """Of the state the vault is there and the index is gone: as `mailkeep rebuild` does it."""
    from mailkeep.store.rebuild import Rebuild

    limits = limits_of(place.settings.guard) if place.settings is not None else None
    work = Rebuild(
        place.root, place.state, limits, lambda: _detect(place.root, layout, encoding).layout, force=True
    )
    work.run().close()
    report = work.report
    assert report is not None
    for at, why in report.problems:
        output.warn(f"{at}: {why}")
    output.say(
        f"{printable(place.root)} is adopted: {format_count(report.added, 'message')} found, {report.put_back:,} put back from the"
        " vault; peers see a new replica, and the next session with each compares everything"
    )
    return _described(place, report.added, report.problems, adopted=True, put_back=report.put_back)


def _has_mail(root: bytes) -> bool:
    """Whether there is a file in any cur or new of a tree."""
    for directory, _, files in os.walk(root):
        if files and os.path.basename(directory) in (b"cur", b"new"):
            return True
    return False


def _described(
    place: Place, added: int, problems: list[tuple[str, str]], *, adopted: bool, put_back: int = 0
) -> dict[str, Any]:
    """A store for --json, after `init`."""
    from mailkeep.cli.look import Look

    with Look(place) as look:
        return {
            "path": printable(place.root), "state": printable(place.state), "layout": look.index.meta["layout"],
            "mailboxes": len(look.ledger.alive()), "messages": look.messages, "added": added, "put_back": put_back,
            "vault": look.index.meta["vault"], "adopted": adopted,
            "problems": [{"where": where, "why": why} for where, why in problems],
        }  # fmt: skip


def _check_root(root: bytes, create: bool) -> None:
    if os.path.isdir(root):
        return
    if os.path.exists(root):
        raise NoInput(
            f"{printable(root)} is not a directory", untouched="anything", hint="name the Maildir's directory"
        )
    if not create:
        raise NoInput(
            f"{printable(root)} is not there",
            untouched="anything",
            hint="correct the path; to begin with an empty Maildir, say --create",
        )
    os.makedirs(root, 0o700)


def make(
    place: Place,
    output: Output,
    *,
    adopt: bool = False,
    layout: str = "auto",
    encoding: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Create the state of a store and index its mail for the first time."""
    from mailkeep.store.store import Store

    if not os.path.isdir(place.root):
        from mailkeep.store.gate import missing_root

        raise missing_root(place.root)
    configured = _configured(place)  # what is said counts; then what is configured; then what is there
    layout = configured[0] if layout == "auto" else layout
    encoding = configured[1] if encoding == "auto" else encoding
    found = _detect(place.root, layout, encoding)
    if not quiet:
        for reason in found.reasons:
            output.detail("layout: " + reason)
        for doubt in found.ambiguities:
            output.warn(doubt)
    if not os.path.isdir(os.path.join(place.root, b"cur")) and found.layout.inbox_at_root:
        for sub in (b"tmp", b"new", b"cur"):
            os.makedirs(os.path.join(place.root, sub), 0o700, exist_ok=True)
    limits = limits_of(place.settings.guard) if place.settings is not None else None
    store = Store.create(place.root, place.state, found.layout, limits, adopt=adopt)
    try:
        store.progress = shown = None if quiet else output.progress()
        try:
            report = store.scan()
        finally:
            if shown is not None:
                shown.end()
        store.bump()
        store.end_run("init", None, EXIT_DONE, {"added": report.added})
        mailboxes = len(store.ledger.alive())
        sharing = store.vault.mode
    finally:
        store.close()
    if not quiet:
        for at, why in report.problems:
            output.warn(f"{at}: {why}")
        output.say(
            f"{printable(place.root)}: {found.layout.kind} layout, {format_count(mailboxes, 'mailbox', 'mailboxes')}, {format_count(report.added, 'message')}"
        )
        sharing_words = {
            "link": "by hard link, so it takes no second copy (messages are made read-only for that)",
            "reflink": "by reflink, so it takes no second copy",
            "copy": "by copy: this file system has no hard links across; mail takes twice its size",
        }
        output.say(f"state and vault in {printable(place.state)}; contents are kept {sharing_words[sharing]}")
    if quiet:
        return {"problems": []}
    return _described(place, report.added, report.problems, adopted=adopt)


def rehearse(place: Place) -> None:
    """Let a place have the state that `make` would give it, in a temporary directory, for a dry run."""
    import tempfile

    from mailkeep.store.store import Store

    if not os.path.isdir(place.root):
        from mailkeep.store.gate import missing_root

        raise missing_root(place.root)
    layout, encoding = _configured(place)
    found = _detect(place.root, layout, encoding)
    place.scratch = os.fsencode(tempfile.mkdtemp(prefix="mailkeep-dry-run-"))
    place.state = os.path.join(place.scratch, b"state")
    Store.create(place.root, place.state, found.layout, rehearsal=True).close()


def _configured(place: Place) -> tuple[str, str]:
    """Layout and encoding that the configuration wants."""
    return ("auto", "auto") if place.settings is None else (place.settings.layout, place.settings.encoding)


def _detect(root: bytes, layout: Any, encoding: Any) -> Any:
    from mailkeep.wire.layoutdetect import Detection, detect
    from mailkeep.wire.layouts import Layout

    found = detect(os.path.isdir(os.path.join(root, b"cur")), _directories(root))
    kind = found.layout.kind if layout == "auto" else layout
    code = found.layout.encoding if encoding == "auto" else encoding
    if (kind, code) == (found.layout.kind, found.layout.encoding):
        return found
    chosen = Layout(kind, code, inbox_at_root=found.layout.inbox_at_root)
    return Detection(chosen, (f"{kind}, {code}: as you said",), ())


def _directories(root: bytes) -> Iterator[tuple[bytes, bool]]:
    """(path below the root, has a cur) of all directories that are no part of a Maildir."""
    pending = [b""]
    while pending:
        parent = pending.pop()
        try:
            entries = sorted(os.scandir(os.path.join(root, parent)), key=lambda e: e.name)
        except OSError:
            continue
        for entry in entries:
            if entry.name in (b"cur", b"new", b"tmp") or not entry.is_dir(follow_symlinks=False):
                continue
            path = os.path.join(parent, entry.name) if parent else entry.name
            yield path, os.path.isdir(os.path.join(root, path, b"cur"))
            if path.count(b"/") < 50:
                pending.append(path)
