"""Names of mailboxes: a type of their own, converted to and from bytes only at the edge.

A name is a tuple of components. Its text form joins them with "/": that is how the
index, the command line and the wire write it, whatever the Maildir on disk does.
"""

from __future__ import annotations

from mailkeep.domain.errors import DataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

COMPONENT_BYTES_RECOMMENDED = 200
"""UTF-8 bytes of one component that fit, escaped for most scripts, into one file name."""
COMPONENT_BYTES_MAX = 255
"""NAME_MAX of every common file system: a longer component fits into no directory entry."""
DEPTH_MAX = 50
"""Components of one name: far above any real tree, and a bound on what a peer can ask us to make."""
NAME_BYTES_MAX = 1000
"""UTF-8 bytes of the text form: with mail root and file name it stays far below PATH_MAX (4096)."""

_INBOX = "INBOX"
# RFC 9051 §5.1 and RFC 5198 §2: no C0 or C1 controls, no line or paragraph separator.
_FORBIDDEN = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)))


class BadMailboxName(DataError, ValueError):
    """A text or tuple that is no mailbox name.

    Attributes:
        text: The name as given, "/" between its components.
        reason: What is wrong with it, to follow "the mailbox name ... ".
    """

    def __init__(self, text: str, reason: str) -> None:
        shown = text if len(text) <= 300 else text[:300] + "..."
        super().__init__(f"the mailbox name {shown!r} {reason}", scope="mailbox")
        self.text = text
        self.reason = reason


class MailboxName:
    """The name of one mailbox: immutable, hashable, ordered component by component.

    Components are in Unicode normal form C, so that a name typed on a Mac and the same
    name typed on Linux are one mailbox. A first component that spells inbox in any case
    becomes INBOX (RFC 9051 §5.1); deeper ones keep their case.

    Attributes:
        parts: The components, at least one.
    """

    __slots__ = ("_text", "parts")

    parts: tuple[str, ...]
    _text: str

    def __init__(self, parts: Iterable[str]) -> None:
        """Check and normalise components.

        Raises:
            BadMailboxName: No components, a bad one, or a limit is passed.
        """
        given = tuple(parts)
        # Bounds first: what follows is linear in the length, and the text may be a peer's.
        text = "/".join(given)
        if not given:
            raise BadMailboxName(text, "has no component")
        if len(given) > DEPTH_MAX:
            raise BadMailboxName(text, f"is {len(given)} components deep; at most {DEPTH_MAX} are allowed")
        if len(text) > NAME_BYTES_MAX:
            raise BadMailboxName(text, f"is longer than {NAME_BYTES_MAX} bytes")
        checked = tuple([_component(part, text) for part in given])
        first = checked[0]
        # isascii() first: the dotless i of Turkish becomes an ASCII I in upper().
        if len(first) == len(_INBOX) and first.isascii() and first.upper() == _INBOX:
            checked = (_INBOX, *checked[1:])
        text = "/".join(checked)
        if not text.isascii() and len(text.encode()) > NAME_BYTES_MAX:
            raise BadMailboxName(text, f"is longer than {NAME_BYTES_MAX} bytes")
        object.__setattr__(self, "parts", checked)
        object.__setattr__(self, "_text", text)

    @classmethod
    def parse(cls, text: str) -> MailboxName:
        """Read the text form, "A/B".

        Raises:
            BadMailboxName: As for the constructor. The text may come from a hostile peer.
        """
        if len(text) > NAME_BYTES_MAX:
            raise BadMailboxName(text, f"is longer than {NAME_BYTES_MAX} bytes")
        return cls(text.split("/"))

    @property
    def parent(self) -> MailboxName | None:
        """The name one level up, or None at the top."""
        return MailboxName(self.parts[:-1]) if len(self.parts) > 1 else None

    @property
    def is_inbox(self) -> bool:
        """Whether this is INBOX itself, not a mailbox below it."""
        return self._text == _INBOX

    def is_below(self, other: MailboxName) -> bool:
        """Whether `other` is an ancestor of this name; a name is not below itself."""
        depth = len(other.parts)
        return len(self.parts) > depth and self.parts[:depth] == other.parts

    def __setattr__(self, attribute: str, value: object) -> None:
        raise AttributeError(f"a MailboxName does not change: {attribute}")

    def __delattr__(self, attribute: str) -> None:
        raise AttributeError(f"a MailboxName does not change: {attribute}")

    def __reduce__(self) -> tuple[type[MailboxName], tuple[tuple[str, ...]]]:
        return (MailboxName, (self.parts,))

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"MailboxName({self._text!r})"

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        # No component holds "/", so the text decides.
        return self._text == other._text if isinstance(other, MailboxName) else NotImplemented

    def __lt__(self, other: MailboxName) -> bool:
        return self.parts < other.parts

    def __le__(self, other: MailboxName) -> bool:
        return self.parts <= other.parts

    def __gt__(self, other: MailboxName) -> bool:
        return self.parts > other.parts

    def __ge__(self, other: MailboxName) -> bool:
        return self.parts >= other.parts


def normalised(text: str) -> str:
    """Return text in Unicode normal form C, loading the Unicode tables only where needed.

    A code point that this Python's Unicode version does not know is left as it is
    (Unicode Standard Annex 15 §3, stability).
    """
    if text.isascii():
        return text
    import unicodedata  # its tables cost start-up time that ASCII names need not pay

    return unicodedata.normalize("NFC", text)


def _component(part: str, text: str) -> str:
    """Return one component normalised; `text` is the whole name for the message."""
    part = normalised(part)
    if not part:
        raise BadMailboxName(text, "has an empty component")
    if part in (".", ".."):
        raise BadMailboxName(text, f"has the component {part!r}, which would lead elsewhere in the tree")
    if "/" in part:
        raise BadMailboxName(text, 'has a "/" inside a component')
    if not part.isprintable():  # quick: true of nearly every name; false of some harmless ones, such as NBSP
        for char in part:
            if char in _FORBIDDEN:
                raise BadMailboxName(text, f"holds the control character U+{ord(char):04X}")
    if part.isascii():
        size = len(part)
    else:
        try:
            size = len(part.encode())
        except UnicodeEncodeError:
            raise BadMailboxName(text, "holds half a surrogate pair, which is no character") from None
    if size > COMPONENT_BYTES_MAX:
        raise BadMailboxName(
            text, f"has a component of {size} bytes; at most {COMPONENT_BYTES_MAX} fit into a directory entry"
        )
    return part


INBOX = MailboxName((_INBOX,))
"""The mailbox that every store has."""
