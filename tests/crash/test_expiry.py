"""What expires, what is freed and what is forgotten, on real stores: the guard, legal holds, clocks, replicas, plans."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from crash.kit import Crash, Side, Steps, settle, sync
from mailkeep.domain.errors import PermissionDenied
from mailkeep.rules.guard import Limits
from mailkeep.rules.keeping import Keeping
from mailkeep.store import holds
from mailkeep.store.annotations import annotate
from mailkeep.store.expire import Bounds, Expire, Report, Watcher
from mailkeep.store.headers import HeaderCache
from mailkeep.store.policy import Policy
from mailkeep.store.store import Store
from mailkeep.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mailkeep.store.cleanup import Free
    from mailkeep.store.due import Due

DAY = 86_400
NEVER_HELD = Limits(count=1 << 40, mailbox_share=2, store_share=2)
REAL_NOW = clock.now


def text(name: str, words: str = "") -> bytes:
    return f"Message-ID: <{name}@example.org>\nFrom: {name}@example.org\nSubject: {name} {words}\n\n{name}\n".encode()


class Calendar:
    """The clock of a test: days from today on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.days = 0.0
        self.boot = 0
        monkeypatch.setattr(clock, "now", lambda: REAL_NOW() + int(self.days * DAY))
        monkeypatch.setattr(clock, "running", lambda: (f"boot {self.boot}", 0))

    def go(self, days: float) -> None:
        """Let time pass; the machine was started anew meanwhile, so nothing else tells how much."""
        self.days += days
        self.boot += 1


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    return Calendar(monkeypatch)


def with_store(side: Side, act: Callable[[Store], Any], keeping: Keeping | None = None) -> Any:
    store = side.open()
    store.ledger.keeping = keeping or Keeping()
    try:
        return act(store)
    finally:
        store.close()


def lay_down(side: Side, mailbox: str, key: str, value: str) -> None:
    def act(store: Store) -> None:
        with store.index.transaction():
            box = store.ledger.whole_row() if not mailbox else store.ledger.named(mailbox)
            assert box is not None
            annotate(store.ledger, box, key, value)

    with_store(side, act)


def expire(
    side: Side,
    *,
    keeping: Keeping | None = None,
    watcher: Watcher | None = None,
    dry: bool = False,
    **bounds: Any,
) -> Report:
    store = side.open(dry=dry)
    store.ledger.keeping = keeping or Keeping()
    bounds.setdefault("clock_is_right", True)
    policy = Policy(store.ledger, clock.now(), lambda: HeaderCache(store.state, store.ledger, store.vault))
    try:
        store.scan()
        report = Expire(store, policy, Bounds(**bounds), watcher=watcher).run()
        store.end_run("expire", None, 0, {})
        return report
    finally:
        policy.close()
        store.close()


def remove_all(side: Side) -> None:
    for path in side.files():
        os.unlink(side.path(path))
    side.scan()


def held(side: Side) -> list[int]:
    return [hold.count for hold in with_store(side, lambda store: holds.holds(store.ledger))]


def answer(side: Side, how: Callable[..., int]) -> None:
    def act(store: Store) -> None:
        with store.index.transaction():
            for hold in holds.holds(store.ledger):
                how(store.ledger, hold.no)
        store.bump()
        store.apply()
        store.end_run("answer", None, 0, {})

    with_store(side, act)


def full(base: Path, count: int, *, name: str = "a", limits: Limits | None = None, box: bytes = b"") -> Side:
    side = Side(base, name, limits=limits)
    side.mailbox(box)
    for n in range(count):
        side.deliver(box, text(f"m{n}"), "S")
    return side.create()


# --- the guard


def test_a_run_far_above_the_usual_is_held_and_the_mail_stays_usable(tmp_path: Path) -> None:
    side = full(tmp_path, 100)
    lay_down(side, "", "expire", "30d")
    report = expire(side)
    assert (report.expired, report.held) == (0, 100)
    assert len(side.files()) == 100
    assert expire(side).changed is False, "it is held once, and no more each night"
    assert held(side) == [100]
    path = side.path(side.files()[0])
    os.rename(path, path + b"F")  # flagged by a mail program: this one stays, whatever the answer
    assert side.scan().flagged == 1
    assert held(side) == [99]
    answer(side, holds.approve)
    side.at_rest()
    assert len(side.files()) == 1


