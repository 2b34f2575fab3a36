"""`mailkeep du`: what it costs to keep expunged mail, by mailbox and by age."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import Look, when
from mailkeep.cli.run import Options, Output, find
from mailkeep.domain.errors import EXIT_DONE
from mailkeep.store.retained import AGES, retained
from mailkeep.system import clock
from mailkeep.wire.units import format_size

if TYPE_CHECKING:
    from mailkeep.store.retained import Sum


def du(options: Options) -> int:
    """Count, and show."""
    output = Output(options)
    place = find(options.store, None)
    with Look(place) as look:
        found = retained(look.ledger, place.state, clock.now())
        names = {no: box.name for no, box in look.ledger.boxes.items()}
    boxes = sorted(
        ((names.get(no, "(no mailbox)"), sums) for no, sums in found.boxes.items()), key=lambda pair: pair[0]
    )
    if not boxes:
        output.say("no expunged message is kept")
    else:
        output.say(f"{'expunged':>10} {'messages':>9} {'size':>9} {'on disk':>9}  mailbox")
        for name, sums in boxes:
            for age, one in zip(AGES, sums, strict=True):
                if one.messages:
                    output.say(f"{age[0]:>10} {_columns(one)}  {name}")
        total, day = found.total, "" if found.next_free is None else str(when(found.next_free))[:10]
        output.say(
            f"{'in all':>10} {_columns(total)}  of {format_size(found.vault_bytes)} of messages in the vault;"
            f" next to be freed: {day or 'none'}"
        )
    output.result(
        {
            "exit": EXIT_DONE, "store": place.name, "total": _sum(found.total), "vault_bytes": found.vault_bytes,
            "next_free": when(found.next_free) if found.next_free else None,
            "mailboxes": [
                {
                    "mailbox": name,
                    "ages": [
                        {"expunged": label, "days_max": days, **_sum(one)}
                        for (label, days), one in zip(AGES, sums, strict=True)
                        if one.messages
                    ],
                }
                for name, sums in boxes
            ],
        }
    )  # fmt: skip
    return EXIT_DONE


def _columns(one: Sum) -> str:
    """How many, their bytes, and what freeing them gives back to the file system."""
    return f"{one.messages:>9,} {format_size(one.bytes):>9} {format_size(one.disk_bytes):>9}"


def _sum(one: Sum) -> dict[str, Any]:
    return {"messages": one.messages, "bytes": one.bytes, "disk_bytes": one.disk_bytes, "shared": one.shared}
