"""Headers as people write them, and as no standard allows."""

from __future__ import annotations

from calendar import timegm
from email.utils import formatdate, mktime_tz, parsedate_tz

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkeep.wire.headers import (
    ID_CHARS_MAX,
    NOTHING,
    RECIPIENTS_CHARS_MAX,
    SUBJECT_CHARS_MAX,
    Headers,
    days_from_civil,
    message_key,
    parse,
    parse_date,
)

WHOLE = (
    b"Received: from x (Subject: no)\r\n\tby y; Mon, 12 Jan 2026 10:11:12 +0100\r\n"
    b"MESSAGE-id:\r\n <12345.6789@example.org>\r\nDate: Mon, 12 Jan 2026 10:11:12 +0100\r\n"
    b"From: =?UTF-8?Q?J=C3=BCrgen_M?= <j@example.org>\r\nTo: Me <me@example.net>,\r\n Other <o@example.net>\r\n"
    b"Cc: third@example.net\r\nSubject : =?utf-8?B?SGVsbG8g?= =?utf-8?B?w5w=?= and\r\n more\r\n\r\nFrom: body\r\nSubject: body\r\n"
)
READ = Headers(
    "12345.6789@example.org", "Jürgen M <j@example.org>", "Me <me@example.net>, Other <o@example.net>, third@example.net",
    "Hello Ü and more", timegm((2026, 1, 12, 9, 11, 12)),
)  # fmt: skip


def test_a_head_is_read_whatever_its_line_ends() -> None:
    assert parse(WHOLE) == READ
    assert parse(WHOLE.replace(b"\r\n", b"\n")) == READ
    assert parse(WHOLE.partition(b"\r\n\r\n")[0]) == READ  # cut off where the body would begin


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"\r\nSubject: body", b"\nSubject: body", b"no header at all", b"\0" * 100_000]
)
def test_a_head_that_says_nothing(data: bytes) -> None:
    assert parse(data) == NOTHING


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        (b"=?iso-8859-1?q?caf=E9_au_lait?=", "café au lait"),
        (b"=?utf-8?B?w?= =?utf-8?B?w7w=?=", "wü"),  # no base 64: as it stands
        (b"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),  # a character cut in two, as much software does
        (b"=?utf-8*de?q?a?=", "a"),
        (b"=?us-ascii?q?a?=\r\n =?us-ascii?q?b?=", "ab"),
        (b"x =?us-ascii?q?a?= y", "x a y"),
        (b"=?no-such?q?=E9?=", "é"),
        (b"=?hex?q?41?=", "41"),
        (b"=?utf-8?q?unclosed", "=?utf-8?q?unclosed"),
        (b"caf\xe9", "café"),
        ("café".encode(), "café"),
        (b"a\0b\tc   d", "a b c d"),
        (b"a\x1b[31mred", "a\x1b[31mred"),
    ],
)
def test_subjects(raw: bytes, subject: str) -> None:
    assert parse(b"Subject: " + raw + b"\n\n").subject == subject


def test_what_is_too_long_is_cut_and_a_message_id_still_differs() -> None:
    head = b"Subject: " + b"s" * 60_000 + b"\n"
    assert len(parse(head).subject) == SUBJECT_CHARS_MAX
    assert len(parse(b"To: x\n" * 10_000).recipients) <= RECIPIENTS_CHARS_MAX
    a, b = (parse(b"Message-ID: <" + b"i" * 5000 + end + b"@x>\n").message_id for end in (b"1", b"2"))
    assert a != b
    assert len(a) == ID_CHARS_MAX
    assert message_key("<" + "i" * 5000 + "1@x>") == a
    assert message_key(a) == a


@given(st.integers(0, 4_000_000_000), st.sampled_from([0, 3600, -28800, 20700]))
def test_dates_are_read_as_the_standard_library_reads_them(at: int, offset: int) -> None:
    text = formatdate(at)
    assert parse_date(text.encode()) == at
    sign = "-" if offset < 0 else "+"
    moved = f"{text[:-5]}{sign}{abs(offset) // 3600:02}{abs(offset) % 3600 // 60:02}"
    parsed = parsedate_tz(moved)
    assert parsed is not None
    assert parse_date(moved.encode()) == mktime_tz(parsed)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (b"12 Jan 98 10:11 EST", (1998, 1, 12, 15, 11, 0)),
        (b"Mon, 1 February 2010 01:02:03 GMT", (2010, 2, 1, 1, 2, 3)),
        (b"3-Mar-2001 00:00:00 +0000", (2001, 3, 3, 0, 0, 0)),
        (b"29 Feb 2024", (2024, 2, 29, 0, 0, 0)),
    ],
)
def test_dates_in_old_forms(text: bytes, parts: tuple[int, ...]) -> None:
    assert parse_date(text) == timegm(parts)


@pytest.mark.parametrize(
    "text", [b"", b"yesterday", b"99 Jan 2020 00:00:00", b"1 Foo 2020", b"1 Jan 2020 99:00:00 +0000"]
)
def test_what_is_no_date(text: bytes) -> None:
    assert parse_date(text) is None


@given(st.integers(1970, 2400), st.integers(1, 12), st.integers(1, 28))
def test_days(year: int, month: int, day: int) -> None:
    assert days_from_civil(year, month, day) * 86400 == timegm((year, month, day, 0, 0, 0))
