"""File names of a Maildir: a unique base, then perhaps ":2," and flags.

    1700000000.M1P2.host,S=1234:2,FSab
    [          base            ][info]

The letters D F P R S T are system flags. Lower-case letters are keywords; a table
(`wire/dovecotkeywords.py`) may say which. What else stands after ":2," is *foreign*: kept
on this machine, never replicated. That is other letters, keyword letters that the table
does not explain, and everything from a further comma on, where Dovecot looks for no flags.

Only ":2," starts an info. The experimental ":1," and the separators "!" and ";" of ports to
other file systems are part of the base: such a name is kept, and stays unique, which a laxer
split would not promise. See https://cr.yp.to/proto/maildir.html.
"""

from __future__ import annotations

from mailkeep.domain.flags import LETTERS, NONE, OLD, RAW_KEYWORDS, SYSTEM, canonical, valid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Table = Mapping[str, str]
    """Keyword letter -> keyword, as its Maildir spells it."""

INFO = b":2,"
NAME_BYTES_MAX = 255
"""A directory entry's limit on every common file system."""
BASE_BYTES_MAX = 200
"""Longest base that we give a file of ours: leaves room for all flags and for other programs' additions."""

_SYSTEM_BYTES = {ord(letter): letter for letter in SYSTEM}
_RAW_BYTES = {ord(letter): letter for letter in RAW_KEYWORDS}
_PLAIN = SYSTEM | {OLD}
_HEX = frozenset(b"0123456789abcdefABCDEF")
_BASE_CHARS = frozenset(range(0x21, 0x7F)) - frozenset(b"/:")


def split(filename: bytes) -> tuple[bytes, bytes]:
    """Split a file name into base and info; info is empty or starts with ":2,".

    The first ":2," counts, as for Dovecot. A name in new/ may have one too.
    """
    at = filename.find(INFO)
    return (filename, b"") if at < 0 else (filename[:at], filename[at:])


def flags_of(info: bytes, table: Table | None = None) -> tuple[frozenset[str], bytes]:
    """Read the flags in an info part, as `split` returned it.

    Args:
        info: Empty, or from ":2," on.
        table: What the keyword letters mean here; None where no table exists: then they stand for themselves.

    Returns:
        The flags, without "O", which is for the directory to say; and the foreign rest, for `info_for`.
    """
    if len(info) <= len(INFO):
        return NONE, b""
    assert info.startswith(INFO), info
    letters, comma, rest = info[len(INFO) :].partition(b",")
    flags = []
    foreign = bytearray()
    for byte in letters:
        letter = _SYSTEM_BYTES.get(byte)
        if letter is None and (letter := _RAW_BYTES.get(byte)) is not None and table is not None:
            letter = _keyword(table, letter)
        if letter is None:
            foreign.append(byte)
        else:
            flags.append(letter)
    return frozenset(flags), bytes(foreign) + comma + rest


def info_for(flags: frozenset[str], table: Table | None = None, foreign: bytes = b"") -> bytes:
    """Write the info part for flags.

    Flags that this name cannot express (see `inexpressible`) are left out. A message that is not
    old, has no flag and nothing foreign gets no info at all, as deliveries write it into new/.

    Args:
        flags: Flags of the record, "O" if the file is to lie in cur/.
        table: As for `flags_of`.
        foreign: What `flags_of` returned for the file's present name.

    Returns:
        Empty, or ":2," and the letters in ASCII order, which notmuch and others rely on.
    """
    unknown, comma, rest = foreign.partition(b",")
    letters = {ord(letter) for flag in flags if (letter := _letter(flag, table)) is not None}
    if not letters and not foreign and OLD not in flags:
        return b""
    letters.difference_update(unknown)
    return INFO + bytes(sorted((*letters, *unknown))) + comma + rest


def inexpressible(flags: frozenset[str], table: Table | None = None) -> frozenset[str]:
    """Return the flags of a record that a file name here cannot show.

    Keywords without a letter are, and raw letters where a table gives letters their meaning.
    Their absence from a file name says nothing: a scan must not take it for a change.
    """
    if flags <= _PLAIN or (table is None and flags <= LETTERS):
        return NONE
    return frozenset([flag for flag in flags if flag != OLD and _letter(flag, table) is None])


def travelling_base(base: bytes) -> bytes:
    """Strip what other synchronisers wrote into a base for this machine alone.

    mbsync and OfflineIMAP append ",U=uid" and OfflineIMAP ",FMD5=digest of the folder's name";
    on another machine they would take the message for one that they know. Dovecot's sizes
    ",S=n,W=n" are facts about the content, and stay.
    """
    if b"," not in base:
        return base
    first, *fields = base.split(b",")
    return b",".join([first, *[field for field in fields if not _is_theirs(field)]])


def is_creatable(base: bytes) -> bool:
    """Whether a base that a peer proposes may name a file of ours: no path, no info, not hidden, not too long."""
    return 0 < len(base) <= BASE_BYTES_MAX and base[:1] != b"." and _BASE_CHARS.issuperset(base)


def _is_theirs(field: bytes) -> bool:
    if field.startswith(b"U="):
        return field[2:].isdigit()
    return field.startswith(b"FMD5=") and len(field) > 5 and _HEX.issuperset(field[5:])


def _keyword(table: Table, letter: str) -> str | None:
    """Return the flag that the table gives a letter; None if there is none that a record can hold."""
    spelled = table.get(letter)
    if spelled is None:
        return None
    keyword = canonical(spelled)
    return keyword if len(keyword) > 1 and valid(keyword) else None


def _letter(flag: str, table: Table | None) -> str | None:
    """Return the letter that shows a flag in a file name here, if any."""
    if flag in SYSTEM:
        return flag
    if flag == OLD:
        return None
    if table is None:
        return flag if flag in RAW_KEYWORDS else None
    # The lowest letter, should two of the table spell one keyword.
    letters = [letter for letter in table if letter in RAW_KEYWORDS and _keyword(table, letter) == flag]
    return min(letters, default=None)
