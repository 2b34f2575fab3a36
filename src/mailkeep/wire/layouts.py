"""Where in a Maildir tree a mailbox lies: names to directories and back.

| kind | A/B | children |
| --- | --- | --- |
| maildir++ | `.A.B` directly below the root | the dot separates, so no component can hold one |
| fs | `A/B` | a child lies inside its parent, beside cur, new and tmp |

INBOX may be the root itself or a directory INBOX like the others. A component is written in
modified UTF-7 (`wire/mutf7.py`) or in UTF-8. It is read by what it is, since trees are often
mixed: legal modified UTF-7 is decoded, all else is taken literally. Hence several directories
may have one name (`Q&A` and `Q&-A`, two normal forms of an umlaut): the caller looks for such
twins, and remembers the directory of a mailbox that it found instead of deriving it again.
For each name that `Layout.directory` maps, `Layout.name` gives the same name back.
"""

from __future__ import annotations

from mailkeep.domain.errors import DataError, printable
from mailkeep.domain.names import INBOX, BadMailboxName, MailboxName
from mailkeep.wire import mutf7

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["maildir++", "fs"]
    Encoding = Literal["utf-7", "utf-8"]

MAILDIRPP: Kind = "maildir++"
FS: Kind = "fs"
UTF7: Encoding = "utf-7"
UTF8: Encoding = "utf-8"

ENTRY_BYTES_MAX = 255
"""NAME_MAX of every common file system."""

MAILDIR_PARTS = frozenset((b"cur", b"new", b"tmp"))

# Files that Dovecot and Courier keep in a mailbox: a child directory in their place would stop those programs.
_RESERVED = frozenset((b"dovecot-keywords", b"dovecot-acl", b"maildirfolder", b"subscriptions"))
_RESERVED_STARTS = (
    *(b"dovecot-uidlist", b"dovecot-uidvalidity"),
    *(b"dovecot.index", b"dovecot.list.index", b"dovecot.mailbox.log"),
)
# The store's marker in the root, and the names under which it is written anew (store/marker.py).
_MARKER = b".mailkeep"


class Unmappable(DataError, ValueError):
    """A name has no directory in a layout, or a directory no name. That mailbox waits; others go on.

    Attributes:
        subject: The name or, relative to the root, the directory.
        reason: Why, to follow "the mailbox X has no place in this layout: it ...".
    """

    def __init__(self, subject: MailboxName | bytes, reason: str) -> None:
        if isinstance(subject, MailboxName):
            what = f"the mailbox {str(subject)!r} has no place in this layout: it {reason}"
        else:
            what = f"the directory {shown(subject)} is no mailbox in this layout: it {reason}"
        super().__init__(what, scope="mailbox")
        self.subject = subject
        self.reason = reason


