"""Which layout an existing tree has, judged from its directories. Used by `init`, not by each run."""

from __future__ import annotations

from mailkeep.wire import mutf7
from mailkeep.wire.layouts import FS, MAILDIR_PARTS, MAILDIRPP, UTF7, UTF8, Layout, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailkeep.wire.layouts import Encoding, Kind

_SHOWN_MAX = 3
"""Directories named in a sentence; the rest is counted."""


class Detection:
    """A layout and how sure it is.

    Attributes:
        layout: The best reading.
        reasons: Sentences that say what it follows from, for `init` to print.
        ambiguities: Sentences on what speaks against it; a person should look at them before
            anything is written.
    """

    __slots__ = ("ambiguities", "layout", "reasons")

    def __init__(self, layout: Layout, reasons: tuple[str, ...], ambiguities: tuple[str, ...]) -> None:
        self.layout = layout
        self.reasons = reasons
        self.ambiguities = ambiguities

    @property
    def certain(self) -> bool:
        """Whether nothing speaks against the layout."""
        return not self.ambiguities


def detect(root_has_cur: bool, listing: Iterable[tuple[bytes, bool]]) -> Detection:
    """Decide on a tree's layout.

    Args:
        root_has_cur: Whether the root has a directory cur.
        listing: All directories below the root, in any order: path relative to the root, "/"
            between components, and whether it has a directory cur. Those called cur, new or tmp
            do not matter, and may be left out.
    """
    dotted: list[bytes] = []
    nested: list[bytes] = []
    inner: list[bytes] = []
    for path, has_cur in listing:
        components = path.split(b"/")
        if not has_cur or not MAILDIR_PARTS.isdisjoint(components):
            continue
        if not any(component[:1] == b"." for component in components):
            nested.append(path)
        elif len(components) == 1:
            dotted.append(path)
        else:
            inner.append(path)
    reasons: list[str] = []
    doubts: list[str] = []
    kind = _kind(root_has_cur, sorted(dotted), sorted(nested), reasons, doubts)
    found = sorted(dotted if kind == MAILDIRPP else nested)
    if inner:
        doubts.append(
            f"{_some(sorted(inner))} would be in no mailbox: a Maildir++ tree or hidden directory in another mailbox"
        )
    inbox_at_root = _inbox_at_root(kind, root_has_cur, found, reasons, doubts)
    encoding = _encoding(kind, found, reasons, doubts)
    return Detection(Layout(kind, encoding, inbox_at_root=inbox_at_root), tuple(reasons), tuple(doubts))


def _kind(
    root_has_cur: bool, dotted: list[bytes], nested: list[bytes], reasons: list[str], doubts: list[str]
) -> Kind:
    if not dotted and not nested:
        reasons.append(
            "maildir++: the root is a mailbox and there is no other"
            if root_has_cur
            else "maildir++: there is no mailbox yet, and most programs expect this layout"
        )
        return MAILDIRPP
    kind = MAILDIRPP if len(dotted) >= len(nested) else FS
    if kind == MAILDIRPP:
        reasons.append(f"maildir++: {_some(dotted)} directly below the root, with a dot before the name")
        others, plural = nested, "plain sub-directories"
    else:
        reasons.append(f"fs: {_some(nested)} as plain sub-directories")
        others, plural = dotted, "directories with a dot before the name"
    if others:
        doubts.append(f"{_some(others)} would be in no mailbox: there are {plural} with mail too")
    return kind


def _inbox_at_root(
    kind: Kind, root_has_cur: bool, found: list[bytes], reasons: list[str], doubts: list[str]
) -> bool:
    inboxes = [path for path in found if path.upper() == (b".INBOX" if kind == MAILDIRPP else b"INBOX")]
    if len(inboxes) > 1:
        doubts.append(f"{_some(inboxes)} would all be INBOX")
    if root_has_cur:
        reasons.append("INBOX is the root: it has a directory cur")
        if inboxes:
            doubts.append(f"{_some(inboxes[:1])} would be a second INBOX beside the root")
        return True
    if inboxes:
        reasons.append(f"INBOX is {_some(inboxes[:1])}: the root has no directory cur")
        return False
    if kind == MAILDIRPP:
        if found:
            doubts.append(
                "the root has no directory cur, and no directory is called INBOX: the root would become INBOX"
            )
        return True
    reasons.append("INBOX will be a directory like the others: the root has no directory cur")
    return False


def _encoding(kind: Kind, found: list[bytes], reasons: list[str], doubts: list[str]) -> Encoding:
    wide = [path for path in found if not path.isascii()]
    shifted = [path for path in found if _is_shifted(path)]
    unread = [path for path in wide if not _is_utf8(path)]
    if unread:
        doubts.append(f"{_some(unread)} is neither modified UTF-7 nor UTF-8 and would be in no mailbox")
        wide = [path for path in wide if _is_utf8(path)]
    if wide:
        reasons.append(f"names in UTF-8: {_some(wide)}")
        if shifted:
            doubts.append(
                f"{_some(shifted)} is written in modified UTF-7, others in UTF-8; new names will be in UTF-8"
            )
        return UTF8
    if shifted:
        reasons.append(f"names in modified UTF-7: {_some(shifted)}")
        return UTF7
    if kind == MAILDIRPP:
        reasons.append("names in modified UTF-7, as usual in this layout: none needs any encoding so far")
        return UTF7
    reasons.append("names in UTF-8: none is written in modified UTF-7")
    return UTF8


def _is_shifted(path: bytes) -> bool:
    """Whether any component is legal modified UTF-7 that differs from plain ASCII."""
    if b"&" not in path or not path.isascii():
        return False
    for component in path.replace(b"/", b".").split(b"."):
        if b"&" in component:
            try:
                mutf7.decode(component)
            except ValueError:
                continue
            return True
    return False


def _is_utf8(path: bytes) -> bool:
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _some(paths: list[bytes]) -> str:
    text = ", ".join(shown(path) for path in paths[:_SHOWN_MAX])
    return text if len(paths) <= _SHOWN_MAX else f"{text} and {len(paths) - _SHOWN_MAX} more"
