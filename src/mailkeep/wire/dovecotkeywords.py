"""The file `dovecot-keywords` of a Maildir: which keyword each letter a to z stands for.

One line a keyword, "0 $Forwarded": 0 is the letter a, 25 the letter z; there are no more.
Dovecot gives a number out once and never again, so numbers must not change their meaning:
every file name of the mailbox relies on them. Whoever writes the file holds Dovecot's lock
on the mailbox (`dovecot-uidlist.lock`).
See https://doc.dovecot.org/2.3/admin_manual/mailbox_formats/maildir/.
"""

from __future__ import annotations

from mailkeep.domain.flags import canonical, valid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KEYWORDS_MAX = 26
"""Letters there are."""


def parse(data: bytes) -> tuple[dict[str, str], tuple[str, ...]]:
    """Read the file, whatever it holds.

    Args:
        data: All of it.

    Returns:
        The table, letter -> keyword as spelled there (bytes that are no UTF-8 as surrogates, so
        that `render` gives them back); and a sentence for each line that was passed over.
    """
    table: dict[str, str] = {}
    ignored: list[str] = []
    for count, line in enumerate(data.split(b"\n"), 1):
        if not line:
            continue
        number, _, keyword = line.partition(b" ")
        # At most two digits, before int(): isdigit() of bytes is ASCII only, and int() of a long line is slow.
        index = int(number) if number.isdigit() and len(number) <= 2 else KEYWORDS_MAX
        letter = chr(ord("a") + index)
        if index >= KEYWORDS_MAX or not keyword:
            ignored.append(
                f"line {count} is not a number from 0 to {KEYWORDS_MAX - 1} and a keyword: {line[:80]!r}"
            )
        elif letter in table:
            ignored.append(f"line {count} gives {index} a second meaning: {line[:80]!r}")
        else:
            table[letter] = keyword.decode("utf-8", "surrogateescape")
    return table, tuple(ignored)


def add(table: Mapping[str, str], keywords: Iterable[str]) -> dict[str, str]:
    """Give letters to keywords that have none.

    A keyword that the table holds in another case is not added. New ones get the letters after
    the last in use, in sorted order: a gap is no free letter, since file names may still bear it.

    Args:
        table: As `parse` returned it; not changed.
        keywords: Canonical keywords, as records hold them; flags of one letter are passed over.

    Returns:
        The new table. When the letters run out the rest is left out: see `maildirname.inexpressible`.
    """
    new = dict(table)
    known = {canonical(keyword) for keyword in new.values()}
    after = ord(max(new, default="`")) + 1
    for keyword in sorted(set(keywords)):
        if after > ord("z"):
            break
        if len(keyword) > 1 and valid(keyword) and keyword not in known:
            new[chr(after)] = keyword
            after += 1
    return new


def render(table: Mapping[str, str]) -> bytes:
    """Write the file for a table, in the order of its letters."""
    return b"".join(
        [
            b"%d %b\n" % (ord(letter) - ord("a"), keyword.encode("utf-8", "surrogateescape"))
            for letter, keyword in sorted(table.items())
        ]
    )
