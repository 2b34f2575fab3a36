"""The one place that asks what time it is, draws random bytes or sleeps."""

from __future__ import annotations

import os
import time


def now() -> int:
    """Seconds since 1970, UTC."""
    return int(time.time())


def monotonic() -> float:
    """Seconds since some moment, never going back."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Do nothing for this long."""
    time.sleep(seconds)


def random_bytes(count: int) -> bytes:
    """Bytes that nobody can foresee, from the kernel: for new ids."""
    return os.urandom(count)


def utc(seconds: int) -> str:
    """A time for file names: 20260131T120000Z."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def from_utc(text: str) -> int | None:
    """The seconds of what `utc` wrote; None for anything else."""
    import calendar

    try:
        return calendar.timegm(time.strptime(text, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None


def running() -> tuple[str, int]:
    """Since which start of the machine, and for how many seconds it has been running, suspended or not."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    return boot, int(time.clock_gettime(time.CLOCK_BOOTTIME))
