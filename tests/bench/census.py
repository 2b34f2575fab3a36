"""What a Maildir++ tree holds, and whether two of them hold the same."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.churn import list_messages

# (folder, digest of the body as the ruler sees it, flag letters)
Census = Counter[tuple[str, bytes, str]]


@dataclass(frozen=True)
class Ruler:
    """Which differences do not count against a program.

    IMAP servers may store CRLF as LF; mbsync leaves a header in what it uploads;
    the IMAP programs do not carry the flag P.
    """

    ignore_returns: bool = False
    ignore_header: bytes = b""
    ignore_flags: str = ""

    def read(self, path: str | Path) -> bytes:
        """Return the content without what does not count."""
        data = Path(path).read_bytes()
        if self.ignore_returns:
            data = data.replace(b"\r\n", b"\n")
        if self.ignore_header and (start := data.find(b"\n" + self.ignore_header)) >= 0:
            end = data.find(b"\n", start + 1)
            data = data[:start] + data[end if end >= 0 else len(data) :]
        return data

    def size(self, path: Path) -> int:
        """Return the size of what counts: equal at both ends of a sync that works."""
        return len(self.read(path))


def take_census(root: Path, ruler: Ruler) -> Census:
    """Read every message of a tree. One that vanishes meanwhile is an error: nothing else runs."""
    census: Census = Counter()
    for place in list_messages(root)[1]:
        digest = hashlib.blake2b(ruler.read(os.path.join(root, *place)), digest_size=16).digest()
        letters = "".join(sorted(set(place.name.partition(":2,")[2]) - set(ruler.ignore_flags)))
        census[place.folder, digest, letters] += 1
    return census


def expected_after(before: tuple[Census, Census], after: tuple[Census, Census]) -> Census:
    """Return what both ends must hold, given what each held before and after its own changes."""
    wanted = Counter(before[0])
    for old, new in zip(before, after, strict=True):
        wanted.update(new)
        wanted.subtract(old)
    return wanted


@dataclass(frozen=True)
class Verdict:
    """How a tree differs from what it should hold, in messages."""

    missing: int = 0
    surplus: int = 0
    flags: int = 0

    @property
    def agrees(self) -> bool:
        """Every body is in its folder as often as it should be. Flags may differ: see `flags`."""
        return not (self.missing or self.surplus)

    def __str__(self) -> str:
        if not self.agrees:
            return f"{self.missing} missing, {self.surplus} too many, {self.flags} with other flags"
        return f"all there, {self.flags} with other flags" if self.flags else "agrees"


def judge(found: Census, wanted: Census) -> Verdict:
    """Compare what is there with what should be."""

    def bodies(census: Census) -> Counter[tuple[str, bytes]]:
        plain: Counter[tuple[str, bytes]] = Counter()
        for (folder, digest, _), count in census.items():
            plain[folder, digest] += count
        return plain

    have, want = bodies(found), bodies(wanted)
    missing, surplus = (want - have).total(), (have - want).total()
    return Verdict(missing, surplus, max(0, (wanted - found).total() - missing))
