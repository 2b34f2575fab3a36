"""Asking a peer to show that it holds contents, without having them sent: before the last copy here is freed.

    initiator                                   responder
    greeting                   ->
                               <-               greeting
    PROVE [nonce, [content id, ...]] ->
                               <-               PROOFS [store id, [proof or empty, ...]]
    PROVE ...                                   ... until the initiator closes

A proof is the SHA-256 of the nonce (16 bytes that nobody could foresee) and the content's bytes: only who reads the bytes
now can give it, and who asks computes the same from its own. A peer says nothing of contents of which no message, live or
expunged, is in a mailbox that the other may see.
"""

from __future__ import annotations

import os
from hashlib import sha256

from msgpack import packb, unpackb

from mailkeep.domain.errors import PeerUnavailable, RemoteProtocolError, printable
from mailkeep.domain.record import CONTENT_ID_BYTES
from mailkeep.replicate import bounds
from mailkeep.system import clock, fs
from mailkeep.wire import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailkeep.replicate.endpoint import Endpoint
    from mailkeep.store.vault import Vault

PAGE = 200
"""Contents of one question."""
NONCE_BYTES = 16
STORE_BYTES = 16


def proof_of(vault: Vault, nonce: bytes, content_id: bytes) -> bytes:
    """What shows that an object is there, and readable; b'' where it is not."""
    try:
        fd = vault.open(content_id)
    except OSError:
        return b""
    hashed, proof = sha256(), sha256(nonce)
    try:
        while chunk := os.read(fd, fs.READ_BYTES):
            hashed.update(chunk)
            proof.update(chunk)
    except OSError:
        return b""
    finally:
        os.close(fd)
    return proof.digest() if hashed.digest() == content_id else b""


def answer(endpoint: Endpoint, message: object) -> Iterator[None]:
    """Check a PROVE as hostile; what it returns says the answer, one content at a time.

    Raises:
        ValueError: It is malformed, or asks without end.
    """
    nonce, ids = bounds.listed(message, 2, "a question")
    bounds.blob(nonce, NONCE_BYTES, "a nonce")
    for content_id in bounds.listed(ids, PAGE, "contents to be shown"):
        bounds.blob(content_id, CONTENT_ID_BYTES, "a content id")
    endpoint.asked += len(ids)
    if endpoint.asked > bounds.CONTENT_ASKS_MAX * max(PAGE, endpoint._contents_count()):
        raise ValueError("contents to be shown again and again")
    return _answer(endpoint, nonce, ids)


def _answer(endpoint: Endpoint, nonce: bytes, ids: list[bytes]) -> Iterator[None]:
    boxes = endpoint.ledger.boxes
    seen = set()
    for content_id in ids:
        rows = endpoint.index.execute(
            "SELECT DISTINCT r.mailbox FROM content c JOIN record r ON r.content = c.no WHERE c.id = ? AND c.kept",
            (content_id,),
        )
        if any(endpoint.view.shows(boxes[mailbox]) for (mailbox,) in rows):
            seen.add(content_id)
    proofs = []
    for content_id in ids:
        proofs.append(proof_of(endpoint.store.vault, nonce, content_id) if content_id in seen else b"")
        yield
    endpoint.say(frames.PROOFS, [endpoint.store.id, proofs])


class Asker:
    """Asks one peer. Driven like an endpoint: `ask`, then drive it until `answered`.

    Attributes:
        store: The id of the peer's store, once it has answered.
    """

    def __init__(self, vault: Vault, own: bytes) -> None:
        """Prepare.

        Args:
            own: The id of the store that asks: what it shows itself counts for nothing.
        """
        self.vault, self.own = vault, own
        self.wire = frames.Wire()
        self.wire.greet(dry="1")
        self.store = b""
        self.has_more = False
        self._asked: Sequence[bytes] = ()
        self._nonce = b""
        self._shown: set[bytes] | None = None

    def ask(self, contents: Sequence[bytes]) -> None:
        """Ask for at most PAGE contents."""
        self._asked, self._shown = contents, None
        self._nonce = clock.random_bytes(NONCE_BYTES)
        self.wire.send(frames.PROVE, packb([self._nonce, list(contents)]))

    @property
    def answered(self) -> bool:
        """Whether the answer is here."""
        return self._shown is not None

    @property
    def shown(self) -> set[bytes]:
        """Ids of the contents that the peer has shown to hold."""
        assert self._shown is not None, "there is no answer yet"
        return self._shown

    def produce(self) -> None:
        """What is to be said was said by `ask`."""

    def closed(self) -> None:
        """The peer has closed the connection.

        Raises:
            PeerUnavailable: Always: it should have answered.
        """
        raise PeerUnavailable("the peer closed the connection before it answered", untouched="anything")

    def receive(self, data: bytes) -> None:
        """Bytes from the peer, b'' when it has closed.

        Raises:
            MailkeepError: It does not answer, or not as it should.
        """
        if not data:
            self.closed()
        self.wire.feed(data)
        while not self.answered and (frame := self.wire.next_frame()) is not None:
            try:
                self._take(*frame)
            except (ValueError, TypeError, IndexError, KeyError) as err:
                raise RemoteProtocolError(
                    f"the peer's answer is malformed: {printable(str(err)[:200])}"
                ) from err

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == frames.ERROR:
            raise PeerUnavailable(
                f"the peer gave up: {bounds.text(unpackb(payload)[1], 500)}", untouched="anything"
            )
        if kind != frames.PROOFS:
            raise ValueError("another frame than PROOFS")
        store, proofs = bounds.listed(unpackb(payload), 2, "an answer")
        bounds.blob(store, STORE_BYTES, "the id of its store")
        if type(proofs) is not list or len(proofs) != len(self._asked):
            raise ValueError("another number of proofs than of contents")
        if any(type(proof) is not bytes for proof in proofs):
            raise ValueError("a proof that is none")
        self.store = store
        self._shown = set()
        if store == self.own:
            return
        for content_id, proof in zip(self._asked, proofs, strict=True):
            if proof and proof == proof_of(self.vault, self._nonce, content_id):
                self._shown.add(content_id)
