"""What comes of a message by expiry, retention and what people did: every combination, on real stores."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING
from unittest import mock

from crash.kit import Side
from mailkeep.rules.guard import Limits
from mailkeep.rules.keeping import Keeping
from mailkeep.store.annotations import annotate
from mailkeep.store.expire import Expire
from mailkeep.store.policy import Policy
from mailkeep.system import clock

if TYPE_CHECKING:
    from pathlib import Path

    from mailkeep.store.store import Store

DAY = 86_400
RULES = ("30d", "")
RETENTIONS = (90 * DAY, 0)
FATES = ("neither", "expired", "by hand", "both")
Case = tuple[str, int, str]
CASES: tuple[Case, ...] = tuple(itertools.product(RULES, RETENTIONS, FATES))
MOMENTS = ("pass 1", "pass 2", "the run 91 days later", "the run 401 days later")


def state_of(store: Store, text: bytes) -> str:
    """In one of the glossary's words: what is left of a message."""
    from hashlib import sha256

    content_id = sha256(text).digest()
    row = store.index.execute(
        "SELECT r.live, r.sub, c.kept FROM record r JOIN content c ON c.no = r.content WHERE c.id = ?",
        (content_id,),
    ).fetchone()
    there = store.vault.stat(content_id) is not None
    if row is None:
        assert not there
        return "forgotten"
    live, sub, kept = row
    assert bool(kept) == there, "what the index says of the vault"
    assert bool(live) == bool(sub), "a live message has its file, a tombstone has none"
    if live:
        assert there
        return "there"
    return "expunged" if there else "purged"


def run_pass(store: Store, *, first: bool, second: bool) -> None:
    policy = Policy(store.ledger, clock.now())
    run = Expire(store, policy)
    with (
        mock.patch.object(Expire, "_expire", Expire._expire if first else lambda self: None),
        mock.patch.object(Expire, "_clean_up", Expire._clean_up if second else lambda self, clean: None),
    ):
        report = run.run()
    assert not report.stopped, report.stopped
    store.end_run("expire", None, 0, {})


def outcomes(base: Path) -> dict[Case, tuple[str, ...]]:
    """For each case what is left after each of MOMENTS."""
    out: dict[Case, list[str]] = {case: [] for case in CASES}
    for rule, retention in itertools.product(RULES, RETENTIONS):
        side = Side(
            base,
            f"{rule or 'none'}.{retention}",
            limits=Limits(count=1 << 40, mailbox_share=2, store_share=2),
        )
        texts = {fate: f"Subject: {fate}\n\n{rule} {retention}\n".encode() for fate in FATES}
        paths = {fate: side.deliver(b"", text, "S") for fate, text in texts.items()}
        now = clock.now()
        for fate in ("neither", "by hand"):
            os.utime(paths[fate], (now, now))
        side.create()
        newest = side.deliver(b"", b"the newest record stays, so that no number is given twice", "S")
        os.utime(newest, (now, now))
        side.scan()
        for fate in ("by hand", "both"):
            os.unlink(paths[fate])
        for number, moment in enumerate(MOMENTS):
            days = {2: 91, 3: 401}.get(number, 0)
            # A young message of today is old later: what is asked is what comes of it, so the rule is lifted then.
            with mock.patch.object(clock, "now", lambda days=days, now=now: now + 60 + days * DAY):
                store = side.open()
                store.ledger.keeping = Keeping(retention, 400 * DAY)
                try:
                    store.scan()
                    store.index.meta["expire_clock"] = None
                    with store.index.transaction():
                        store.index.execute("UPDATE run SET began = ?, ended = ?", (clock.now(), clock.now()))
                        annotate(store.ledger, store.ledger.whole_row(), "expire", rule if number < 2 else "")
                    run_pass(store, first=number != 1, second=number != 0)
                    for fate, text in texts.items():
                        out[rule, retention, fate].append(state_of(store, text))
                finally:
                    store.close()
            assert moment
        side.at_rest()
    return {case: tuple(states) for case, states in out.items()}


HEAD = """\
# What expiry and retention leave of a message

A rule of expiry, the retention of what is expunged, and what people do are independent of each other: here is every
combination, as it comes out on real stores (`tests/crash/expiry_table.py`; made by `python tools/expiry_table.py`, do not edit). The
rule is `expire 30d` or none, the retention 90 days or 0. A message is *expired* when it is older than 30 days, removed *by
hand* when a program removed it or its file, *both* when it was old and was removed by hand before the run, *neither* when
it is new and nobody touched it.

| word | its file | its record | its content in the vault |
| --- | --- | --- | --- |
| there | yes | live | kept |
| expunged | no | a tombstone | kept: it can be brought back |
| purged | no | a tombstone | freed |
| forgotten | no | gone, once every replica has had the tombstone | freed |

"""


def page(found: dict[Case, tuple[str, ...]]) -> str:
    """docs/reference/expiry.md."""
    lines = [
        f"| rule | retention | the message is | after {' | after '.join(MOMENTS)} |",
        "| --- " * (3 + len(MOMENTS)) + "|",
    ]
    for (rule, retention, fate), states in found.items():
        kept = f"{retention // DAY} days" if retention else "0"
        lines.append(
            f"| {'`expire ' + rule + '`' if rule else 'none'} | {kept} | {fate} | {' | '.join(states)} |"
        )
    return HEAD + "\n".join(lines) + "\n"
