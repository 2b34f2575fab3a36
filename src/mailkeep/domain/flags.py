r"""Flags of a message, as a frozen set of names.

| name | meaning |
| --- | --- |
| D F P R S T | draft, flagged, passed on, replied, seen, trashed: the letters of Maildir names |
| O | old: the file lies in cur/, no longer in new/ (IMAP: not \Recent) |
| a to z | a keyword letter of a Maildir that has no table saying what it means |
| $Forwarded, work, ... | a keyword: an IMAP atom of 2 to 255 characters, in canonical case |

Keywords are case-insensitive in IMAP (RFC 9051 §2.3.2), so two machines may spell one
keyword differently. Both must read the same flag, or each would for ever undo the other's
spelling: `canonical` picks one, the registered spelling or else lower case.
"""

from __future__ import annotations

from mailkeep.domain.errors import DataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SYSTEM = frozenset("DFPRST")
"""System flags, by their Maildir letters."""
OLD = "O"
"""The flag that a message bears while its file is in cur/."""
RAW_KEYWORDS = frozenset("abcdefghijklmnopqrstuvwxyz")
"""Keyword letters that no table explains."""
LETTERS = SYSTEM | RAW_KEYWORDS | {OLD}
"""All flags of one letter."""
NONE: frozenset[str] = frozenset()
"""No flag at all."""

KEYWORD_CHARS_MAX = 255
"""Characters of a keyword: what a file name may have; real ones have under 30."""
KEYWORDS_MAX = 256
"""Keywords of one message: ten times what Maildir names can hold; with the above, 64 KiB a record."""

# RFC 9051 §9: an atom has no ( ) { % * " \ ] and no space, control or 8-bit character.
_ATOM = frozenset(map(chr, range(0x21, 0x7F))) - frozenset('(){%*"\\]')

# The IANA registry "IMAP and JMAP Keywords" and the two that Thunderbird and KMail made common.
_REGISTERED = {
    spelling.lower(): spelling
    for spelling in [
        "$Forwarded",
        "$MDNSent",
        "$Submitted",
        "$SubmitPending",
        "$Junk",
        "$NotJunk",
        "$Phishing",
        "$Important",
        "$autosent",
        "$canUnsubscribe",
        "$hasAttachment",
        "$hasNoAttachment",
        "$hasMemo",
        "$MailFlagBit0",
        "$MailFlagBit1",
        "$MailFlagBit2",
        "Junk",
        "NonJunk",
    ]
}

_MEMO_ENTRIES_MAX = 4096  # a store has some dozens of combinations; more come only from a hostile peer
_MEMO_CHARS_MAX = 80  # with the above, about a megabyte at worst
_packed: dict[frozenset[str], str] = {}
_unpacked: dict[str, frozenset[str]] = {"": NONE}


class BadFlags(DataError, ValueError):
    """Names or a packed text that are no flags."""

    def __init__(self, what: str) -> None:
        super().__init__(what, scope="message")


def canonical(keyword: str) -> str:
    """Return the one spelling of a keyword: as registered with IANA, else in lower case."""
    low = keyword.lower()
    return _REGISTERED.get(low, low)


def is_atom(keyword: str) -> bool:
    """Whether a keyword is an IMAP atom of 2 to KEYWORD_CHARS_MAX characters, in any case."""
    return 2 <= len(keyword) <= KEYWORD_CHARS_MAX and _ATOM.issuperset(keyword)


def valid(name: str) -> bool:
    """Whether a name is a flag as records hold it: a letter, or a keyword in its canonical case."""
    return name in LETTERS or (is_atom(name) and canonical(name) == name)


def pack(flags: Iterable[str]) -> str:
    """Write flags as one text, the same for equal sets: "FS $Forwarded work".

    Letters come first, sorted and joined; then the keywords, sorted, each after a space.

    Raises:
        BadFlags: A name is not valid, or there are more than KEYWORDS_MAX keywords.
    """
    names = frozenset(flags)
    text = _packed.get(names)
    if text is None:
        keywords = sorted(names - LETTERS)
        if len(keywords) > KEYWORDS_MAX:
            raise BadFlags(f"more than {KEYWORDS_MAX} keywords on one message")
        for keyword in keywords:
            if not valid(keyword):
                raise BadFlags(f"not a flag: {keyword[:100]!r}")
        text = "".join(sorted(names & LETTERS)) + "".join([" " + keyword for keyword in keywords])
        if len(text) <= _MEMO_CHARS_MAX:
            if len(_packed) >= _MEMO_ENTRIES_MAX:
                _packed.clear()
            _packed[names] = text
    return text


def unpack(text: str) -> frozenset[str]:
    """Read what `pack` wrote; the text may come from a hostile peer.

    Raises:
        BadFlags: `pack` would not write this text: a bad name, an order or a repetition that it does not make.
    """
    flags = _unpacked.get(text)
    if flags is None:
        letters, *keywords = text.split(" ", KEYWORDS_MAX + 1)
        flags = frozenset((*letters, *keywords))
        if not LETTERS.issuperset(letters) or not LETTERS.isdisjoint(keywords):
            raise BadFlags(f"not packed flags: {text[:100]!r}")
        if pack(flags) != text:
            raise BadFlags(f"packed flags in the wrong order or repeated: {text[:100]!r}")
        if len(text) <= _MEMO_CHARS_MAX:
            if len(_unpacked) >= _MEMO_ENTRIES_MAX:
                _unpacked.clear()
            _unpacked[text] = flags
    return flags
