"""Copies: what is copied comes back as it was, wherever making or taking in is cut off, and whatever is in the copy."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from crash.kit import OLD, Crash, Side, Steps, settle, sync
from mailkeep.domain.errors import DataError, MailkeepError, NoInput, StorageError, UsageError
from mailkeep.domain.flags import unpack
from mailkeep.store.annotations import annotate, effective, pending
from mailkeep.store.copyfiles import Source
from mailkeep.store.copyread import Check, Copy
from mailkeep.store.snapshot import Snapshot, Wanted
from mailkeep.store.takein import TakeIn
from mailkeep.system import fs
from mailkeep.wire import copies
from mailkeep.wire.copies import BadManifest
from mailkeep.wire.layouts import FS, UTF8, Layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

    from mailkeep.store.snapshot import Made
    from mailkeep.store.takein import Taken

Shown = list[tuple[str, str, int, str]]


def take(
    side: Side, target: bytes, *, link: bool = False, chosen: list[int] | None = None, expunged: bool = False
) -> Made:
    """As the command line makes a copy."""
    wanted = Wanted("snapshot" if chosen is None else "export", expunged=expunged)
    with Snapshot(target, side.root, side.state, wanted) as work:
        store = side.open()
        try:
            if not work.planned:
                store.scan()
                work.plan(store, chosen)
                store.end_run("snapshot", None, 0, {})
            source = Source(store)
        finally:
            store.close()
        return work.run(source, link=link)


def put(side: Side, path: bytes, **more: bool) -> Taken:
    """As the command line takes a copy in."""
    with Copy(path) as copy:
        store = side.open()
        try:
            store.scan()
            taken = TakeIn(store, copy, **more).run()
            store.apply()
            store.bump()
            store.end_run("import", None, 0, {})
            return taken
        finally:
            store.close()


def faults(path: bytes) -> list[tuple[str, str]]:
    with Copy(path) as copy:
        check = Check(copy)
        check.run()
        return check.faults


def mail(side: Side) -> Shown:
    """(mailbox, flags and keywords, INTERNALDATE, content) of all that is there, by the index and by the files."""
    store = side.open()
    try:
        out = []
        for box in store.ledger.alive():
            for record in store.ledger.shown(box):
                text = store.vault.read(store.ledger.content_id(record.content)).decode()
                out.append((box.name, record.flags, record.date, text))
        return sorted(out)
    finally:
        store.close()


def mailboxes(side: Side) -> list[tuple[str, bytes]]:
    store = side.open()
    try:
        return sorted((box.name, box.id) for box in store.ledger.alive())
    finally:
        store.close()


def rich(base: Path) -> Side:
    """A store with something of everything."""
    side = Side(base, "rich")
    for directory in (b".Work", b".Work.Old\\new", b".Empty", b".Entw&APw-rfe"):
        side.mailbox(directory)
    with open(side.path(b".Work", b"dovecot-keywords"), "w") as file:
        file.write("0 $Forwarded\n1 urgent\n")
    for number in range(6):
        side.deliver(b"", b"message %d\n" % number, (None, "S", "FRS", "", "T", "D")[number])
        side.deliver(b".Work", b"work %d\n" % number, ("a", "Sb", "ab", None, "S", "F")[number])
    for flags in ("S", "F", None):  # equal ones in one mailbox, and in another
        side.deliver(b"", b"three of these\n", flags)
    side.deliver(b".Work.Old\\new", b"three of these\n", "S")
    side.deliver(b".Work.Old\\new", b"", "S")
    side.deliver(b".Work.Old\\new", b"x" * (copies.LINE_BYTES_MAX * 10), "S")
    os.utime(side.deliver(b"", b"before the epoch\n", "S"), (-86400 * 365, -86400 * 365))
    side.create()
    lay_down(side, RULES)
    return side


RULES = {
    ("", "noexpire.case-7"): "until=2999-12-31 from:bank",
    ("", "retention"): "400d",
    ("Work", "expire"): "30d keep=flagged",
    ("Lists/board", "noexpire"): "forever",  # a level of the tree that is no mailbox
}


def lay_down(side: Side, rules: dict[tuple[str, str], str]) -> None:
    """As the person of this store does."""
    store = side.open()
    ledger = store.ledger
    with store.index.transaction():
        for (name, key), text in rules.items():
            box = (ledger.named(name) or ledger.level(name, 1)) if name else ledger.whole_row()
            annotate(ledger, box, key, text)
    store.bump()
    store.close()


def rules(side: Side) -> tuple[dict[tuple[str, str], str], set[tuple[str, str]]]:
    """All annotations that are laid down, and which of them are pending."""
    store = side.open()
    try:
        found = {(b.name, key): text for b in store.ledger.rows() for key, text in b.annotations.items()}
        return found, {(waiting.box.name, waiting.key) for waiting in pending(store.ledger)}
    finally:
        store.close()


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return rich(tmp_path)


@pytest.fixture
def target(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "copy")


# --- there and back


@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
@pytest.mark.parametrize("layout", [Layout(), Layout(FS, UTF8)], ids=str)
def test_a_new_store_has_everything_that_was_copied(
    tmp_path: Path, side: Side, target: bytes, link: bool, layout: Layout
) -> None:
    made = take(side, target, link=link)
    assert (made.messages, made.mailboxes, made.damaged, made.waiting) == (19, 5, 0, 0)
    assert bool(made.linked) == link
    assert faults(target) == []
    assert (
        subprocess.run(
            ["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=target, capture_output=True, check=True
        ).stdout.count(b": OK\n")
        == 20
    )
    assert not os.path.lexists(target + copies.PARTIAL)
    new = Side(tmp_path, "new", layout).create()
    taken = put(new, target)
    assert (taken.added, taken.there, taken.damaged) == (19, 0, 0)
    assert mail(new) == mail(side)
    assert mailboxes(new) == mailboxes(side)
    new.scan()
    new.at_rest()
    assert mail(new) == mail(side), "what a scan sees of the files is what was put there"
    if layout == side.layout:
        assert new.shown() == side.shown()
    again = put(new, target)
    assert (again.added, again.there) == (19 - 19, 19)


def test_the_copy_is_a_maildir_of_its_own(tmp_path: Path, side: Side, target: bytes) -> None:
    """Without mailkeep's manifest: what any program that reads Maildirs sees of it."""
    take(side, target)
    plain = Side(tmp_path, "plain")
    shutil.rmtree(plain.root)
    subprocess.run(["cp", "-a", os.path.join(target, copies.MAIL), plain.root], check=True)
    plain.create()
    assert mail(plain) == mail(side)


