"""What has effect where, and what a peer's changes do: on ledgers in memory."""

from __future__ import annotations

import pytest

from mailkeep.domain.annotation import HOLDS_SET_MAX, NEVER, Expire, LegalHold
from mailkeep.domain.errors import UsageError
from mailkeep.domain.record import ANNOTATIONS_MAX, Register
from mailkeep.rules.guard import Limits, Tally
from mailkeep.store.annotations import (
    Book,
    accept,
    adopt,
    annotate,
    bounded,
    effective,
    in_effect,
    keep_legal_holds,
    legal_holds_of_all,
    pending,
    refuse,
    tell_guard,
    weigh,
)
from mailkeep.store.index import Index
from mailkeep.store.ledger import Ledger, digest_of
from mailkeep.store.rows import Mailbox

DAY = 86_400
NOW = 1_800_000_000


@pytest.fixture
def ledger() -> Ledger:
    index = Index.create(":memory:", bytes(16), b"replica1")
    made = Ledger(index)
    with index.transaction():
        for name in ("INBOX", "Lists", "Lists/python", "Lists/python/dev", "Trash", "Trash/old"):
            made.create(name, 1000)
    return made


def named(ledger: Ledger, name: str) -> Mailbox:
    box = ledger.named(name)
    assert box is not None
    return box


def put(ledger: Ledger, name: str, key: str, text: str) -> None:
    with ledger.index.transaction():
        annotate(ledger, named(ledger, name) if name else ledger.whole_row(), key, text)


def peer_puts(ledger: Ledger, name: str, key: str, text: str) -> None:
    """As a merge does it."""
    with ledger.index.transaction():
        box = named(ledger, name) if name else ledger.whole_row()
        before = box.annotations.get(key, "")
        ledger.set_mailbox(box, key, text)
        weigh(ledger, [(box, key, before)], NOW)


def waiting(ledger: Ledger) -> list[tuple[str, str, str, str]]:
    return [(p.box.name, p.key, p.now, p.then) for p in pending(ledger)]


# --- inheritance


def test_nothing_is_laid_down(ledger: Ledger) -> None:
    found = effective(ledger, named(ledger, "Lists"))
    assert (found.expire, found.retention, found.legal_holds, found.guard, found.role) == (
        NEVER, None, (), None, "none",
    )  # fmt: skip
    assert found.sources == {}
    assert ledger.whole is None


def test_the_nearest_one_up_the_tree_has_the_say(ledger: Ledger) -> None:
    put(ledger, "", "expire", "400d")
    put(ledger, "Lists", "expire", "30d")
    put(ledger, "Lists/python/dev", "expire", "never")
    rules = {box.name: effective(ledger, box) for box in ledger.boxes.values()}
    assert rules["INBOX"].expire == Expire(400 * DAY)
    assert rules["INBOX"].sources == {"expire": ""}
    assert rules["Lists"].expire == rules["Lists/python"].expire == Expire(30 * DAY)
    assert rules["Lists/python"].sources == {"expire": "Lists"}
    assert rules["Lists/python/dev"].expire == NEVER
    assert rules["Lists/python/dev"].sources == {"expire": "Lists/python/dev"}


def test_a_mailbox_beside_with_the_same_beginning_inherits_nothing(ledger: Ledger) -> None:
    with ledger.index.transaction():
        ledger.create("Listserv", 1000)
    put(ledger, "Lists", "expire", "30d")
    assert effective(ledger, named(ledger, "Listserv")).expire == NEVER


def test_legal_holds_add_up_and_nothing_below_lifts_them(ledger: Ledger) -> None:
    put(ledger, "", "noexpire.all", "forever from:bank")
    put(ledger, "Lists", "noexpire", "until=2027-01-31")
    put(ledger, "Lists/python", "noexpire", "until=2030-01-31")
    found = effective(ledger, named(ledger, "Lists/python/dev"))
    assert [(h.name, h.query) for h in found.legal_holds] == [("", ""), ("", ""), ("all", "from:bank")]
    assert found.sources == {"noexpire": "Lists/python", "noexpire.all": ""}


