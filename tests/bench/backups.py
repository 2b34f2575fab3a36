"""What a backup of the index costs, by its size: made, read through and synced; and what a run pays to ask whether one is due.

python tests/bench/backups.py [MESSAGES...]        in the directory where temporary files go
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from mailkeep.store import backup as backups
from mailkeep.store.gate import INDEX
from mailkeep.store.index import Index
from mailkeep.store.ledger import Ledger
from mailkeep.store.rows import IN_CUR

FLAGS = frozenset({"S"})


def fill(state: bytes, messages: int) -> None:
    """An index as a first scan leaves it."""
    index = Index.create(
        os.fsdecode(os.path.join(state, INDEX)), bytes(16), bytes(8), layout="maildir++", vault="link"
    )
    ledger = Ledger(index)
    with index.transaction():
        box = ledger.create("INBOX", 1_700_000_000)
        rows = []
        for number in range(messages):
            base = b"%d.M%dP1.host.example" % (1_700_000_000 + number, number)
            content_id = sha256(base).digest()
            rows.append(
                (box, content_id, 5000, number, FLAGS, number, number, IN_CUR, base, b":2,S", number, 0)
            )
        ledger.insert_files(rows, weak=True)
    index.close()


def main(sizes: list[int]) -> None:
    for messages in sizes:
        with tempfile.TemporaryDirectory() as directory:
            state = os.fsencode(directory)
            fill(state, messages)
            size = os.stat(os.path.join(state, INDEX)).st_size
            began = time.perf_counter()
            made = backups.take(state, now=1_800_000_000, daily=3, weekly=2)
            taken = time.perf_counter() - began
            assert made is not None
            began = time.perf_counter()
            for _ in range(100):
                assert not backups.due(state, 86_400, 1_800_000_100)
            asked = (time.perf_counter() - began) / 100
        print(
            f"{messages:>9,} messages: index {size / 1e6:,.0f} MB, backup {taken:.2f} s, 'is one due?' {asked * 1e6:.0f} µs"
        )


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1000, 100_000, 1_000_000])