class Layout:
    """How one tree writes mailbox names. Immutable by convention; equal by value.

    Attributes:
        kind: MAILDIRPP or FS.
        encoding: What new directories are written in, UTF7 or UTF8.
        inbox_at_root: Whether the root is INBOX.
        separator: What stands between components on disk.
    """

    __slots__ = ("encoding", "inbox_at_root", "kind", "separator")

    def __init__(
        self, kind: Kind = MAILDIRPP, encoding: Encoding = UTF7, *, inbox_at_root: bool = True
    ) -> None:
        if kind not in (MAILDIRPP, FS):
            raise ValueError(f"the layout is {MAILDIRPP} or {FS}, not {kind!r}")
        if encoding not in (UTF7, UTF8):
            raise ValueError(f"the encoding of mailbox names is {UTF7} or {UTF8}, not {encoding!r}")
        self.kind = kind
        self.encoding = encoding
        self.inbox_at_root = inbox_at_root
        self.separator = b"." if kind == MAILDIRPP else b"/"

    def directory(self, name: MailboxName) -> bytes:
        """Return where a mailbox belongs, relative to the root and "/" between directories; b"" is the root.

        Different names never share a directory.

        Raises:
            Unmappable: It has no place in this layout.
        """
        if self.inbox_at_root and name.is_inbox:
            return b""
        if self.kind == MAILDIRPP:
            path = b"." + b".".join([self._dotted(name, part) for part in name.parts])
            if path == _MARKER or path.startswith(_MARKER + b"."):
                raise Unmappable(name, f"would lie in {shown(path)}, where mailkeep marks its own roots")
            if len(path) > ENTRY_BYTES_MAX:
                raise Unmappable(
                    name, f"takes {len(path)} bytes as one directory name, of {ENTRY_BYTES_MAX} that fit"
                )
            return path
        return b"/".join([self._nested(name, part) for part in name.parts])

    def name(self, directory: bytes) -> MailboxName:
        """Return the name of the mailbox in a directory, relative to the root; b"" is the root.

        Raises:
            Unmappable: The directory is no mailbox, or a second one for a name that has its place elsewhere.
        """
        if not directory:
            if self.inbox_at_root:
                return INBOX
            raise Unmappable(directory, "is the root, which holds no mail of its own here")
        if self.kind == MAILDIRPP:
            if directory[:1] != b"." or b"/" in directory:
                raise Unmappable(directory, "does not lie directly below the root with a dot before its name")
            components = directory[1:].split(b".")
        else:
            components = directory.split(b"/")
            for component in components:
                if component[:1] == b".":
                    raise Unmappable(
                        directory, "starts with a dot: such a directory is hidden, and holds no mailbox"
                    )
                if component in MAILDIR_PARTS:
                    raise Unmappable(
                        directory, f"is {component.decode()!r}, a part of a Maildir and no mailbox"
                    )
        if b"" in components:
            raise Unmappable(directory, "has an empty component")
        try:
            name = MailboxName([_decoded(component) for component in components])
        except UnicodeDecodeError:
            raise Unmappable(directory, "is neither modified UTF-7 nor UTF-8") from None
        except BadMailboxName as err:
            raise Unmappable(directory, err.reason) from None
        if self.inbox_at_root and name.is_inbox:
            raise Unmappable(directory, "would be a second INBOX: the root is the first")
        return name

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Layout) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        """The form that the index and --json hold; `parse` reads it."""
        return f"{self.kind} {self.encoding} {'inbox-at-root' if self.inbox_at_root else 'inbox-below-root'}"

    def __repr__(self) -> str:
        return f"Layout({self.kind!r}, {self.encoding!r}, inbox_at_root={self.inbox_at_root})"

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Read what `str` wrote.

        Raises:
            ValueError: It would not write this.
        """
        kind, _, rest = text.partition(" ")
        encoding, _, inbox = rest.partition(" ")
        layout = cls(
            FS if kind == FS else MAILDIRPP,
            UTF8 if encoding == UTF8 else UTF7,
            inbox_at_root=inbox == "inbox-at-root",
        )
        if str(layout) != text:
            raise ValueError(f"not a layout: {text[:100]!r}")
        return layout

    def _dotted(self, name: MailboxName, part: str) -> bytes:
        if "." in part:
            raise Unmappable(name, f"has a dot in {part!r}: in this layout a dot separates mailboxes")
        return self._encoded(part)

    def _nested(self, name: MailboxName, part: str) -> bytes:
        if part[0] == ".":
            raise Unmappable(
                name, f"has the component {part!r}: with a dot in front it would be a hidden directory"
            )
        component = self._encoded(part)
        if component in MAILDIR_PARTS:
            raise Unmappable(
                name, f"has the component {part!r}, which is a part of the Maildir that it would lie in"
            )
        if component in _RESERVED or component.startswith(_RESERVED_STARTS):
            raise Unmappable(
                name, f"has the component {part!r}, a file that Dovecot or Courier keeps in a mailbox"
            )
        if len(component) > ENTRY_BYTES_MAX:
            raise Unmappable(
                name,
                f"has a component of {len(component)} bytes as a directory name, of {ENTRY_BYTES_MAX} that fit",
            )
        return component

    def _encoded(self, part: str) -> bytes:
        if self.encoding == UTF8:
            component = part.encode()
            # Plain ASCII that reads as modified UTF-7 would come back as another name: it is encoded even here.
            if _decoded(component) == part:
                return component
        return mutf7.encode(part)


def shown(directory: bytes) -> str:
    """Return a directory name for a message: readable, quoted, nothing in it that would move a terminal's cursor."""
    return f"'{printable(directory)}'"


def _decoded(component: bytes) -> str:
    """Read a component from disk.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
    """
    if b"&" in component and component.isascii():
        try:
            return mutf7.decode(component)
        except ValueError:
            pass  # an "&" that somebody meant literally
    return component.decode("utf-8")
