"""Expunging in bulk leaves what expunging one by one leaves."""

from __future__ import annotations

from hashlib import sha256

from mailkeep.store.index import Index
from mailkeep.store.ledger import Ledger


def filled() -> tuple[Index, Ledger]:
    index = Index.create(":memory:", bytes(16), b"12345678")
    ledger = Ledger(index)
    flags: tuple[frozenset[str], ...] = (
        frozenset(),
        frozenset("S"),
        frozenset("FS"),
        frozenset({"S", "work"}),
    )
    with index.transaction():
        boxes = [ledger.create(name, 1) for name in ("INBOX", "Old")]
    for n in range(24):
        with index.transaction():
            content_id = sha256(b"%d" % (n % 10)).digest()
            number = ledger.content(content_id, 10, kept=True)
            record = ledger.add(boxes[n % 2], number, content_id, flags[n % 4], n)
            if n % 5 == 0:
                ledger.flag(record, ["F"], [])
    with index.transaction():
        ledger.set_mailbox(boxes[1], "(live)", False)  # deleted, and alive for the mail that is in it
        boxes[1].dir = b".Old"
    return index, ledger


def state(index: Index, ledger: Ledger) -> object:
    records = [
        (r.no, r.live, r.uid, r.flags, r.seq, r.hold, r.todo, r.gone, r.keep, r.regs)
        for r in ledger.records("true ORDER BY no")
    ]
    boxes = [(b.no, b.count, b.sum, b.todo, b.alive) for b in ledger.boxes.values()]
    changes = list(index.execute("SELECT record, live, flags, cause, writer FROM change ORDER BY no"))
    return records, boxes, changes, index.meta.get("root"), index.vector


def test_many_at_once_are_as_one_by_one() -> None:
    (one_index, one), (many_index, many) = filled(), filled()
    with one_index.transaction():
        for record in list(one.records("live ORDER BY no")):
            one.remove(record)
    with many_index.transaction():
        many.remove_many(
            [
                (r.no, r.mailbox, r.copy, r.uid, r.flags, r._blob, many.content_id(r.content))
                for r in list(many.records("live ORDER BY no"))
            ]
        )
    assert state(one_index, one) == state(many_index, many)
    with many_index.transaction():
        many.remove_many([])
        assert not many_index.wrote, "nothing to do draws no stamp"