def test_a_mailbox_without_a_place_in_the_layout_is_copied_too(tmp_path: Path, target: bytes) -> None:
    nested = Side(tmp_path, "nested", Layout(FS, UTF8))
    for directory in (b"a.b", b"INBOX"):
        nested.mailbox(directory)
    nested.deliver(b"a.b", b"dotted\n", "S")
    nested.create()
    side = Side(tmp_path, "side").create()
    settle(side, nested)
    assert ("a.b", "OS", 1_700_000_001, "dotted\n") in mail(side)
    assert len(side.files()) == 0
    take(side, target)
    assert faults(target) == []
    new = Side(tmp_path, "new", Layout(FS, UTF8)).create()
    put(new, target)
    assert new.texts() == ["dotted\n"]
    assert mailboxes(new) == mailboxes(nested)


def test_what_is_chosen_is_copied_and_nothing_else(side: Side, target: bytes) -> None:
    store = side.open()
    work = store.ledger.named("Work")
    assert work is not None
    numbers = [record.no for record in store.ledger.shown(work) if "F" in unpack(record.flags)]
    store.close()
    made = take(side, target, chosen=numbers)
    assert (made.messages, made.mailboxes) == (1, 1)
    with Copy(target) as copy:
        (message,) = [line for line in copy.lines() if isinstance(line, copies.Message)]
        assert copy.read(message) == b"work 5\n"
        assert copy.head.kind == "export"


# --- into a store that has some of it


def test_what_is_there_is_neither_doubled_nor_changed(side: Side, target: bytes) -> None:
    take(side, target)
    side.deliver(b"", b"later\n", "S")
    path = side.path_of("message 1\n")
    os.rename(path, path[:-1] + b"FS")
    side.scan()
    before = mail(side)
    taken = put(side, target)
    assert (taken.added, taken.there, taken.expunged_here) == (0, 19, 0)
    assert mail(side) == before


def test_what_was_expunged_since_comes_back_only_when_asked_for(side: Side, target: bytes) -> None:
    take(side, target)
    before = mail(side)
    os.unlink(side.path_of("message 1\n"))
    moved = side.path_of("message 2\n")
    os.rename(moved, side.path(b".Work", b"cur", os.path.basename(moved)))
    side.scan()
    side.scan()
    now = mail(side)
    assert len(now) == len(before) - 1
    taken = put(side, target)
    assert (taken.added, taken.there, taken.expunged_here) == (0, 18, 1)
    assert mail(side) == now
    taken = put(side, target, removed=True)
    assert (taken.added, taken.expunged_here) == (1, 0)
    assert len(mail(side)) == len(before)
    assert [box for box, _, _, text in mail(side) if text == "message 2\n"] == ["Work"], "a move is no loss"
    side.scan()
    side.at_rest()


def test_what_was_laid_down_comes_along_and_lets_nothing_go_unasked(
    tmp_path: Path, side: Side, target: bytes
) -> None:
    take(side, target)
    new = Side(tmp_path, "new").create()
    taken = put(new, target)
    assert (taken.annotations, taken.pending) == (4, 1)
    assert rules(new) == (RULES, {("Work", "expire")}), (
        "by that rule mail would go: somebody has to look at it"
    )
    again = put(new, target)
    assert (again.annotations, again.pending) == (0, 0)
    assert rules(new) == (RULES, {("Work", "expire")})
    export = target + b"-export"
    take(side, export, chosen=[1, 2])
    assert not any("annotation" in line for line in manifest(export)), "what is chosen is mail"


