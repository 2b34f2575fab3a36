"""What a session did, in words."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.target import Target
    from mailkeep.replicate.initiator import Initiator
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.store import Store

_NAMES = (
    ("added", "new", "new"),
    ("changed", "with other flags", "with other flags"),
    ("expunged", "removed", "removed"),
    ("held", "deletion held", "deletions held"),
    ("revived", "brought back", "brought back"),
    ("refused", "refused", "refused"),
)


def rules_wait(ledger: Ledger) -> bool:
    """Whether a peer laid something down that a person has to look at."""
    return bool(ledger.index.meta.get("pending"))


def session_words(
    target: Target,
    initiator: Initiator,
    here: dict[str, int],
    there: dict[str, int],
    dry: bool,
    seconds: float,
    store: Store,
    *,
    held: bool,
) -> list[str]:
    """Lines for people: what happened on which side.

    Args:
        held: Deletions wait here for an answer.
    """
    from mailkeep.wire.units import format_count, format_size

    waiting = []
    if held:
        waiting = [
            "some deletions are held: mailkeep holds shows them; mailkeep approve or mailkeep reject decides"
        ]
    if rules_wait(store.ledger):
        waiting.append(
            "rules that peers laid down wait for you: mailkeep annotations shows them; mailkeep annotate accepts or refuses"
        )
    if initiator.waiting:
        waiting.append(
            f"{target.name}: {format_count(initiator.waiting, 'deletion')} held there: somebody has to look at them on that machine,"
            " with mailkeep holds"
        )
    if initiator.same:
        return [f"{target.name}: nothing to do", *waiting]
    would = "would be " if dry else ""
    lines = []
    if initiator.direction != "both":
        ours, theirs = initiator.counts
        arrow = "->" if initiator.direction == "push" else "<-"
        lines.append(
            f"{target.name}: {initiator.direction}: here ({format_count(ours, 'message')}) {arrow} {target.name} ({format_count(theirs, 'message')})"
        )
    for side, counts in (("here", here), (target.name, there)):
        words = [format_count(counts[name], one, many) for name, one, many in _NAMES if counts.get(name)]
        lines.append(f"{target.name}: {side}: {would}" + (", ".join(words) if words else "no change"))
    wire = initiator.wire
    if not dry:
        lines.append(
            f"{target.name}: {format_size(wire.sent_bytes)} sent, {format_size(wire.received_bytes)} received, {seconds:.1f} s"
        )
    if dry:
        lines.append("nothing was changed on either side")
    if initiator.direction == "archive":
        kept = store.index.execute("SELECT count(*) FROM record WHERE hold IS NOT NULL AND NOT live").get
        if kept:
            lines.append(
                f"{target.name}: kept here, deleted elsewhere: {format_count(kept, 'message')}: mailkeep holds shows them"
            )
    return lines + waiting
