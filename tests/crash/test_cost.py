"""What a scan with nothing to do asks of the index does not grow with the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crash.kit import Side
from mailkeep.store import reading, scan

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch


def test_no_query_of_a_scan_with_nothing_to_do_reads_a_whole_table(tmp_path: Path) -> None:
    side = Side(tmp_path, "a")
    side.deliver(b"", b"one", "S")
    side.create()
    side.scan()
    store = side.open()
    asked: list[str] = []

    def note(_: object, sql: str, __: object) -> bool:
        asked.append(sql)
        return True

    store.index.db.set_exec_trace(note)
    store.scan()
    store.index.db.set_exec_trace(None)
    whole = []
    for sql in {sql for sql in asked if sql.lstrip().upper().startswith("SELECT")}:
        count = sql.count("?")
        for row in store.index.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * count):
            plan = str(row[3])
            if (
                plan.startswith("SCAN")
                and any(word in plan for word in ("record", " r", "content", " c"))
                and ("record_young" not in plan and "record_todo" not in plan and "max(no)" not in sql)
            ):
                whole.append((plan, sql))
    store.close()
    assert asked
    assert not whole


def test_files_that_were_young_are_looked_at_once_more_and_not_for_ever(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    side = Side(tmp_path, "a")
    side.deliver(b"", b"just delivered", "S")
    side.create()
    for module in (scan, reading):
        monkeypatch.setattr(module, "YOUNG_NS", 0)
    for _ in range(3):
        side.scan()
    store = side.open()
    assert store.index.value("SELECT count(*) FROM record WHERE young") == 0
    store.close()
