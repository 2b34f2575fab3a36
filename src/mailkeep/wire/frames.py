r"""The wire: a greeting line, then length-prefixed frames; after both hellos, in one zstd stream each way.

    greeting   b"mailkeep/2 key=value ...\n"            options of this session, before anything is read
    frame      length (4 bytes, big-endian) | type (1 byte) | payload

The stream is compressed from the first frame after HELLO on: one context for the whole session, so that
ids and headers that were sent before cost a few bytes. Sans-I/O: bytes in, frames out, and the reverse.
See docs/reference/protocol.md.
"""

from __future__ import annotations

from mailkeep.domain.errors import LocalProtocolError, RemoteProtocolError, printable
from mailkeep.domain.record import CONTENT_ID_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 2
HEADER_BYTES = 5
DATE_BYTES = 8
HEAD_BYTES = CONTENT_ID_BYTES + DATE_BYTES
"""What stands before the bytes of a content in CONTENT."""
GREETING = b"mailkeep/%d" % VERSION
GREETING_BYTES_MAX = 1024
FRAME_BYTES_MAX = 1 << 20
"""A frame holds at most a page of records or a piece of a message; memory for one is bounded by this."""
PIECE_BYTES = 1 << 18
"""Larger contents travel in pieces."""
STREAMS_MAX = 1000
"""Zstandard frames of one session: an honest end begins a second one at most; each costs a decompressor."""
FILL_BYTES = 1 << 17
"""Frames are collected up to here before they are compressed in one call."""
WINDOW_LOG_MAX = 23
"""Memory that a peer's compressor may make us use: 8 MiB."""
LEVEL = 3
FAST_LEVEL = -100
"""Little more than copying (0.8 GB/s, a tenth saved): where the reader keeps up, the processor is what is short."""
PLENTY_BYTES = 4 << 20
"""After this much, a stream whose reader keeps up (a local pipe, a fast network) goes on with FAST_LEVEL."""

HELLO, ERROR, BOX, RECORDS, DIGESTS, END_NEWS, COMPARE, END_WHOLE = 1, 2, 3, 4, 5, 6, 7, 8
WANT, CONTENT, BIG, PIECE, LACK, CLAIM, COMMIT, DONE, REPORT = 9, 10, 11, 12, 13, 14, 15, 16, 17
BUCKETS, FETCH, PROVE, PROOFS = 18, 19, 20, 21
NAMES = {
    HELLO: "HELLO", ERROR: "ERROR", BOX: "BOX", RECORDS: "RECORDS", DIGESTS: "DIGESTS", END_NEWS: "END_NEWS",
    COMPARE: "COMPARE", END_WHOLE: "END_WHOLE", WANT: "WANT", CONTENT: "CONTENT", BIG: "BIG", PIECE: "PIECE",
    LACK: "LACK", CLAIM: "CLAIM", COMMIT: "COMMIT", DONE: "DONE", REPORT: "REPORT",
    BUCKETS: "BUCKETS", FETCH: "FETCH", PROVE: "PROVE", PROOFS: "PROOFS",
}  # fmt: skip


def pack_head(content_id: bytes, date: int) -> bytes:
    """What stands before the bytes of a content: its id and INTERNALDATE (seconds)."""
    return content_id + date.to_bytes(DATE_BYTES, "big", signed=True)


