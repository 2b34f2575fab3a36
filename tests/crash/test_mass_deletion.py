"""Many messages vanish: by a mail program, by a peer, at once or a few in each run. What must be held is, and nothing else.

Stores in a row, with the guard's ordinary limits: 10 % of a store, 25 % of a mailbox, more than 50 messages.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crash.kit import Side, settle, sync
from mailkeep.rules.guard import Limits
from mailkeep.rules.rewriting import is_same_mail, message_id
from mailkeep.store import holds, rewritten
from mailkeep.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from _pytest.monkeypatch import MonkeyPatch

pytestmark = pytest.mark.slow

NEVER_HELD = Limits(count=1 << 40, mailbox_share=2, store_share=2)
BOXES = (b"", b".Work", b".Lists")
COUNT = 120
"""Messages in each of them."""
HALF, ALL = COUNT // 2, COUNT


def text(number: int, words: str = "text") -> bytes:
    return f"Message-ID: <{number}@example.org>\nSubject: {number}\n\n{words} {number}\n".encode()


class Chain:
    """Stores that meet their neighbours; the first one has the mail to begin with."""

    def __init__(self, base: Path, count: int, limits: Limits | None = None) -> None:
        self.sides = [Side(base, name, limits=limits) for name in "abc"[:count]]
        first = self.sides[0]
        for box in (*BOXES, b".Trash"):
            first.mailbox(box)
        for number, box in enumerate(box for box in BOXES for _ in range(COUNT)):
            first.deliver(box, text(number), "S")
        for side in self.sides:
            side.create()
        self.settle()

    def settle(self) -> None:
        for one, other in list(zip(self.sides, self.sides[1:], strict=False)) * 2:
            settle(one, other)

    def round(self) -> None:
        for one, other in zip(self.sides, self.sides[1:], strict=False):
            sync(one, other)


def delete(side: Side, box: bytes, count: int, *, first: int = 0) -> None:
    at = side.path(box, b"cur")
    for name in sorted(os.listdir(at))[first : first + count]:
        os.unlink(os.path.join(at, name))


def content(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def count(side: Side) -> int:
    return len(side.files())


def held(side: Side) -> list[int]:
    """How many messages each hold has."""
    store = side.open()
    try:
        found = [hold.count for hold in holds.holds(store.ledger)]
        assert holds.alarms(store.ledger) == bool(found), (
            "the exit status says that something waits just when it does"
        )
        return found
    finally:
        store.close()


def answer(side: Side, how: Callable[..., int], number: int | None = None) -> None:
    store = side.open()
    try:
        with store.index.transaction():
            for hold in holds.holds(store.ledger):
                if number in (None, hold.no):
                    how(store.ledger, hold.no)
        store.bump()
        store.apply()
        store.end_run("answer", None, 0, {})
    finally:
        store.close()


TOTAL = len(BOXES) * COUNT


# --- how many, and by whom


@pytest.mark.parametrize(
    ("boxes", "each", "stopped"),
    [
        (BOXES[1:2], COUNT // 20, False),
        (BOXES[1:2], HALF, True),
        (BOXES[1:2], ALL, True),
        (BOXES, COUNT // 20, False),
        (BOXES, HALF, True),
        (BOXES, ALL, True),
    ],
    ids=["5 % of a mailbox", "50 %", "100 %", "5 % of the store", "50 % of it", "100 % of it"],
)
@pytest.mark.parametrize("by", ["a program", "a peer"])
def test_in_one_blow(tmp_path: Path, boxes: tuple[bytes, ...], each: int, stopped: bool, by: str) -> None:
    chain = Chain(tmp_path, 2)
    here, there = chain.sides
    lost = each * len(boxes)
    for box in boxes:
        delete(here, box, each)
    if by == "a peer":
        here.limits = NEVER_HELD
    session = sync(here, there)
    if by == "a program":
        assert (session.scans[0].held, session.scans[0].expunged) == ((lost, 0) if stopped else (0, lost))
        assert sum(held(here)) == (lost if stopped else 0)
        assert held(there) == []
        assert count(there) == (TOTAL if stopped else TOTAL - lost)
    else:
        assert sum(held(there)) == (lost if stopped else 0)
        assert count(there) == (TOTAL if stopped else TOTAL - lost)


def test_bled_over_many_runs_by_a_program(tmp_path: Path) -> None:
    here, there = Chain(tmp_path, 2).sides
    for run in range(12):
        delete(here, BOXES[run % 3], 10)
        sync(here, there)
    assert TOTAL - count(there) <= 50, "no more than the limits let go at once"
    assert sum(held(here)) >= 70


def test_bled_over_many_runs_by_a_peer(tmp_path: Path) -> None:
    here, there = Chain(tmp_path, 2).sides
    here.limits = NEVER_HELD
    for run in range(12):
        delete(here, BOXES[run % 3], 10)
        sync(here, there)
    assert TOTAL - count(there) <= 50
    assert sum(held(there)) >= 70


def test_the_window_passes_and_a_clock_that_goes_back_does_not_open_it(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    here, there = Chain(tmp_path, 2).sides
    now = clock.now
    delete(here, b".Work", 40)
    sync(here, there)
    with monkeypatch.context() as m:
        m.setattr(clock, "now", lambda: now() - 30 * 86_400)
        delete(here, b".Lists", 40)
        sync(here, there)
        assert sum(held(here)) == 40
        answer(here, holds.reject)
    with monkeypatch.context() as m:
        m.setattr(clock, "now", lambda: now() + 2 * 86_400)
        delete(here, b".Lists", 40)
        sync(here, there)
        assert held(here) == []
    assert count(there) == TOTAL - 80


def test_three_stores_in_a_row(tmp_path: Path) -> None:
    chain = Chain(tmp_path, 3)
    a, b, c = chain.sides
    a.limits = NEVER_HELD  # its guard is off: the others' are not
    for box in BOXES:
        delete(a, box, ALL)
    chain.round()
    chain.round()
    assert (count(a), count(b), count(c)) == (0, TOTAL, TOTAL)
    assert (sum(held(b)), sum(held(c))) == (TOTAL, TOTAL)
    answer(c, holds.approve)  # the last one answers, and for all
    sync(b, c)
    assert (count(b), count(c)) == (0, 0)
    assert held(b) == []
    assert held(c) == []
    chain.settle()


def test_three_stores_one_after_the_other(tmp_path: Path) -> None:
    chain = Chain(tmp_path, 3)
    for side, box in zip(chain.sides, BOXES, strict=True):
        delete(side, box, ALL)
    chain.round()
    chain.round()
    assert [held(side) for side in chain.sides] == [[COUNT]] * 3
    assert [count(side) for side in chain.sides] == [TOTAL - COUNT] * 3, "what vanished here is still there"
    for side in chain.sides:
        answer(side, holds.reject)
    chain.settle()
    assert [count(side) for side in chain.sides] == [TOTAL] * 3
    assert [held(side) for side in chain.sides] == [[]] * 3


# --- what is no mass deletion


@pytest.fixture
def deep(request: pytest.FixtureRequest) -> bool:
    return os.environ.get("HYPOTHESIS_PROFILE") == "deep" or request.config.getoption("-m") == "crash"


def with_mailbox(base: Path, size: int) -> tuple[Side, Side]:
    here, there = Side(base, "a"), Side(base, "b")
    here.mailbox(b".Old")
    for number in range(size):
        here.deliver(b".Old", b"%d" % number, "S")
    for side in (here, there):
        side.create()
    settle(here, there)
    return here, there


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_a_renamed_mailbox_is_not_held(tmp_path: Path, deep: bool) -> None:
    size = 100_000 if deep else 1_000
    here, there = with_mailbox(tmp_path, size)
    os.rename(here.path(b".Old"), here.path(b".New"))
    session = sync(here, there)
    assert (session.scans[0].held, session.scans[0].expunged) == (0, 0)
    assert session.initiator.wire.sent_bytes < 2000
    assert held(here) == held(there) == []
    assert len(os.listdir(there.path(b".New", b"cur"))) == size
    assert not os.path.exists(there.path(b".Old"))


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_a_mailbox_renamed_one_message_at_a_time_is_not_held(tmp_path: Path, deep: bool) -> None:
    size = 10_000 if deep else 1_000
    here, there = with_mailbox(tmp_path, size)
    there.mailbox(b".New")
    for name in os.listdir(there.path(b".Old", b"cur")):
        os.rename(there.path(b".Old", b"cur", name), there.path(b".New", b"cur", name))
    shutil.rmtree(there.path(b".Old"))
    session = sync(here, there)
    assert (session.scans[1].held, session.scans[1].expunged) == (0, size)
    assert held(here) == held(there) == []
    assert len(os.listdir(here.path(b".New", b"cur"))) == size


def test_an_emptied_trash_is_not_held(tmp_path: Path) -> None:
    chain = Chain(tmp_path, 3)
    here = chain.sides[0]
    for box in BOXES:
        for name in os.listdir(here.path(box, b"cur")):
            os.rename(here.path(box, b"cur", name), here.path(b".Trash", b"cur", name))
    chain.settle()
    assert [count(side) for side in chain.sides] == [TOTAL] * 3
    delete(here, b".Trash", TOTAL)
    chain.settle()
    assert [count(side) for side in chain.sides] == [0] * 3
    assert [held(side) for side in chain.sides] == [[]] * 3


# --- while something is held


@pytest.fixture
def waiting(tmp_path: Path) -> Chain:
    """Three stores; in the first one half of the mail was deleted by a program, and is held."""
    chain = Chain(tmp_path, 3)
    for box in BOXES:
        delete(chain.sides[0], box, HALF)
    chain.round()
    assert held(chain.sides[0]) == [TOTAL // 2]
    return chain


def test_meanwhile_mail_and_flags_flow_in_all_directions(waiting: Chain) -> None:
    a, b, c = waiting.sides
    for number, side in enumerate(waiting.sides):
        side.deliver(b".Work", b"new on %d" % number, "")
        at = side.path(b".Lists", b"cur")
        name = sorted(os.listdir(at))[-1 - number]
        os.rename(os.path.join(at, name), os.path.join(at, name.partition(b":2,")[0] + b":2,FS"))
    waiting.round()
    waiting.round()
    for side in waiting.sides:
        assert [t for t in side.texts() if t.startswith("new on")] == ["new on 0", "new on 1", "new on 2"]
    assert b.shown() == c.shown()
    assert len([1 for _, flags, _ in b.shown() if "F" in flags]) == 3
    assert set(a.shown()) <= set(b.shown())
    assert count(b) == TOTAL + 3


def test_it_waits_across_runs_and_does_not_spread(waiting: Chain) -> None:
    a, b, c = waiting.sides
    before = held(a)
    for _ in range(3):
        waiting.round()
        a.scan()
    assert held(a) == before
    assert held(b) == held(c) == []
    assert count(b) == count(c) == TOTAL


def test_approved_it_is_carried_out_everywhere_without_asking_again(waiting: Chain) -> None:
    answer(waiting.sides[0], holds.approve)
    waiting.settle()
    assert [count(side) for side in waiting.sides] == [TOTAL // 2] * 3
    assert [held(side) for side in waiting.sides] == [[]] * 3


def test_rejected_it_is_back_everywhere(waiting: Chain) -> None:
    before = waiting.sides[1].shown()
    answer(waiting.sides[0], holds.reject)
    waiting.settle()
    assert [side.shown() for side in waiting.sides] == [before] * 3
    assert [held(side) for side in waiting.sides] == [[]] * 3


def test_after_an_approval_the_next_few_deletions_are_not_held(waiting: Chain) -> None:
    """What a person approved does not fill the window, neither here nor where the approval arrives."""
    answer(waiting.sides[0], holds.approve)
    waiting.settle()
    for side in waiting.sides:
        delete(side, b".Work", 1)
        waiting.settle()
    assert [held(side) for side in waiting.sides] == [[]] * 3
    assert [count(side) for side in waiting.sides] == [TOTAL // 2 - 3] * 3


def test_an_approval_covers_what_was_shown_and_nothing_more(waiting: Chain) -> None:
    a, b, c = waiting.sides
    store = a.open()
    (shown,) = holds.holds(store.ledger)
    store.close()
    delete(a, b".Lists", HALF)  # the rest of it, before the answer
    a.scan()
    assert held(a) == [TOTAL // 2, HALF]
    answer(a, holds.approve, shown.no)
    waiting.round()
    waiting.round()
    assert held(a) == [HALF]
    assert count(b) == count(c) == TOTAL // 2
    assert held(b) == held(c) == []


def test_an_approval_does_not_cover_a_later_deletion_of_the_same_mail(waiting: Chain) -> None:
    a, b, c = waiting.sides
    gone = set(b.texts()) - set(a.texts())
    answer(a, holds.approve)
    waiting.settle()
    for mail in gone:  # somebody had copies, and puts them back; then they vanish elsewhere
        b.deliver(b".Work", mail.encode(), "S")
    waiting.settle()
    assert count(c) == TOTAL
    c.limits = NEVER_HELD
    for name in os.listdir(c.path(b".Work", b"cur")):
        os.unlink(c.path(b".Work", b"cur", name))
    waiting.round()
    waiting.round()
    assert sum(held(b)) >= len(gone)
    assert count(b) == TOTAL


def test_a_rejection_elsewhere_ends_the_hold_here(tmp_path: Path) -> None:
    chain = Chain(tmp_path, 3)
    a, b, c = chain.sides
    a.limits = NEVER_HELD
    delete(a, b".Work", ALL)
    chain.round()
    chain.round()
    assert held(b) == held(c) == [COUNT]
    answer(c, holds.reject)
    sync(b, c)
    assert held(b) == held(c) == []
    chain.settle()
    assert [count(side) for side in chain.sides] == [TOTAL] * 3


def test_a_peer_deletes_what_is_held_here_as_missing(tmp_path: Path) -> None:
    """Deleted here and held, a few of it are deleted there, too, where nobody minds: these wait no longer."""
    here, there = Chain(tmp_path, 2).sides
    names = sorted(os.listdir(here.path(b".Work", b"cur")))
    first = {content(here.path(b".Work", b"cur", name)) for name in names[:10]}
    delete(here, b".Work", ALL)
    sync(here, there)
    assert held(here) == [COUNT]
    for name in os.listdir(there.path(b".Work", b"cur")):
        path = there.path(b".Work", b"cur", name)
        if content(path) in first:
            os.unlink(path)
    sync(here, there)
    assert held(here) == [COUNT - 10]
    answer(here, holds.reject)
    settle(here, there)
    assert count(here) == count(there) == TOTAL - 10


def test_a_mailbox_that_disappeared_is_there_again_when_others_emptied_it(tmp_path: Path) -> None:
    chain = Chain(tmp_path, 2)
    here, there = chain.sides
    shutil.rmtree(here.path(b".Work"))
    sync(here, there)
    assert held(here) == [COUNT]
    there.limits = NEVER_HELD
    delete(there, b".Work", COUNT)
    here.limits = NEVER_HELD
    settle(here, there)
    assert held(here) == []
    for side in (here, there):
        assert os.listdir(side.path(b".Work", b"cur")) == []
        side.at_rest()


def test_what_is_put_back_by_hand_is_held_no_longer(waiting: Chain) -> None:
    a, b, _ = waiting.sides
    here = set(a.texts())
    for directory, _, mail in b.shown():
        if mail not in here:
            a.deliver(directory.encode(), mail.encode(), "S")
    a.scan()
    assert held(a) == []
    waiting.settle()
    assert [count(side) for side in waiting.sides] == [TOTAL] * 3


# --- files that are overwritten


def encrypted(mail: bytes) -> bytes:
    return b"locked: " + mail.hex().encode()


def edited(mail: bytes) -> bytes:
    head, _, body = mail.partition(b"\n\n")
    return head + b"\nX-Label: seen\n\n" + body


def another(mail: bytes) -> bytes:
    return b"Message-ID: <x" + mail.partition(b"<")[2].swapcase()


def without_id(mail: bytes) -> bytes:
    return mail.partition(b"\n")[2]


def overwrite(path: bytes, mail: bytes, *, in_place: bool) -> None:
    if in_place:
        os.chmod(path, 0o600)
        with open(path, "wb") as file:
            file.write(mail)
    else:
        with open(path + b".tmp", "xb") as file:
            file.write(mail)
        os.rename(path + b".tmp", path)


@pytest.mark.parametrize(
    ("change", "in_place"),
    [(encrypted, False), (encrypted, True), (without_id, False), (another, True), (lambda mail: b"", True)],
    ids=["encrypted", "encrypted in place", "without a Message-ID", "another mail", "truncated"],
)
def test_overwritten_mail_is_held_and_comes_back(
    tmp_path: Path, change: Callable[[bytes], bytes], in_place: bool
) -> None:
    here, there = Chain(tmp_path, 2).sides
    mails = set(here.texts())
    for path in here.files():
        full = here.path(path)
        mail = content(full)
        overwrite(full, change(mail), in_place=in_place)
        os.utime(os.path.dirname(full))  # else a change in place is found a few at a time
    for _ in range(30):
        sync(here, there)
        if sum(held(here)) >= TOTAL - 50:
            break
    else:
        raise AssertionError("no hold")
    assert len(mails & set(there.texts())) >= TOTAL - 50
    answer(here, holds.reject)
    settle(here, there)
    settle(there, here)
    assert len(mails & set(here.texts())) >= TOTAL - 50
    assert here.texts() == there.texts()


@pytest.mark.parametrize("in_place", [False, True], ids=["by another file", "in place"])
def test_mail_that_was_still_being_written_is_no_deletion(tmp_path: Path, in_place: bool) -> None:
    here, there = Side(tmp_path, "a"), Side(tmp_path, "b", limits=NEVER_HELD)
    for number in range(200):
        here.deliver(b"", b"no id %d" % number, "S")
    for side in (here, there):
        side.create()
    settle(here, there)
    for path in here.files():
        full = here.path(path)
        mail = content(full)
        overwrite(full, mail + b", and the rest", in_place=in_place)
    sync(here, there)
    for _ in range(12):
        sync(here, there)
    assert held(here) == []
    assert all(mail.endswith("the rest") for mail in there.texts())
    assert count(there) == 200


def test_files_that_exchange_their_names_are_no_deletion(tmp_path: Path) -> None:
    here, there = Chain(tmp_path, 2).sides
    before = there.texts()
    at = here.path(b".Work", b"cur")
    names = sorted(os.listdir(at))
    os.rename(os.path.join(at, names[0]), os.path.join(at, b".aside"))
    for name, following in itertools.pairwise(names):
        os.rename(os.path.join(at, following), os.path.join(at, name))
    os.rename(os.path.join(at, b".aside"), os.path.join(at, names[-1]))
    settle(here, there)
    assert held(here) == held(there) == []
    assert here.texts() == there.texts() == before


def test_files_that_give_their_names_to_new_mail_are_no_deletion(tmp_path: Path) -> None:
    here, there = Chain(tmp_path, 2).sides
    before = there.texts()
    at = here.path(b".Work", b"cur")
    for number, name in enumerate(sorted(os.listdir(at))):
        os.rename(os.path.join(at, name), os.path.join(at, b"other%d:2,S" % number))
        here.deliver(b".Work", text(number, "new"), "S", name=name.partition(b":2,")[0])
    settle(here, there)
    assert held(here) == held(there) == []
    assert here.texts() == there.texts()
    assert set(before) < set(here.texts())
    assert count(here) == TOTAL + COUNT


def edit(side: Side, paths: list[bytes]) -> None:
    for path in paths:
        overwrite(side.path(path), edited(content(side.path(path))), in_place=False)


def unedited(side: Side) -> list[str]:
    return [mail for mail in side.texts() if "X-Label" not in mail]


def test_mail_that_was_edited_is_no_deletion(tmp_path: Path) -> None:
    """Nor do a few edits bring a few deletions nearer to the limit."""
    here, there = Chain(tmp_path, 2).sides
    there.limits = NEVER_HELD  # for it, each is a deletion
    edit(here, here.files()[:30])
    delete(here, b".Work", 30)
    session = sync(here, there)
    assert (session.scans[0].held, session.scans[0].expunged) == (0, 60)
    settle(here, there)
    assert len(unedited(here)) == TOTAL - 60
    assert here.texts() == there.texts()
    assert held(here) == held(there) == []


def test_mail_that_was_rewritten_in_bulk_under_its_own_message_ids_is_held(tmp_path: Path) -> None:
    """A program that writes nonsense below headers that it leaves alone looks, file by file, like one that edits."""
    here, there = Chain(tmp_path, 2).sides
    before = set(here.texts())
    edit(here, here.files())
    session = sync(here, there)
    assert (session.scans[0].held, session.scans[0].expunged) == (TOTAL, 0)
    assert held(here) == [TOTAL]
    store = here.open()
    (hold,) = holds.holds(store.ledger)
    store.close()
    assert hold.reason == f"{TOTAL} of the store's {TOTAL} messages were rewritten, more than 10%"
    assert set(there.texts()) > before, "the others still have what the messages said"
    assert count(there) == 2 * TOTAL
    assert count(here) == TOTAL
    answer(here, holds.reject)
    settle(here, there)
    assert here.texts() == there.texts()
    assert count(here) == 2 * TOTAL


def test_an_approved_edit_in_bulk_is_carried_out_everywhere(tmp_path: Path) -> None:
    chain = Chain(tmp_path, 3)
    here = chain.sides[0]
    edit(here, here.files())
    chain.settle()
    answer(here, holds.approve)
    chain.settle()
    for side in chain.sides:
        assert count(side) == TOTAL
        assert unedited(side) == []
        assert held(side) == []


def test_edits_bled_over_many_runs_are_held(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    here, there = Chain(tmp_path, 2).sides
    began = clock.now()
    for run in range(12):
        monkeypatch.setattr(clock, "now", lambda run=run: began + run * 3600)
        edit(here, [path for path in here.files() if b"X-Label" not in content(here.path(path))][:10])
        sync(here, there)
    assert len(unedited(there)) >= TOTAL - 50, "no more than the limits let go at once"
    assert sum(held(here)) >= 70
    monkeypatch.setattr(clock, "now", lambda: began + 3 * 86_400)
    before = sum(held(here))
    edit(here, [path for path in here.files() if b"X-Label" not in content(here.path(path))][:10])
    sync(here, there)
    assert sum(held(here)) == before, "the window has passed"


def test_the_log_of_edits_has_an_end_and_forgets_none_of_them(tmp_path: Path) -> None:
    here = Chain(tmp_path, 2).sides[0]
    store = here.open()
    began = clock.now() - 30_000
    try:
        reaper = rewritten.Rewritten(store.ledger, Limits(window_seconds=10**9), "here")
        with store.index.transaction():
            for number in range(3 * rewritten.ENTRIES_MAX):
                reaper.note_vanished({number % 3 + 1: 2, number + 10: 1})
        assert len(reaper._log()) <= rewritten.ENTRIES_MAX
        assert sum(reaper.lately(began).values()) == 9 * rewritten.ENTRIES_MAX
    finally:
        store.close()


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (b"Message-ID: <a@b>\n\nMessage-ID: <c@d>", b"<a@b>"),
        (b"MESSAGE-ID:<a@b>\r\n\r\n", b"<a@b>"),
        (b"Message-Id:\n <a@b>\nTo: x", b"<a@b>"),
        (b"Subject: x\n\nMessage-ID: <c@d>", None),
        (b"Message-ID: \n\nbody", None),
        (b"X-Message-ID: <c@d>\n", None),
        (b"", None),
        (b"\xff\x00" * 100, None),
    ],
)
def test_the_message_id_is_found_in_the_header_only(head: bytes, wanted: bytes | None) -> None:
    assert message_id(head) == wanted
    assert is_same_mail(head, head) == (wanted is not None)
