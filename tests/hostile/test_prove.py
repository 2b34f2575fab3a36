"""Showing that one holds contents: a peer that lies shows nothing, and one that asks learns nothing that it may not know."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from msgpack import packb, unpackb

from crash.kit import Side
from mailkeep.domain.errors import MailkeepError, PeerUnavailable, RemoteProtocolError
from mailkeep.replicate.prove import PAGE, Asker
from mailkeep.replicate.responder import Responder
from mailkeep.replicate.view import View
from mailkeep.wire import frames
from mailkeep.wire.patterns import Patterns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAILS = [b"one", b"two", b"three"]
IDS = [sha256(mail).digest() for mail in MAILS]


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Side, Side]:
    out = []
    for name in "ab":
        side = Side(tmp_path, name)
        side.mailbox(b".Private")
        for mail, box in zip(MAILS, (b"", b"", b".Private"), strict=True):
            side.deliver(box, mail, "S")
        out.append(side.create())
    return out[0], out[1]


def talk(asker: Asker, responder: Responder) -> None:
    for _ in range(20):
        if said := asker.wire.output(flush=True):
            responder.receive(bytes(said))
            said.clear()
        responder.produce()
        out = responder.wire.output(flush=True)
        if out:
            data = bytes(out)
            out.clear()
            asker.receive(data)
        if asker.answered:
            return
    raise AssertionError("no answer")


def asked(sides: tuple[Side, Side], view: View | None = None) -> set[bytes]:
    a, b = sides[0].open(), sides[1].open()
    try:
        asker = Asker(a.vault, a.id)
        asker.ask(IDS)
        talk(asker, Responder(b, view=view))
        return asker.shown
    finally:
        a.close()
        b.close()


def test_what_is_there_is_shown(sides: tuple[Side, Side]) -> None:
    assert asked(sides) == set(IDS)


def test_of_mailboxes_that_the_other_may_not_see_nothing_is_said(sides: tuple[Side, Side]) -> None:
    assert asked(sides, View(Patterns.parse(["*", "!Private"]))) == set(IDS[:2])


@pytest.mark.parametrize(
    "lie",
    [
        lambda nonce, ids: [b"x" * 16, list(ids)],
        lambda nonce, ids: [b"x" * 16, [sha256(mail).digest() for mail in MAILS]],
        lambda nonce, ids: [b"x" * 16, [sha256(b"another nonce...." + mail).digest() for mail in MAILS]],
        lambda nonce, ids: [b"x" * 16, [sha256(nonce + content_id).digest() for content_id in ids]],
        lambda nonce, ids: [b"x" * 16, [b"", b"", b""]],
    ],
)
def test_who_does_not_have_the_bytes_shows_nothing(
    sides: tuple[Side, Side], lie: Callable[[bytes, list[bytes]], Any]
) -> None:
    store = sides[0].open()
    try:
        asker = Asker(store.vault, store.id)
        asker.ask(IDS)
        wire = frames.Wire()
        wire.greet()
        wire.feed(bytes(asker.wire.output(flush=True)))
        kind, payload = wire.next_frame() or (0, b"")
        assert kind == frames.PROVE
        wire.send(frames.PROOFS, packb(lie(*unpackb(payload))))
        asker.receive(bytes(wire.output(flush=True)))
        assert asker.shown == set()
    finally:
        store.close()


def test_what_the_store_shows_itself_counts_for_nothing(sides: tuple[Side, Side]) -> None:
    a = sides[0].open()
    try:
        asker = Asker(a.vault, a.id)
        asker.ask(IDS)
        talk(asker, Responder(a))
        assert asker.shown == set()
    finally:
        a.close()


@pytest.mark.parametrize(
    "answer",
    [None, 1, [], [b"short", [b""] * 3], [b"x" * 16, [b""] * 2], [b"x" * 16, 3], [b"x" * 16, None, 3], {}],
)
def test_a_malformed_answer_is_refused(sides: tuple[Side, Side], answer: object) -> None:
    store = sides[0].open()
    try:
        asker = Asker(store.vault, store.id)
        asker.ask(IDS)
        wire = frames.Wire()
        wire.greet()
        wire.send(frames.PROOFS, packb(answer))
        with pytest.raises(RemoteProtocolError):
            asker.receive(bytes(wire.output(flush=True)))
        with pytest.raises(PeerUnavailable):
            asker.receive(b"")
    finally:
        store.close()


@pytest.mark.parametrize(
    "question",
    [
        None, [], [b"n" * 16], [b"n", [IDS[0]]], [b"n" * 16, []], [b"n" * 16, [b"id"]], [b"n" * 16, [3]],
        [b"n" * 16, IDS * PAGE], ["n" * 16, IDS], [b"n" * 16, IDS, 3],
    ],
)  # fmt: skip
def test_a_malformed_question_is_refused(sides: tuple[Side, Side], question: object) -> None:
    store = sides[1].open()
    try:
        responder = Responder(store)
        wire = frames.Wire()
        wire.greet()
        wire.send(frames.PROVE, packb(question))
        with pytest.raises(MailkeepError):
            responder.receive(bytes(wire.output(flush=True)))
    finally:
        store.close()


def test_questions_without_end_are_refused(sides: tuple[Side, Side]) -> None:
    store = sides[1].open()
    try:
        responder = Responder(store)
        wire = frames.Wire()
        wire.greet()

        def ask() -> None:
            wire.send(frames.PROVE, packb([b"n" * 16, IDS]))
            out = wire.output(flush=True)
            data = bytes(out)
            out.clear()
            responder.receive(data)
            responder.produce()
            responder.wire.output(flush=True).clear()

        for _ in range(4 * PAGE // len(IDS)):
            ask()
        with pytest.raises(RemoteProtocolError, match="again and again"):
            ask()
    finally:
        store.close()
