"""`mailkeep expire` cut off, or failing, at every step: the next run ends where an undisturbed one does, and nothing else goes."""

from __future__ import annotations

import errno
import os
from random import Random
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from crash.kit import Crash, Side, Steps
from mailkeep.domain.errors import MailkeepError
from mailkeep.rules.guard import Limits
from mailkeep.rules.keeping import Keeping
from mailkeep.store.annotations import annotate
from mailkeep.store.expire import Bounds, Expire, Report
from mailkeep.store.policy import Policy
from mailkeep.system import clock
from mailkeep.testing.powercut import NO_BYTES, SOME, SYNCED, Unsynced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400
NEVER_HELD = Limits(count=1 << 40, mailbox_share=2, store_share=2)
ERRORS = (errno.ENOSPC, errno.EIO)
BATCHES = {
    "mailkeep.store.expire.BATCH": 2,
    "mailkeep.store.expire.FREE_BATCH": 2,
    "mailkeep.store.cleanup.PAGE": 3,
}
"""Small, so that there is something between two of them."""


def text(name: str) -> bytes:
    return f"From: {name}@example.org\nSubject: {name}\n\n{name}\n".encode()


class Aged(Side):
    """A store in which there is something of everything for both passes. Time is what the test says."""

    def __init__(self, base: Path, name: str = "a") -> None:
        base.mkdir(exist_ok=True)
        super().__init__(base, name, limits=NEVER_HELD)
        self.now = clock.now()
        self.mailbox(b".Lists")
        self.mailbox(b".Court")
        for n in range(5):
            self.deliver(b".Lists", text(f"due {n}"), "S")
        self.deliver(b".Lists", text("flagged"), "FS")
        self.deliver(b".Lists", text("copied"), "S")
        self.deliver(b"", text("copied"), "S")
        self.deliver(b"", text("stays"), "S")
        removed = [self.deliver(b"", text(f"removed {n}"), "S") for n in range(5)]
        removed.append(self.deliver(b".Court", text("evidence"), "S"))
        self.create()
        self.deliver(b"", text("newest"), "S")
        self.scan()
        for path in removed:
            os.unlink(path)
        self.scan()
        with self.opened() as store, store.index.transaction():
            annotate(store.ledger, self.named(store, "Lists"), "expire", "30d keep=flagged")
            annotate(store.ledger, self.named(store, "Court"), "noexpire", "forever")
            # Two of them were removed so long ago that their tombstones are forgotten, too.
            store.index.execute(
                "UPDATE record SET gone = gone - 500 * 86400, keep = keep - 500 * 86400 WHERE no IN"
                " (SELECT no FROM record WHERE NOT live AND mailbox = ? ORDER BY no LIMIT 2)",
                (self.named(store, "INBOX").no,),
            )

    @staticmethod
    def named(store: Any, name: str) -> Any:
        box = store.ledger.named(name)
        assert box is not None
        return box

    def opened(self, **more: Any) -> Opened:
        return Opened(self, **more)

    def later(self) -> Any:
        return mock.patch.object(clock, "now", return_value=self.now + 91 * DAY)

    def expire(self, *, dry: bool = False, **bounds: Any) -> Report:
        """As the command does it, three months later."""
        with self.later(), self.opened(dry=dry) as store:
            store.scan()
            bounds.setdefault("clock_is_right", True)
            report = Expire(store, Policy(store.ledger, clock.now()), Bounds(**bounds)).run()
            store.end_run("expire", None, 0, {})
            return report

    def books(self) -> list[tuple[object, ...]]:
        """What the index says of each message, but for numbers that depend on the way there."""
        with self.later(), self.opened() as store:
            return sorted(
                store.index.execute(
                    "SELECT m.name, c.id, c.kept, r.live, r.flags, r.gone IS NULL, r.keep IS NULL, r.todo, r.sub != 0"
                    " FROM record r JOIN content c ON c.no = r.content JOIN mailbox m ON m.no = r.mailbox"
                )
            )

    def believed(self) -> None:
        """Whatever the index says is kept is there, and whole; the next run needs nothing else."""
        with self.later(), self.opened() as store:
            for (content_id,) in list(store.index.execute("SELECT id FROM content WHERE kept")):
                store.vault.read(bytes(content_id))

    def objects(self) -> set[str]:
        return {text for text in self.kept() if text}


class Opened:
    """A store of an Aged side, with its keeping, for a block."""

    def __init__(self, side: Aged, **more: Any) -> None:
        self.side, self.more = side, more

    def __enter__(self) -> Any:
        self.store = self.side.open(**self.more)
        self.store.ledger.keeping = Keeping(90 * DAY, 400 * DAY)
        return self.store

    def __exit__(self, *_: object) -> None:
        self.store.close()


