"""Points in time as people write them, on a command line or in a query: one way, used everywhere.

    2026-11-20T14:00:00Z   2026-11-20T14:00:00+01:00     RFC 3339
    2026-11-20 14:00       2026-11-20 14:00:30           local time
    2026-11-20             14:00                         the beginning of that day; today at that time
    today   yesterday      yesterday 14:00               the beginning of the day, or at that time
    now     2 days ago     90m ago     1h30m ago         counted back from now
    run 17  before run 17                                as that run left things, or found them

Pure: what the local clock says and where it stands is the caller's to know; see `Moment`. The parser raises
``ValueError`` with a whole sentence.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from mailkeep.wire.units import DURATION_SECONDS_MAX, parse_duration


class Moment:
    """What somebody meant; exactly one of the first three is there.

    Attributes:
        at: Aware, or naive for local time.
        ago_seconds: Before now.
        run: Number of a run of this store: its end, or with `before` its beginning.
    """

    __slots__ = ("ago_seconds", "at", "before", "run")

    def __init__(
        self,
        at: datetime | None = None,
        ago_seconds: int | None = None,
        run: int | None = None,
        *,
        before: bool = False,
    ) -> None:
        self.at, self.ago_seconds, self.run, self.before = at, ago_seconds, run, before

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Moment) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return "Moment(at={!r}, ago_seconds={!r}, run={!r}, before={!r})".format(*self._key())

    def _key(self) -> tuple[datetime | None, int | None, int | None, bool]:
        return self.at, self.ago_seconds, self.run, self.before

    def seconds(self, now: int) -> int:
        """Seconds since 1970. What is local is so by the time zone of this process.

        Args:
            now: In seconds.
        """
        if self.ago_seconds is not None:
            return now - self.ago_seconds
        assert self.at is not None, "a run has no time of its own"
        return int(self.at.timestamp())


TEXT_CHARS_MAX = 100
RUN_MAX = 2**62
YEAR_MIN, YEAR_MAX = 1971, 9998
"""Away from the edges of time stamps by more than any offset from UTC."""

_WORDS_OF = {
    "s": ("s", "sec", "secs", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes"),
    "h": ("h", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "week", "weeks"),
}
_UNIT_OF = {word: unit for unit, words in _WORDS_OF.items() for word in words}


def parse_moment(text: str, today: date) -> Moment:
    """What a text means.

    Args:
        text: As above; case and spaces do not count.
        today: The local date, for what names no day.

    Raises:
        ValueError: None of these forms, or out of bounds.
    """
    words = text.lower().split()
    if len(text) > TEXT_CHARS_MAX or not words or not text.isascii():
        raise ValueError(_not_a_moment(text))
    if "run" in words[:2]:
        return _run(text, words)
    if words[-1] == "ago":
        return _ago(text, words[:-1])
    if words == ["now"]:
        return Moment(ago_seconds=0)
    day = _day(words[0], today)
    if day is not None and len(words) <= 2:
        at = time() if len(words) == 1 else _clock(words[1])
        if at is not None:
            return Moment(at=_bounded(text, datetime.combine(day, at)))
    if len(words) == 1:
        clock = _clock(words[0])
        if clock is not None:
            return Moment(at=_bounded(text, datetime.combine(today, clock)))
        at_once = _rfc3339(words[0])
        if at_once is not None:
            return Moment(at=_bounded(text, at_once))
    raise ValueError(_not_a_moment(text))


def _not_a_moment(text: str) -> str:
    shown = text if len(text) <= TEXT_CHARS_MAX else text[:TEXT_CHARS_MAX] + "..."
    return (
        f'"{shown}" is not a time such as "2026-11-20 14:00", "2026-11-20T14:00:00Z", "yesterday", "2 days ago"'
        ' or "run 17"'
    )


def _run(text: str, words: list[str]) -> Moment:
    before = words[0] == "before"
    rest = words[1:] if before else words
    if len(rest) == 2 and rest[0] == "run" and _is_number(rest[1], 18):
        number = int(rest[1])
        if 0 < number < RUN_MAX:
            return Moment(run=number, before=before)
    raise ValueError(_not_a_moment(text))


def _ago(text: str, words: list[str]) -> Moment:
    """`2 days`, `1 hour 30 minutes`, or a duration as everywhere: `1h30m`."""
    joined = ""
    for word in words:
        if word in ("a", "an", "one"):
            joined += "1"
        elif word in _UNIT_OF and joined[-1:].isdigit():
            joined += _UNIT_OF[word]
        else:
            joined += word
    try:
        seconds = parse_duration(joined)
    except ValueError:
        raise ValueError(_not_a_moment(text)) from None
    assert 0 <= seconds <= DURATION_SECONDS_MAX
    return Moment(ago_seconds=seconds)


def _day(word: str, today: date) -> date | None:
    if word == "today":
        return today
    if word == "yesterday":
        return today - timedelta(days=1)
    parts = word.split("-")
    if [len(part) for part in parts] != [4, 2, 2] or not all(_is_number(part, 4) for part in parts):
        return None
    try:
        return date(*map(int, parts))
    except ValueError:
        return None


def _clock(word: str) -> time | None:
    parts = word.split(":")
    if not 2 <= len(parts) <= 3 or not all(_is_number(part, 2) for part in parts):
        return None
    try:
        return time(int(parts[0]), int(parts[1]), int(parts[2]) if len(parts) == 3 else 0)
    except ValueError:
        return None


def _rfc3339(word: str) -> datetime | None:
    """RFC 3339 §5.6; a leap second is read as the one before it, and without an offset it is local time."""
    day, _, rest = word.partition("t")
    when = _day(day, date(2000, 1, 1)) if day[:1].isdigit() else None
    if when is None or not rest:
        return None
    offset = ""
    for at, char in enumerate(rest):
        if char in "z+-":
            rest, offset = rest[:at], rest[at:]
            break
    rest, dot, fraction = rest.partition(".")
    if dot and not _is_number(fraction, 30):
        return None
    if rest.endswith(":60") and rest.count(":") == 2:
        rest = rest[:-2] + "59"
    clock = _clock(rest)
    if clock is None:
        return None
    at_once = datetime.combine(when, clock)
    if not offset:
        return at_once
    zone = _offset(offset)
    if zone is None:
        return None
    from datetime import timezone

    return at_once.replace(tzinfo=timezone(zone))


def _offset(word: str) -> timedelta | None:
    if word == "z":
        return timedelta()
    clock = _clock(word[1:])
    if clock is None or clock.second or len(word) != 6:
        return None
    size = timedelta(hours=clock.hour, minutes=clock.minute)
    return -size if word[0] == "-" else size


def _is_number(text: str, digits_max: int) -> bool:
    return 0 < len(text) <= digits_max and text.isascii() and text.isdigit()


def _bounded(text: str, at: datetime) -> datetime:
    if not YEAR_MIN <= at.year <= YEAR_MAX:
        raise ValueError(f'"{text}" is out of bounds: years go from {YEAR_MIN} to {YEAR_MAX}')
    return at
