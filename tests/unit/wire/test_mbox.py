"""An mbox: where messages end, and what they were before they came into it."""

from __future__ import annotations

import tracemalloc
from calendar import timegm
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkeep.wire import mbox
from mailkeep.wire.mbox import Mail, body_key, date_of, flags_of, split, variants

FROM = b"From me@example.org Mon Jan 12 10:11:12 2026\n"


def raws(data: bytes, step: int = 1 << 20) -> list[bytes | None]:
    return [mail.raw for mail in split(data[at : at + step] for at in range(0, len(data), step))]


def joined(*messages: bytes) -> bytes:
    """As mboxrd (qmail's mbox(5)): a > before every From, also one that is quoted already; an empty line after each."""
    out = b""
    for message in messages:
        head, body = mbox.head_and_body(message)
        lines = [
            b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in body.split(b"\n")
        ]
        out += FROM + head + b"\n".join(lines) + b"\n"
    return out


LINE = st.sampled_from(
    [
        b"",
        b"text",
        b"From here",
        b"From me Mon Jan 12 10:11:12 2026",
        b">From x",
        b">>From y",
        b"Subject: no",
        b"\r",
    ]
)
MESSAGE = st.lists(LINE, max_size=6).map(
    lambda lines: b"Subject: a\n\n" + b"".join(line + b"\n" for line in lines)
)


@given(st.lists(MESSAGE, min_size=1, max_size=4), st.integers(1, 50))
def test_what_was_joined_comes_apart_as_it_was(messages: list[bytes], step: int) -> None:
    found = raws(joined(*messages), step)
    assert len(found) == len(messages)
    for raw, message in zip(found, messages, strict=True):
        assert raw is not None
        assert message in variants(raw)
        assert body_key(raw) == body_key(message)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_body_line_that_looks_like_a_separator_is_none(step: int) -> None:
    """Unquoted by careless writers; a separator stands behind an empty line, has a time and a header field after it."""
    body = b"Subject: a\n\nFrom me to you\n\nFrom now on\nNote: this\n\nFrom x Mon Jan 12 10:11:12 2026\nand more text\n"
    assert raws(FROM + body + b"\n" + FROM + b"Subject: b\n\nb\n", step) == [body, b"Subject: b\n\nb\n"]


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (b"", []),
        (FROM + b"Subject: a\n\nb\n", [b"Subject: a\n\nb\n"]),
        (FROM + b"Subject: a\n\nb\n\n", [b"Subject: a\n\nb\n"]),
        (FROM + b"Subject: a\n\nb", [b"Subject: a\n\nb"]),
        (b"\n\n" + FROM + b"Subject: a\n\nb\n\n", [b"Subject: a\n\nb\n"]),
        (FROM + b"\n" + FROM + b"Subject: a\n\n", [b"", b"Subject: a\n"]),
        (
            (FROM + b"A: b\n\nc\n\n" + FROM + b"D: e\n\nf\n\n").replace(b"\n", b"\r\n"),
            [b"A: b\r\n\r\nc\r\n", b"D: e\r\n\r\nf\r\n"],
        ),
    ],
)
def test_edges(data: bytes, messages: list[bytes]) -> None:
    assert raws(data) == messages
    assert raws(data, 1) == messages


@pytest.mark.parametrize("data", [b"x", b"\0" * 1000, b"Subject: a\n\n", b"From without an end", b"From\n"])
def test_what_is_no_mbox(data: bytes) -> None:
    with pytest.raises(ValueError, match="does not begin"):
        list(split([data]))


def test_a_message_that_fits_into_no_memory_is_counted_and_the_next_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mbox, "MESSAGE_BYTES_MAX", 1 << 20)

    def endless() -> Iterator[bytes]:
        yield FROM + b"Subject: a\n\n"
        for _ in range(100):
            yield b"\0" * (1 << 18)
        yield b"\n\n" + FROM + b"Subject: b\n\nb\n"

    tracemalloc.start()
    try:
        found: list[Mail] = list(split(endless()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [(mail.raw, mail.size) for mail in found] == [
        (None, 12 + (100 << 18) + 2),
        (b"Subject: b\n\nb\n", 14),
    ]
    assert peak < 8 << 20


def test_fields_that_mail_programs_add_are_taken_away_again() -> None:
    raw = b"Subject: a\nStatus: RO\nX-Status: AF\nX-UID: 7\nX-Keywords: work $Forwarded\nContent-Length: 2\nX-IMAP: 1\n 2\nTo: b\n\nc\n"
    assert variants(raw)[0] == b"Subject: a\nTo: b\n\nc\n"
    assert raw in variants(raw)
    assert flags_of(raw) == {"S", "O", "R", "F", "work", "$Forwarded"}


@pytest.mark.parametrize(
    ("head", "flags"),
    [
        (b"Subject: a\n", "O"), (b"Status: R\n", "SO"), (b"Status: O\n", "O"), (b"Status: \n", ""), (b"X-Mozilla-Status: 0005\n", "SFO"),
        (b"X-Mozilla-Status: zz\n", ""), (b"\nStatus: R\n", "O"),
    ],
)  # fmt: skip
def test_flags(head: bytes, flags: str) -> None:
    assert flags_of(head + b"\nStatus: F\n") == set(flags)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"From a@b Mon Jan 12 10:11:12 2026 +0100", (2026, 1, 12, 9, 11, 12)),
        (b"From a@b  Mon Jan  2 10:11:12 -0530 2026", (2026, 1, 2, 15, 41, 12)),
    ],
)
def test_dates_with_an_offset(line: bytes, parts: tuple[int, ...]) -> None:
    assert date_of(line) == timegm(parts)


@pytest.mark.parametrize(
    "line",
    [
        b"From a@b",
        b"From a@b Mon Foo 12 10:11:12 2026",
        b"From a Mon Jan 32 10:11:12 2026",
        b"From a Mon Jan 2 99:11:12 2026",
    ],
)
def test_lines_without_a_date(line: bytes) -> None:
    assert date_of(line) is None
