"""Annotations of a store: what has effect for each mailbox, and what a peer laid down and nobody has accepted here.

    from mailkeep.store.annotations import effective

    laid_down = effective(ledger, box)      # any mailbox, deleted ones too; cheap after the first call
    laid_down.expire                        # domain.annotation.Expire; NEVER where nothing expires
    laid_down.retention                     # seconds, or None: as configured (Ledger.retention knows both)
    laid_down.legal_holds                   # all that lie on it: from here, from above it, from the whole store
    laid_down.role                          # "trash", "junk" or "none"
    laid_down.sources["expire"]             # name of the mailbox that has it; "" the whole store; not there: default

The registers say what replicas agree on. What has effect *here* is the same, but for what is *pending*: a change by a peer
that is not safer (`mailkeep.rules.annotations`) leaves in effect what was, until a person accepts or refuses it. That is
kept in the index (meta `pending`), is local, and survives everything but the loss of the index; after that, all that
is not safer than nothing is pending again.

A value that cannot be read, of a later version or a liar's, never makes anything go: no expiry, the longest retention, a
legal hold on everything, the guard as configured, no role.
"""

from __future__ import annotations

from msgpack import packb, unpackb

from mailkeep.domain.annotation import (
    EXPIRE,
    GUARD,
    HOLDS_SET_MAX,
    JUNK,
    KEY_CHARS_MAX,
    NAMES,
    NEVER,
    NO_ROLE,
    NOEXPIRE,
    RETENTION,
    ROLE,
    TRASH,
    Expire,
    GuardRule,
    LegalHold,
    name_of,
)
from mailkeep.domain.errors import UsageError
from mailkeep.domain.record import ANNOTATIONS_MAX, NOT_ANNOTATIONS
from mailkeep.rules.annotations import is_safer, upward
from mailkeep.wire.annotations import parse, write
from mailkeep.wire.units import DURATION_SECONDS_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from mailkeep.domain.record import Registers
    from mailkeep.rules.annotations import Parsed
    from mailkeep.rules.guard import Limits, Tally
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.rows import Mailbox

WHOLE = ""
"""In the place of a mailbox's name: the whole store."""
ROLES_BY_NAME = {"Trash": TRASH, "Junk": JUNK}
"""Roles that mailboxes of these names have, and all below them, where nothing else is laid down."""
STORE_BYTES_SET_MAX = 1 << 20
"""All keys and texts of a store together, beyond which none is set."""
PENDING = "pending"


class Effective:
    """What has effect for one mailbox.

    Attributes:
        expire: When its messages expire.
        retention: Seconds for which the contents of expunged messages are kept; None: as configured.
        legal_holds: All that lie on it, whichever mailbox they come from, in the order of their names; also those whose
            date has passed (`LegalHold.is_over`).
        guard: Its own limits of the guard, or of one above it; None: as configured.
        role: What it is for.
        sources: By key, the name of the mailbox where the value is set, WHOLE for the whole store. What is not in it is by
            default. A legal hold that several mailboxes have is named once, with the nearest.
    """

    __slots__ = ("expire", "guard", "legal_holds", "retention", "role", "sources")

    def __init__(self) -> None:
        self.expire: Expire = NEVER
        self.retention: int | None = None
        self.legal_holds: tuple[LegalHold, ...] = ()
        self.guard: GuardRule | None = None
        self.role = NO_ROLE
        self.sources: dict[str, str] = {}


class Pending:
    """A change by a peer that waits for a person.

    Attributes:
        box: The mailbox, or the row of the whole store.
        key: Of the annotation.
        now: The text that has effect until then; empty: none of its own.
        then: The text that would have effect; empty: it would be removed.
    """

    __slots__ = ("box", "key", "now", "then")

    def __init__(self, box: Mailbox, key: str, now: str, then: str) -> None:
        self.box, self.key, self.now, self.then = box, key, now, then


def effective(ledger: Ledger, box: Mailbox) -> Effective:
    """What has effect for a mailbox, alive or not; read once and remembered until an annotation or a name changes."""
    return book_of(ledger).of(box)


def in_effect(ledger: Ledger, box: Mailbox) -> dict[str, str]:
    """The texts by key that a mailbox itself, or the row of the whole store, has in effect here."""
    return book_of(ledger).own(box)


def pending(ledger: Ledger) -> list[Pending]:
    """What waits for a person, the whole store first, then by mailbox and key."""
    rows = {box.no: box for box in ledger.rows()}
    found = [
        Pending(rows[no], key, text, rows[no].annotations.get(key, ""))
        for no, texts in _pending(ledger).items()
        if no in rows
        for key, text in texts.items()
    ]
    return sorted(found, key=lambda p: (p.box is not ledger.whole, p.box.name, p.key))