def test_what_is_rejected_stays_until_the_next_run_asks_again(tmp_path: Path) -> None:
    side = full(tmp_path, 100)
    lay_down(side, "", "expire", "30d")
    expire(side)
    answer(side, holds.reject)
    assert held(side) == []
    side.at_rest()
    assert len(side.files()) == 100
    lay_down(side, "", "expire", "never")
    assert not expire(side).changed


def test_expiry_that_bleeds_over_many_runs_is_held_too(tmp_path: Path) -> None:
    side = full(tmp_path, 400)
    for run in range(12):
        lay_down(side, "", "expire", f"count={400 - 10 * (run + 1)}")
        expire(side)
    assert 400 - len(side.files()) <= 50
    assert sum(held(side)) >= 60


def test_what_is_expunged_by_slices_is_judged_as_a_whole(tmp_path: Path) -> None:
    side = full(tmp_path, 100)
    lay_down(side, "", "expire", "30d")
    report = expire(side, messages=10)
    assert (report.expired, report.held, report.ended) == (0, 10, "messages")


def test_a_mailbox_that_is_meant_to_be_emptied_is_not_held(tmp_path: Path) -> None:
    side = full(tmp_path, 200, box=b".Trash")
    lay_down(side, "Trash", "expire", "30d")
    report = expire(side)
    assert (report.expired, report.held) == (200, 0)


def test_copies_elsewhere_make_nothing_vanish(tmp_path: Path) -> None:
    side = Side(tmp_path, "a")
    for box in (b".Lists", b".Archive"):
        side.mailbox(box)
        for n in range(100):
            side.deliver(box, text(f"m{n}"), "S")
    side.create()
    lay_down(side, "Lists", "expire", "30d")
    assert (expire(side).expired, held(side)) == (100, [])
    lay_down(side, "Archive", "expire", "30d")
    assert (expire(side).expired, held(side)) == (0, [100]), "now they would"


def test_a_clean_up_far_above_the_usual_frees_nothing_until_a_person_says_how_much(
    tmp_path: Path, calendar: Calendar
) -> None:
    limits = Limits(count=20, mailbox_share=2, store_share=2, minimum=1000)
    side = full(tmp_path, 60, limits=NEVER_HELD)
    lay_down(side, "", "expire", "30d")
    assert expire(side).expired == 60
    side.limits = limits
    calendar.go(91)
    report = expire(side)
    assert report.unusual
    assert (report.freed, report.would_free) == (0, 60)
    assert len(side.kept()) == 60
    assert expire(side, free=59).freed == 0, "what was allowed is less than there is"
    assert expire(side, free=60).freed == 60
    assert side.kept() == set()


# --- legal holds


def test_a_legal_hold_wins_over_rule_hand_and_retention(tmp_path: Path, calendar: Calendar) -> None:
    side = Side(tmp_path, "a", limits=NEVER_HELD)
    side.mailbox(b".Court")
    for box in (b"", b".Court"):
        for n in range(3):
            side.deliver(box, text(f"{box.decode()}{n}"), "S")
    side.create()
    lay_down(side, "", "expire", "30d")
    lay_down(side, "Court", "noexpire", "forever")
    os.unlink(side.path_of(text(".Court0").decode()))
    expire(side)
    assert len(side.files()) == 2
    for days in (100, 400, 400):
        calendar.go(days)
        report = expire(side)
    assert {text(f".Court{n}").decode() for n in range(3)} <= side.kept()
    assert len(side.kept()) == 3
    tombstones = with_store(side, lambda s: s.index.value("SELECT count(*) FROM record WHERE NOT live"))
    assert tombstones >= 1, "what the court wants is not forgotten either"
    lay_down(side, "Court", "noexpire", "")
    calendar.go(8)
    report = expire(side)
    assert report.freed == 1
    assert report.expired == 2


