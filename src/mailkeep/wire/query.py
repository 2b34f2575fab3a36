"""Queries: which messages a person means. One small language, the same in every command that takes one.

    from:alice subject:"annual report" date:2025.. -flag:seen larger:1MB invoice

Terms are joined by *and*; a minus sign before one turns it around; quotation marks hold spaces together and take every
other meaning away. Upper and lower case are the same. See docs/reference/queries.md.

| term | a message matches when |
| --- | --- |
| `from:X`, `to:X`, `subject:X` | X is part of From; of To or Cc; of the subject |
| X | X is part of one of these three |
| `id:X` | its Message-ID is X, with or without angle brackets |
| `mailbox:X` | its mailbox's name is X, where `*` stands for anything and `%` for anything but "/" |
| `flag:X` | it has the flag or keyword: seen, flagged, answered, draft, passed, trashed, old, a keyword, or a letter |
| `date:A..B` | it was delivered from A on and not after B, by the local clock; one end may be left out; a lone A is that year, month or day |
| `larger:S`, `smaller:S` | it has more, or fewer, bytes than S |
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

from mailkeep.domain.errors import UsageError
from mailkeep.domain.flags import LETTERS, canonical, is_atom
from mailkeep.domain.names import BadMailboxName, MailboxName, normalised
from mailkeep.wire.headers import message_key
from mailkeep.wire.moments import YEAR_MAX, YEAR_MIN, parse_moment
from mailkeep.wire.patterns import Pattern
from mailkeep.wire.units import parse_duration, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from typing import Protocol

    class Facts(Protocol):
        """What a query may ask about one message. Headers that are not known are empty."""

        @property
        def message_id(self) -> str:
            """As `wire.headers.message_key` makes it."""

        @property
        def sender(self) -> str:
            """From, decoded."""

        @property
        def recipients(self) -> str:
            """To and Cc, decoded."""

        @property
        def subject(self) -> str:
            """Decoded."""

        @property
        def date(self) -> int:
            """INTERNALDATE, in seconds since 1970: when it was delivered, whatever the sender says."""

        @property
        def mailbox(self) -> str:
            """The mailbox's name in its text form."""

        @property
        def flags(self) -> Container[str]:
            """Letters and keywords, as in `domain.flags`; `unpack` gives them."""

        @property
        def size(self) -> int:
            """Bytes."""


QUERY_CHARS_MAX = 10_000
"""A Message-ID may have a thousand; nobody types more than some of these."""
TERMS_MAX = 100

_FLAGS = {
    "draft": "D", "flagged": "F", "passed": "P", "forwarded": "P", "replied": "R", "answered": "R",
    "seen": "S", "read": "S", "trashed": "T", "deleted": "T", "old": "O",
}  # fmt: skip
_UNFLAGS = {"unseen": "S", "unread": "S", "unflagged": "F", "unanswered": "R", "new": "O"}
_KINDS = ("from", "to", "subject", "id", "mailbox", "flag", "date", "larger", "smaller")
_HEADER_KINDS = frozenset(("from", "to", "subject", "id", "text"))
# Cheap ones first: what needs headers is asked only of messages that pass everything else.
_COST = {
    kind: at
    for at, kind in enumerate(
        ("mailbox", "flag", "date", "larger", "smaller", "id", "subject", "from", "to", "text")
    )
}
_SPAN = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?\Z", re.ASCII)
HINT = (
    "a query has terms such as from:alice to:bob subject:report id:<x@y> mailbox:Lists/* flag:seen date:2025-01..2025-03"
    ' larger:1MB, or words; -TERM turns one around; "..." holds words together'
)


class BadQuery(UsageError, ValueError):
    """A text that is no query."""

    def __init__(self, what: str) -> None:
        super().__init__(what, untouched="anything", hint=HINT)


class Term:
    """One condition.

    Attributes:
        kind: One of the words before a colon, or "text" for a bare word.
        text: What stands behind it.
        negated: It had a minus sign.
        test: Whether a message satisfies it, the sign left aside.
    """

    __slots__ = ("kind", "negated", "test", "text")

    def __init__(self, kind: str, text: str, negated: bool, test: Callable[[Facts], bool]) -> None:
        self.kind, self.text, self.negated, self.test = kind, text, negated, test

    def __str__(self) -> str:
        word = self.text
        if not word or self.kind == "text" or re.search(r'[\s"\\]', word):
            word = '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
        sign = "-" if self.negated else ""
        return sign + word if self.kind == "text" else f"{sign}{self.kind}:{word}"


