from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailkeep.wire.moments import Moment, parse_moment

TODAY = date(2026, 11, 22)
DAY = 86_400


def local(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> Moment:
    """A time of the place, wherever that is."""
    return Moment(datetime(year, month, day, hour, minute, second, tzinfo=UTC).replace(tzinfo=None))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-20T14:00:00Z", Moment(datetime(2026, 11, 20, 14, tzinfo=UTC))),
        ("2026-11-20t14:00:00.25z", Moment(datetime(2026, 11, 20, 14, tzinfo=UTC))),
        ("2026-11-20T14:00:00+05:30",
         Moment(datetime(2026, 11, 20, 14, tzinfo=timezone(timedelta(hours=5, minutes=30))))),
        ("2026-11-20T14:00:00-08:00", Moment(datetime(2026, 11, 20, 14, tzinfo=timezone(timedelta(hours=-8))))),
        ("2016-12-31T23:59:60Z", Moment(datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC))),
        ("2026-11-20T14:00", local(2026, 11, 20, 14)),
        ("2026-11-20 14:00", local(2026, 11, 20, 14)),
        ("  2026-11-20   14:00:05 ", local(2026, 11, 20, 14, 0, 5)),
        ("2026-11-20", local(2026, 11, 20)),
        ("9:05", local(2026, 11, 22, 9, 5)),
        ("today", local(2026, 11, 22)),
        ("Yesterday", local(2026, 11, 21)),
        ("yesterday 14:00", local(2026, 11, 21, 14)),
        ("now", Moment(ago_seconds=0)),
        ("2 days ago", Moment(ago_seconds=2 * DAY)),
        ("a week ago", Moment(ago_seconds=7 * DAY)),
        ("1 hour 30 minutes ago", Moment(ago_seconds=5400)),
        ("1h30m ago", Moment(ago_seconds=5400)),
        ("90 m ago", Moment(ago_seconds=5400)),
        ("run 17", Moment(run=17)),
        ("before run 17", Moment(run=17, before=True)),
    ],
)  # fmt: skip
def test_moments(text: str, meant: Moment) -> None:
    assert parse_moment(text, TODAY) == meant


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "ago", "2 ago", "days ago", "-2 days ago", "2 moons ago", "2 days", "tomorrow", "2026-13-01", "2026-02-30",
        "2026-1-1", "20261120", "24:00", "12:60", "12", "2026-11-20 14", "2026-11-20T14:00:00+0100", "2026-11-20T14:00:00 Z",
        "2026-11-20T14:00:00+25:00", "1.1.2026", "run", "run x", "run 0", "run -1", "run 1 2", "before 17", "before run",
        "after run 17", "run ١", "٢ days ago", "yesterday yesterday", "today 14:00 x", "1970-01-01", "9999-12-31T23:59:59-12:00",
        "run " + "9" * 5000, "9" * 5000 + "s ago", "\x1b[2J", "2026-11-20T14:00:00.Z",
    ],
)  # fmt: skip
def test_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time such as|is out of bounds") as caught:
        parse_moment(text, TODAY)
    assert len(str(caught.value)) < 400


@pytest.fixture
def vienna() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("vienna")
def test_local_time_is_that_of_the_place() -> None:
    assert (
        parse_moment("2026-11-20 14:00", TODAY).seconds(0)
        == datetime(2026, 11, 20, 13, tzinfo=UTC).timestamp()
    )
    assert (
        parse_moment("2026-07-20 14:00", TODAY).seconds(0)
        == datetime(2026, 7, 20, 12, tzinfo=UTC).timestamp()
    )
    assert (
        parse_moment("2026-11-20T14:00:00Z", TODAY).seconds(0)
        == datetime(2026, 11, 20, 14, tzinfo=UTC).timestamp()
    )
    assert parse_moment("2 days ago", TODAY).seconds(1_000_000) == 1_000_000 - 2 * DAY


@given(st.datetimes(timezones=st.just(UTC), allow_imaginary=False))
def test_what_json_says_is_read_back(at: datetime) -> None:
    at = at.replace(microsecond=0)
    assume(1971 <= at.year <= 9998)
    moment = parse_moment(at.strftime("%Y-%m-%dT%H:%M:%SZ"), TODAY)
    assert moment.seconds(0) == int(at.timestamp())
