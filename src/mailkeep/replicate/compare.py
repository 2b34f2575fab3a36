"""Comparing mailboxes of which the digests differ, though no vector says why.

    initiator                                   responder
    COMPARE: marks of its 256 buckets  ->
                               <-               BOX, BUCKETS: where ours differ, their 256 buckets, or RECORDS at once
    FETCH: the buckets of those that differ ->
                               <-               RECORDS, END_WHOLE

So cost follows the differences: one record of 20,000 costs some KB, and one round trip more than the records alone. A
mailbox is asked about once, its buckets are fetched once, and each step is one pass over its records, whatever a peer
says. Marks are computed one mailbox at a time: memory does not grow with the number of mailboxes or of records.
"""

from __future__ import annotations

from mailkeep.domain.record import MAILBOX_ID_BYTES
from mailkeep.replicate import bounds
from mailkeep.rules.digest import BUCKET_SUM_BYTES, FANOUT, differing
from mailkeep.store import news
from mailkeep.wire import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mailkeep.replicate.endpoint import Endpoint
    from mailkeep.store.rows import Mailbox

SMALL_RECORDS = 32
"""A mailbox of so few is sent as it is: its marks would be as long."""
LEAF_RECORDS = 16
"""A bucket of so few is sent as it is."""
MARKS_BYTES = FANOUT * BUCKET_SUM_BYTES
COMPARE_PAGE = 100
"""Mailboxes in one frame."""


class Asker:
    """The initiator's side: it asks, and decides."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.asked: set[bytes] = set()
        """Mailboxes that the responder has not yet answered for."""
        self.fetching = False

    def ask(self, boxes: list[bytes]) -> Iterator[None]:
        """Queue COMPARE for these mailboxes."""
        endpoint = self.endpoint
        self.asked.update(boxes)
        for start in range(0, len(boxes), COMPARE_PAGE):
            rows = []
            for box_id in boxes[start : start + COMPARE_PAGE]:
                box = endpoint.ledger.by_id.get(box_id)
                marks = None
                if box is not None and box.count > SMALL_RECORDS:
                    marks = news.buckets_of(endpoint.ledger, box).marks(b"")
                rows.append([box_id, marks])
            endpoint.say(frames.COMPARE, rows)
            yield

    def on_buckets(self, message: list[Any]) -> None:
        """[mailbox id, [[prefix, marks or None], ...]]: what differs there. With None, its records are sent.

        Raises:
            ValueError: It was not asked for, or is none that the question could have led to.
        """
        box_id, rows = message
        self.asked.remove(box_id)
        check_buckets([prefix for prefix, _ in rows])
        endpoint = self.endpoint
        staged, box = endpoint.staged_boxes.get(box_id), endpoint.ledger.by_id.get(box_id)
        if staged is None:
            return
        stage = endpoint.ready_stage()
        stage.buckets(staged, [prefix for prefix, marks in rows if marks is None])
        unlike = [(prefix, marks) for prefix, marks in rows if marks is not None]
        if not unlike or box is None:
            return
        ours = news.buckets_of(endpoint.ledger, box)
        fetch = []
        for prefix, marks in unlike:
            if type(marks) is not bytes or len(marks) != MARKS_BYTES or len(prefix) != 1:
                raise ValueError("marks of a wrong form")
            fetch += [prefix + bytes([n]) for n in differing(ours.marks(prefix), marks)]
        if fetch:
            self.fetching = True
            stage.buckets(staged, fetch)
            endpoint.sending.append(endpoint.say_later(frames.FETCH, [box_id, fetch]))


class Answerer:
    """The responder's side."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.asked: set[bytes] = set()
        self.count = 0
        self.ended = False
        self.fetchable: set[bytes] = set()
        """Mailboxes whose marks were sent: their buckets may be fetched, once."""

    def on_compare(self, message: list[Any]) -> None:
        """[[mailbox id, marks or None], ...]: queue what differs of them; with None, all that is here.

        Raises:
            ValueError: A mailbox was asked about before, or the marks are of a wrong form.
        """
        endpoint = self.endpoint
        self.count += len(bounds.listed(message, COMPARE_PAGE, "mailboxes to compare"))
        if self.count > bounds.MAILBOXES_MAX:
            raise ValueError("too many mailboxes")
        for box_id, marks in message:
            if bounds.blob(box_id, MAILBOX_ID_BYTES, "a mailbox id") in self.asked:
                raise ValueError("a mailbox that was asked about before")
            if marks is not None and (type(marks) is not bytes or len(marks) != MARKS_BYTES):
                raise ValueError("marks of a wrong form")
            box = endpoint.ledger.row(box_id)
            if box is None or not endpoint.view.shows(box):
                endpoint.sending.append(self._absent(box_id))
                continue
            self.asked.add(box_id)
            endpoint.sending.append(self._compare(box, marks))

    def _absent(self, box_id: bytes) -> Iterator[None]:
        self.endpoint.say(frames.BOX, [box_id, None, 1, 1])
        self.endpoint.say(frames.BUCKETS, [box_id, [[b"", None]]])
        yield

    def _compare(self, box: Mailbox, marks: bytes | None) -> Iterator[None]:
        endpoint = self.endpoint
        endpoint.send_box(box, whole=True)
        if marks is None:
            endpoint.say(frames.BUCKETS, [box.id, [[b"", None]]])
            yield from self._records(box, None)
            return
        ours = news.buckets_of(endpoint.ledger, box)
        counts, rows, few = ours.counts(), [], set()
        for n in differing(ours.marks(b""), marks):
            prefix = bytes([n])
            if counts[n] <= LEAF_RECORDS:
                rows.append([prefix, None])
                few.add(prefix)
            else:
                rows.append([prefix, ours.marks(prefix)])
                self.fetchable.add(box.id)
        endpoint.say(frames.BUCKETS, [box.id, rows])
        yield
        if few:
            yield from self._records(box, few)

    def on_fetch(self, message: list[Any]) -> None:
        """[mailbox id, [prefix, ...]]: queue the records of these buckets.

        Raises:
            ValueError: No marks were sent of this mailbox, or it was fetched before.
        """
        box_id, prefixes = message
        if box_id not in self.fetchable:
            raise ValueError("buckets of a mailbox that was not compared")
        self.fetchable.remove(box_id)
        check_buckets(prefixes)
        self.endpoint.sending.append(self._records(self.endpoint.ledger.by_id[box_id], set(prefixes)))

    def end(self) -> None:
        """Nothing more will be fetched.

        Raises:
            ValueError: This was said before.
        """
        if self.ended:
            raise ValueError("the end twice")
        self.ended = True
        self.fetchable.clear()

    def _records(self, box: Mailbox, prefixes: set[bytes] | None) -> Iterator[None]:
        for page in news.part(self.endpoint.ledger, box, prefixes):
            if page:
                self.endpoint.say(frames.RECORDS, [box.id, page])
            yield


def check_buckets(prefixes: list[Any]) -> None:
    """Check buckets named by a peer: begins of content ids, of at most two bytes, each once.

    Raises:
        ValueError: They are no such thing.
    """
    if not all(type(prefix) is bytes and len(prefix) <= 2 for prefix in prefixes):
        raise ValueError("a bucket that is none")
    if len(set(prefixes)) != len(prefixes):
        raise ValueError("a bucket twice")