class Wire:
    """Both directions of one session's byte stream.

    Attributes:
        received_bytes, sent_bytes: On the wire, compressed.
        keeps_up: Set by the driver while the other side reads as fast as we write.
    """

    def __init__(self) -> None:
        self._in = b""
        self._at = 0
        """How far `_in` was taken: moved on frame by frame, so that no frame moves those behind it."""
        self._out = bytearray()
        self._plain: list[bytes] = []
        self._plain_bytes = 0
        self._compressed = b""
        self._greeted = False
        self._compressor: Any = None
        self._kept_back = False
        """Whether the compressor holds something that the reader does not have yet."""
        self._decompressor: Any = None
        self._level = LEVEL
        self._since = self._streams = 0
        self.keeps_up = False
        self.received_bytes = self.sent_bytes = 0
        self.greeting: dict[str, str] | None = None
        self.greeted_out = False
        self.spoke = False

    # --- receiving

    def feed(self, data: bytes) -> None:
        """Bytes that came in."""
        self.received_bytes += len(data)
        if self._decompressor is None:
            self._in = self._in[self._at :] + data
            self._at = 0
        else:
            self._compressed += data

    def _expand(self, want: int) -> bool:
        """Decompress until `want` bytes are there to be taken, and little more; False when more must come first."""
        decompressor, data = self._decompressor, self._compressed
        parts = [self._in[self._at :]]
        have = len(parts[0])
        while have < want and (data or not decompressor.needs_input):
            try:
                if decompressor.eof:
                    from mailkeep.wire.zstd import decompressor as make

                    self._streams += 1
                    if self._streams > STREAMS_MAX:
                        raise ValueError(f"more than {STREAMS_MAX:,} frames")
                    data = decompressor.unused_data + data
                    decompressor = self._decompressor = make(WINDOW_LOG_MAX)
                    continue
                parts.append(decompressor.decompress(data, FRAME_BYTES_MAX))
            except Exception as err:
                raise RemoteProtocolError(f"the peer's compressed stream is damaged: {err}") from err
            have += len(parts[-1])
            data = b""
            if decompressor.eof and not decompressor.unused_data:
                break
        self._compressed = data
        self._in, self._at = b"".join(parts), 0
        return have >= want

    def next_frame(self) -> tuple[int, bytes] | None:
        """The next whole frame, or None until more bytes come."""
        if not self._greeted and not self._take_greeting():
            return None
        start = self._at + HEADER_BYTES
        if len(self._in) < start:
            if self._decompressor is None or not self._expand(HEADER_BYTES):
                return None
            start = HEADER_BYTES
        size = int.from_bytes(self._in[start - HEADER_BYTES : start - 1], "big")
        if size > FRAME_BYTES_MAX:
            raise RemoteProtocolError(
                f"the peer announced a frame of {size:,} bytes; {FRAME_BYTES_MAX:,} are allowed"
            )
        if len(self._in) < start + size:
            if self._decompressor is None or not self._expand(HEADER_BYTES + size):
                return None
            start = HEADER_BYTES
        self._at = start + size
        return self._in[start - 1], self._in[start : self._at]

    def peek_greeting(self) -> bool:
        """Take the peer's greeting if it has come whole."""
        return self._greeted or self._take_greeting()

    def _take_greeting(self) -> bool:
        line, found, _ = self._in[:GREETING_BYTES_MAX].partition(b"\n")
        if not found and GREETING.startswith(line[: len(GREETING)]) and len(line) < GREETING_BYTES_MAX:
            return False
        word, *options = line.split(b" ")
        if word != GREETING:
            raise not_mailkeep(line)
        self.greeting = {}
        for option in options:
            key, _, value = option.decode("ascii", "replace").partition("=")
            self.greeting[key] = value
        self._at = len(line) + 1
        self._greeted = True
        return True

    # --- sending

    def greet(self, **options: str) -> None:
        """The first line; values have no spaces."""
        self.greeted_out = True
        words = [f"{key}={value}".encode() for key, value in options.items()]
        self._out += b" ".join([GREETING, *words]) + b"\n"

    def send(self, kind: int, payload: bytes, data: bytes = b"") -> None:
        """Queue a frame, whose payload may come in two parts."""
        size = len(payload) + len(data)
        self.spoke = True
        if size > FRAME_BYTES_MAX:
            raise LocalProtocolError(f"a frame of {size:,} bytes was to be sent")
        self._plain.append(b"%b%c%b" % (size.to_bytes(4, "big"), kind, payload))
        if data:
            self._plain.append(data)
        self._plain_bytes += HEADER_BYTES + size

    def compress(self) -> None:
        """From here on both directions are compressed: both hellos have passed."""
        from mailkeep.wire.zstd import compressor, decompressor

        self._flush_plain()
        self._compressor = compressor(self._level)
        self._decompressor = decompressor(WINDOW_LOG_MAX)
        self._compressed, self._in, self._at = self._in[self._at :], b"", 0

    @property
    def queued(self) -> int:
        """Bytes waiting to be sent, about."""
        return self._plain_bytes + len(self._out)

    def output(self, *, flush: bool) -> bytearray:
        """Bytes to write now; the caller deletes from its front what it has written.

        Args:
            flush: Nothing more is coming for the moment: the reader must be able to go on with this.
        """
        if (flush and (self._plain or self._kept_back)) or self._plain_bytes >= FILL_BYTES:
            self._flush_plain(flush)
        return self._out

    def _flush_plain(self, flush: bool = True) -> None:
        data = b"".join(self._plain)
        self._plain.clear()
        self._plain_bytes = 0
        if self._compressor is None:
            self._out += data
            return
        from mailkeep.wire.zstd import FLUSH_BLOCK, FLUSH_FRAME, GO_ON, compressor

        self._since += len(data)
        if self.keeps_up and self._level != FAST_LEVEL and self._since > PLENTY_BYTES:
            self._out += self._compressor.compress(data, FLUSH_FRAME)
            self._level = FAST_LEVEL
            self._compressor = compressor(FAST_LEVEL)
            self._kept_back = False
        else:
            self._out += self._compressor.compress(data, FLUSH_BLOCK if flush else GO_ON)
            self._kept_back = not flush


def not_mailkeep(line: bytes) -> RemoteProtocolError:
    """What to say when the far end does not begin as mailkeep does."""
    if line.startswith(b"mailkeep/"):
        return RemoteProtocolError(
            f"the far end speaks {printable(line[:40])}, this one {GREETING.decode()}",
            untouched="anything on either side",
            hint="update mailkeep on the machine that has the older one (mailkeep --version, here and there)",
        )
    shown = printable(line[:200].strip())
    return RemoteProtocolError(
        f"the far end is not mailkeep; it said: {shown!r}" if shown else "the far end is not mailkeep",
        untouched="anything on either side",
        hint="look at the peer's command or address (mailkeep peer list); the shell's start-up files over there"
        " must print nothing when nobody is logged in by hand",
    )