class Query:
    """Conditions that all have to hold.

    Attributes:
        terms: The conditions, the cheapest to look up first.
        needs_headers: Whether any of them asks for Message-ID, sender, recipients or subject.
    """

    __slots__ = ("needs_headers", "terms")

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(sorted(terms, key=lambda term: _COST[term.kind]))
        self.needs_headers = any(term.kind in _HEADER_KINDS for term in terms)

    def matches(self, facts: Facts) -> bool:
        """Whether a message satisfies all of them; header fields are asked for last."""
        return all(term.test(facts) != term.negated for term in self.terms)

    @property
    def message_ids(self) -> list[str]:
        """Message-IDs that a message must have one and all of: where there is one, it can be looked up."""
        return [message_key(term.text) for term in self.terms if term.kind == "id" and not term.negated]

    def __str__(self) -> str:
        """The query, in a form that `parse` reads as the same one."""
        return " ".join(map(str, self.terms))


EVERYTHING = Query(())
"""Of a command that was given no query."""


def parse_words(words: Sequence[str], *, now: int) -> Query:
    """The query of a command line: one argument is a whole query; of several, each is one term that the shell kept together.

    Raises:
        BadQuery: As for `parse`; no argument at all is an empty query.
    """
    if len(words) == 1:
        return parse(words[0], now=now)
    _bound(sum(map(len, words)), len(words))
    terms = []
    for word in words:
        if '"' in word:
            parts = _split(word)
        else:
            negated = len(word) > 1 and word[0] == "-"
            kind, colon, text = word[negated:].partition(":")
            parts = [
                (negated, kind.lower(), text)
                if colon and " " not in kind
                else (negated, "text", word[negated:])
            ]
        terms += [_term(kind, text, negated, now) for negated, kind, text in parts]
    if not terms:
        raise BadQuery("the query is empty")
    return Query(terms)


def parse(text: str, *, now: int) -> Query:
    """Read a query.

    Args:
        text: As a person typed it, or as a setting or a peer says it.
        now: Seconds since 1970, for `date:30d..` and the like.

    Raises:
        BadQuery: It is empty, too long, or has a term that is none; says which and what there is.
    """
    _bound(len(text), 0)
    terms = [_term(kind, word, negated, now) for negated, kind, word in _split(text)]
    if not terms:
        raise BadQuery("the query is empty")
    return Query(terms)


def _bound(chars: int, terms: int) -> None:
    if chars > QUERY_CHARS_MAX:
        raise BadQuery(f"the query has {chars:,} characters; at most {QUERY_CHARS_MAX:,} are read")
    if terms > TERMS_MAX:
        raise BadQuery(f"the query has more than {TERMS_MAX} terms")


def _split(text: str) -> list[tuple[bool, str, str]]:
    """(negated, kind, text) of each term."""
    out: list[tuple[bool, str, str]] = []
    at, end = 0, len(text)
    while True:
        while at < end and text[at].isspace():
            at += 1
        if at == end:
            return out
        negated = text[at] == "-" and at + 1 < end and not text[at + 1].isspace()
        at += negated
        kind, chars = "text", []
        while at < end and not text[at].isspace():
            if text[at] == '"':
                at += 1
                while at < end and text[at] != '"':
                    at += text[at] == "\\" and at + 1 < end
                    chars.append(text[at])
                    at += 1
                if at == end:
                    raise BadQuery(f"a quotation mark is not closed: {text[:100]!r}")
                if kind == "text":
                    kind = "quoted"  # a colon that comes later belongs to the words
            elif text[at] == ":" and kind == "text":
                kind, chars = "".join(chars).lower(), []
            else:
                chars.append(text[at])
            at += 1
        out.append((negated, "text" if kind == "quoted" else kind, "".join(chars)))
        _bound(0, len(out))


def _term(kind: str, text: str, negated: bool, now: int) -> Term:
    if kind != "text" and kind not in _KINDS:
        raise BadQuery(
            f'"{kind[:50]}:" begins no term; there are {", ".join(k + ":" for k in _KINDS)}; for a word with a colon'
            " write it in quotation marks"
        )
    if not text:
        raise BadQuery(f'the term "{kind}:" has nothing behind it' if kind != "text" else "an empty word")
    if kind == "flag":
        flag, off = _flag(text)
        return Term("flag", text, negated, lambda facts: (flag in facts.flags) != off)
    if kind in ("larger", "smaller"):
        return Term(kind, text, negated, _size(kind, text))
    if kind == "date":
        first, after = _dates(text, now)
        return Term(kind, text, negated, lambda facts: first <= facts.date < after)
    if kind == "mailbox":
        return Term(kind, text, negated, _mailbox(text))
    if kind == "id":
        key = message_key(text).casefold()
        return Term(kind, text, negated, lambda facts: facts.message_id.casefold() == key)
    return Term(kind, text, negated, _part(kind, folded(text)))


