"""The rules of expiry: what they say of any mailbox and any content, and that a legal hold wins over all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailkeep.domain.annotation import Expire
from mailkeep.rules.expiry import (
    AGE,
    COPIES,
    COUNT,
    DRIFT_SECONDS,
    GAP_SECONDS,
    Claim,
    Message,
    awaited,
    clock_trouble,
    due,
    everybody,
    kept_until,
    needed,
    stays,
)

small = st.integers(0, 30)
rules = st.builds(
    Expire,
    st.none() | small,
    keep_flagged=st.booleans(),
    keep_unread=st.booleans(),
    count=st.none() | st.integers(1, 8),
    size=st.none() | small,
)
mailboxes = st.lists(
    st.tuples(small, st.booleans(), st.booleans(), st.integers(0, 9), st.booleans()), max_size=12
).map(lambda rows: [Message(no, *row) for no, row in enumerate(rows)])
claims = st.lists(
    st.builds(Claim, st.booleans(), st.booleans(), st.booleans(), st.none() | small, st.booleans()),
    max_size=4,
)
times = st.integers(0, 40)


@given(rules, mailboxes, times)
def test_a_legal_hold_wins_over_every_rule(rule: Expire, messages: list[Message], now: int) -> None:
    assert not any(message.legal for message, _ in due(rule, messages, now))


@given(claims, times, small, small)
def test_a_legal_hold_keeps_every_content(them: list[Claim], now: int, copies: int, shown: int) -> None:
    if any(claim.legal for claim in them):
        assert needed(them, now, copies, shown) is not None


@given(rules, mailboxes, times)
def test_what_goes_is_older_than_what_stays_and_no_more_goes_than_must(
    rule: Expire, messages: list[Message], now: int
) -> None:
    gone = due(rule, messages, now)
    out = {message.no for message, _ in gone}
    assert len(out) == len(gone)
    assert not any(stays(rule, message) for message, _ in gone)
    rest = [m for m in messages if m.no not in out and not stays(rule, m)]
    if gone and rest:
        assert max((m.at, m.no) for m, _ in gone) < min((m.at, m.no) for m in rest)
    for message, why in gone:
        assert (why == AGE) == (rule.age is not None and now - message.at > rule.age)
    if rule.age is not None:
        assert all(now - m.at <= rule.age for m in rest)
    if rule.count is not None:
        assert len(rest) <= rule.count
    if rule.size is not None:
        assert len(rest) <= 1 or sum(m.size for m in rest) <= rule.size
    by_maximum = [m for m, why in gone if why != AGE]
    if by_maximum:  # the last one that went had to
        last = by_maximum[-1]
        more = [last, *rest]
        assert (rule.count is not None and len(more) > rule.count) or (
            rule.size is not None and sum(m.size for m in more) > rule.size
        )
        assert rest, "the newest message never goes by a maximum"


@given(rules, mailboxes, times)
def test_who_is_due_stays_due_as_time_goes_by(rule: Expire, messages: list[Message], now: int) -> None:
    before = {message.no for message, _ in due(rule, messages, now)}
    assert before <= {message.no for message, _ in due(rule, messages, now + 1)}


@given(rules, mailboxes, times)
def test_expiring_twice_is_expiring_once(rule: Expire, messages: list[Message], now: int) -> None:
    gone = {message.no for message, _ in due(rule, messages, now)}
    assert due(rule, [m for m in messages if m.no not in gone], now) == []


def test_without_a_rule_nothing_is_due() -> None:
    assert due(Expire(), [Message(1, 0, False, True, 10)], 1 << 40) == []


def test_flagged_mail_that_is_kept_does_not_push_the_rest_out() -> None:
    messages = [Message(no, no, True, True, 1) for no in range(10)]
    messages += [Message(no, no, False, True, 1) for no in range(10, 13)]
    assert [m.no for m, _ in due(Expire(keep_flagged=True, count=3), messages, 0)] == []
    assert [(m.no, why) for m, why in due(Expire(count=12), messages, 0)] == [(0, COUNT)]


@given(claims, times, small, small)
def test_a_content_is_freed_only_when_nothing_needs_it(
    them: list[Claim], now: int, copies: int, shown: int
) -> None:
    why = needed(them, now, copies, shown)
    wanted = any(
        c.live or c.held or c.waits or c.legal or (c.until is not None and c.until > now) for c in them
    )
    assert (why is None) == (not wanted and shown >= copies)
    assert (why == COPIES) == (not wanted and shown < copies)


@given(times, times, times, times)
def test_a_shorter_retention_does_not_touch_what_is_expunged_already(
    gone: int, old: int, new: int, more: int
) -> None:
    until = kept_until(gone, gone + old, new)
    assert until >= gone + old
    assert until >= gone + new
    assert kept_until(gone, until, min(old, new)) == until
    assert kept_until(gone, until, new + more) >= until


@given(
    st.dictionaries(small, st.dictionaries(small, small)),
    st.sets(small),
    st.sets(small),
    st.sets(small),
    small,
    st.dictionaries(small, small, min_size=1),
)
def test_a_tombstone_waits_for_every_member_that_is_not_given_up(
    acks: dict[int, dict[int, int]],
    members: set[int],
    waived: set[int],
    forgotten: set[int],
    me: int,
    stamps: dict[int, int],
) -> None:
    who = awaited(members, me, waived, forgotten)
    assert who == {m for m in members if m != me and m not in waived and m not in forgotten}
    bounds = everybody(acks, who, stamps)
    has = all(acks.get(m, {}).get(writer, 0) >= lamport for m in who for writer, lamport in stamps.items())
    assert has == all(bounds[writer] >= lamport for writer, lamport in stamps.items())


@given(
    st.integers(0, 10 * GAP_SECONDS),
    st.integers(0, 10 * GAP_SECONDS),
    st.none() | st.integers(0, 10 * GAP_SECONDS),
)
def test_a_clock_that_jumped_is_noticed(last: int, now: int, running: int | None) -> None:
    said = clock_trouble(now, last, running=running)
    if now < last - DRIFT_SECONDS:
        assert "went back" in said
    elif running is not None:
        assert bool(said) == (abs(now - last - running) > DRIFT_SECONDS)
    else:
        assert bool(said) == (now - last > GAP_SECONDS)
    assert clock_trouble(now, None, running=running) == ""
