"""The compact form of a record's registers, one for the index and the wire.

Registers that one write set share rank, writer and stamp, and are kept as one group:
`[mask, rank, writer, lamport, replica, on, off, ok]` where mask says which of live (1), uid (2) and
ok (4) belong to the group, `on` and `off` are packed flags, and trailing empty fields are left out.
The values of live and uid stand beside the blob (they are columns of the index). Most records have one
group and take 10 to 16 bytes. Replica numbers are the sender's; `remap` makes them the reader's.
"""

from __future__ import annotations

from msgpack import packb, unpackb

from mailkeep.domain.flags import pack, unpack, valid
from mailkeep.domain.record import APPROVED, LAMPORT_MAX, LIVE, UID, Register

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from mailkeep.domain.record import Registers

    T = TypeVar("T")

GROUPS_MAX = 64
MEMO_MAX = 4096
MEMO_BYTES_MAX = 256
"""Longer blobs are not memoised: a peer's may be, all of them, and each another one."""
FLAGS_MAX = 512
"""Registers of one record that a peer may send."""


def memoised(function: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """`function` of a blob, worked out once for each: most records share their registers with many others.

    At most MEMO_MAX results are kept; an error is not.
    """
    known: dict[bytes, T] = {}

    def look_up(blob: bytes) -> T:
        value = known.get(blob)
        if value is None:
            value = function(blob)
            if len(blob) <= MEMO_BYTES_MAX:
                if len(known) >= MEMO_MAX:
                    known.clear()
                known[blob] = value
        return value

    return look_up


def encode(registers: Mapping[str, Register]) -> bytes:
    """Pack registers; the values of live and uid are kept by the caller."""
    groups: dict[tuple[int, int, int, int], list[object]] = {}
    for name, r in registers.items():
        at = (r.rank, r.writer, r.lamport, r.replica)
        group = groups.get(at)
        if group is None:
            group = groups[at] = [0, *at, [], [], None]
        if name == LIVE:
            group[0] |= 1  # type: ignore[operator]
        elif name == UID:
            group[0] |= 2  # type: ignore[operator]
        elif name == APPROVED:
            group[0] |= 4  # type: ignore[operator]
            group[7] = r.value
        else:
            group[5 if r.value else 6].append(name)  # type: ignore[attr-defined]
    packed = []
    for group in groups.values():
        group[5] = pack(group[5])  # type: ignore[arg-type]
        group[6] = pack(group[6])  # type: ignore[arg-type]
        if group[7] is None:
            del group[7]
            if not group[6]:
                del group[6]
                if not group[5]:
                    del group[5]
        packed.append(group)
    return packb(packed)  # type: ignore[no-any-return]


def encode_one(rank: int, writer: int, lamport: int, replica: int, on: str) -> bytes:
    """The common case without a detour: a new record, all of whose registers one write set."""
    return packb([[3, rank, writer, lamport, replica, on] if on else [3, rank, writer, lamport, replica]])  # type: ignore[no-any-return]


def decode(blob: bytes, live: bool, uid: int) -> Registers:
    """Registers from a blob of this store's own index."""
    out: Registers = {}
    for group in unpackb(blob):
        mask, rank, writer, lamport, replica = group[:5]
        if mask & 1:
            out[LIVE] = Register(live, rank, writer, lamport, replica)
        if mask & 2:
            out[UID] = Register(uid, rank, writer, lamport, replica)
        size = len(group)
        if size > 5:
            for name in unpack(group[5]):
                out[name] = Register(True, rank, writer, lamport, replica)
            if size > 6:
                for name in unpack(group[6]):
                    out[name] = Register(False, rank, writer, lamport, replica)
                if size > 7 and mask & 4:
                    out[APPROVED] = Register(group[7], rank, writer, lamport, replica)
    return out


def remap(blob: bytes, numbers: Mapping[int, int], vector: Mapping[int, int]) -> bytes:
    """Check a peer's blob as hostile and number its replicas as this store does.

    Args:
        blob: As `encode` made it, at the peer.
        numbers: Replica numbers of the peer -> of this store.
        vector: What the peer claims to have taken in, in this store's numbers: no stamp may lie beyond.

    Raises:
        ValueError: Anything is not as `encode` would have made it, or a live or uid register is missing.
    """
    groups = unpackb(
        blob, max_array_len=GROUPS_MAX, max_str_len=8192, max_bin_len=0, max_map_len=0, max_ext_len=0
    )
    seen = flags = 0
    if not isinstance(groups, list) or not groups:
        raise ValueError("no register groups")
    for group in groups:
        if not isinstance(group, list) or not 5 <= len(group) <= 8:
            raise ValueError("a register group of a wrong shape")
        mask, rank, writer, lamport, replica = group[:5]
        if (
            type(mask) is not int
            or type(rank) is not int
            or type(lamport) is not int
            or mask & seen
            or not 0 <= mask < 8
        ):
            raise ValueError("a register twice, or of a wrong type")
        if type(writer) is not int or type(replica) is not int:
            raise ValueError("a replica number of a wrong type")
        seen |= mask
        if writer not in numbers or replica not in numbers:
            raise ValueError("a replica that was not announced")
        group[2], group[4] = numbers[writer], numbers[replica]
        # A write's rank is the lamport of its transaction; when it is stamped anew, its stamp alone grows. A rank
        # beyond the stamp would be one that no later write could beat.
        if not 0 <= rank <= lamport <= vector.get(group[4], 0) or not lamport:
            raise ValueError("a stamp from the future, or a rank beyond its stamp")
        for text in group[5:7]:
            if type(text) is not str:
                raise ValueError("flags of a wrong type")
            names = unpack(text)
            flags += len(names)
            if flags > FLAGS_MAX or not all(map(valid, names)):
                raise ValueError("flags that no client could have set")
        if len(group) == 8 and (type(group[7]) is not int or not 0 <= group[7] <= LAMPORT_MAX):
            raise ValueError("an approval of a wrong type")
        if bool(mask & 4) != (len(group) == 8):
            raise ValueError("an approval without its rank")
    if seen & 3 != 3:
        raise ValueError("a record without live or uid")
    return packb(groups)  # type: ignore[no-any-return]
