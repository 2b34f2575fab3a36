"""Undoing: what takes one message, or one mailbox, back to how it was before a run, and what stands against that.

Four states are looked at: before the run, after it, now, and what was written in between. Where somebody wrote
after the run what the run had written, his is the later word: that is a conflict, which is shown and not decided
here. What is as it was before the run already needs nothing, so undoing twice is undoing once.
"""

from __future__ import annotations

from mailkeep.domain.flags import NONE, OLD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FLAGGED, REMOVED_LATER, REMADE_LATER, BACK_LATER = (
    "its flags were changed since",
    "it was removed since",
    "it was removed, and put back again, since",
    "it was put back, and removed again, since",
)
RENAMED_LATER, MADE_LATER, FILLED, TAKEN, DELETED_LATER = (
    "it was renamed since",
    "it was deleted, and made again, since",
    "it has messages that the run did not bring",
    "another mailbox has that name now",
    "it was deleted since",
)


class State:
    """A message in one mailbox at some moment: live or not, and its flags. Not there at all is not live."""

    __slots__ = ("flags", "live")

    def __init__(self, live: bool, flags: frozenset[str] = NONE) -> None:
        self.live, self.flags = live, flags

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and (self.live, self.flags) == (other.live, other.flags)

    def __hash__(self) -> int:
        return hash((self.live, self.flags))

    def __repr__(self) -> str:
        return f"State({self.live}, {'+'.join(sorted(self.flags))})"


class Step:
    """What undoing does to one message.

    Attributes:
        live: What it becomes, or None: as it is.
        on, off: Flags to be set and taken off.
        conflict: Why nothing is done unless somebody insists, or ''; `live`, `on` and `off` say what would be done.
    """

    __slots__ = ("conflict", "live", "off", "on")

    def __init__(
        self,
        live: bool | None = None,
        on: Iterable[str] = (),
        off: Iterable[str] = (),
        conflict: str = "",
    ) -> None:
        self.live, self.on, self.off, self.conflict = live, frozenset(on), frozenset(off), conflict

    @property
    def nothing(self) -> bool:
        """Whether all is as it was before."""
        return self.live is None and not self.on and not self.off


def inverse(before: State | None, after: State, now: State, later: Iterable[State]) -> Step:
    """What takes a message back from `after` to `before` in what a run changed, and leaves the rest as it is.

    Args:
        before: At the run's beginning; None: the run made it.
        after: At its end.
        now: As it is.
        later: Each state that it has been in since the run, `after` and `now` left out.
    """
    states = [after, *later, now]
    was_live = before is not None and before.live
    live = None
    conflict = ""
    if was_live != after.live and now.live != was_live:
        live = was_live
        if any(state.live != after.live for state in states):
            conflict = REMADE_LATER if after.live else BACK_LATER
        elif not was_live and any((state.flags ^ after.flags) - {OLD} for state in states):
            conflict = FLAGGED  # somebody has used what would be removed
    ends_live = now.live if live is None else live
    if not ends_live:
        if before is not None and was_live and after.live and before.flags != after.flags:
            return Step(conflict=REMOVED_LATER)  # only flags were changed, of what is gone now
        return Step(live, conflict=conflict)
    if before is None:
        return Step(live, conflict=conflict)
    changed = before.flags ^ after.flags
    differ = {name for name in changed if (name in now.flags) != (name in before.flags)}
    if any(
        (name in state.flags) != (name in after.flags) for name in differ for state in states if state.live
    ):
        conflict = conflict or FLAGGED
    return Step(live, differ & before.flags, differ - before.flags, conflict)


class BoxState:
    """A mailbox at some moment: its name, and whether it is live; name '' is one that was not there."""

    __slots__ = ("live", "name")

    def __init__(self, name: str, live: bool) -> None:
        self.name, self.live = name, live and bool(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoxState) and (self.name, self.live) == (other.name, other.live)

    def __hash__(self) -> int:
        return hash((self.name, self.live))

    def __repr__(self) -> str:
        return f"BoxState({self.name!r}, {self.live})"


class BoxStep:
    """What undoing does to one mailbox.

    Attributes:
        name: The name that it gets, or None.
        live: What it becomes, or None.
        conflict: Why nothing is done unless somebody insists, or ''.
    """

    __slots__ = ("conflict", "live", "name")

    def __init__(self, name: str | None = None, live: bool | None = None, conflict: str = "") -> None:
        self.name, self.live, self.conflict = name, live, conflict

    @property
    def nothing(self) -> bool:
        """Whether all is as it was before."""
        return self.name is None and self.live is None


def inverse_of_box(before: BoxState, after: BoxState, now: BoxState, later: Iterable[BoxState]) -> BoxStep:
    """As `inverse`, for a mailbox. Whether a name is free, and a mailbox empty, is for the caller to see."""
    states = [after, *later, now]
    name = live = None
    conflict = ""
    if before.live != after.live and now.live != before.live:
        live = before.live
        if any(state.live != after.live for state in states):
            conflict = MADE_LATER
        elif not before.live and now.name != after.name:
            conflict = RENAMED_LATER
    if before.name and before.name != after.name and now.name != before.name:
        name = before.name
        if any(state.name != after.name for state in states):
            conflict = conflict or RENAMED_LATER
        elif after.live and not now.live:
            conflict = conflict or DELETED_LATER
    return BoxStep(name, live, conflict)
