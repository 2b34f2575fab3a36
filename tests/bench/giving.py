"""What giving back costs: `ls --at` of a large mailbox, `undelete` and `undo` of many messages, beside many tombstones.

python tests/bench/giving.py [--messages 300000] [--mailbox 100000] [--tombstones 100000] [--removed 50000] [--scratch DIR]

The commands are the real ones, on a real Maildir of small messages; their times are those of their processes. One mailbox has
--mailbox messages, of which --removed are removed and brought back; beside that there are --tombstones removed ones.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.keeping import Home, deliver, deliver_more, fmt


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument("--mailbox", type=int, default=100_000)
    parser.add_argument("--tombstones", type=int, default=100_000)
    parser.add_argument("--removed", type=int, default=50_000)
    parser.add_argument("--scratch", help="where to make the store (default: where temporary files go)")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(dir=args.scratch))
    try:
        measure(Home(scratch), args.messages - args.mailbox, args.mailbox, args.tombstones, args.removed)
    finally:
        shutil.rmtree(scratch)


def measure(home: Home, messages: int, mailbox: int, tombstones: int, removed: int) -> None:
    """All of it, in order."""
    deliver(home.mail, messages, 1)
    deliver_more(home, mailbox, 2, "Large")
    deliver_more(home, tombstones, 3, "Gone")
    home.run("init", "--store", "mail", str(home.mail))
    config = home.path / ".config/mailkeep/config.toml"
    config.write_text(
        config.read_text()
        + '\n[stores.mail.guard]\ncount = 100000000\nshare = "100%"\nstore_share = "100%"\nminimum = 100000000\n'
    )
    empty(home.mail / ".Gone", tombstones)
    home.run("expire")
    empty(home.mail / ".Large", removed)
    home.run("expire")
    print(
        f"{messages + mailbox:,} messages, {tombstones + removed:,} removed, in two runs; before that:",
        flush=True,
    )
    for words, what in (
        (("ls", "--at", "run 1"), "mailboxes, with counts"),
        (("ls", "Large", "--at", "run 1"), f"a mailbox of {mailbox:,}, the last 50 with their heads"),
        (
            ("ls", "Large", "--at", "run 1", "--last", "0"),
            "the same, all of them, heads read for the first time",
        ),
        (("ls", "Large", "--at", "run 1", "--last", "0"), "the same, again"),
        (("show", "3"), f"show of the run that removed {removed:,}, the first 100"),
        (("undelete", "--dry-run", "--run", "3"), "undelete --dry-run of it"),
    ):
        wall, cpu = min((home.run(*words) for _ in range(1 if "0" in words else 3)), key=lambda run: run[1])
        print(f"  {fmt(wall):>8}, CPU {fmt(cpu):>8}  {what}: {' '.join(words)}", flush=True)
    for words, count in (
        (("undelete", "--run", "3", "--json"), removed),
        (("undo", last_run(home), "--json", "--approve"), removed),
        (("undo", last_run(home), "--json"), 0),
    ):
        if words[0] == "undo":
            words = ("undo", last_run(home), *words[2:])
        wall, cpu = home.run(*words)
        done = json.loads(home.said)
        many = done.get("returned") or done["counts"]["removed"] + done["counts"]["returned"]
        assert many >= count, done
        print(
            f"{' '.join(words[:2])}: {many:,} messages in {fmt(wall)}, CPU {fmt(cpu)}: {many / wall:,.0f} a second,"
            f" {many / cpu:,.0f} a second of processor",
            flush=True,
        )


def empty(box: Path, count: int) -> None:
    """Remove messages as a mail program does."""
    for name in sorted(os.listdir(box / "cur"))[:count]:
        (box / "cur" / name).unlink()


def last_run(home: Home) -> str:
    """The number of the last run."""
    home.run("log", "--last", "1", "--json")
    return str(json.loads(home.said)["runs"][0]["run"])


if __name__ == "__main__":
    main()
