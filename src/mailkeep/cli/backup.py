"""`mailkeep backup`, and the rolling backups of the index that runs make by themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import ago, when
from mailkeep.cli.run import Options, Output, Place, find
from mailkeep.domain.errors import EXIT_DONE, EXIT_FAULTS, MailkeepError, StoreBusy, printable
from mailkeep.store import backup as backups
from mailkeep.store.gate import INDEX, require
from mailkeep.system import clock
from mailkeep.wire.units import format_count, format_size

if TYPE_CHECKING:
    from mailkeep.store.backup import Backup

EVERY_SECONDS, DAILY, WEEKLY = 86_400, 3, 2
"""Of a store that is not in the configuration; the same as its defaults."""
DETACH_BYTES = 32 << 20
"""From this size of the index on a far end does not let the near one wait for its backup."""


def backup(options: Options) -> int:
    """Make a backup now, or list and check those that there are."""
    output = Output(options)
    place = find(options.store, None)
    status, made = EXIT_DONE, None
    if options.args.list:
        have = backups.backups(place.state)
    else:
        require(place.root, place.state)
        _, daily, weekly = _settings(place)
        made = backups.take(place.state, now=clock.now(), daily=daily, weekly=weekly)
        if made is None:
            raise StoreBusy(
                "another process is making a backup", untouched="anything", hint="wait for it to end"
            )
        output.say(f"made: {printable(made.path)} ({format_size(made.size)}), read through and whole")
        have = backups.backups(place.state)
    rows = []
    for one in have:
        fault = one.fault() if options.args.check else ""
        if fault:
            status = EXIT_FAULTS
            output.warn(f"{printable(one.path)}: {fault}")
        rows.append(_table(one, fault))
        if options.args.list:
            said = "" if not options.args.check else "; damaged" if fault else "; whole"
            output.say(f"{ago(one.at)}  {format_size(one.size)}  {printable(one.path)}{said}")
    if not have:
        output.say("there is no backup of the index yet")
    elif not options.args.list:
        output.say(f"{format_count(len(have), 'backup')}, the oldest of {ago(have[-1].at)}")
    output.result(
        {
            "exit": status,
            "store": place.name,
            "made": made and printable(made.path),
            "checked": bool(options.args.check),
            "backups": rows,
        }
    )
    return status


def _table(one: Backup, fault: str) -> dict[str, Any]:
    return {
        "path": printable(one.path),
        "made": when(one.at),
        "generation": one.generation,
        "bytes": one.size,
        "fault": fault or None,
    }


def _settings(place: Place) -> tuple[int, int, int]:
    if place.settings is None:
        return EVERY_SECONDS, DAILY, WEEKLY
    rules = place.settings.backup
    return rules.every, rules.daily, rules.weekly


def after_run(place: Place, output: Output | None = None) -> None:
    """After a run that changed something, and without its lock: notmuch sees it, and another backup, if one is due.

    What cannot be done of this is a warning: the run itself went well.
    """
    if place.settings is not None and (place.settings.notmuch.new or place.back):
        from mailkeep.cli import notmuch

        notmuch.after_run(place, output)
    every, daily, weekly = _settings(place)
    if not (daily or weekly) or not backups.due(place.state, every, clock.now()):
        return
    try:
        backups.take(place.state, now=clock.now(), daily=daily, weekly=weekly)
    except (MailkeepError, OSError) as err:
        if output is not None:
            output.warn(str(err) + (f"; to do: {err.hint}" if isinstance(err, MailkeepError) else ""))


def after_serving(place: Place) -> None:
    """As `after_run`, at the far end of a session that is over; there is nobody to be told."""
    from mailkeep.system.process import detach

    every, daily, weekly = _settings(place)
    indexing = place.settings is not None and place.settings.notmuch.new
    due = bool(daily or weekly) and backups.due(place.state, every, clock.now())
    if not (indexing or due):
        return
    if not indexing and os.stat(os.path.join(place.state, INDEX)).st_size < DETACH_BYTES:
        after_run(place)
    elif detach():
        try:
            after_run(place)
        finally:
            os._exit(0)