def test_roles_follow_names_unless_something_nearer_says_otherwise(ledger: Ledger) -> None:
    roles = {box.name: effective(ledger, box).role for box in ledger.boxes.values()}
    assert roles["Trash"] == roles["Trash/old"] == "trash"
    assert roles["Lists"] == "none"
    put(ledger, "", "role", "junk")
    put(ledger, "Trash/old", "role", "none")
    put(ledger, "Lists", "role", "trash")
    roles = {box.name: effective(ledger, box).role for box in ledger.boxes.values()}
    assert roles == {
        "INBOX": "junk", "Lists": "trash", "Lists/python": "trash", "Lists/python/dev": "trash",
        "Trash": "trash", "Trash/old": "none",
    }  # fmt: skip


def test_a_renamed_mailbox_takes_its_own_along_and_inherits_anew(ledger: Ledger) -> None:
    put(ledger, "Lists", "expire", "30d")
    put(ledger, "Lists/python", "retention", "5d")
    box = named(ledger, "Lists/python")
    assert effective(ledger, box).expire == Expire(30 * DAY)
    with ledger.index.transaction():
        ledger.rename(box, "Python")
    assert (effective(ledger, box).expire, effective(ledger, box).retention) == (NEVER, 5 * DAY)


def test_a_deleted_mailbox_keeps_its_legal_hold_for_itself_and_for_what_was_below(ledger: Ledger) -> None:
    put(ledger, "Lists", "noexpire", "forever")
    gone = named(ledger, "Lists")
    with ledger.index.transaction():
        ledger.delete(gone)
        ledger.rename(named(ledger, "INBOX"), "Lists")
    assert effective(ledger, gone).legal_holds == (LegalHold(""),)
    assert effective(ledger, named(ledger, "Lists")).legal_holds == ()
    assert effective(ledger, named(ledger, "Lists/python")).legal_holds == (LegalHold(""),)


# --- digests


def test_an_annotation_shows_in_the_digest_and_a_removed_one_does_not(ledger: Ledger) -> None:
    box = named(ledger, "Lists")
    before, root = digest_of(box), ledger.index.meta["root"]
    put(ledger, "Lists", "expire", "30d")
    assert digest_of(box) != before
    assert ledger.index.meta["root"] != root
    put(ledger, "Lists", "expire", "")
    assert digest_of(box) == before
    assert ledger.index.meta["root"] == root
    put(ledger, "", "expire", "30d")
    assert ledger.index.meta["root"] != root
    assert ledger.index.meta["root"] == ledger.root()
    put(ledger, "", "expire", "")
    assert ledger.index.meta["root"] == root


def test_annotations_are_read_again_from_the_index(ledger: Ledger) -> None:
    put(ledger, "", "expire", "30d")
    put(ledger, "Lists", "noexpire.a", "forever")
    peer_puts(ledger, "INBOX", "expire", "1d")
    ledger.forget()
    assert effective(ledger, named(ledger, "Lists")).sources == {"expire": "", "noexpire.a": "Lists"}
    assert waiting(ledger) == [("INBOX", "expire", "", "1d")]
    assert len(ledger.boxes) == 6
    assert "" not in {box.name for box in ledger.boxes.values()}


# --- what a peer lays down


def test_what_is_safer_has_effect_at_once(ledger: Ledger) -> None:
    put(ledger, "Lists", "expire", "30d")
    put(ledger, "Lists", "retention", "10d")
    for key, text in (("expire", "60d"), ("retention", "20d"), ("noexpire.a", "until=2030-01-01")):
        peer_puts(ledger, "Lists", key, text)
        assert in_effect(ledger, named(ledger, "Lists"))[key] == text
    assert waiting(ledger) == []


def test_what_is_less_safe_is_pending_until_a_person_accepts_it(ledger: Ledger) -> None:
    put(ledger, "Lists", "expire", "30d")
    put(ledger, "Lists", "retention", "10d")
    put(ledger, "Lists", "noexpire", "forever")
    box = named(ledger, "Lists")
    for key, text in (
        ("expire", "10d"),
        ("retention", "9d"),
        ("noexpire", ""),
        ("guard", "off"),
        ("role", "trash"),
    ):
        peer_puts(ledger, "Lists", key, text)
    found = effective(ledger, box)
    assert (found.expire, found.retention, len(found.legal_holds)) == (Expire(30 * DAY), 10 * DAY, 1)
    assert (found.guard, found.role) == (None, "none")
    assert waiting(ledger) == [
        ("Lists", "expire", "30d", "10d"),
        ("Lists", "guard", "", "off"),
        ("Lists", "noexpire", "forever", ""),
        ("Lists", "retention", "10d", "9d"),
        ("Lists", "role", "", "trash"),
    ]
    with ledger.index.transaction():
        assert all(accept(ledger, box, p.key) for p in pending(ledger))
        assert not accept(ledger, box, "expire")
    found = effective(ledger, box)
    assert (found.expire, found.retention, found.legal_holds) == (Expire(10 * DAY), 9 * DAY, ())
    assert found.role == "trash"
    assert waiting(ledger) == []


