"""What a peer may do that may only add: messages, mailboxes and flags.

Its writes are merged like any other's, so vectors tell the truth and nobody is out of step; what it may not do
is answered, in the same transaction, by a newer write that says what was there before. That answer travels like
every write, to the peer too: what it took away comes back there.
"""

from __future__ import annotations

from mailkeep.domain.record import APPROVED, LIVE, NAME, NOT_ANNOTATIONS, NOT_FLAGS, UID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailkeep.domain.record import Registers, Value

TRASHED = "T"
"""The flag by which IMAP clients mark what is to be expunged (RFC 9051 §2.3.2): setting it is no addition."""
NOT_SET = ""
"""The value of an annotation that is not there."""
NO_APPROVAL = 0
"""No deletion has this rank, so an approval of it approves none."""


def answers(mine: Registers, merged: Registers) -> dict[str, Value]:
    """Registers of a record, a mailbox or the whole store that are to be written anew, with their values.

    Args:
        mine: As they are here; empty where the peer brings something new. The whole store has annotations only.
        merged: As they would be after the merge.
    """
    return _record(mine, merged) if UID in merged else _mailbox(mine, merged)


def _record(mine: Registers, merged: Registers) -> dict[str, Value]:
    out: dict[str, Value] = {}
    if APPROVED in merged:
        mine_ok = mine[APPROVED].value if APPROVED in mine else NO_APPROVAL
        if merged[APPROVED].value != mine_ok:
            out[APPROVED] = mine_ok
    if not mine:
        return out
    if mine[LIVE].value and not merged[LIVE].value:
        out[LIVE] = True
    for name, register in merged.items():
        if name not in NOT_FLAGS:
            before = name in mine and bool(mine[name].value)
            if before and not register.value:
                out[name] = True
            elif name == TRASHED and register.value and not before:
                out[name] = False
    return out


def _mailbox(mine: Registers, merged: Registers) -> dict[str, Value]:
    out: dict[str, Value] = {}
    for key, register in merged.items():
        if key not in NOT_ANNOTATIONS:
            before = mine[key].value if key in mine else NOT_SET
            if register.value != before:
                out[key] = before
    if mine and NAME in mine:
        if merged[NAME].value != mine[NAME].value:
            out[NAME] = mine[NAME].value
        if mine[LIVE].value and not merged[LIVE].value:
            out[LIVE] = True
    return out


def kind_of(name: str, is_mailbox: bool) -> str:
    """What was refused, in words, by the register that was written."""
    if is_mailbox:
        if name not in NOT_ANNOTATIONS:
            return "annotations"
        return "renamed mailboxes" if name == NAME else "deleted mailboxes"
    if name == APPROVED:
        return "approvals"
    return "deleted messages" if name == LIVE else "changed flags"
