"""What copies cost, beside the tools that copy and check files and nothing else.

python tests/bench/copies.py [--messages 50000] [--scratch DIR]

`snapshot` beside `cp -a` of the Maildir, `verify-copy` beside `sha256sum -c`, `import` into an empty store; each once, on real
mail-like files, as seconds of the clock and of processors.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.keeping import Home, fmt

BOX_SIZE = 5000


def deliver(mail: Path, messages: int) -> None:
    """Messages of some hundred bytes to some kilobytes, a mailbox each BOX_SIZE."""
    random = Random(1)
    text = bytes(random.randrange(97, 123) for _ in range(16_000))
    for number in range(messages):
        box = mail / (f".Box{number // BOX_SIZE}" if number >= BOX_SIZE else "")
        if number % BOX_SIZE == 0:
            for sub in ("cur", "new", "tmp"):
                (box / sub).mkdir(parents=True, exist_ok=True)
        start = random.randrange(8000)
        data = b"Message-ID: <%d@x>\nSubject: %d\n\n%b\n" % (
            number,
            number,
            text[start : start + random.randrange(300, 8000)],
        )
        (box / "cur" / f"{1_600_000_000 + number}.M{number}P1.host:2,S").write_bytes(data)


def timed(*words: str | Path, cwd: Path | None = None) -> tuple[float, float]:
    """Run somebody else's command to its end: (seconds, seconds of processor), with what is written on the disk."""
    began = time.monotonic()
    child = subprocess.Popen([*map(str, words)], cwd=cwd)
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{words[0]} failed")
    os.sync()
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def show(name: str, ours: tuple[float, float], other: str, theirs: tuple[float, float]) -> None:
    print(
        f"{name}: {fmt(ours[0])} (CPU {fmt(ours[1])}); {other}: {fmt(theirs[0])} (CPU {fmt(theirs[1])});"
        f" ratio {ours[0] / theirs[0]:.1f} (CPU {ours[1] / theirs[1]:.1f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--scratch", help="where to make the stores (default: where temporary files go)")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(dir=args.scratch))
    try:
        measure(Home(scratch), args.messages)
    finally:
        shutil.rmtree(scratch)


def measure(home: Home, messages: int) -> None:
    """All of it, in order."""
    deliver(home.mail, messages)
    home.run("init", "--store", "mail", str(home.mail))
    os.sync()
    plain = timed("cp", "-a", home.mail, home.path / "plain")
    show(f"snapshot, {messages:,} messages", home.run("snapshot", str(home.path / "copy")), "cp -a", plain)
    show("snapshot --link", home.run("snapshot", "--link", str(home.path / "links")), "cp -a", plain)
    sums = timed("sha256sum", "-c", "--quiet", "SHA256SUMS", cwd=home.path / "copy")
    show("verify-copy", home.run("verify-copy", str(home.path / "copy")), "sha256sum -c", sums)
    home.run("init", "--store", "new", "--create", str(home.path / "New"))
    show(
        "import into an empty store",
        home.run("import", "--store", "new", str(home.path / "copy")),
        "cp -a",
        plain,
    )
    show(
        "import of what is there",
        home.run("import", "--store", "new", str(home.path / "copy")),
        "sha256sum -c",
        sums,
    )


if __name__ == "__main__":
    main()
