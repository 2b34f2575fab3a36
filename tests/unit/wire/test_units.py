from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkeep.wire.units import (
    DURATION_SECONDS_MAX,
    SIZE_BYTES_MAX,
    format_count,
    format_duration,
    format_rate,
    format_share,
    format_size,
    parse_duration,
    parse_share,
    parse_size,
    write_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("12h", 43200),
        ("7d", 604800),
        ("2w", 1209600),
        ("1h30m", 5400),
        (" 1m 30s ", 90),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "m",
        "5x",
        "-5m",
        "1.5h",
        "5M",
        "30m1h",
        "1h1h",
        "5 minutes",
        "٣d",
        "9" * 5000 + "s",
        "99999w9d",
    ],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|is too long"):
        parse_duration(text)


@given(st.integers(0, DURATION_SECONDS_MAX))
def test_written_durations_read_back(seconds: int) -> None:
    assert parse_duration(write_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0, "0s"),
        (0.0001, "0.001s"),
        (0.42, "0.42s"),
        (1.26, "1.3s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (90, "1m 30s"),
        (3599.7, "1h"),
        (3700, "1h 2m"),
        (86399, "1d"),
        (3 * 86400 + 4 * 3600 + 59, "3d 4h"),
        (400 * 86400, "400d"),
    ],
)
def test_durations_to_read(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(10, 10**8))
def test_whole_durations_to_read_can_be_typed(seconds: int) -> None:
    # Two units: off by half of the smaller one at most.
    assert abs(parse_duration(format_duration(seconds)) - seconds) <= 1800


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("512 B", 512),
        ("10MB", 10**7),
        ("10 mb", 10**7),
        ("8.2 kB", 8200),
        ("1GiB", 2**30),
        ("1.5KiB", 1536),
        ("2TB", 2 * 10**12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "-1", "10M", "10k", "1.5", "1.MB", ".5MB", "1e3", "9EB", "9" * 19 + "TB", "1 MB x"]
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size|two ways|too large"):
        parse_size(text)


def test_an_ambiguous_size_says_both_readings() -> None:
    with pytest.raises(ValueError, match=r"write MB \(1000s\) or MiB \(1024s\)"):
        parse_size("10M")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (8192, "8.2 kB"),
        (999_499, "999 kB"),
        (999_960, "1.0 MB"),
        (5e10, "50 GB"),
        (7e15, "7000 TB"),
    ],
)
def test_sizes_to_read(size: float, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, SIZE_BYTES_MAX))
def test_sizes_to_read_can_be_typed(size: int) -> None:
    assert abs(parse_size(format_size(size)) - size) <= size * 0.051


@pytest.mark.parametrize(
    ("text", "share"), [("25%", 0.25), ("0%", 0.0), ("100 %", 1.0), ("0.5%", 0.005), ("12.5%", 0.125)]
)
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == share
    assert parse_share(format_share(share)) == share


@pytest.mark.parametrize("text", ["", "25", "%", "101%", "100.1%", "-1%", "0.5", "1.%", "a%", "9" * 30 + "%"])
def test_no_shares(text: str) -> None:
    with pytest.raises(ValueError, match="is not a share"):
        parse_share(text)


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_share):
        try:
            assert parse(text) >= 0
        except ValueError as err:
            assert text in str(err)


def test_counts_and_rates() -> None:
    assert format_count(1204) == "1,204"
    assert format_count(1, "message") == "1 message"
    assert format_count(0, "message") == "0 messages"
    assert format_count(2, "copy", "copies") == "2 copies"
    assert format_rate(12_400_000, 1) == "12 MB/s"
    assert format_rate(4210, 1.0, "message") == "4,210 messages/s"
    assert format_rate(3, 2, "message") == "1.5 messages/s"
    assert format_rate(3, 0, "message") == ""
