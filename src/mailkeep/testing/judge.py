"""Is anything lost, doubled, half done, or sent again? Each finding is a sentence; none means that all is well."""

from __future__ import annotations

import collections
import hashlib
import os
from typing import TYPE_CHECKING

import apsw

from mailkeep.domain.errors import EXIT_CODES
from mailkeep.store.marker import NAME

if TYPE_CHECKING:
    from mailkeep.testing.life import Life, Tree

SLACK_BYTES, RECORD_BYTES = 96 << 10, 500
"""What a run may carry beside contents: hello and digests; a record and its changes."""
NAMED_MAX = 5


class Vault:
    """The contents that one store's state directory holds, read and hashed; each once."""

    def __init__(self, state: bytes) -> None:
        self.state = state
        self._known: dict[tuple[bytes, int, int, int], bytes] = {}

    def contents(self) -> set[bytes]:
        """Ids of all contents that can be read back: of objects, and of what was set aside."""
        out = set()
        for at, _, names in os.walk(self.state):
            below = os.path.relpath(at, self.state).split(b"/")
            if below[0] not in (b"objects", b"trash", b"lost+found", b"removed-mailboxes"):
                continue
            for name in names:
                path = os.path.join(at, name)
                st = os.lstat(path)
                key = (path, st.st_ino, st.st_size, st.st_ctime_ns)
                if key not in self._known:
                    with open(path, "rb") as file:
                        self._known[key] = hashlib.sha256(file.read()).digest()
                content = self._known[key]
                if below[0] != b"objects" or name == content.hex().encode():
                    out.add(content)
        return out

    def kept(self) -> set[bytes]:
        """Ids that the index relies on. The store is at rest."""
        return self._ids("SELECT id FROM content WHERE kept")

    def known(self) -> set[bytes]:
        """Those of them that some message has, or had: what none has goes a clean-up later. The store is at rest."""
        return self._ids("SELECT DISTINCT c.id FROM record r JOIN content c ON c.no = r.content WHERE c.kept")

    def needed(self) -> set[bytes]:
        """Ids of what is live, or held. The store is at rest."""
        return self._ids(
            "SELECT DISTINCT c.id FROM record r JOIN content c ON c.no = r.content WHERE r.live OR r.hold IS NOT NULL"
        )

    def _ids(self, query: str) -> set[bytes]:
        path = os.path.join(self.state, b"index.db")
        connection = apsw.Connection(os.fsdecode(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            return {bytes(row[0]) for row in connection.execute(query)}
        finally:
            connection.close()


def _named(contents: list[str]) -> str:
    more = f" and {len(contents) - NAMED_MAX} more" if len(contents) > NAMED_MAX else ""
    return ", ".join(contents[:NAMED_MAX]) + more


def half_done(life: Life, vaults: tuple[Vault, Vault]) -> list[str]:
    """After a run, however it ended: nothing visible is half a message, and nothing is gone.

    A message that was on a side before must be there, to be seen or in the vault.
    """
    out = []
    for side, tree in enumerate(life.trees):
        visible = set()
        broken = []
        for file in tree.files():
            visible.add(file.content)
            if file.content not in life.sizes:
                broken.append(os.fsdecode(file.name))
        if broken:
            out.append(f"half visible: side {side} shows what nobody wrote: {_named(broken)}")
        must = {m.content for m in life.messages if side in m.seen} - visible
        if must:
            lost = sorted(c.hex() for c in must - vaults[side].contents())
            if lost:
                out.append(f"lost: side {side} had, and has no more: {_named(lost)}")
    return out


def at_rest(life: Life) -> list[str]:
    """After the last run of several: both sides show what is expected, neither more nor less."""
    out = []
    expected, doubtful = life.expected(), set(life.gone)
    for side, tree in enumerate(life.trees):
        shown = tree.shown()
        for box in sorted((expected.keys() | shown.keys()) - doubtful):
            want, have = expected.get(box, collections.Counter()), shown.get(box, collections.Counter())
            for word, difference in (("lost", want - have), ("too many", have - want)):
                if difference:
                    texts = [f"{c.hex()[:16]} {''.join(sorted(f)) or '-'}" for c, f in difference.elements()]
                    out.append(f"{word}: side {side}, {box}: {_named(texts)}")
        out += [f"left over: side {side}: {text}" for text in _left(tree)]
    boxes = [set(tree.boxes()) - doubtful for tree in life.trees]
    if boxes[0] != boxes[1]:
        out.append(f"mailboxes differ: {sorted(boxes[0] ^ boxes[1])}")
    return out


def _left(tree: Tree) -> list[str]:
    """Our own temporary files in the Maildir's root."""
    return [
        os.fsdecode(name)
        for name in os.listdir(tree.root)
        if (name.startswith(NAME) and name != NAME) or name.startswith(b".mailkeep-probe")
    ]


def overdue(vaults: tuple[Vault, Vault]) -> list[str]:
    """After a clean-up of stores whose retention is nothing: no content is kept that no message needs."""
    out = []
    for side, vault in enumerate(vaults):
        spare = vault.known() - vault.needed()
        if spare:
            out.append(
                f"not freed: side {side} keeps what nobody needs: {_named(sorted(c.hex() for c in spare))}"
            )
    return out


def lacking(life: Life, vaults: tuple[Vault, Vault]) -> int:
    """Bytes of contents that one side has to get from the other; what it can read at home is not among them."""
    total = 0
    for side, tree in enumerate(life.trees):
        at_home = vaults[side].kept() | {file.content for file in tree.files()}
        total += sum(life.sizes[content] for content in life.kept() - at_home)
    return total


def too_much(carried: int, lacked: int, life: Life) -> list[str]:
    """Whether a run carried more than what was lacking before it."""
    bound = lacked * 21 // 20 + SLACK_BYTES + RECORD_BYTES * len(life.messages)
    if carried > bound:
        return [f"sent again: {carried:,} bytes were carried, and {lacked:,} were lacking"]
    return []


def ending(status: int | None, errors: str) -> list[str]:
    """Whether a command that was not killed ended as it should: a known status, no traceback, not as our bug."""
    out = []
    if status is not None and status >= 0 and status not in EXIT_CODES:
        out.append(f"exit status {status}, which means nothing")
    if "Traceback (most recent call last)" in errors:
        out.append("a traceback: " + errors[errors.index("Traceback") :].strip().rpartition("\n")[2])
    elif status == 70 or "internal error" in errors:
        out.append(
            "an internal error: "
            + next((line for line in errors.splitlines() if "internal" in line), "status 70")
        )
    return out