def book_of(ledger: Ledger) -> Book:
    """All annotations of a store, read when first asked for and again after a change."""
    if ledger.book is None:
        ledger.book = Book(ledger)
    return ledger.book


class Book:
    """All annotations of a store, as they have effect here."""

    def __init__(self, ledger: Ledger) -> None:
        self.pending = _pending(ledger)
        """By number of the mailbox and key, texts that have effect until what peers laid down is accepted. After a change: `note`."""
        self._whole = self.own(ledger.whole) if ledger.whole is not None else {}
        self._by_name: dict[str, dict[int, dict[str, str]]] = {}
        """Texts of all mailboxes of a name, the alive one first. What lies below a deleted one keeps its rules."""
        self._known: dict[int, Effective] = {}
        for box in sorted(ledger.boxes.values(), key=lambda box: (not box.alive, box.id)):
            self._by_name.setdefault(box.name, {})[box.no] = self.own(box)

    def own(self, box: Mailbox) -> dict[str, str]:
        """Texts by key, in effect, that one mailbox itself has."""
        texts = box.annotations
        was = self.pending.get(box.no)
        return texts if was is None else {key: text for key, text in {**texts, **was}.items() if text}

    def note(self, box: Mailbox) -> None:
        """Something of this mailbox, or of the row of the whole store, is pending now, or is no more."""
        self._known.clear()
        if box.name:
            self._by_name[box.name][box.no] = self.own(box)
        else:
            self._whole = self.own(box)

    def of(self, box: Mailbox) -> Effective:
        """What has effect for a mailbox, or for the row of the whole store."""
        found = self._known.get(box.no)
        if found is None:
            above = self.above(box.name)
            found = self._known[box.no] = _effective([(box.name, self.own(box)), *above])
        return found

    def above(self, name: str) -> list[tuple[str, dict[str, str]]]:
        """Names and texts of all that a mailbox of this name inherits from, nearest first."""
        if not name:
            return []
        levels = [(level, own) for level in upward(name) if level != name for own in self._texts(level)]
        return [*levels, (WHOLE, self._whole)]

    def _texts(self, name: str) -> list[dict[str, str]]:
        # Of several of one name the first that has any text has the say; but no legal hold is lost with the mailbox that had it.
        first, *others = [own for own in self._by_name.get(name, {}).values() if own] or [{}]
        return [
            first,
            *({k: t for k, t in own.items() if name_of(k) == NOEXPIRE} for own in others),
        ]


def _effective(levels: list[tuple[str, dict[str, str]]]) -> Effective:
    """What follows from the texts of a mailbox and of all above it, nearest first."""
    out = Effective()
    holds: list[tuple[str, LegalHold]] = []
    for level, texts in levels:
        if ROLE not in texts and ROLE not in out.sources and out.role == NO_ROLE:
            out.role = ROLES_BY_NAME.get(level, NO_ROLE)
        for key, text in texts.items():
            value = read(key, text)
            if isinstance(value, LegalHold):
                holds.append((key, value))
                out.sources.setdefault(key, level)
            elif key not in out.sources and _take(out, key, value):
                out.sources[key] = level
    out.legal_holds = tuple(hold for _, hold in sorted(holds, key=lambda pair: pair[0]))
    return out


def _take(out: Effective, key: str, value: Parsed) -> bool:
    if key == EXPIRE and isinstance(value, Expire):
        out.expire = value
    elif key == RETENTION and isinstance(value, int):
        out.retention = value
    elif key == GUARD and isinstance(value, GuardRule):
        out.guard = value
    elif (
        key == ROLE and isinstance(value, str) and out.role == NO_ROLE
    ):  # else a name nearer than this says it
        out.role = value
    else:
        return False
    return True


def tell_guard(ledger: Ledger, limits: Limits, tallies: Mapping[int, Tally]) -> dict[str, Limits]:
    """Write into the tallies which mailboxes are meant to be emptied, and in which groups they are judged.

    Args:
        limits: As configured. A mailbox that is exempt by its name there is so here, unless a role is laid down for it, or
            for one above it that is as near.

    Returns:
        The limits of the groups that have their own.
    """
    from mailkeep.rules.guard import Limits

    groups: dict[str, Limits] = {}
    for no, tally in tallies.items():
        found = effective(ledger, ledger.boxes[no])
        tally.exempt = _is_exempt(found, limits, tally.name)
        if found.guard is None:
            continue
        rule, tally.group = found.guard, found.sources[GUARD]
        tally.exempt = tally.exempt or rule.off
        if tally.group not in groups:
            groups[tally.group] = Limits(
                limits.count if rule.count_max is None else rule.count_max,
                limits.mailbox_share if rule.share_max is None else rule.share_max,
                limits.store_share,
                limits.minimum if rule.minimum is None else rule.minimum,
                limits.window_seconds,
                limits.exempt,
            )
    return groups