def test_what_is_refused_is_laid_down_anew_for_all(ledger: Ledger) -> None:
    put(ledger, "Lists", "expire", "30d")
    peer_puts(ledger, "Lists", "expire", "10d")
    box = named(ledger, "Lists")
    lamport = box.regs["expire"].lamport
    with ledger.index.transaction():
        assert refuse(ledger, box, "expire")
        assert not refuse(ledger, box, "expire")
    assert box.annotations["expire"] == "30d"
    assert box.regs["expire"].lamport > lamport
    assert waiting(ledger) == []


def test_a_pending_change_that_the_peer_takes_back_waits_no_more(ledger: Ledger) -> None:
    put(ledger, "Lists", "expire", "30d")
    peer_puts(ledger, "Lists", "expire", "10d")
    peer_puts(ledger, "Lists", "expire", "20d")
    assert waiting(ledger) == [("Lists", "expire", "30d", "20d")]
    peer_puts(ledger, "Lists", "expire", "40d")
    assert waiting(ledger) == []
    assert effective(ledger, named(ledger, "Lists")).expire == Expire(40 * DAY)


def test_small_steps_are_weighed_against_what_has_effect(ledger: Ledger) -> None:
    put(ledger, "Lists", "retention", "30d")
    for days in (29, 28, 1, 2, 27):
        peer_puts(ledger, "Lists", "retention", f"{days}d")
        assert effective(ledger, named(ledger, "Lists")).retention == 30 * DAY


def test_what_this_store_lays_down_answers_what_is_pending(ledger: Ledger) -> None:
    put(ledger, "Lists", "expire", "30d")
    peer_puts(ledger, "Lists", "expire", "10d")
    put(ledger, "Lists", "expire", "5d")
    assert waiting(ledger) == []
    assert effective(ledger, named(ledger, "Lists")).expire == Expire(5 * DAY)


def test_what_is_inherited_counts_as_what_was(ledger: Ledger) -> None:
    put(ledger, "", "expire", "90d")
    peer_puts(ledger, "Lists", "expire", "30d")
    assert waiting(ledger) == [("Lists", "expire", "", "30d")]
    peer_puts(ledger, "Lists", "expire", "365d")
    assert waiting(ledger) == []
    peer_puts(ledger, "Lists", "expire", "")  # back to 90d
    assert waiting(ledger) == [("Lists", "expire", "365d", "")]
    assert effective(ledger, named(ledger, "Lists/python")).expire == Expire(365 * DAY)


@pytest.mark.parametrize(("key", "text"), [("expire", "never"), ("retention", "10d"), ("role", "none")])
def test_a_peer_does_not_take_away_what_shields_a_mailbox_from_a_rule_to_come(
    ledger: Ledger, key: str, text: str
) -> None:
    put(ledger, "Lists", key, text)
    peer_puts(ledger, "Lists", key, "")
    assert waiting(ledger) == [("Lists", key, text, "")]
    put(ledger, "", "expire", "30d")
    put(ledger, "", "retention", "1d")
    put(ledger, "", "role", "trash")
    assert effective(ledger, named(ledger, "Lists")).sources[key] == "Lists"


def test_a_rule_for_the_whole_store_by_a_peer_is_pending_too(ledger: Ledger) -> None:
    peer_puts(ledger, "", "expire", "1d")
    assert waiting(ledger) == [("", "expire", "", "1d")]
    assert all(effective(ledger, box).expire == NEVER for box in ledger.boxes.values())


def test_a_rule_above_is_weighed_before_those_below(ledger: Ledger) -> None:
    put(ledger, "", "expire", "90d")
    with ledger.index.transaction():
        box, whole = named(ledger, "Lists"), ledger.whole_row()
        ledger.set_mailbox(whole, "expire", "10d")
        ledger.set_mailbox(box, "expire", "20d")  # safer than 10d, not than what has effect
        weigh(ledger, [(box, "expire", ""), (whole, "expire", "90d")], NOW)
    assert waiting(ledger) == [("", "expire", "90d", "10d"), ("Lists", "expire", "", "20d")]