def test_what_was_laid_down_otherwise_or_taken_back_since_the_copy_stays_so(
    side: Side, target: bytes
) -> None:
    take(side, target)
    os.rename(side.path(b".Work"), side.path(b".Job"))
    side.scan()
    lay_down(side, {("", "noexpire.case-7"): "", ("", "retention"): "500d", ("Job", "expire"): "never"})
    before = rules(side)
    taken = put(side, target)
    assert (taken.annotations, taken.pending) == (0, 0)
    assert rules(side) == before


def take_away(side: Side, directory: bytes) -> None:
    """A mailbox is removed with all that is in it."""
    shutil.rmtree(side.path(directory))
    side.scan()


def named_holds(side: Side, name: str) -> int:
    """How many legal holds have effect for a mailbox."""
    store = side.open()
    try:
        box = store.ledger.named(name)
        assert box is not None
        return len(effective(store.ledger, box).legal_holds)
    finally:
        store.close()


def test_two_deleted_mailboxes_of_one_name_do_not_spoil_a_copy(tmp_path: Path, target: bytes) -> None:
    side = Side(tmp_path, "side").create()
    side.deliver(b"", b"keep me\n", "S")
    for name in (b".A", b".A"):
        side.mailbox(name)
        side.scan()
        os.rename(side.path(b".A"), side.path(b".B"))
        side.scan()
        if name == b".A" and not os.path.exists(side.path(b".C")):
            os.rename(side.path(b".B"), side.path(b".C"))
            side.scan()
    lay_down(side, {("B", "noexpire"): "forever", ("C", "noexpire"): "until=2999-01-01"})
    take_away(side, b".B")
    os.rename(side.path(b".C"), side.path(b".B"))
    side.scan()
    take_away(side, b".B")
    take(side, target)
    assert faults(target) == []
    new = Side(tmp_path, "new").create()
    assert put(new, target).added == 1
    assert sorted(text for (name, key), text in rules(new)[0].items() if name == "B") == [
        "forever", "until=2999-01-01",
    ]  # fmt: skip


def test_more_annotations_than_one_replica_may_set_do_not_spoil_a_copy(tmp_path: Path, target: bytes) -> None:
    a, b = Side(tmp_path, "a").create(), Side(tmp_path, "b").create()
    a.deliver(b"", b"keep me\n", "S")
    for side, tag in ((a, "a"), (b, "b")):
        many = {
            (f"{tag}{n}", f"noexpire.{tag}{k}"): "until=2999-12-31 from:" + "x" * 450
            for n in range(90)
            for k in range(14)
        }
        lay_down(side, many)
    settle(a, b)
    take(a, target)
    assert faults(target) == []
    assert put(Side(tmp_path, "new").create(), target).added == 1


def test_a_copy_that_lays_down_too_much_does_not_set_replicas_apart(
    tmp_path: Path, side: Side, target: bytes
) -> None:
    peer = Side(tmp_path, "peer").create()
    settle(side, peer)
    take(side, target)
    lines = [line for line in manifest(target) if "annotation" not in line]
    lines[1:1] = [
        {"annotation": f"noexpire.c{n:03}", "value": "forever", "mailbox": None, "id": "00" * 16}
        for n in range(100)
    ]
    write(target, lines)
    taken = put(side, target)
    assert taken.annotations < 20
    assert any("legal holds already" in why for _, why in taken.problems)
    settle(side, peer)
    assert rules(side)[0] == rules(peer)[0]


def test_a_legal_hold_of_a_deleted_mailbox_whose_name_is_taken_comes_along(
    tmp_path: Path, target: bytes
) -> None:
    side = Side(tmp_path, "side").create()
    for directory in (b".A", b".A.B", b".X"):
        side.mailbox(directory)
    side.deliver(b".A.B", b"held\n", "S")
    side.scan()
    lay_down(side, {("A", "noexpire"): "forever"})
    take_away(side, b".A")
    os.rename(side.path(b".X"), side.path(b".A"))
    side.scan()
    assert named_holds(side, "A/B") == 1
    take(side, target)
    new = Side(tmp_path, "new").create()
    put(new, target)
    assert named_holds(new, "A/B") == 1


def test_two_lines_of_a_copy_for_one_mailbox_here_lose_no_legal_hold(tmp_path: Path, target: bytes) -> None:
    side = Side(tmp_path, "side").create()
    side.mailbox(b".A")
    side.deliver(b".A", b"one\n", "S")
    side.scan()
    take(side, target)
    lines = manifest(target)
    a = next(line for line in lines if line.get("mailbox") == "A")
    lines[1:1] = [
        {"annotation": "noexpire", "value": "forever", "mailbox": "A", "id": a["id"]},
        {"annotation": "noexpire", "value": "until=2020-01-01", "mailbox": "B", "id": "ee" * 16},
    ]
    write(target, lines)
    os.rename(side.path(b".A"), side.path(b".B"))
    side.scan()
    put(side, target)
    assert sorted(rules(side)[0].values()) == ["forever", "until=2020-01-01"]
    assert named_holds(side, "B") == 2


