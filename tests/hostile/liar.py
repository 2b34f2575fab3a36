"""A peer that says what it likes: frames by hand to a real end of a session, and what that end answers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from msgpack import packb, unpackb

from mailkeep.domain.errors import MailkeepError
from mailkeep.replicate.initiator import Initiator
from mailkeep.replicate.responder import Responder
from mailkeep.wire import frames

if TYPE_CHECKING:
    from crash.kit import Side
    from mailkeep.replicate.endpoint import Endpoint

ME = b"liarliar"
STORE = b"the liar's store"
RAW = (frames.CONTENT, frames.PIECE)


def box_id(name: str) -> bytes:
    return hashlib.sha256(f"{name}#0".encode()).digest()[:16]


def content_id(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Liar:
    """The other end, as a script: `say` frames, `hear` what came back.

    Attributes:
        heard: (frame type, message) of all that the victim said.
    """

    def __init__(self, victim: Endpoint) -> None:
        self.victim = victim
        self.wire = frames.Wire()
        self.wire.greet()
        self.heard: list[tuple[int, Any]] = []
        self.lamport = 1
        if isinstance(victim, Responder):
            victim.wire.greet()
        self._carry()

    # --- bytes

    def _carry(self) -> None:
        for _ in range(10_000):
            out = self.wire.output(flush=True)
            data = bytes(out)
            out.clear()
            if data:
                self.victim.receive(data)
            if not self.listen() and not data:
                return
        raise AssertionError("the victim talks without end")

    def listen(self) -> bool:
        """Take in what the victim has to say; whether there was anything."""
        self.victim.produce()
        said = self.victim.wire.output(flush=not self.victim.has_more)
        data = bytes(said)
        said.clear()
        if not data:
            return False
        self.wire.feed(data)
        while (frame := self.wire.next_frame()) is not None:
            kind, payload = frame
            self.heard.append((kind, payload if kind in RAW else unpackb(payload, strict_map_key=False)))
            ends = kind == frames.HELLO and {"same", "stale"} & set(self.heard[-1][1])
            if kind == frames.HELLO and not ends and not isinstance(self.victim, Initiator):
                self.wire.compress()
        return True

    def raw(self, data: bytes) -> None:
        self.victim.receive(data)
        self._carry()

    def say(self, kind: int, message: object) -> None:
        self.wire.send(kind, message if isinstance(message, bytes) and kind in RAW else packb(message))
        self._carry()

    def of(self, kind: int) -> list[Any]:
        return [message for k, message in self.heard if k == kind]

    # --- what an honest peer would say

    def hello(self, **lies: Any) -> dict[str, Any]:
        message: dict[str, Any] = {
            "store": STORE, "ids": [ME], "me": 1, "vector": [self.lamport], "lamport": self.lamport, "root": b"",
            "members": [1], "waived": [], "forgotten": [], "suspect": 0, "count": 0,
        }  # fmt: skip
        if isinstance(self.victim, Responder):
            message |= {"tokens": [], "direction": "both", "lacks": 0}
        else:
            message |= {"token": [1, b"12345678"], "role": "full", "root_path": b"/elsewhere", "doubts": 0}
        return {**message, **lies}

    def claim(self, **lies: Any) -> dict[str, Any]:
        return {
            "lamport": self.lamport, "ids": [ME], "vector": [self.lamport], "acks": [], "members": [1], "waived": [],
            "forgotten": [], "merges": 1, **lies,
        }  # fmt: skip

    def begin(self, **lies: Any) -> None:
        """HELLO from both; afterwards everything is compressed."""
        self.say(frames.HELLO, self.hello(**lies))
        if isinstance(self.victim, Initiator) and not self.victim.finished:
            self.wire.compress()

    def registers(self, name: str, **lies: Any) -> dict[str, Any]:
        at = [self.lamport, 1, self.lamport, 1]
        validity = 1_700_000_000
        return {
            "(name)": [name, *at],
            "(live)": [True, *at],
            "(validity)": [validity, validity, *at[1:]],
            **lies,
        }

    def box(self, name: str, uidnext: int = 1, **lies: Any) -> list[Any]:
        return [box_id(name), self.registers(name, **lies), uidnext, 0]

    def blob(self, **lies: int) -> bytes:
        at = {"mask": 3, "rank": self.lamport, "writer": 1, "lamport": self.lamport, "replica": 1, **lies}
        data: bytes = packb([list(at.values())])
        return data

    def record(self, data: bytes, uid: int = 1, **lies: Any) -> list[Any]:
        row = {
            "content": content_id(data), "copy": 0, "live": 1, "uid": uid, "date": 1_700_000_000, "size": len(data),
            "regs": self.blob(), "still": 0, **lies,
        }  # fmt: skip
        return list(row.values())

    def content(self, data: bytes, *, name: bytes | None = None) -> bytes:
        return (name or content_id(data)) + (1_700_000_000).to_bytes(8, "big", signed=True) + data


class Attack:
    """One session of a store with a liar. The store is opened, scanned, and closed afterwards.

    Attributes:
        error: What ended the session, or None.
    """

    def __init__(self, side: Side, role: str = "full", *, initiates: bool = False, **more: Any) -> None:
        self.side, self.role, self.initiates, self.more = side, role, initiates, more
        self.error: MailkeepError | None = None

    def __enter__(self) -> Liar:
        self.store = self.side.open()
        self.store.scan()
        self.victim: Endpoint
        if self.initiates:
            victim = Initiator(self.store, "liar", **self.more)
            victim.wire.greet()
            victim.start()
            self.victim = victim
        else:
            self.victim = Responder(self.store, role=self.role, **self.more)
        return Liar(self.victim)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is not None:
            self.victim.abandon()
        self.store.close()
        if isinstance(error, MailkeepError):
            self.error = error
            return True
        return False
