"""How long work tells what is done and what there is to do, and what follows for the time that is left."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Watch(Protocol):
        """Who wants to know. Sizes are in bytes, 0 where they are not counted."""

        def __call__(self, what: str, count: int, size: int = 0) -> None:
            """So many messages of this size are `what` by now ("read", "received")."""

        def expect(self, what: str, count: int, size: int = 0) -> None:
            """There are so many in all, counted from 0; said before the first of them."""


def seconds_left(
    elapsed: float, done: tuple[int, int], total: tuple[int, int], before: tuple[int, int] = (0, 0)
) -> float | None:
    """How long it takes at the pace so far; None: nothing is known yet.

    A message costs something, and so does each of its bytes. So messages alone say too little while the
    large ones are still to come, bytes alone while the many small ones are: the longer estimate counts.

    Args:
        elapsed: Seconds that it took from `before` to `done`.
        done: (messages, bytes) until now.
        total: The same, in all; 0: not known.
        before: What was done when `elapsed` began to run.
    """
    estimates = [
        elapsed * max(whole - now, 0) / (now - then)
        for now, whole, then in zip(done, total, before, strict=True)
        if whole and now > then
    ]
    return max(estimates, default=None)