def test_a_hold_is_laid_on_the_mailbox_of_the_name_too_where_the_id_is_anothers(
    tmp_path: Path, target: bytes
) -> None:
    """As after a rebuild: ids come from names again, and the copy's are of before a rename."""
    side = Side(tmp_path, "side").create()
    side.mailbox(b".A")
    side.mailbox(b".B")
    side.scan()
    take(side, target)
    lines = manifest(target)
    a = next(line for line in lines if line.get("mailbox") == "A")
    lines[1:1] = [{"annotation": "noexpire", "value": "forever", "mailbox": "B", "id": a["id"]}]
    write(target, lines)
    put(side, target)
    assert (named_holds(side, "A"), named_holds(side, "B")) == (1, 1)


def test_annotations_without_room_leave_the_others(tmp_path: Path, target: bytes) -> None:
    side = Side(tmp_path, "side").create()
    side.deliver(b"", b"one\n", "S")
    side.scan()
    lay_down(side, {("", "noexpire.case"): "forever", ("INBOX", "noexpire.a"): "forever"})
    take(side, target)
    new = Side(tmp_path, "new").create()
    lay_down(new, {("INBOX", f"noexpire.n{n}"): "until=2030-01-01" for n in range(16)})
    taken = put(new, target)
    assert ("", "noexpire.case") in rules(new)[0]
    assert taken.annotations == 1
    assert [where for where, _ in taken.problems] == ["INBOX"]
    assert taken.refused == 1


def test_a_level_of_a_copy_deletes_no_mailbox_of_a_peer(tmp_path: Path, target: bytes) -> None:
    source = Side(tmp_path, "source").create()
    source.deliver(b"", b"one\n", "S")
    source.scan()
    lay_down(source, {("Lists", "noexpire"): "forever"})
    take(source, target)
    peer = Side(tmp_path, "peer")
    peer.mailbox(b".Lists")
    peer.create()
    new = Side(tmp_path, "new").create()
    put(new, target)
    settle(new, peer)
    assert [name for name, _ in mailboxes(peer)] == ["INBOX", "Lists"]


def test_what_peers_laid_down_wins_over_a_copy(tmp_path: Path, side: Side, target: bytes) -> None:
    take(side, target)
    lay_down(side, {("", "retention"): "500d", ("", "noexpire.case-7"): ""})
    new = Side(tmp_path, "new").create()
    put(new, target)
    sync(new, side)
    for one in (new, side):
        assert rules(one)[0] == {key: text for key, text in RULES.items() if key[0]} | {
            ("", "retention"): "500d"
        }


def test_a_renamed_mailbox_is_still_the_one_of_the_copy(side: Side, target: bytes) -> None:
    take(side, target)
    os.rename(side.path(b".Work"), side.path(b".Job"))
    side.scan()
    before = mail(side)
    assert put(side, target).added == 0
    assert mail(side) == before


def test_a_copy_brings_nothing_back_that_peers_removed_since(
    tmp_path: Path, side: Side, target: bytes
) -> None:
    """What a new store begins with is as if found: whatever others wrote since wins over it."""
    take(side, target)
    peer = Side(tmp_path, "peer").create()
    settle(side, peer)
    os.unlink(peer.path_of("message 1\n"))
    peer.scan()
    settle(side, peer)
    path = peer.path_of("message 5\n")
    os.rename(path, path[:-1] + b"DS")
    peer.scan()
    shutil.rmtree(side.root)
    shutil.rmtree(side.state)
    new = Side(tmp_path, "new").create()
    assert put(new, target).added == 19
    settle(new, peer)
    assert mail(new) == mail(peer)
    assert not [text for _, _, _, text in mail(new) if text == "message 1\n"]
    assert [flags for _, flags, _, text in mail(new) if text == "message 5\n"] == ["DOS"]


def test_expunged_messages_are_taken_in_as_such_and_remove_nothing(
    tmp_path: Path, side: Side, target: bytes
) -> None:
    peer = Side(tmp_path, "peer").create()
    settle(side, peer)
    os.unlink(side.path_of("message 1\n"))
    side.scan()
    made = take(side, target, expunged=True)
    assert (made.messages, made.expunged) == (18, 1)
    assert faults(target) == []
    new = Side(tmp_path, "new").create()
    taken = put(new, target, expunged=True)
    assert (taken.added, taken.expunged) == (18, 1)
    assert put(new, target, expunged=True).expunged == 0
    assert mail(new) == mail(side)
    assert "message 1\n" in new.kept()
    new.scan()
    new.at_rest()
    settle(new, peer)  # who has it still, has it in the end
    assert "message 1\n" in peer.texts()
    assert mail(new) == mail(peer)


# --- cut off


