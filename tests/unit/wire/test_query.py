"""Queries: what matches, what does not, and what a person is told of a text that is none."""

from __future__ import annotations

from calendar import timegm
from time import tzset

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkeep.wire import query
from mailkeep.wire.query import BadQuery, Query

NOW = 1_800_000_000  # 2027-01-15T08:00:00Z


class Message:
    """Facts of one message."""

    def __init__(self, **facts: object) -> None:
        self.message_id = "Ab.1@example.org"
        self.sender = "Jürgen Müller <juergen@example.org>"
        self.recipients = "me@example.net, Other <other@example.net>"
        self.subject = "The Annual Report of 2025"
        self.date = 1_740_000_000  # 2025-02-19T21:20:00Z
        self.mailbox = "Lists/Debian/Devel"
        self.flags = frozenset({"S", "F", "$Forwarded", "work"})
        self.size = 1_500_000
        self.__dict__.update(facts)


def read(text: str) -> Query:
    return query.parse(text, now=NOW)


@pytest.mark.parametrize(
    "text",
    [
        "from:juergen", "from:JÜRGEN", "to:other", "subject:annual", 'subject:"annual report"', "report", '"annual report"',
        "juergen", "me@example.net", "id:ab.1@EXAMPLE.org", "id:<Ab.1@example.org>", "mailbox:lists/debian/devel",
        "mailbox:Lists/*", "mailbox:Lists/%/Devel", "flag:seen", "flag:S", "flag:flagged", "flag:$forwarded", "flag:WORK",
        r"flag:\Seen", "-flag:draft", "flag:unanswered", "date:2025", "date:2025-02", "date:2025-02-19", "date:2025-02..2025-03",
        "date:..2025-02-19", "date:2025-02-19..", "date:2025-02-19T21:20..", "date:@1740000000", "date:..30d", "larger:1MB",
        "smaller:1.5001MB", "-from:alice", "from:juergen -subject:invoice larger:1MB", "-larger:2MB",
        'subject:"report of"',
    ],
)  # fmt: skip
def test_matches(text: str) -> None:
    assert read(text).matches(Message())
    assert not read(f"{text} nothing-like-this").matches(Message())
    assert not read(f"-{text}" if not text.startswith("-") and " " not in text else "zzz").matches(Message())


@pytest.mark.parametrize(
    "text",
    [
        "from:other", "to:juergen", "subject:annual-report", "id:1@example.org", "id:Ab.1@example", "mailbox:Lists",
        "mailbox:Lists/%", "flag:unseen", "flag:draft", "flag:s", "date:2024", "date:2025-03", "date:..2025-02-18",
        "date:2025-02-20..", "date:30d..", "larger:1.5MB", "smaller:1.5MB", "invoice", '"-from:juergen"', '"from:juergen"',
        '"report annual"', "-report",
    ],
)  # fmt: skip
def test_does_not_match(text: str) -> None:
    assert not read(text).matches(Message())


def test_several_arguments_are_one_term_each_as_the_shell_kept_them_together() -> None:
    def words(*given: str) -> bool:
        return query.parse_words(given, now=NOW).matches(Message())

    assert words("subject:report of", "from:juergen")
    assert not words("subject:of report", "from:juergen")
    assert words("subject:of report")  # one argument is a whole query: two terms
    assert words('subject:"report of"', "-from:alice", "annual")
    assert words("Jürgen Müller", "flag:seen")


def test_headers_are_asked_for_last_and_only_where_they_are_needed() -> None:
    assert not read("mailbox:INBOX flag:seen date:2025 larger:1 smaller:2").needs_headers
    for term in ("from:a", "to:a", "subject:a", "id:a", "a"):
        assert read(f"larger:1 {term}").needs_headers
    assert [term.kind for term in read("word subject:x flag:seen").terms] == ["flag", "subject", "text"]
    assert read("id:<a@b> -id:c x").message_ids == ["a@b"]


@pytest.mark.parametrize("name", ["INBOX", "inbox", "in*", "INB%"])
def test_inbox_is_found_in_any_case(name: str) -> None:
    assert read(f"mailbox:{name}").matches(Message(mailbox="INBOX"))
    assert not read(f"mailbox:{name}").matches(Message(mailbox="Sent"))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"), ("   ", "empty"), ("from:", "nothing behind"), ("form:x", "begins no term"), ("http://x", "quotation"),
        ('subject:"x', "not closed"), ("date:tuesday", "no date"), ("date:run", "no date"), ("date:\"run 5\"", "no date"), ("date:2025-13", "no date"), ("date:2025-02-30", "no date"),
        ("date:7d", "two ways"), ("date:2026..2025", "ends before"), ("larger:1M", "two ways"), ("larger:x", "not a size"),
        ("flag:(", "no flag"), ("date:0000", "no date"), ("date:9999", "no date"), ("mailbox:" + "x" * 2000, "characters"),
        ("x" * 20_000, "at most"), ("x " * 200, "more than"), ('""', "empty word"), ("date:٢٠٢٥", "no date"),
    ],
)  # fmt: skip
def test_what_is_no_query_is_refused_with_words(text: str, word: str) -> None:
    with pytest.raises(BadQuery, match=word) as caught:
        read(text)
    assert "from:alice" in caught.value.hint
    assert caught.value.exit_code == 64


def test_a_day_begins_where_whoever_asks_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    begins = timegm((2025, 2, 19, 0, 0, 0))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    tzset()
    try:
        ask = read("date:2025-02-19")
    finally:
        monkeypatch.undo()
        tzset()
    assert ask.matches(Message(date=begins - 9 * 3600))
    assert not ask.matches(Message(date=begins - 9 * 3600 - 1))
    assert ask.matches(Message(date=begins + 15 * 3600 - 1))
    assert not ask.matches(Message(date=begins + 15 * 3600))


def test_dates_that_are_counted_from_today() -> None:
    assert read("date:today").matches(Message(date=NOW))
    assert read("date:yesterday").matches(Message(date=NOW - 86400))
    assert not read("date:yesterday").matches(Message(date=NOW))
    assert read("date:7d..1d").matches(Message(date=NOW - 2 * 86400))
    assert read('date:"2 days ago"..').matches(Message(date=NOW - 86400))


WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(["from", "to", "subject", "id", "text"]), WORD), min_size=1
    )
)
def test_what_is_written_is_read_as_the_same(terms: list[tuple[bool, str, str]]) -> None:
    never = lambda facts: False  # noqa: E731 - what is asked does not matter here
    asked = Query([query.Term(kind, text, negated, never) for negated, kind, text in terms])
    again = read(str(asked))
    assert [(t.kind, t.text, t.negated) for t in again.terms] == [
        (t.kind, t.text, t.negated) for t in asked.terms
    ]
    assert str(again) == str(asked)
