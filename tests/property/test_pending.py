"""Whatever peers lay down, and whoever meets whom: on no replica anything less is kept than its own person said.

Random annotations, renames and answers on two to four replicas, and sessions between them. After each session, all that had
effect on either side still has, or something safer; in the end, all agree on what is laid down, though not on what has effect.

`PENDING_RUNS=5000 PENDING_SEED=7 pytest tests/property/test_pending.py` goes deeper, `-m soak` much more.
"""

from __future__ import annotations

import itertools
import os
import random

import pytest

from mailkeep.domain.annotation import EXPIRE, GUARD, NOEXPIRE, RETENTION, ROLE, LegalHold
from mailkeep.rules.annotations import is_safer
from mailkeep.store.annotations import Effective, accept, annotate, effective, pending, refuse
from property.test_comparison import Replica, meet

RUNS, SOAK_RUNS = int(os.environ.get("PENDING_RUNS", "40")), int(os.environ.get("PENDING_RUNS", "5000"))
SEED = int(os.environ.get("PENDING_SEED", "1"))
NOW = 1_800_000_000
BOXES = ("A", "A/B", "A/B/C", "D")
TEXTS = {
    "expire": ("10d", "20d", "20d keep=flagged", "20d by=flag", "count=5", "never"),
    "retention": ("0s", "90d", "200d"),
    "noexpire": ("forever", "forever from:a", "until=2090-01-01 from:a", "until=2091-01-01 from:a"),
    "noexpire.x": ("forever from:b", "until=2090-01-01"),
    "guard": ("count=5", "count=9 share=10%", "share=5%", "off"),
    "role": ("trash", "junk", "none"),
    "expire-later": ("in a later version",),
}


def assert_safer(was: Effective, now: Effective, configured: int) -> None:
    """Judged by what has effect, wherever it comes from."""
    assert is_safer(EXPIRE, was.expire, now.expire, NOW), (was.expire, now.expire)
    old, new = (configured if e.retention is None else e.retention for e in (was, now))
    assert is_safer(RETENTION, old, new, NOW), (old, new)
    assert is_safer(ROLE, was.role, now.role, NOW), (was.role, now.role)
    if was.guard is None or not was.guard.off:
        assert was.sources.get(GUARD) == now.sources.get(GUARD)
    assert is_safer(GUARD, was.guard, now.guard, NOW), (was.guard, now.guard)
    for hold in was.legal_holds:
        assert any(
            is_safer(NOEXPIRE, hold, other, NOW) for other in now.legal_holds if same_name(hold, other)
        ), hold


def same_name(one: LegalHold, other: LegalHold) -> bool:
    return one.name == other.name


class History:
    """Everything follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.replicas = [Replica(name) for name in "abcd"[: self.rng.choice((2, 2, 3, 4))]]
        self.log: list[object] = []
        first = self.replicas[0]
        for name in BOXES:
            first.add(name, [name])
        for other in self.replicas[1:]:
            meet(first, other)

    def step(self) -> None:
        replica, kind = self.rng.choice(self.replicas), self.rng.random()
        if kind < 0.45:
            self.annotate(replica)
        elif kind < 0.55:
            self.answer(replica)
        else:
            self.session(*self.rng.sample(self.replicas, 2))

    def annotate(self, replica: Replica) -> None:
        key = self.rng.choice(sorted(TEXTS))
        text = self.rng.choice(("", *TEXTS[key]))
        name = self.rng.choice(("", *BOXES))
        self.log.append((replica.name, name, key, text))
        with replica.index.transaction():
            box = replica.box(name) if name else replica.ledger.whole_row()
            annotate(replica.ledger, box, key, text)

    def answer(self, replica: Replica) -> None:
        waiting = pending(replica.ledger)
        if waiting:
            one, act = self.rng.choice(waiting), self.rng.choice((accept, refuse))
            self.log.append((replica.name, act.__name__, one.box.name, one.key, one.then))
            with replica.index.transaction():
                assert act(replica.ledger, one.box, one.key)

    def session(self, one: Replica, other: Replica) -> bool:
        before = [self.effective(replica) for replica in (one, other)]
        same = meet(one, other).same
        self.log.append((one.name, other.name, "same" if same else "met"))
        for replica, was in zip((one, other), before, strict=True):
            now = self.effective(replica)
            for name in BOXES:
                assert_safer(was[name], now[name], replica.ledger.keeping.expunged)
            replica.ledger.forget()  # and so it is after a restart
            for name, found in self.effective(replica).items():
                assert found.sources == now[name].sources
                assert found.legal_holds == now[name].legal_holds
        return same

    @staticmethod
    def effective(replica: Replica) -> dict[str, Effective]:
        return {name: effective(replica.ledger, replica.box(name)) for name in BOXES}

    def run(self) -> None:
        for _ in range(self.rng.randint(5, 25)):
            self.step()
        for _ in range(8):
            sessions = [self.session(*pair) for pair in itertools.permutations(self.replicas, 2)]
            if all(sessions):
                break
        else:
            raise AssertionError("they do not come to rest")
        laid_down = [
            {box.name: box.annotations for box in r.ledger.rows() if box.annotations} for r in self.replicas
        ]
        assert all(each == laid_down[0] for each in laid_down)
        for replica in self.replicas:
            assert replica.index.meta["root"] == self.replicas[0].index.meta["root"]
            with replica.index.transaction():
                for one in pending(replica.ledger):
                    assert one.now != one.then
                    accept(replica.ledger, one.box, one.key)
        everywhere = [{name: e.sources for name, e in self.effective(r).items()} for r in self.replicas]
        assert all(each == everywhere[0] for each in everywhere), "once all is accepted, all have the same"


def run(seed: int) -> None:
    history = History(seed)
    try:
        history.run()
    except BaseException as err:
        err.add_note(f"history {seed}:\n" + "\n".join(map(str, history.log)))
        raise
    finally:
        for replica in history.replicas:
            replica.index.close()


@pytest.mark.slow
def test_no_peer_makes_less_be_kept() -> None:
    for seed in range(SEED, SEED + RUNS):
        run(seed)


@pytest.mark.soak
def test_many_histories_in_which_no_peer_makes_less_be_kept() -> None:
    for seed in range(SEED + 1_000_000, SEED + 1_000_000 + SOAK_RUNS):
        run(seed)