def _steps(
    run: Callable[[], Any], again: Callable[[], None], judge: Callable[[str], None], every: bool
) -> None:
    """Cut `run` off at its steps, before and after each; `again` puts things back to the beginning."""
    run()  # what a first scan has to do is done then
    again()
    counting = Steps()
    with counting.installed():
        run()
    names = counting.names
    assert len(names) > 20
    chosen = (
        range(len(names))
        if every
        else sorted({*range(0, len(names), max(1, len(names) // 10)), *range(len(names) - 6, len(names))})
    )
    struck = 0
    for at in chosen:
        for after in (False, True) if every else (bool(at % 2),):
            again()
            steps = Steps(at, Crash(), after=after)
            with steps.installed():
                try:
                    run()
                except Crash:
                    pass
                finally:
                    steps.stop()
            struck += bool(steps.hit)  # not after a step that fails, such as to remove what is not there
            judge(f"{'after' if after else 'before'} step {at} of {len(names)}, {steps.hit}")
    assert struck > len(chosen) // 2


def _forget(target: bytes) -> None:
    for path in (target, target + copies.PARTIAL):
        shutil.rmtree(path, ignore_errors=True)


@pytest.mark.crash
@pytest.mark.slow
def test_a_copy_cut_off_anywhere_is_finished_by_the_same_command(
    tmp_path: Path, side: Side, target: bytes, every: bool
) -> None:
    os.unlink(side.path_of("message 1\n"))
    side.scan()
    before = mail(side)

    def run() -> Made:
        return take(side, target, expunged=True)

    def judge(where: str) -> None:
        if os.path.lexists(target):
            assert faults(target) == [], where
        else:
            run()
        assert faults(target) == [], where
        assert not os.path.lexists(target + copies.PARTIAL)
        with Copy(target) as copy:
            assert (copy.end.messages, copy.end.expunged) == (18, 1), where
        assert mail(side) == before

    _steps(run, lambda: _forget(target), judge, every)


@pytest.mark.crash
@pytest.mark.slow
def test_an_import_cut_off_anywhere_is_finished_by_the_same_command(
    tmp_path: Path, side: Side, target: bytes, every: bool
) -> None:
    take(side, target, expunged=True)
    wanted = mail(side)
    fresh = Side(tmp_path, "fresh").create()
    kept = tmp_path / "kept"
    kept.mkdir()
    subprocess.run(["cp", "-a", fresh.root, fresh.state, kept], check=True)

    def again() -> None:
        for path in (fresh.root, fresh.state):
            subprocess.run(["chmod", "-R", "u+w", path], check=True)
            shutil.rmtree(path)
        subprocess.run(["cp", "-a", kept / "fresh", kept / "fresh.state", tmp_path], check=True)

    def judge(where: str) -> None:
        for text in fresh.texts():
            assert any(text == known for *_, known in wanted), f"{where}: something half there"
        for at, _, names in os.walk(
            fresh.root
        ):  # what a program that died has locked is free after some minutes
            for name in names:
                if name.endswith(b".lock"):
                    os.utime(os.path.join(at, name), (OLD, OLD))
        put(fresh, target)
        fresh.scan()
        assert mail(fresh) == wanted, where
        assert rules(fresh) == (RULES, {("Work", "expire")}), where
        fresh.at_rest()

    _steps(lambda: put(fresh, target), again, judge, every)


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_a_disk_that_fails_is_a_clear_error_and_nothing_is_half_there(
    tmp_path: Path, side: Side, target: bytes, every: bool, code: int
) -> None:
    """Errors instead of crashes: the command ends with one sentence, and once there is room again goes on."""
    counting = Steps()
    with counting.installed():
        take(side, target)
    number = len(counting.names)
    for at in range(0, number, 1 if every else 7):
        _forget(target)
        steps = Steps(at, OSError(code, os.strerror(code)))
        with steps.installed():
            try:
                take(side, target)
            except MailkeepError as err:
                assert err.exit_code in (74, 77), (steps.hit, err)
            finally:
                steps.stop()
        assert not os.path.lexists(target) or faults(target) == []
        if not os.path.lexists(target):
            take(side, target)
        assert faults(target) == []
        with Copy(target) as copy:
            assert (copy.end.messages, copy.end.lacking) == (19, 0), steps.hit


def test_a_copy_that_goes_on_is_of_the_moment_when_it_was_begun(side: Side, target: bytes) -> None:
    steps = Steps(60, Crash())
    with steps.installed():
        with pytest.raises(Crash):
            take(side, target)
        steps.stop()
    begun = mail(side)
    side.deliver(b"", b"later\n", "S")
    os.unlink(side.path_of("message 3\n"))
    side.scan()
    assert mail(side) != begun
    take(side, target)
    with Copy(target) as copy:
        texts = sorted(copy.read(line).decode() for line in copy.lines() if isinstance(line, copies.Message))
    assert texts == sorted(text for *_, text in begun)


def test_a_file_that_only_looks_finished_is_written_again(side: Side, target: bytes) -> None:
    """A power cut may keep a name and a size, and not the bytes."""
    steps = Steps(60, Crash())
    with steps.installed():
        with pytest.raises(Crash):
            take(side, target)
        steps.stop()
    spoilt = 0
    for at, _, names in os.walk(target + copies.PARTIAL):
        for name in names:
            path = os.path.join(at, name)
            if os.path.basename(at) == b"cur":
                with open(path, "r+b") as file:
                    file.write(bytes(os.path.getsize(path)))
                spoilt += 1
    assert spoilt
    take(side, target)
    assert faults(target) == []


def test_many_messages_are_copied_by_several_processes(tmp_path: Path, target: bytes) -> None:
    side = Side(tmp_path, "many")
    for number in range(450):
        side.deliver(b"", b"message %d\n" % number, "S")
    side.create()
    assert take(side, target).messages == 450
    assert faults(target) == []
    new = Side(tmp_path, "new").create()
    assert put(new, target).added == 450
    assert mail(new) == mail(side)


# --- where it may be made


def test_nothing_that_is_there_is_overwritten(tmp_path: Path, side: Side, target: bytes) -> None:
    os.mkdir(target)
    with pytest.raises(UsageError, match="is there already"):
        take(side, target)
    os.rmdir(target)
    os.symlink(tmp_path, target)
    with pytest.raises(UsageError, match="is there already"):
        take(side, target)
    os.unlink(target)
    os.mkdir(target + copies.PARTIAL)
    with open(os.path.join(target + copies.PARTIAL, b"mine"), "w"):
        pass
    with pytest.raises(UsageError, match="no unfinished copy"):
        take(side, target)
    shutil.rmtree(target + copies.PARTIAL)
    os.symlink(tmp_path, target + copies.PARTIAL)
    with pytest.raises(MailkeepError):
        take(side, target)
    assert sorted(os.listdir(tmp_path)) == ["copy.partial", "rich", "rich.state"]


@pytest.mark.parametrize("where", ["root", "state", "mailbox", "notmuch"])
def test_no_copy_is_made_where_mail_programs_or_a_store_would_find_it(
    tmp_path: Path, side: Side, where: str
) -> None:
    (tmp_path / "notes/.notmuch").mkdir(parents=True)
    directory = {
        "root": side.root, "state": side.state, "mailbox": side.path(b".Work"), "notmuch": os.fsencode(tmp_path / "notes"),
    }[where]  # fmt: skip
    before = sorted(os.listdir(directory))
    with pytest.raises(UsageError, match="would lie inside"):
        take(side, os.path.join(directory, b"copy"))
    assert sorted(os.listdir(directory)) == before


def test_an_unfinished_copy_of_other_words_is_left_alone(side: Side, target: bytes) -> None:
    steps = Steps(40, Crash())
    with steps.installed():
        with pytest.raises(Crash):
            take(side, target)
        steps.stop()
    with pytest.raises(UsageError, match="with other words"):
        take(side, target, expunged=True)
    take(side, target)
    assert faults(target) == []


# --- damage


def test_a_damaged_object_is_copied_from_the_maildir_or_named(
    side: Side, target: bytes, monkeypatch: MonkeyPatch
) -> None:
    lost = hashlib.sha256(b"message 1\n").digest()
    rotten = hashlib.sha256(b"message 2\n").digest()
    store = side.open()
    paths = {one: store.vault.path(one) for one in (lost, rotten)}
    store.close()
    os.unlink(paths[lost])  # its file in the Maildir is whole
    os.chmod(paths[rotten], 0o600)  # both names are of one file: nothing has these bytes any more
    with open(paths[rotten], "r+b") as file:
        file.write(b"MESSAGE")
    with Snapshot(target, side.root, side.state, Wanted("snapshot")) as work:
        store = side.open()
        work.plan(store)
        source = Source(store)
        store.close()
        made = work.run(source)
    assert (made.messages, made.damaged) == (18, 1)
    (problem,) = made.lacking
    assert rotten.hex() in problem[1]
    assert faults(target) == []
    with Copy(target) as copy:
        assert copy.end.lacking == 1


@pytest.mark.parametrize("how", ["bit", "cut", "gone", "link", "fifo", "directory"])
def test_a_damaged_file_of_a_copy_is_named_and_left_out(
    tmp_path: Path, side: Side, target: bytes, how: str
) -> None:
    take(side, target)
    name = hashlib.sha256(b"message 1\n").hexdigest()
    (path,) = [os.path.join(at, n) for at, _, names in os.walk(target) for n in names if name.encode() in n]
    other = path + b".other"
    if how == "bit":
        with open(path, "r+b") as file:
            file.write(b"N")
    elif how == "cut":
        os.truncate(path, 3)
    else:
        os.rename(path, other)
        if how == "link":
            os.symlink(other, path)
        elif how == "fifo":
            os.mkfifo(path)
        elif how == "directory":
            os.mkdir(path)
    found = faults(target)
    assert [where for where, _ in found] == [os.fsdecode(path[len(target) + 1 :])]
    new = Side(tmp_path, "new").create()
    taken = put(new, target)
    assert (taken.added, taken.damaged) == (18, 1)
    assert mail(new) == [one for one in mail(side) if one[3] != "message 1\n"]
    new.scan()
    new.at_rest()


def test_a_linked_directory_in_a_copy_is_not_followed(tmp_path: Path, side: Side, target: bytes) -> None:
    take(side, target)
    outside = tmp_path / "outside"
    os.rename(os.path.join(target, b"Maildir", b".Work"), outside)
    os.symlink(outside, os.path.join(target, b"Maildir", b".Work"))
    new = Side(tmp_path, "new").create()
    taken = put(new, target)
    assert (taken.added, taken.damaged) == (13, 6)


def test_what_somebody_added_to_a_copy_is_a_note(side: Side, target: bytes) -> None:
    take(side, target)
    with open(os.path.join(target, b"Maildir", b"new", b"1.new"), "w") as file:
        file.write("delivered into a copy")
    with Copy(target) as copy:
        check = Check(copy)
        check.run()
    assert check.faults == []
    assert check.notes == [("Maildir/new", "1 files are not in the manifest")]


# --- enemies


def manifest(target: bytes) -> list[dict[str, Any]]:
    with open(os.path.join(target, copies.MANIFEST)) as file:
        return [json.loads(line) for line in file]


def write(target: bytes, lines: list[Any], *, honest: bool = True) -> None:
    """A manifest of these lines; with an end that fits them."""
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines[:-1])
    if honest:
        lines[-1] = {**lines[-1], "end": hashlib.sha256(data).hexdigest()}
    with open(os.path.join(target, copies.MANIFEST), "wb") as file:
        file.write(data + json.dumps(lines[-1]).encode() + b"\n")


def evil(key: str, value: object, at: str = "message") -> Callable[[list[dict[str, Any]]], None]:
    def change(lines: list[dict[str, Any]]) -> None:
        next(line for line in lines if at in line)[key] = value

    return change


def twice(lines: list[dict[str, Any]]) -> None:
    at = next(n for n, line in enumerate(lines) if "message" in line)
    lines.insert(at, lines[at])


def swapped(lines: list[dict[str, Any]]) -> None:
    at = [n for n, line in enumerate(lines) if "message" in line]
    lines[at[0]], lines[at[1]] = lines[at[1]], lines[at[0]]


def late(lines: list[dict[str, Any]]) -> None:
    lines.insert(-1, next(line for line in lines if "annotation" in line))


def annotated_twice(lines: list[dict[str, Any]]) -> None:
    lines.insert(1, lines[1])


def other_counts(lines: list[dict[str, Any]]) -> None:
    lines[-1]["messages"] += 1


def no_end(lines: list[dict[str, Any]]) -> None:
    lines[-1] = lines[-2]


EVIL: dict[str, Callable[[list[dict[str, Any]]], None]] = {
    "up": evil("message", "Maildir/../../../etc/passwd"),
    "absolute": evil("message", "/etc/passwd"),
    "dots": evil("directory", "Maildir/..", "directory"),
    "elsewhere": evil("directory", "tmp", "directory"),
    "cur": evil("directory", "Maildir/cur", "directory"),
    "nul": evil("directory", "Maildir/a\0b", "directory"),
    "other": evil("directory", "other/../Maildir", "directory"),
    "half a pair": evil("directory", "Maildir/\ud800", "directory"),
    "another name": evil("message", "Maildir/cur/1700000000.host:2,S"),
    "huge": evil("bytes", 1 << 40),
    "negative": evil("bytes", -1),
    "no number": evil("bytes", "12"),
    "a yes": evil("bytes", value=True),
    "a fraction": evil("date", 1.5),
    "far away": evil("date", 1 << 62),
    "flags": evil("flags", "SO"),
    "keyword": evil("flags", "S %"),
    "a list": evil("flags", []),
    "another hash": evil("sha256", "00" * 32),
    "no hash": evil("sha256", "zz" * 32),
    "bad mailbox": evil("mailbox", "a//b", "directory"),
    "another form": evil("mailbox", "inbox", "directory"),
    "long mailbox": evil("mailbox", "x" * 5000, "directory"),
    "id": evil("id", "00", "directory"),
    "layout": evil("layout", "maildir++ utf-9", "mailkeep"),
    "version": evil("version", 2, "mailkeep"),
    "nobody": evil("mailkeep", "message", "mailkeep"),
    "no annotation": evil("annotation", "Expire", "annotation"),
    "a long annotation": evil("value", "x" * 501, "annotation"),
    "an empty annotation": evil("value", "", "annotation"),
    "two lines of annotation": evil("value", "30d\n", "annotation"),
    "annotation of nothing": evil("mailbox", "a//b", "annotation"),
    "late annotation": late,
    "two annotations": annotated_twice,
    "twice": twice,
    "swapped": swapped,
    "counts": other_counts,
    "no end": no_end,
}


def test_a_manifest_that_lies_is_refused_before_anything_is_taken_in(
    tmp_path: Path, side: Side, target: bytes
) -> None:
    take(side, target)
    honest = manifest(target)
    new = Side(tmp_path, "new").create()
    before = new.kept()
    for kind, change in EVIL.items():
        lines = [dict(line) for line in honest]
        change(lines)
        write(target, lines)
        try:
            put(new, target)
        except BadManifest as err:
            assert str(err).startswith(f"line {err.line} of the manifest"), kind
        else:
            raise AssertionError(f"{kind} was believed")
    assert new.kept() == before
    assert mail(new) == []
    write(target, honest)
    assert put(new, target).added == 19


def test_what_is_no_manifest_at_all_is_refused(side: Side, target: bytes) -> None:
    take(side, target)
    for data in (
        b"", b"\n", b"{", b"[]\n", b"null\n", b'{"mailkeep": "copy"}\n', b"[" * 100_000 + b"\n", b"\xff\n",
        b'{"mailkeep": ' + b"9" * 10_000 + b"}\n", b'"' + b"x" * 200_000 + b'"\n', b"{}" * 10,
    ):  # fmt: skip
        with open(os.path.join(target, copies.MANIFEST), "wb") as file:
            file.write(data)
        with pytest.raises(BadManifest):
            Copy(target)


def test_a_manifest_with_another_bit_is_refused(side: Side, target: bytes) -> None:
    take(side, target)
    path = os.path.join(target, copies.MANIFEST)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data.replace(b'"date": 1', b'"date": 2', 1))
    with pytest.raises(BadManifest, match="not those that were written"):
        Copy(target)


def test_a_manifest_that_is_a_link_or_a_pipe_is_not_opened(tmp_path: Path, side: Side, target: bytes) -> None:
    take(side, target)
    path = os.path.join(target, copies.MANIFEST)
    os.rename(path, tmp_path / "manifest")
    os.symlink(tmp_path / "manifest", path)
    with pytest.raises(DataError):
        Copy(target)
    os.unlink(path)
    os.mkfifo(path)
    with pytest.raises(DataError, match="no file"):
        Copy(target)
    os.unlink(path)
    with pytest.raises(NoInput):
        Copy(target)


def test_a_sparse_giant_costs_its_own_length_once(tmp_path: Path, side: Side, target: bytes) -> None:
    """A file that is larger than said is not read at all; no line may name one file twice."""
    take(side, target)
    name = hashlib.sha256(b"message 1\n").hexdigest().encode()
    (path,) = [os.path.join(at, n) for at, _, names in os.walk(target) for n in names if name in n]
    os.truncate(path, 1 << 40)
    (fault,) = faults(target)
    assert "1,099,511,627,776 bytes, not 10" in fault[1]


def test_equal_copies_are_bounded_by_lines(tmp_path: Path, side: Side, target: bytes) -> None:
    """A copy number of a hundred thousand makes one message, not a hundred thousand."""
    take(side, target)
    old = next(
        line for line in manifest(target) if line.get("sha256") == hashlib.sha256(b"message 1\n").hexdigest()
    )
    lines = manifest(target)
    new = next(line for line in lines if line.get("message") == old["message"])
    path, _, info = new["message"].partition(":2,")
    new["message"] = f"{path}.100000:2,{info}"
    os.rename(
        os.path.join(os.fsdecode(target), old["message"]), os.path.join(os.fsdecode(target), new["message"])
    )
    write(target, lines)
    fresh = Side(tmp_path, "fresh").create()
    assert put(fresh, target).added == 19
    assert fresh.texts() == side.texts()


def test_a_vault_that_has_no_room_for_links_copies(
    side: Side, target: bytes, monkeypatch: MonkeyPatch
) -> None:
    def link(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(fs, "link", link)
    assert take(side, target, link=True).linked == 0
    assert faults(target) == []


def test_a_copy_of_links_keeps_no_deletion_from_being_believed(
    tmp_path: Path, side: Side, target: bytes
) -> None:
    """Another name of a file may mean that it was moved somewhere: such a deletion waits, and then counts."""
    take(side, target, link=True)
    peer = Side(tmp_path, "peer").create()
    settle(side, peer)
    os.unlink(side.path_of("message 1\n"))
    side.scan()
    sync(side, peer)
    assert "message 1\n" in peer.texts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailkeep.store.removals.UNEXPLAINED_SECONDS", 0)
        settle(side, peer)
    assert "message 1\n" not in peer.texts()


def test_a_full_disk_of_the_store_is_a_clear_error_of_an_import(
    tmp_path: Path, side: Side, target: bytes
) -> None:
    take(side, target)
    new = Side(tmp_path, "new").create()
    steps = Steps(9, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with steps.installed():
        with pytest.raises(StorageError):
            put(new, target)
        steps.stop()
    assert put(new, target).damaged == 0
    assert mail(new) == mail(side)


def test_a_file_system_without_syncfs_and_renames_that_refuse_does_too(
    tmp_path: Path, side: Side, target: bytes, monkeypatch: MonkeyPatch
) -> None:
    """As NFS: files are synced one by one, a page at a time, and a directory gets its name by rename(2)."""
    rename = fs.rename_noreplace

    def refuses(source: bytes, name: bytes, source_fd: int, target_fd: int) -> None:
        if os.path.isdir(source):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        rename(source, name, source_fd, target_fd)

    synced: list[bytes] = []
    fsync_path = fs.fsync_path

    def note(path: bytes) -> None:
        synced.append(path)
        fsync_path(path)

    monkeypatch.setattr(fs, "_can_syncfs", lambda directory: False)
    monkeypatch.setattr(fs, "rename_noreplace", refuses)
    monkeypatch.setattr(fs, "fsync_path", note)
    assert take(side, target).messages == 19
    assert faults(target) == []
    files = {os.path.join(at, name) for at, _, names in os.walk(target) for name in names}
    directories = {at for at, _, _ in os.walk(target)}
    there = {path.replace(target + copies.PARTIAL, target) for path in synced}
    assert files <= there, "every file was made durable"
    assert directories <= there
    new = Side(tmp_path, "new").create()
    put(new, target)
    assert mail(new) == mail(side)
