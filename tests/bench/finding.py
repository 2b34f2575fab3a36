"""What it costs to compare a store with a backup, beside merely reading and hashing every file of it.

python tests/bench/finding.py [--messages N] [--scratch DIR]        part of `make bench`

The store has every message of the backup, so nothing is missing. Measured are processor time and time by the clock of:
reading and hashing each file of the backup, by one process and by as many as mailkeep uses; `mailkeep missing` with nothing
remembered; the same again, the backup unchanged; the first search by Message-ID, which reads the heads of all messages.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from bench.corpus import make_corpus  # noqa: E402
from mailkeep.system.parallel import Share, workers  # noqa: E402

LATER_SECONDS = 11
"""Files that changed within the last ten seconds are not remembered; see docs/reference/formats.md."""


def hash_all(paths: list[str]) -> int:
    """Read and hash files; how many."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            sha256(file.read()).digest()
    return len(paths)


def hash_shared(paths: list[str]) -> int:
    """The same, by several processes."""
    jobs = [paths[at : at + 500] for at in range(0, len(paths), 500)]
    return sum(Share(hash_all, jobs, workers()).results())


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """(seconds by the clock, of processor time with that of children)."""

    def spent() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    before, began = spent(), time.perf_counter()
    work()
    return time.perf_counter() - began, spent() - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--scratch", help="where to put the mail (default: where temporary files go)")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="mailkeep-finding-", dir=args.scratch))
    try:
        run(scratch, args.messages)
    finally:
        shutil.rmtree(scratch)


def run(scratch: Path, messages: int) -> None:
    backup, mail = scratch / "backup", scratch / "Maildir"
    make_corpus(backup, messages=messages, folders=max(1, min(300, messages // 1000)))
    subprocess.run(["cp", "-a", backup, mail], check=True)
    environment = {**os.environ, "HOME": str(scratch), "PYTHONPATH": str(ROOT / "src")}
    environment = {name: value for name, value in environment.items() if not name.startswith("XDG_")}

    def mailkeep(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mailkeep", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def compare() -> None:
        told = json.loads(mailkeep("missing", "--against", str(backup), "--json"))
        assert told["counts"]["here"] == told["compared"] == len(paths), told["counts"]

    mailkeep("init", "--store", "mail", str(mail))
    paths = [
        os.path.join(at, name)
        for at, _, names in os.walk(backup)
        for name in names
        if os.path.basename(at) in ("cur", "new")
    ]
    time.sleep(LATER_SECONDS)
    hash_all(paths)  # from here on everything is in memory, for all alike
    mailkeep("scan")
    start = cost(lambda: mailkeep("scan"))
    rows = {
        "read and hash, one process": cost(lambda: hash_all(paths)),
        f"read and hash, {workers()} processes": cost(lambda: hash_shared(paths)),
        "missing --against, first": cost(compare),
        "missing --against, unchanged": cost(compare),
        "  of which a scan with nothing to do": start,
    }
    ids = scratch / "ids"
    ids.write_text("<nobody@nowhere.example>\n")

    def search() -> None:
        done = subprocess.run(
            [sys.executable, "-m", "mailkeep", "missing", "--against", str(ids)],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 4, done.stderr

    rows["first search by Message-ID"] = cost(search)
    rows["a search by Message-ID"] = cost(search)
    base = rows["read and hash, one process"]
    shared = rows[f"read and hash, {workers()} processes"]
    print(f"{len(paths):,} messages, {sum(os.path.getsize(path) for path in paths) / 1e6:,.0f} MB, in memory")
    print(f"{'':40}{'clock':>9}{'processor':>11}   of reading and hashing")
    for name, (clock, processor) in rows.items():
        ratio = f"{clock / shared[0]:.2f} by the clock, {processor / base[1]:.2f} of the processor time"
        print(f"{name:40}{clock:8.2f}s{processor:10.2f}s   {ratio}")


if __name__ == "__main__":
    main()