def _is_exempt(found: Effective, limits: Limits, name: str) -> bool:
    source = found.sources.get(ROLE)
    if source is not None:
        nearer = [
            e for e in limits.exempt if len(e) > len(source) and (name == e or name.startswith(e + "/"))
        ]
        if not nearer:
            return found.role != NO_ROLE
    return limits.is_exempt(name)


def read(key: str, text: str) -> Parsed:
    """What a text means here; one that cannot be read, what lets nothing go. None: no such value, or key, here."""
    try:
        return parse(key, text)
    except ValueError:
        name = name_of(key)
        if name == EXPIRE:
            return NEVER
        if name == RETENTION:
            return DURATION_SECONDS_MAX
        if name == NOEXPIRE:
            return LegalHold(key.partition(".")[2])
        return NO_ROLE if name == ROLE else None


# --- changes


def annotate(ledger: Ledger, box: Mailbox, key: str, text: str) -> bool:
    """Set an annotation, or remove it (''), as this store's person does: it has effect here at once.

    Belongs in a transaction. Also accepts or refuses what is pending there. Returns whether anything changed.

    Args:
        box: A mailbox, or `Ledger.whole_row()`.
        key, text: As `mailkeep.wire.annotations` checked and wrote them.

    Raises:
        UsageError: There are too many already; nothing was changed.
    """
    settled = _settle(ledger, box, key)
    if box.annotations.get(key, "") == text:
        return settled
    if key not in box.regs:
        _check_room(box, key, text, _size(ledger))
    ledger.set_mailbox(box, key, text)
    return True


def adopt(
    ledger: Ledger, wanted: Iterable[tuple[Mailbox, str, str]], now: int, *, weak: bool = False
) -> tuple[int, int, list[tuple[Mailbox, str, str]]]:
    """Lay down what another store had, where nothing has ever been laid down here: as of a peer. Belongs in a transaction.

    Of several texts for one mailbox and key the first counts; but of legal holds none is lost, the later get keys of their own.

    Args:
        wanted: (mailbox or row of the whole store, key, text).
        now: Seconds since 1970.
        weak: Whatever a replica wrote itself wins over it.

    Returns:
        How many were laid down; how many of these are pending; (mailbox, key, why) of those for which there is no room.
    """
    size = _size(ledger)
    new: list[tuple[Mailbox, str, str]] = []
    mine: dict[tuple[int, str], str] = {}
    refused = []
    for box, key, text in sorted(wanted, key=lambda w: name_of(w[1]) != NOEXPIRE):
        if (box.no, key) in mine:
            if name_of(key) != NOEXPIRE or text == mine[box.no, key]:
                continue
            key = _free_key(key.partition(".")[2], box.regs)
        elif key in box.regs:
            continue
        try:
            _check_room(box, key, text, size)
        except UsageError as err:
            refused.append((box, key, err.what))
            continue
        ledger.set_mailbox(box, key, text, weak)
        size += len(key) + len(text)
        mine[box.no, key] = text
        new.append((box, key, ""))
    weigh(ledger, new, now)
    waiting = _pending(ledger)
    return len(new), sum(key in waiting.get(box.no, {}) for box, key, _ in new), refused


def accept(ledger: Ledger, box: Mailbox, key: str) -> bool:
    """Let what a peer laid down have effect. Belongs in a transaction. Returns whether it was pending."""
    return _settle(ledger, box, key)


def refuse(ledger: Ledger, box: Mailbox, key: str) -> bool:
    """Lay down anew what had effect: it replicates to all. Belongs in a transaction. Returns whether it was pending."""
    text = _pending(ledger).get(box.no, {}).get(key)
    return text is not None and annotate(ledger, box, key, text)


def weigh(ledger: Ledger, changes: Iterable[tuple[Mailbox, str, str]], now: int) -> None:
    """After a merge: what is safer has effect, the rest is pending. Belongs in the transaction of the merge.

    Args:
        changes: (mailbox or row of the whole store, key, text of the register before the merge) of all that changed.
        now: Seconds since 1970.
    """
    book = book_of(ledger)
    # From the top down: a value is weighed against what is inherited where there is none, and that has to be settled.
    for box, key, before in sorted(changes, key=lambda c: (c[0] is not ledger.whole, c[0].name, c[1])):
        waiting = book.pending.setdefault(box.no, {})
        had = waiting.get(key, before)
        has = box.annotations.get(key, "")
        if has != had and not _is_safer(ledger, box, key, had, has, now):
            waiting[key] = had
        elif key in waiting:
            del waiting[key]
        book.note(box)
    _set_pending(ledger, book.pending)


def legal_holds_of_all(ledger: Ledger) -> dict[int, tuple[LegalHold, ...]]:
    """By number, the legal holds on each mailbox that has any, inherited ones too."""
    found = {no: effective(ledger, box).legal_holds for no, box in ledger.boxes.items()}
    return {no: holds for no, holds in found.items() if holds}


