"""What keeping costs: `expire` with nothing due, expiring and cleaning up, and the index's growth by tombstones and history.

python tests/bench/keeping.py [--messages 300000] [--tombstones 100000] [--due 50000] [--scratch DIR]

The commands are the real ones, on a real Maildir of small messages; their times are those of their processes. Before anything
is due the store has that many live messages and, beside them, that many tombstones whose content is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SRC = Path(__file__).resolve().parents[2] / "src"
sys.path.insert(0, str(SRC))

from mailkeep.store.annotations import annotate  # noqa: E402 - the path comes first
from mailkeep.store.index import Index  # noqa: E402
from mailkeep.store.ledger import Ledger  # noqa: E402

DAY = 86_400
MAILS_A_DAY = 200
BOX_SIZE = 50_000


class Home:
    """A home directory with one store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mail = path / "Maildir"
        self.index = path / ".local/state/mailkeep/mail/index.db"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(path),
            "PYTHONPATH": str(SRC),
            "LC_ALL": "C.UTF-8",
        }

    def run(self, *words: str) -> tuple[float, float]:
        """Run a command to its end: (seconds, seconds of processor)."""
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "mailkeep", *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"mailkeep {' '.join(words)}: {said}")
        self.said = said
        return time.monotonic() - began, usage.ru_utime + usage.ru_stime

    def size(self) -> int:
        """Bytes of the index, without what its pages have free."""
        index = Index.open(str(self.index))
        pages = int(index.value("PRAGMA page_count")) - int(index.value("PRAGMA freelist_count"))
        index.close()
        return pages * 4096


def deliver(mail: Path, messages: int, days_old: int) -> None:
    """Messages of a mailbox each BOX_SIZE, delivered so many days ago."""
    now = int(time.time()) - days_old * DAY
    for number in range(messages):
        box = mail / (f".Box{number // BOX_SIZE}" if number >= BOX_SIZE else "")
        if number % BOX_SIZE == 0:
            for sub in ("cur", "new", "tmp"):
                (box / sub).mkdir(parents=True, exist_ok=True)
        path = box / "cur" / f"{now}.M{number}P{days_old}.host:2,S"
        path.write_bytes(
            b"Message-ID: <%d.%d@x>\nSubject: %d\n\n%s\n" % (number, days_old, number, b"x" * 400)
        )
        os.utime(path, (now, now))


def fmt(seconds: float) -> str:
    return f"{seconds:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument("--tombstones", type=int, default=100_000)
    parser.add_argument("--due", type=int, default=50_000)
    parser.add_argument("--scratch", help="where to make the store (default: where temporary files go)")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(dir=args.scratch))
    try:
        measure(Home(scratch), args.messages, args.tombstones, args.due)
    finally:
        shutil.rmtree(scratch)


def measure(home: Home, messages: int, tombstones: int, due: int) -> None:
    """All of it, in order."""
    deliver(home.mail, messages, 1)
    home.run("init", "--store", "mail", str(home.mail))
    config = home.path / ".config/mailkeep/config.toml"
    config.write_text(
        config.read_text()
        + '\n[stores.mail.guard]\ncount = 100000000\nshare = "100%"\nstore_share = "100%"\nminimum = 100000000\n'
    )
    bare = home.size()
    print(f"{messages:,} messages: {bare / messages:.0f} bytes of index each", flush=True)
    # More mail, indexed and then removed: half of what is left in the index is what tombstones and their history take.
    deliver_more(home, tombstones, 2, "Gone")
    home.run("expire")
    full = home.size()
    print(f"{tombstones:,} more: {(full - bare) / tombstones:.0f} bytes each", flush=True)
    shutil.rmtree(home.mail / ".Gone" / "cur")
    (home.mail / ".Gone" / "cur").mkdir()
    wall, cpu = home.run("expire")
    grown = home.size() - full
    each = grown / tombstones
    print(f"{tombstones:,} of them expunged by a program: noticed in {fmt(wall)} (CPU {fmt(cpu)})")
    print(
        f"index: {each:.0f} bytes more for each that is expunged (its tombstone, and an entry of history):"
        f" {MAILS_A_DAY * 365 * each / 1e6:.1f} MB a year at {MAILS_A_DAY} a day, beside the {(full - bare) / tombstones:.0f} of its record",
        flush=True,
    )
    lay_down(home, "30d")
    home.run("expire")  # makes the index by date
    print(
        f"with a rule: {(home.size() - full - grown) / messages:.0f} bytes of index more for each message, to find the oldest"
    )
    runs = [home.run("expire") for _ in range(5)]
    wall, cpu = min(runs, key=lambda run: run[1])
    print(
        f"expire, nothing due, {messages:,} messages and {tombstones:,} tombstones: {fmt(wall)}, CPU {fmt(cpu)}",
        flush=True,
    )
    deliver_more(home, due, 100, "Old")
    wall, cpu = home.run("expire", "--plan", "--json")
    assert json.loads(home.said)["expired"] == due, home.said[:500]
    print(f"plan of {due:,} due, indexed on the way: {fmt(wall)} (CPU {fmt(cpu)})")
    home.run("du")
    lay_down(home, "never")
    home.run("expire")
    lay_down(home, "30d", retention="0d")
    wall, cpu = home.run("expire", "--json")
    done = json.loads(home.said)
    assert (done["expired"], done["freed"]) == (due, due), done
    print(
        f"{due:,} expired and freed in one run: {fmt(wall)} (CPU {fmt(cpu)}): {due / wall:,.0f} a second,"
        f" {due / cpu:,.0f} a second of processor",
        flush=True,
    )


def deliver_more(home: Home, messages: int, days_old: int, name: str) -> None:
    """More messages, in one mailbox."""
    box = home.mail / f".{name}"
    deliver(box, min(messages, BOX_SIZE), days_old)
    for number in range(BOX_SIZE, messages):
        now = int(time.time()) - days_old * DAY
        path = box / "cur" / f"{now}.M{number}P{days_old}.host:2,S"
        path.write_bytes(
            b"Message-ID: <%d.%d@x>\nSubject: %d\n\n%s\n" % (number, days_old, number, b"x" * 400)
        )
        os.utime(path, (now, now))


def lay_down(home: Home, rule: str, retention: str = "90d") -> None:
    """A rule for the whole store; and the retention of what is expunged from now on."""
    index = Index.open(str(home.index))
    ledger = Ledger(index)
    with index.transaction():
        annotate(ledger, ledger.whole_row(), "expire", rule)
        annotate(ledger, ledger.whole_row(), "retention", retention)
    index.close()


if __name__ == "__main__":
    main()