class End:
    """Where an undisturbed run ends."""

    def __init__(self, base: Path) -> None:
        side = Aged(base)
        self.before = side.objects()
        steps = Steps()
        with steps.installed():
            self.report = side.expire()
        self.steps = len(steps.names)
        side.at_rest()
        self.books, self.objects, self.shown = side.books(), side.objects(), side.shown()


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    patches = [mock.patch(name, size) for name, size in BATCHES.items()]
    for patch in patches:
        patch.start()
    yield
    for patch in patches:
        patch.stop()


@pytest.fixture(scope="module")
def end(small: None, tmp_path_factory: pytest.TempPathFactory) -> End:
    return End(tmp_path_factory.mktemp("undisturbed"))


def recovers(side: Aged, end: End, where: str) -> None:
    try:
        side.believed()
        assert end.before >= side.objects() >= end.objects, "what is to stay is there"
        side.expire()
        side.at_rest()
        side.believed()
        assert side.books() == end.books
        assert side.objects() == end.objects
        assert side.shown() == end.shown
        assert not side.expire().changed, "a third run has nothing to do"
    except BaseException as err:
        raise AssertionError(where) from err


def disturbed(
    base: Path, fault: BaseException, step: int, *, after: bool
) -> tuple[Aged, Steps, BaseException | None]:
    side = Aged(base)
    steps = Steps(step, fault, after=after)
    raised: BaseException | None = None
    with steps.installed():
        try:
            side.expire()
        except (Crash, Exception) as err:  # noqa: BLE001 - what it is, the caller says
            raised = err
        finally:
            steps.stop()
    return side, steps, raised


def test_what_an_undisturbed_run_does(end: End) -> None:
    report = end.report
    assert (report.expired, report.held, report.problems) == (6, 0, [])
    assert report.freed == 5, "the removed ones, but not what the court wants"
    assert report.forgotten == 2
    assert report.stays == {"a legal hold keeps it": 1}
    assert report.freed_bytes == 5 * 4096
    names = {
        name
        for name in ("flagged", "copied", "stays", "newest")
        if text(name).decode() in {t for _, _, t in end.shown}
    }
    assert names == {"flagged", "copied", "stays", "newest"}
    assert len(end.shown) == 4
    assert end.objects == end.before - {text(f"removed {n}").decode() for n in range(5)}, (
        "the expired ones are kept"
    )


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_a_crash_at_any_step_costs_a_repeat_and_nothing_else(tmp_path: Path, end: End, every: bool) -> None:
    assert end.steps > 40
    for step in range(end.steps) if every else range(3, end.steps, end.steps // 4):
        for after in (False, True) if every else (bool(step % 2),):
            side, steps, raised = disturbed(tmp_path / f"{step}{after}", Crash(), step, after=after)
            where = f"crash {'after' if after else 'before'} step {step} ({steps.hit})"
            assert isinstance(raised, Crash) or not steps.hit, where
            recovers(side, end, where)


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_an_error_at_any_step_is_explained_and_the_next_run_completes(
    tmp_path: Path, end: End, every: bool
) -> None:
    for step in range(end.steps) if every else range(5, end.steps, end.steps // 3):
        code = ERRORS[step % len(ERRORS)]
        side, steps, raised = disturbed(
            tmp_path / str(step), OSError(code, os.strerror(code)), step, after=False
        )
        where = f"{errno.errorcode[code]} at step {step} ({steps.hit})"
        if raised is not None:
            assert isinstance(raised, MailkeepError), f"{where}: {raised!r}"
            assert raised.hint, where
        recovers(side, end, where)


@pytest.mark.crash
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("view", [SYNCED, NO_BYTES, SOME])
def test_a_power_cut_at_any_step_costs_a_repeat_and_nothing_else(
    tmp_path: Path, end: End, view: str, every: bool
) -> None:
    for step in range(end.steps) if every else [Random(view).randrange(end.steps)]:
        side = Aged(tmp_path / str(step))
        (tmp_path / f"{step}.aside").mkdir()
        unsynced = Unsynced(os.fsencode(tmp_path / f"{step}.aside"))
        steps = Steps(step, Crash(), after=bool(step % 2))
        with unsynced.installed(), steps.installed():
            try:
                side.expire()
            except Crash:
                pass
            finally:
                steps.stop()
        unsynced.cut(view, Random(f"{step}/{view}"))
        recovers(side, end, f"power cut at step {step} ({steps.hit}); there is {view}")
