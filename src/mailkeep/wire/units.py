"""Durations, sizes, shares and counts: text to number and back, the one way used everywhere.

A person writes ``90s``, ``1h30m``, ``90d``, ``10MB``, ``1GiB``, ``25%`` and reads the same forms.
The parsers raise ``ValueError`` with a whole sentence; whoever knows where the text came from (an
option, a line of the configuration) adds that. What a formatter writes its parser reads.
"""

from __future__ import annotations

DURATION_SECONDS_MAX = 200 * 365 * 86400
"""About 200 years: "for ever" in any sense that matters, and far below where a time stamp overflows."""

SIZE_BYTES_MAX = 2**63 - 1
"""What a file size can be (off_t)."""

_DIGITS_MAX = 20  # More digits than any limit below has; int() of a long text is quadratic.

_SECONDS_OF = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES_OF = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_BINARY_STEPS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_SIZE_STEPS = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def parse_duration(text: str) -> int:
    """Whole seconds of ``90s``, ``5m``, ``12h``, ``7d``, ``2w`` or of several together (``1h30m``).

    Raises:
        ValueError: Not a duration, a part twice or out of order, or above DURATION_SECONDS_MAX.
    """
    rest, total, step_before = text.strip(), 0, DURATION_SECONDS_MAX
    if not rest:
        raise ValueError(_not_a_duration(text))
    while rest:
        digits, rest = _leading_digits(rest)
        step = _SECONDS_OF.get(rest[:1], 0)
        if not digits or not step or step >= step_before:
            raise ValueError(_not_a_duration(text))
        total += int(digits) * step
        step_before, rest = step, rest[1:].lstrip()
    if total > DURATION_SECONDS_MAX:
        limit = write_duration(DURATION_SECONDS_MAX)
        raise ValueError(f'"{text}" is too long: at most {limit}')
    return total


def _not_a_duration(text: str) -> str:
    return f'"{text}" is not a duration such as 90s, 5m, 12h, 7d or 2w'


def parse_size(text: str) -> int:
    """Bytes of ``512``, ``10kB``, ``1.5MB`` (powers of 1000) or ``1GiB`` (powers of 1024).

    Raises:
        ValueError: Not a size, an ambiguous unit (``10M``), or above SIZE_BYTES_MAX.
    """
    digits, rest = _leading_digits(text.strip())
    fraction = ""
    if rest.startswith("."):
        fraction, rest = _leading_digits(rest[1:])
        if not fraction:
            digits = ""
    unit = rest.strip().lower()
    if digits and unit in ("k", "m", "g", "t"):
        raise ValueError(
            f'"{text}" can be read in two ways: write {unit.upper()}B (1000s) or {unit.upper()}iB (1024s)'
        )
    factor = _BYTES_OF.get(unit or "b", 0)
    scaled = int((digits or "0") + fraction) * factor
    parts: int = 10 ** len(fraction)
    size, left = divmod(scaled, parts)
    # A part of a byte is a slip, unless it comes from rounding a larger unit (1.1GiB).
    if not digits or not factor or (left and factor == 1):
        raise ValueError(f'"{text}" is not a size such as 500kB, 10MB or 1GiB')
    if size > SIZE_BYTES_MAX:
        raise ValueError(f'"{text}" is too large')
    return size


def parse_share(text: str) -> float:
    """The fraction (0.0 to 1.0) that ``25%`` or ``0.5%`` says.

    Raises:
        ValueError: Not a percentage from 0% to 100%.
    """
    body = text.strip()
    digits, rest = _leading_digits(body)
    fraction = ""
    if rest.startswith("."):
        fraction, rest = _leading_digits(rest[1:])
        if not fraction:
            digits = ""
    if digits and rest.strip() == "%":
        whole: int = 10 ** (len(fraction) + 2)
        share = int(digits + fraction) / whole
        if share <= 1.0:
            return share
    raise ValueError(f'"{text}" is not a share from 0% to 100%, such as 25%')


def _leading_digits(text: str) -> tuple[str, str]:
    """ASCII digits at the start (none if there are absurdly many), and what follows with spaces cut."""
    end = 0
    while end < len(text) and "0" <= text[end] <= "9":
        end += 1
    return (text[:end] if end <= _DIGITS_MAX else ""), text[end:].lstrip(" ")


def write_duration(seconds: int) -> str:
    """The duration exactly, in the largest unit that divides it: ``90d``, ``36h``, ``90s``."""
    for unit in ("d", "h", "m"):
        step = _SECONDS_OF[unit]
        if seconds and seconds % step == 0:
            return f"{seconds // step}{unit}"
    return f"{seconds}s"


def write_size(size_bytes: int) -> str:
    """The size exactly, in the unit that says it shortest: ``2GB``, ``512MiB``, ``1500kB``, ``123``."""
    forms = [
        f"{size_bytes // step}{unit}"
        for unit, step in (*_SIZE_STEPS, *_BINARY_STEPS)
        if size_bytes and size_bytes % step == 0
    ]
    return min(forms, key=len, default=str(size_bytes))


def format_duration(seconds: float) -> str:
    """A duration to read, two units at most: ``0.42s``, ``12s``, ``1m 30s``, ``3d 4h``.

    Below ten seconds it has two significant digits; a negative duration reads as ``0s``.
    """
    if seconds <= 0:
        return "0s"
    if seconds < 9.95:
        return f"{max(seconds, 0.001):.2g}s" if seconds >= 0.00095 else "0.001s"
    for unit, below, step_of in (("s", "", 60), ("m", "s", 3600), ("h", "m", 86400)):
        step = _SECONDS_OF[below or unit]
        rounded = round(seconds / step) * step
        if rounded < step_of:
            return _two_units(rounded, unit, below)
    return _two_units(round(seconds / 3600) * 3600, "d", "h")


def _two_units(seconds: int, unit: str, below: str) -> str:
    count, left = divmod(seconds, _SECONDS_OF[unit])
    return f"{count}{unit} {left // _SECONDS_OF[below]}{below}" if left else f"{count}{unit}"


def format_size(size_bytes: float) -> str:
    """A size to read, in powers of 1000: ``512 B``, ``8.2 kB``, ``1.4 MB``, ``50 GB``."""
    for unit, step in _SIZE_STEPS:
        # 999.5 kB would read "1000 kB": the next unit takes over where rounding does.
        if size_bytes >= step * 0.9995:
            value = size_bytes / step
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{size_bytes:.0f} B"


def format_share(share: float) -> str:
    """A fraction as a percentage: ``25%``, ``0.5%``."""
    return f"{round(share * 100, 4):.6g}%"


def format_count(count: int, noun: str = "", plural: str = "") -> str:
    """A number with its thousands apart and, if wanted, its noun: ``1,204``, ``1 message``.

    Args:
        count: The number.
        noun: In the singular.
        plural: Only where it is not the noun with an ``s``.
    """
    if not noun:
        return f"{count:,}"
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def format_rate(amount: float, seconds: float, noun: str = "") -> str:
    """So many a second: ``12.4 MB/s`` for bytes (no noun), ``4,210 messages/s`` else.

    Without a measurable time there is no rate: the text is empty.
    """
    if seconds <= 0:
        return ""
    rate = amount / seconds
    if not noun:
        return format_size(rate) + "/s"
    number = f"{rate:,.0f}" if rate >= 9.95 else f"{rate:.1f}"
    return f"{number} {noun}s/s"
