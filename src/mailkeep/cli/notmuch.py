"""notmuch around the runs of a store: `notmuch new` after one, tags kept before one removes mail, and brought back.

Whatever goes wrong here is a warning: no run waits for it longer than said, and none fails for it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mailkeep.domain.errors import DataError, printable
from mailkeep.system import notmuch
from mailkeep.wire.headers import message_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailkeep.cli.run import Output, Place
    from mailkeep.store.store import Store
    from mailkeep.wire.config import NotmuchSettings

PATH_BYTES_MAX = 1 << 16
_kept: set[bytes] = set()
"""States of the stores whose tags this process has dumped: one run removes in several steps, and needs one dump."""


def after_run(place: Place, output: Output | None = None) -> None:
    """Let notmuch see what a run changed, and bring tags back for what it brought back; the store's lock was given back.

    notmuch's own hooks run too. What they call of mailkeep does not come back here.
    """
    settings = _settings(place)
    if settings is None or notmuch.NESTED in os.environ:
        return
    if place.back:
        seen = restore_tags(place, place.back, output)
        place.back = []
        if seen:
            return
    if settings.new:
        _new(place, settings, output)


def _new(place: Place, settings: NotmuchSettings, output: Output | None) -> bool:
    try:
        notmuch.run(["new", "--quiet"], _environment(settings), notmuch.NEW_SECONDS)
    except notmuch.Trouble as err:
        _warn(place, f"{err}; the run itself is done", output)
        return False
    return True


def keep_tags(place: Place, count: int) -> None:
    """Keep a dump of all tags, if so many messages are about to go, or went; once in a process."""
    settings = _settings(place)
    if settings is None or not settings.dump or count <= settings.threshold or place.state in _kept:
        return
    _kept.add(place.state)
    try:
        notmuch.dump(place.state, _environment(settings), settings.keep)
    except notmuch.Trouble as err:
        _warn(place, f"{err}; tags of what is removed now are only in older dumps", None)


def restore_tags(place: Place, message_ids: Iterable[str], output: Output | None = None) -> int:
    """Give messages that came back the tags that they had when they went: from the newest dump that knows them.

    Lets notmuch see them first. Tags of other messages stay as they are, and so do those of messages that no kept dump
    knows. Call it without the store's lock, after the run.

    Args:
        message_ids: With or without angle brackets.

    Returns:
        For how many of them there were tags to give back; 0 where notmuch is not configured for that.
    """
    settings = _settings(place)
    if settings is None or not settings.dump:
        return 0
    wanted = {message_key(text) for text in message_ids} - {""}
    found: list[bytes] = []
    for path in notmuch.dumps(place.state):
        if not wanted:
            break
        for line in notmuch.lines(path):
            known = notmuch.message_id(line)
            if known is not None and message_key(known) in wanted:
                wanted.discard(message_key(known))
                found.append(line)
    if not found or not _new(place, settings, output):
        return 0
    try:
        notmuch.run(
            ["restore", "--format=batch-tag", "--include=tags"], _environment(settings), notmuch.RESTORE_SECONDS, said=found,
        )  # fmt: skip
    except notmuch.Trouble as err:
        _warn(
            place,
            f"{err}; the tags of what came back are in {printable(notmuch.dumps(place.state)[0])}",
            output,
        )
        return 0
    return len(found)


def trouble(place: Place) -> tuple[str, str, str] | None:
    """What stands in the way of notmuch as it is configured: (what, why it matters, what to do).

    None: nothing, as far as can be seen, or it is not configured.
    """
    settings = _settings(place)
    if settings is None or not (settings.new or settings.dump):
        return None
    which = "" if settings.config is None else f"NOTMUCH_CONFIG={settings.config} "
    why = "tags are not kept before removals, and what runs change is not seen by notmuch"
    if settings.config is not None and not os.path.isfile(settings.config):
        return (f"notmuch's configuration {settings.config} is not there", why, "mailkeep config show")
    said = bytearray()

    def take(data: bytes) -> None:
        said.extend(data)
        if len(said) > PATH_BYTES_MAX:
            raise notmuch.Trouble(f"notmuch config said more than {PATH_BYTES_MAX:,} bytes")

    try:
        notmuch.run(["config", "get", "database.path"], _environment(settings), 20, take=take)
        if b"\0" in said:
            raise notmuch.Trouble("what notmuch config said is no path")
    except notmuch.Trouble as err:
        return str(err), why, f"{which}notmuch config get database.path"
    path = os.path.join(os.path.expanduser(b"~"), bytes(said).strip())
    root, top = os.path.realpath(place.root), os.path.realpath(path)
    if (root + b"/").startswith(top + b"/"):
        return None
    return (
        f"notmuch looks for mail in {printable(path)}, and the Maildir {printable(place.root)} is not below that",
        why,
        f"{which}notmuch config set database.path {printable(place.root)}",
    )


def came_back(place: Place, store: Store, contents: Iterable[int]) -> None:
    """Note, while the store is open, which messages a run brings back: `restore_tags` then knows them by `Place.back`.

    Nothing where no tags are kept. What has no Message-ID is known to notmuch by the SHA-1 of its file.
    """
    settings = _settings(place)
    if settings is None or not settings.dump or not notmuch.dumps(place.state):
        return
    from hashlib import sha1

    from mailkeep.store.headers import HeaderCache

    wanted = list(dict.fromkeys(contents))
    with HeaderCache(store.state, store.ledger, store.vault) as cache:
        cache.fill(wanted)
        for content in wanted:
            found = cache.get(content)
            if found is not None and found.message_id:
                place.back.append(found.message_id)
                continue
            try:
                data = store.vault.read(store.ledger.content_id(content))
            except (OSError, DataError):
                continue
            place.back.append("notmuch-sha1-" + sha1(data, usedforsecurity=False).hexdigest())


def _settings(place: Place) -> NotmuchSettings | None:
    return None if place.settings is None else place.settings.notmuch


def _environment(settings: NotmuchSettings) -> dict[str, str]:
    more = {} if settings.config is None else {"NOTMUCH_CONFIG": settings.config}
    return {**os.environ, **more}


def _warn(place: Place, text: str, output: Output | None) -> None:
    text = f"the store {place.name}: {text}"
    if output is not None:
        output.warn(text)
    else:
        print("mailkeep: " + printable(text), file=sys.stderr)