def test_a_legal_hold_that_is_over_may_go(ledger: Ledger) -> None:
    put(ledger, "Lists", "noexpire", "until=2027-01-14")
    with ledger.index.transaction():
        box = named(ledger, "Lists")
        ledger.set_mailbox(box, "noexpire", "")
        weigh(ledger, [(box, "noexpire", "until=2027-01-14")], 1_799_971_200)
    assert waiting(ledger) == []


def test_what_cannot_be_read_lets_nothing_go(ledger: Ledger) -> None:
    put(ledger, "", "expire", "30d")
    put(ledger, "", "retention", "10d")
    for key in ("expire", "retention", "guard", "role", "noexpire.x", "later"):
        peer_puts(ledger, "Lists", key, "by the phase of the moon")
    found = effective(ledger, named(ledger, "Lists"))
    assert found.expire == Expire(30 * DAY)
    assert found.retention == 10 * DAY
    assert found.legal_holds == (LegalHold("x"),)
    assert {p.key for p in pending(ledger)} == {"expire", "retention", "guard", "role"}
    with ledger.index.transaction():
        for p in pending(ledger):
            accept(ledger, p.box, p.key)
    found = effective(ledger, named(ledger, "Lists"))
    assert (found.expire, found.role, found.guard) == (NEVER, "none", None)
    assert found.retention is not None
    assert found.retention > 100 * 365 * DAY


# --- the guard


@pytest.mark.parametrize(
    ("laid_down", "exempt"),
    [
        ({}, {"Trash", "Trash/old"}),
        ({"": "none"}, {"Trash", "Trash/old"}),
        ({"": "junk"}, {"INBOX", "Lists", "Lists/python", "Lists/python/dev", "Trash", "Trash/old"}),
        ({"Trash": "none"}, set()),
        ({"Trash/old": "none"}, {"Trash"}),
        ({"Lists/python": "trash"}, {"Lists/python", "Lists/python/dev", "Trash", "Trash/old"}),
        ({"Lists": "trash", "Lists/python": "none"}, {"Lists", "Trash", "Trash/old"}),
    ],
)
def test_what_is_meant_to_be_emptied(ledger: Ledger, laid_down: dict[str, str], exempt: set[str]) -> None:
    for name, role in laid_down.items():
        put(ledger, name, "role", role)
    tallies = {box.no: Tally(box.name, 1, 1) for box in ledger.boxes.values()}
    assert tell_guard(ledger, Limits(), tallies) == {}
    assert {t.name for t in tallies.values() if t.exempt} == exempt


def test_limits_hold_for_what_is_below_and_what_they_do_not_say_is_as_configured(ledger: Ledger) -> None:
    put(ledger, "Lists", "guard", "count=7")
    put(ledger, "Lists/python/dev", "guard", "off")
    put(ledger, "", "guard", "share=90%")
    tallies = {box.no: Tally(box.name, 1, 1) for box in ledger.boxes.values()}
    groups = tell_guard(ledger, Limits(count=100, mailbox_share=0.5, minimum=3), tallies)
    assert {t.name: t.group for t in tallies.values() if not t.exempt} == {
        "INBOX": "", "Lists": "Lists", "Lists/python": "Lists",
    }  # fmt: skip
    assert (groups["Lists"].count, groups["Lists"].mailbox_share, groups["Lists"].minimum) == (7, 0.5, 3)
    assert (groups[""].count, groups[""].mailbox_share) == (100, 0.9)


# --- bounds


def test_there_is_room_for_what_others_set_at_the_same_time(ledger: Ledger) -> None:
    for n in range(HOLDS_SET_MAX):
        put(ledger, "Lists", f"noexpire.{n}", "forever")
    with pytest.raises(UsageError, match="legal holds already"):
        put(ledger, "Lists", "noexpire.more", "forever")
    put(ledger, "Lists", "noexpire.3", "")
    put(ledger, "Lists", "noexpire.3", "until=2030-01-01")
    put(ledger, "Lists", "expire", "3d")


def test_of_too_many_annotations_the_same_ones_stay_everywhere() -> None:
    keys = [f"noexpire.{n}" for n in range(3 * ANNOTATIONS_MAX)] + [
        "expire",
        "role",
        "guard",
        "retention",
        "later",
        "(name)",
    ]
    regs = {key: Register("x", 1, 1, 1, 1) for key in keys}
    some = {key: regs[key] for key in keys[::2]}
    rest = {key: regs[key] for key in keys[1::2]}
    kept = bounded(regs)
    assert len(kept) == ANNOTATIONS_MAX + 1
    assert {"expire", "role", "guard", "retention", "(name)"} < kept.keys()
    assert "later" not in kept
    assert bounded({**bounded(some), **bounded(rest)}) == bounded({**bounded(rest), **some}) == kept