def folded(text: str) -> str:
    """Text in the form in which queries compare: composed, and without upper case."""
    return normalised(text).casefold()


def _part(kind: str, needle: str) -> Callable[[Facts], bool]:
    if kind == "from":
        return lambda facts: needle in folded(facts.sender)
    if kind == "to":
        return lambda facts: needle in folded(facts.recipients)
    if kind == "subject":
        return lambda facts: needle in folded(facts.subject)
    return lambda facts: (
        needle in folded(facts.subject)
        or needle in folded(facts.sender)
        or needle in folded(facts.recipients)
    )


def _flag(text: str) -> tuple[str, bool]:
    """The flag, and whether it is meant to be off."""
    low = text.lower()
    if low in _FLAGS:
        return _FLAGS[low], False
    if low in _UNFLAGS:
        return _UNFLAGS[low], True
    if low.startswith("\\") and low[1:] in _FLAGS:  # as IMAP writes them
        return _FLAGS[low[1:]], False
    if text in LETTERS:
        return text, False
    if is_atom(text):
        return canonical(text), False
    raise BadQuery(f'"{text[:100]}" is no flag: there are {", ".join(_FLAGS)}, keywords and letters')


def _size(kind: str, text: str) -> Callable[[Facts], bool]:
    try:
        size = parse_size(text)
    except ValueError as err:
        raise BadQuery(f"{kind}: {err}") from err
    if kind == "larger":
        return lambda facts: facts.size > size
    return lambda facts: facts.size < size


def _mailbox(text: str) -> Callable[[Facts], bool]:
    try:
        pattern = Pattern(text.upper())  # upper, since INBOX is
    except ValueError as err:
        raise BadQuery(str(err)) from err
    known: dict[str, bool] = {}  # a store has some hundred mailboxes, and a query asks for each message

    def test(facts: Facts) -> bool:
        name = facts.mailbox
        found = known.get(name)
        if found is None:
            try:
                found = pattern.matches(MailboxName.parse(name.upper()))
            except BadMailboxName:
                found = False
            if len(known) < 10_000:
                known[name] = found
        return found

    return test


def _dates(text: str, now: int) -> tuple[int, int]:
    """From when, and before when."""
    first, dots, last = text.partition("..")
    if not dots:
        if _age(first) is not None:
            raise BadQuery(
                f'"date:{text}" can be read in two ways: write date:{text}.. for since then, date:..{text} for before'
            )
        return _moment(first, now)
    begin = _moment(first, now)[0] if first else -(1 << 62)
    end = _moment(last, now)[1] if last else 1 << 62
    if begin >= end:
        raise BadQuery(f'"date:{text}" ends before it begins')
    return begin, end


def _age(text: str) -> int | None:
    try:
        return parse_duration(text)
    except ValueError:
        return None


def _moment(text: str, now: int) -> tuple[int, int]:
    """The first second of what a text names, and the first one after it."""
    age = _age(text)
    if age is not None:
        return now - age, now - age
    if text[:1] == "@" and text[1:].isascii() and text[1:].isdigit() and len(text) < 14:
        return int(text[1:]), int(text[1:]) + 1
    found = _SPAN.match(text)
    try:
        if found is not None:
            return _span(int(found[1]), int(found[2] or 0), int(found[3] or 0))
        today = datetime.fromtimestamp(now).astimezone().date()
        if text.lower() in ("today", "yesterday"):
            day = today if text.lower() == "today" else today - timedelta(days=1)
            return _span(day.year, day.month, day.day)
        moment = parse_moment(text, today)
        if moment.run is None:
            at = moment.seconds(now)
            return at, at + 1
    except ValueError:
        pass
    raise BadQuery(
        f'"{text[:50]}" is no date: write 2025, 2025-03, 2025-03-31, 2025-03-31T08:30, today, yesterday,'
        " or 30d for so long ago"
    )


def _span(year: int, month: int, day: int) -> tuple[int, int]:
    """A year, a month of it or a day of that, by the local clock; ValueError: there is none."""
    if not YEAR_MIN <= year <= YEAR_MAX:
        raise ValueError("out of bounds")
    if day:
        first = date(year, month, day)
        after = first + timedelta(days=1)
    elif month:
        first, after = date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)
    else:
        first, after = date(year, 1, 1), date(year + 1, 1, 1)
    return _begin(first), _begin(after)


def _begin(day: date) -> int:
    return int(datetime.combine(day, time()).timestamp())
