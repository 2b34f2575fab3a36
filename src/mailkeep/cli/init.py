"""`mailkeep init`: look at a Maildir, say what was found, and index it."""

from __future__ import annotations

import os

from mailkeep.cli.run import Options, Output, Place, default_state, find, limits_of, places
from mailkeep.domain.errors import EXIT_DONE, EXIT_SKIPPED, NoInput, UsageError, printable

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
    name = options.store or "mail"
    root = os.fsencode(os.path.abspath(os.path.expanduser(args.maildir)))
    settings = load_settings(where)
    known = settings.stores.get(name)
    if known is not None and known.path is not None and os.path.realpath(known.path) != os.path.realpath(os.fsdecode(root)):
        raise UsageError(
            f"the store {name} is configured already, for {known.path}",
            untouched="anything",
            hint=f"mailkeep init --store OTHERNAME {args.maildir}",
        )
    if known is not None:
        place = find(name, None, where)
    else:
        state = os.fsencode(os.path.abspath(os.path.expanduser(args.state))) if args.state else default_state(where, name, root)
        place = Place(name, root, state, None)
    _check_root(root, args.create)
    place.state = place.state or default_state(where, name, root)
    result = make(place, output, adopt=args.adopt, layout=args.layout, encoding=args.encoding)
    if known is None:
        add_store(where, name, {"path": os.fsdecode(root), "state": os.fsdecode(place.state)})
        output.say(f"entered as the store {name} in {where.config_file}")
    output.say("next: mailkeep peer add server ssh://me@server/   then: mailkeep sync --dry-run")
    output.result({"store": name, **result})
    return EXIT_SKIPPED if result["problems"] else EXIT_DONE


def _check_root(root: bytes, create: bool) -> None:
    if os.path.isdir(root):
        return
    if os.path.exists(root):
        raise NoInput(f"{printable(root)} is not a directory", untouched="anything", hint="name the Maildir's directory")
    if not create:
        raise NoInput(
            f"{printable(root)} is not there",
            untouched="anything",
            hint="correct the path; to begin with an empty Maildir, say --create",
        )
    os.makedirs(root, 0o700)


def make(
    place: Place, output: Output, *, adopt: bool = False, layout: str = "auto", encoding: str = "auto", quiet: bool = False
) -> dict[str, Any]:
    """Create the state of a store and index its mail for the first time."""
    from mailkeep.store.store import Store

    if not os.path.isdir(place.root):
        from mailkeep.store.maildir import missing_root

        raise missing_root(place.root)
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
        if not quiet and not output.quiet and not output.as_json:
            import sys

            if sys.stderr.isatty():
                from mailkeep.cli.progress import Progress

                store.progress = Progress()
        report = store.scan()
        if store.progress is not None:
            store.progress.end()  # type: ignore[attr-defined]
        store.bump()
        store.end_run("init", None, EXIT_DONE, {"added": report.added})
        mailboxes = len(store.ledger.alive())
        sharing = store.vault.mode
    finally:
        store.close()
    if not quiet:
        for at, why in report.problems:
            output.warn(f"{at}: {why}")
        output.say(f"{printable(place.root)}: {found.layout.kind} layout, {mailboxes:,} mailboxes, {report.added:,} messages")
        sharing_words = {
            "link": "by hard link, so it takes no second copy (messages are made read-only for that)",
            "reflink": "by reflink, so it takes no second copy",
            "copy": "by copy: this file system has no hard links across; mail takes twice its size",
        }
        output.say(f"state and vault in {printable(place.state)}; contents are kept {sharing_words[sharing]}")
    return {
        "path": printable(place.root), "state": printable(place.state), "layout": str(found.layout), "mailboxes": mailboxes,
        "messages": report.added, "vault": sharing, "problems": [{"where": a, "why": b} for a, b in report.problems],
    }  # fmt: skip


def _detect(root: bytes, layout: str, encoding: str) -> Any:
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