@pytest.mark.parametrize("query", ["from:ann", "subject:secret", "no such:term"])
def test_a_legal_hold_on_what_a_query_finds(tmp_path: Path, calendar: Calendar, query: str) -> None:
    side = Side(tmp_path, "a", limits=NEVER_HELD)
    for name, words in (("ann", "secret"), ("ann2", "secret"), ("bob", "")):
        side.deliver(b"", text(name, words), "S")
    side.create()
    side.deliver(b"", text("newest", "secret"), "S")
    side.scan()
    lay_down(side, "", "expire", "30d")
    lay_down(
        side, "", "noexpire.case-1", f"forever {query}" if ":" in query and " " not in query else "forever"
    )
    os.unlink(side.path_of(text("ann2", "secret").decode()))
    expire(side)
    calendar.go(91)
    expire(side)
    calendar.go(401)
    expire(side)
    wanted = {text("ann", "secret").decode(), text("ann2", "secret").decode()}
    assert wanted <= side.kept()
    assert (text("bob").decode() in side.kept()) == (" " in query)


def test_a_legal_hold_that_is_over_holds_no_more(tmp_path: Path, calendar: Calendar) -> None:
    side = full(tmp_path, 3, limits=NEVER_HELD)
    lay_down(side, "", "expire", "30d")
    until = datetime.fromtimestamp(clock.now() + 50 * DAY, UTC).date().isoformat()
    lay_down(side, "", "noexpire", f"until={until}")
    assert expire(side).expired == 0
    calendar.go(52)
    assert expire(side).expired == 3


def test_whatever_is_laid_down_and_done_a_legal_hold_keeps_everything(
    tmp_path: Path, calendar: Calendar
) -> None:
    """Random lives of a store of which one mailbox is under a legal hold; printed seed."""
    for seed in range(6):
        rng = random.Random(seed)
        side = Side(tmp_path, f"s{seed}", limits=NEVER_HELD)
        boxes = [b"", b".Court", b".Court.Below", b".Lists"]
        for box in boxes:
            side.mailbox(box)
        wanted: set[str] = set()
        for n in range(24):
            box = rng.choice(boxes)
            mail = text(f"{seed}.{n}")
            side.deliver(box, mail, rng.choice(("", "S", "FS")))
            if box.startswith(b".Court"):
                wanted.add(mail.decode())
        side.create()
        lay_down(side, "Court", "noexpire", "forever")
        for _ in range(6):
            for path in side.files():
                if rng.random() < 0.2:
                    os.unlink(side.path(path))
            rule = rng.choice(
                ("1d", "count=1", "size=1kB", "30d keep=flagged", "never", "1d by=date", "1d by=flag")
            )
            lay_down(side, rng.choice(("", "Court", "Court/Below")), "expire", rule)
            keeping = Keeping(rng.choice((0, DAY, 90 * DAY)), rng.choice((0, 400 * DAY)))
            expire(side, keeping=keeping)
            calendar.go(rng.choice((1, 20, 100, 500)))
            expire(side, keeping=keeping)
            assert wanted <= side.kept(), f"seed {seed}"


# --- rules


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("30d keep=flagged,unread", {"flagged", "unread", "young"}),
        ("30d keep=flagged", {"flagged", "young"}),
        ("30d", {"young"}),
        ("count=2", {"young", "unread"}),
        ("count=1 keep=unread", {"young", "unread"}),
        ("size=200", {"young", "unread"}),
        ("size=1", {"young"}),
        ("30d by=flag", {"seen", "flagged", "unread", "young"}),
        ("never", {"seen", "flagged", "unread", "young"}),
    ],
)
def test_rules(tmp_path: Path, rule: str, left: set[str]) -> None:
    side = Side(tmp_path, "a", limits=NEVER_HELD)
    for name, flags in (("seen", "S"), ("flagged", "FS"), ("unread", "")):
        side.deliver(b"", text(name), flags)
    os.utime(side.deliver(b"", text("young"), "S"), (clock.now(), clock.now()))
    side.create()
    lay_down(side, "", "expire", rule)
    expire(side)
    assert set(side.texts()) == {text(name).decode() for name in left}


def test_age_by_the_last_change_of_flags(tmp_path: Path, calendar: Calendar) -> None:
    side = full(tmp_path, 2, limits=NEVER_HELD)
    lay_down(side, "", "expire", "30d by=flag")
    calendar.go(20)
    path = side.path(side.files()[0])
    os.rename(path, path + b"F")
    side.scan()
    calendar.go(15)
    assert expire(side).expired == 1
    assert [flags for _, flags, _ in side.shown()] == ["FS"]
    calendar.go(20)
    assert expire(side).expired == 1


