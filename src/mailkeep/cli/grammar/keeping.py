"""Verbs about what is kept and for how long: annotate, annotations."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.cli.grammar.core import Builder


def annotate(build: Builder) -> None:
    """Describe annotate and annotations."""