def keep_legal_holds(ledger: Ledger, before: dict[int, tuple[LegalHold, ...]], now: int) -> None:
    """After a merge: no mailbox has lost a legal hold because a peer gave it, or one above it, another name.

    What it would have lost is on the mailbox itself then, pending: a person lets it go, or lays it down there for all.
    Belongs in the transaction of the merge.

    Args:
        before: As `legal_holds_of_all` gave it before the merge.
        now: Seconds since 1970.
    """
    book, changed = book_of(ledger), False
    for no, holds in before.items():
        box = ledger.boxes[no]
        have = book.of(box).legal_holds
        lost = [
            hold
            for hold in holds
            if not hold.is_over(now)
            and not any(hold.name == other.name and is_safer(NOEXPIRE, hold, other, now) for other in have)
        ]
        for hold in lost:
            taken = book.own(box).keys() | box.regs.keys()
            book.pending.setdefault(no, {})[_free_key(hold.name, taken)] = write(hold)
            book.note(box)
            changed = True
    if changed:
        _set_pending(ledger, book.pending)


def _free_key(name: str, taken: Collection[str]) -> str:
    key, number = f"{NOEXPIRE}.{name}" if name else NOEXPIRE, 1
    while key in taken:
        number += 1
        key = f"{NOEXPIRE}.{name[: KEY_CHARS_MAX - 20]}{'-' if name else ''}{number}"
    return key


def _is_safer(ledger: Ledger, box: Mailbox, key: str, had: str, has: str, now: int) -> bool:
    name = name_of(key)
    if name not in NAMES:
        return True  # it has no effect here
    try:
        new = parse(key, has)
    except ValueError:
        return name == NOEXPIRE and not had  # it holds everything
    old = read(key, had)
    if new is None and (name == RETENTION or old in (NEVER, NO_ROLE)):
        return False  # it shielded the mailbox from what may yet be laid down above it
    if name in (EXPIRE, RETENTION, ROLE):
        above = _effective([(box.name, {}), *book_of(ledger).above(box.name)])
        inherited: Parsed = above.role if name == ROLE else above.expire
        if name == RETENTION:
            inherited = ledger.keeping.expunged if above.retention is None else above.retention
        old, new = (inherited if value is None else value for value in (old, new))
    return is_safer(key, old, new, now)


def _size(ledger: Ledger) -> int:
    return sum(len(k) + len(t) for row in ledger.rows() for k, t in row.annotations.items())


def _check_room(box: Mailbox, key: str, text: str, size: int) -> None:
    where = f"the mailbox {box.name}" if box.name else "the store"
    have = sum(name_of(k) == NOEXPIRE for k in box.regs)
    if name_of(key) == NOEXPIRE and have >= HOLDS_SET_MAX:
        raise UsageError(
            f"{where} has {have} legal holds already, with those that were removed",
            untouched="anything",
            hint="give it the name of one that is over, or lay it on another mailbox",
        )
    if len(box.regs.keys() - NOT_ANNOTATIONS) >= ANNOTATIONS_MAX:
        raise UsageError(
            f"{where} has {ANNOTATIONS_MAX} annotations already, with those that were removed",
            untouched="anything",
            hint="lay it on another mailbox, above or below",
        )
    if size + len(key) + len(text) > STORE_BYTES_SET_MAX:
        raise UsageError(
            f"the annotations of this store take {size:,} characters: there is no room for more",
            untouched="anything",
            hint="lay a value on a mailbox above many others instead of on each of them",
        )


def bounded(registers: Registers) -> Registers:
    """Of a mailbox's registers at most ANNOTATIONS_MAX annotations: the same ones on every replica, in whichever order they came."""
    keys = sorted(
        (key for key in registers if key not in NOT_ANNOTATIONS),
        key=lambda k: (k not in NAMES, name_of(k) != NOEXPIRE, len(k), k),
    )
    return {key: r for key, r in registers.items() if key not in keys[ANNOTATIONS_MAX:]}


# --- what is pending


def _pending(ledger: Ledger) -> dict[int, dict[str, str]]:
    packed = ledger.index.meta.get(PENDING)
    return unpackb(packed, strict_map_key=False) if packed else {}


def _set_pending(ledger: Ledger, waiting: dict[int, dict[str, str]]) -> None:
    left = {no: texts for no, texts in waiting.items() if texts}
    ledger.index.meta[PENDING] = packb(left) if left else b""
    ledger.book = None


def _settle(ledger: Ledger, box: Mailbox, key: str) -> bool:
    waiting = _pending(ledger)
    if key not in waiting.get(box.no, {}):
        return False
    del waiting[box.no][key]
    _set_pending(ledger, waiting)
    return True