def test_age_by_the_senders_date(tmp_path: Path) -> None:
    side = Side(tmp_path, "a", limits=NEVER_HELD)
    side.deliver(b"", b"Date: Mon, 1 Jan 2035 00:00:00 +0000\nSubject: future\n\nx\n", "S")
    side.deliver(b"", b"Date: Mon, 1 Jan 2001 00:00:00 +0000\nSubject: past\n\nx\n", "S")
    side.deliver(b"", b"Date: soon\nSubject: none\n\nx\n", "S")
    young = side.deliver(b"", b"Date: Mon, 1 Jan 2001 00:00:00 +0000\nSubject: young\n\nx\n", "S")
    os.utime(young, (clock.now(), clock.now()))
    side.create()
    lay_down(side, "", "expire", "30d by=date")
    assert expire(side).expired == 3
    assert len(side.files()) == 1
    assert "future" in side.texts()[0]


# --- contents


def test_a_content_that_came_back_before_its_object_went_stays(tmp_path: Path, calendar: Calendar) -> None:
    side = full(tmp_path, 4, limits=NEVER_HELD)
    lay_down(side, "", "expire", "30d")
    expire(side)
    calendar.go(91)
    freeing = None
    for at in range(200):
        number = Steps(at, Crash(), after=True)
        with number.installed():
            try:
                expire(side)
            except Crash:
                pass
            finally:
                number.stop()
        freeing = with_store(side, lambda store: store.index.meta.get("freeing"))
        if freeing:
            break
    assert freeing, "the run died after the index said what is to go, and before it went"
    lay_down(side, "", "expire", "never")
    side.deliver(b"", text("m2"), "S")
    side.scan()
    expire(side)
    side.at_rest()
    assert side.kept() == {text("m2").decode()}


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_space_is_really_given_back(tmp_path: Path, calendar: Calendar, mode: str) -> None:
    with mock.patch("mailkeep.store.vault.probe", return_value=mode):
        side = Side(tmp_path, "a", limits=NEVER_HELD)
        for n in range(20):
            side.deliver(b"", text(f"m{n}") + b"x" * 100_000, "S")
        side.create()
    other = tmp_path / "elsewhere"
    if mode == "link":
        os.link(side.path(side.files()[0]), other)  # a backup that links, say: these bytes stay on the disk

    def blocks() -> int:
        return sum(
            os.lstat(os.path.join(at, name)).st_blocks * 512
            for at, _, names in os.walk(os.path.join(side.state, b"objects"))
            for name in names
        )

    before = blocks()
    assert before >= 2_000_000
    lay_down(side, "", "expire", "30d")
    assert expire(side).expired == 20
    assert blocks() == before, "expired is not gone"
    calendar.go(91)
    report = expire(side)
    assert blocks() == 0
    assert report.shared == (mode == "link")
    assert report.freed_bytes == before - (before // 20 if mode == "link" else 0)


def test_a_longer_retention_counts_at_once_and_a_shorter_one_does_not(
    tmp_path: Path, calendar: Calendar
) -> None:
    side = full(tmp_path, 2, limits=NEVER_HELD)
    os.unlink(side.path(side.files()[0]))
    side.scan()
    calendar.go(50)
    assert expire(side, keeping=Keeping(10 * DAY)).freed == 0, "90 days were promised when it went"
    calendar.go(50)
    assert expire(side, keeping=Keeping(200 * DAY)).freed == 0, "now it is 200"
    calendar.go(50)
    assert expire(side, keeping=Keeping(10 * DAY)).freed == 0
    calendar.go(60)
    assert expire(side, keeping=Keeping(10 * DAY)).freed == 1


def test_what_no_record_has_is_freed_after_its_time(tmp_path: Path, calendar: Calendar) -> None:
    side = full(tmp_path, 2, limits=NEVER_HELD)

    def received(store: Store) -> None:  # by a session that was cut off
        from hashlib import sha256

        for n in range(3):
            mail = text(f"cut {n}")
            store.vault.write(sha256(mail).digest(), 1, mail)
            with store.index.transaction():
                store.ledger.content(sha256(mail).digest(), len(mail), kept=True)

    with_store(side, received)
    assert expire(side).freed == 0
    calendar.go(80)
    side.deliver(b"", text("cut 1"), "S")  # of one of them a message came after all
    assert expire(side).freed == 0
    calendar.go(11)
    assert expire(side).freed == 2
    assert side.kept() == {text("m0").decode(), text("m1").decode(), text("cut 1").decode()}


# --- replicas


def test_a_tombstone_waits_for_every_replica_that_ever_had_the_message(
    tmp_path: Path, calendar: Calendar
) -> None:
    a = full(tmp_path, 3, limits=NEVER_HELD)
    b, c = (Side(tmp_path, name, limits=NEVER_HELD).create() for name in "bc")
    settle(a, b)
    settle(b, c)
    settle(a, b)
    remove_all(a)
    settle(a, b)
    calendar.go(500)
    assert expire(a).forgotten == 0, "c was given them by b, and has not heard"
    assert expire(b).forgotten == 0
    settle(b, c)
    b.deliver(b"", text("news"), "S")  # what others have taken in travels with the next news
    settle(a, b)
    assert expire(a).forgotten == 3
    settle(b, c)
    assert expire(b).forgotten == 3
    b.deliver(b"", text("more"), "S")
    settle(b, c)
    settle(a, b)
    for side in (a, b, c):
        assert len(side.files()) == 2
        side.at_rest()


def test_a_replica_that_is_given_up_is_not_waited_for(tmp_path: Path, calendar: Calendar) -> None:
    a, b = full(tmp_path, 3, limits=NEVER_HELD), Side(tmp_path, "b", limits=NEVER_HELD).create()
    settle(a, b)
    remove_all(a)
    calendar.go(500)
    assert expire(a).forgotten == 0
    with_store(a, lambda store: store.give_up(max(store.index.members - {store.index.me})))
    assert expire(a).forgotten == 2
    with pytest.raises(PermissionDenied):
        sync(b, a)
    Store.adopt(b.root, b.state, NEVER_HELD).close()  # it may only return as a new one
    settle(b, a)
    assert len(a.files()) == len(b.files()) == 2, (
        "what nobody remembers any more is back, and nothing of b is lost"
    )


def test_a_peer_that_rejects_what_is_purged_here_brings_it_back(tmp_path: Path, calendar: Calendar) -> None:
    a = full(tmp_path, 60)
    b = Side(tmp_path, "b").create()
    settle(a, b)
    a.limits = NEVER_HELD
    remove_all(a)
    sync(a, b)
    assert held(b) == [60]
    calendar.go(91)
    assert expire(a).freed == 60
    assert a.kept() == set()
    answer(b, holds.reject)
    settle(a, b)
    assert len(a.files()) == len(b.files()) == 60
    a.at_rest()


# --- plans, limits, clocks


class Noted(Watcher):
    def __init__(self) -> None:
        self.said: list[object] = []

    def due(self, batch: Sequence[Due], reasons: dict[int, str], lost: set[int]) -> None:
        self.said += [("due", one.no, one.why, one.box in reasons) for one in batch]

    def free(self, batch: Sequence[Free]) -> None:
        self.said += [("free", one.content_id) for one in batch]

    def forget(self, records: Sequence[int]) -> None:
        self.said += [("forget", no) for no in records]


def test_a_run_does_exactly_what_the_plan_says(tmp_path: Path, calendar: Calendar) -> None:
    side = Side(tmp_path, "a", limits=NEVER_HELD)
    for box in (b"", b".Lists", b".Now", b".Held"):
        side.mailbox(box)
        for n in range(8):
            side.deliver(box, text(f"{box.decode()}{n}"), "S" if n % 3 else "FS")
    side.create()
    for path in side.files()[::5]:
        os.unlink(side.path(path))
    side.scan()
    calendar.go(120)
    lay_down(side, "Lists", "expire", "30d keep=flagged")
    lay_down(side, "Now", "expire", "count=3")
    side.limits = Limits(minimum=1, count=6, mailbox_share=2, store_share=2)
    for keeping in (Keeping(), Keeping(0), Keeping(0, 0)):
        before = (side.shown(), side.kept(), with_store(side, _rows))
        plan, run = Noted(), Noted()
        said = expire(side, watcher=plan, dry=True, keeping=keeping)
        assert (side.shown(), side.kept(), with_store(side, _rows)) == before, "a plan changes nothing"
        done = expire(side, watcher=run, keeping=keeping)
        assert run.said == plan.said
        assert vars(said) == vars(done)
        assert plan.said
        side.limits = NEVER_HELD
        calendar.go(30)


def _rows(store: Store) -> list[object]:
    return list(store.index.execute("SELECT no, live, gone, keep, hold, todo FROM record ORDER BY no"))


def test_limits_end_a_run_and_the_next_goes_on(tmp_path: Path, calendar: Calendar) -> None:
    side = full(tmp_path, 20, limits=NEVER_HELD)
    lay_down(side, "", "expire", "30d")
    report = expire(side, messages=7)
    assert (report.expired, report.ended) == (7, "messages")
    assert expire(side, messages=7).expired == 7
    assert (expire(side).expired, expire(side).expired) == (6, 0)
    calendar.go(91)
    assert expire(side, messages=15).freed == 15
    assert expire(side).freed == 5
    with mock.patch.object(clock, "monotonic", mock.Mock(side_effect=range(0, 10_000, 10))):
        calendar.go(500)
        assert expire(side, seconds=5).ended == "time"


def test_a_rate_is_kept(tmp_path: Path) -> None:
    side = full(tmp_path, 20, limits=NEVER_HELD)
    lay_down(side, "", "expire", "30d")
    slept: list[float] = []
    with (
        mock.patch.object(clock, "sleep", slept.append),
        mock.patch.object(clock, "monotonic", return_value=0.0),
    ):
        assert expire(side, rate=4).expired == 20
    assert slept == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(("days", "word"), [(-2, "went back"), (40, "long"), (20, "")])
def test_a_clock_that_jumped_stops_both_passes(
    tmp_path: Path, calendar: Calendar, days: int, word: str
) -> None:
    side = full(tmp_path, 5, limits=NEVER_HELD)
    expire(side, clock_is_right=False)
    lay_down(side, "", "expire", "30d")
    calendar.go(days)
    report = expire(side, clock_is_right=False)
    assert (word in report.stopped) if word else not report.stopped
    assert report.expired == (0 if word else 5)
    if word:
        assert expire(side, clock_is_right=False).stopped, (
            "it stays stopped until a person says that it is right"
        )
        assert expire(side, clock_is_right=True).expired == 5
        assert not expire(side, clock_is_right=False).stopped


def test_a_clock_that_jumped_while_the_machine_was_running_is_found_out(
    tmp_path: Path, calendar: Calendar
) -> None:
    side = full(tmp_path, 5, limits=NEVER_HELD)
    expire(side, clock_is_right=False)
    calendar.days += 3
    report = expire(side, clock_is_right=False)
    assert "jumped ahead by 3 days" in report.stopped


def test_a_store_from_a_backup_expires_nothing_until_it_is_put_right(tmp_path: Path) -> None:
    side = full(tmp_path, 5, limits=NEVER_HELD)
    lay_down(side, "", "expire", "30d")
    store = side.open()
    store.distrust = "the Maildir came from a backup"
    report = Expire(store, Policy(store.ledger, clock.now()), Bounds(clock_is_right=True)).run()
    store.close()
    assert "came from a backup" in report.stopped
    assert len(side.files()) == 5


# --- what the index does not know


def test_an_object_that_nobody_knows_is_freed_after_its_time_and_damaged_bytes_are_left_alone(
    tmp_path: Path, calendar: Calendar
) -> None:
    from hashlib import sha256

    side = full(tmp_path, 2, limits=NEVER_HELD)
    cut, bad = text("cut"), text("bad")

    def killed_before_it_was_noted(store: Store) -> None:
        store.vault.write(sha256(cut).digest(), 1, cut)
        store.vault.write(sha256(bad).digest(), 1, bad[:10])

    with_store(side, killed_before_it_was_noted)
    for _ in range(130):
        expire(side)
    calendar.go(91)
    before = side.kept()
    assert {cut.decode(), bad[:10].decode()} <= before
    expire(side)
    assert before - side.kept() == {cut.decode()}


def test_after_an_index_came_from_a_backup_nothing_that_was_freed_since_is_believed_kept(
    tmp_path: Path, calendar: Calendar
) -> None:
    import shutil

    side = full(tmp_path, 8, limits=NEVER_HELD)
    remove_all(side)
    index = os.path.join(side.state, b"index.db")
    shutil.copy(index, index + b".old")
    calendar.go(91)
    assert expire(side).freed == 8
    os.rename(index + b".old", index)
    side.scan()
    side.at_rest()
    kept = with_store(side, lambda store: store.index.value("SELECT count(*) FROM content WHERE kept"))
    assert kept == 0


def compare_everything(store: Store) -> None:
    with store.index.transaction():
        store.index.meta["suspect"] = 1


@pytest.mark.parametrize("first", ["who forgot", "who did not"])
@pytest.mark.parametrize("way", ["anew", "moved back", "compared"])
def test_what_is_delivered_again_has_no_flags_of_its_forgotten_former_life(
    tmp_path: Path, calendar: Calendar, first: str, way: str
) -> None:
    """Its tombstone is forgotten on one replica and not yet on the other two."""
    a, b, c = (Side(tmp_path, name, limits=NEVER_HELD).create() for name in "abc")
    path = a.deliver(b"", text("again"), "FRS")
    b.deliver(b"", text("stays"), "S")
    for _ in range(2):
        settle(a, b)
        settle(b, c)
    if way == "moved back":
        a.mailbox(b".Work")
        os.rename(path, a.path(b".Work", b"cur", os.path.basename(path).partition(b":")[0] + b":2,FRS"))
    else:
        os.unlink(path)
    for number in range(3):  # until everybody knows that everybody has heard of it
        a.scan()
        settle(a, b)
        settle(b, c)
        b.deliver(b"", text(f"news {number}"), "S")
    settle(a, b)
    calendar.go(500)
    assert expire(b).forgotten == 1
    b.deliver(b"", text("again"), "")
    b.scan()
    if way == "compared":  # every row travels, tombstones too
        for side in (a, b, c):
            with_store(side, compare_everything)
    for one, other in ((b, a), (b, c), (a, c)) if first == "who forgot" else ((a, b), (c, b), (c, a)):
        settle(one, other)
    settle(b, c)
    for side in (a, b, c):
        flags = [flags for box, flags, mail in side.shown() if box == "" and mail == text("again").decode()]
        assert flags == [""], side.root
        side.at_rest()
    assert a.shown() == b.shown() == c.shown()


def dates(side: Side) -> list[int]:
    """By which the age of live messages is counted."""
    rows = with_store(side, lambda store: list(store.index.execute("SELECT date FROM record WHERE live")))
    return sorted(date for (date,) in rows)


def test_what_a_peer_puts_back_gets_no_older_here(tmp_path: Path) -> None:
    a = Side(tmp_path, "a", limits=NEVER_HELD).create()
    b = Side(tmp_path, "b", limits=Limits(count=0, mailbox_share=0, store_share=0, minimum=0)).create()
    for side, date in ((a, 1_700_000_000), (b, 1_500_000_000)):  # copied without times
        os.utime(side.deliver(b"", text("one"), "S"), (date, date))
    for number in range(5):
        a.deliver(b"", text(f"x{number}"), "S")
    settle(a, b)
    before = dates(a)
    os.unlink(a.path_of(text("one").decode()))
    a.scan()
    sync(a, b)
    answer(b, holds.reject)
    settle(a, b)
    assert text("one").decode() in a.texts()
    assert dates(a) == before


@pytest.mark.parametrize("where", ["who has not heard", "who holds it"])
def test_what_was_delivered_again_is_young_everywhere(tmp_path: Path, calendar: Calendar, where: str) -> None:
    strict = Limits(count=0, mailbox_share=0, store_share=0, minimum=0)
    a, b = (Side(tmp_path, name, limits=NEVER_HELD).create() for name in "ab")
    c = Side(tmp_path, "c", limits=strict if where == "who holds it" else NEVER_HELD).create()
    os.utime(a.deliver(b"", text("again"), "S"), (1_500_000_000,) * 2)
    settle(a, b)
    settle(b, c)
    os.unlink(a.path_of(text("again").decode()))
    a.scan()
    settle(a, b)
    if where == "who holds it":
        sync(b, c)
        assert held(c) == [1]
    os.utime(b.deliver(b"", text("again"), "S"), (int(clock.now()),) * 2)
    b.scan()
    for one, other in ((a, b), (b, c), (a, c), (a, b)):
        settle(one, other)
    lay_down(c, "", "expire", "400d")
    assert expire(c).expired == 0
    assert a.shown() == b.shown() == c.shown()