def test_a_legal_hold_that_is_crowded_out_still_has_effect_here(ledger: Ledger) -> None:
    put(ledger, "Lists", "noexpire.with-a-long-name", "forever")
    box = named(ledger, "Lists")
    crowd = {f"noexpire.{n}": ledger_register(n) for n in range(ANNOTATIONS_MAX)}
    with ledger.index.transaction():
        ledger.take_mailbox(box, bounded({**box.regs, **crowd}))
        weigh(ledger, [(box, "noexpire.with-a-long-name", "forever")], NOW)
    assert LegalHold("with-a-long-name") in effective(ledger, box).legal_holds


def ledger_register(n: int) -> Register:
    return Register("forever", n + 1, 1, n + 1, 1)


@pytest.mark.parametrize("many", [10, 300])
def test_what_a_peer_lays_down_at_many_places_is_weighed_in_one_reading_of_all(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """Else its cost would be the square of how much it is, under the store's lock."""
    changes = []
    read: list[int] = []
    init = Book.__init__

    def counted(self: Book, of: Ledger) -> None:
        read.append(1)
        init(self, of)

    with ledger.index.transaction():
        boxes = [ledger.create(f"Lists/{number}", 1000) for number in range(many)]
        annotate(ledger, named(ledger, "Lists"), "noexpire.case-1", "forever")
        for box in boxes:
            annotate(ledger, box, "noexpire.case-2", "forever")
        before = legal_holds_of_all(ledger)
        for box in boxes:
            for key, text in (("expire", "1d"), ("noexpire.case-2", "")):
                changes.append((box, key, box.annotations.get(key, "")))
                ledger.set_mailbox(box, key, text)
        monkeypatch.setattr(Book, "__init__", counted)
        weigh(ledger, changes, NOW)
        keep_legal_holds(ledger, before, NOW)
    assert len(read) <= 4
    assert len(waiting(ledger)) == 2 * many
    assert all(len(effective(ledger, box).legal_holds) == 2 for box in boxes)


def test_what_lies_below_a_deleted_mailbox_keeps_its_rules_when_another_takes_its_name(
    ledger: Ledger,
) -> None:
    put(ledger, "", "expire", "30d")
    put(ledger, "Lists", "expire", "never")
    put(ledger, "Lists", "retention", "4000d")
    below, other = named(ledger, "Lists/python"), named(ledger, "INBOX")
    with ledger.index.transaction():
        ledger.delete(named(ledger, "Lists"))
        assert effective(ledger, below).expire == NEVER
        ledger.rename(other, "Lists")
    found = effective(ledger, below)
    assert (found.expire, found.retention) == (NEVER, 4000 * DAY)
    put(ledger, "Lists", "expire", "90d")
    assert effective(ledger, below).expire == Expire(90 * DAY), "it has something to say by now"


def test_what_is_adopted_has_as_little_room_as_what_is_typed(ledger: Ledger) -> None:
    box = named(ledger, "Lists")
    wanted = [(box, f"noexpire.c{number:03}", "forever") for number in range(100)]
    with ledger.index.transaction():
        laid_down, waits, refused = adopt(ledger, [*wanted, (box, "retention", "999d")], NOW)
    assert (laid_down, waits, len(refused)) == (HOLDS_SET_MAX + 1, 0, 100 - HOLDS_SET_MAX)
    assert "legal holds already" in refused[0][2]
    assert len(box.annotations) <= ANNOTATIONS_MAX


def test_of_two_legal_holds_that_are_adopted_under_one_name_none_is_lost(ledger: Ledger) -> None:
    box = named(ledger, "Lists")
    with ledger.index.transaction():
        adopt(
            ledger,
            [
                (box, "noexpire", "forever"),
                (box, "noexpire", "until=2020-01-01"),
                (box, "expire", "1d"),
                (box, "expire", "2d"),
            ],
            NOW,
        )
    assert sorted(box.annotations.items()) == [
        ("expire", "1d"), ("noexpire", "forever"), ("noexpire.2", "until=2020-01-01"),
    ]  # fmt: skip
