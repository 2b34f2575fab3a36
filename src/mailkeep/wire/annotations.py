"""Values of annotations: text to types and back.

| key | value | meaning |
| --- | --- | --- |
| `expire` | `30d by=flag keep=flagged,unread count=5000 size=2GB`, `never` | when messages expire |
| `retention` | `90d` | how long what was expunged can be given back |
| `noexpire`, `noexpire.NAME` | `forever`, `until=2027-01-31`, with a query behind it | a legal hold |
| `guard` | `count=5000 share=50% minimum=100`, `off` | when deletions are held |
| `role` | `trash`, `junk`, `none` | what the mailbox is for |

The parsers raise ValueError with a whole sentence. What the formatters write the parsers read, and it is the one form
of a value: equal values have equal texts. A text may be a peer's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mailkeep.domain.annotation import (
    BY,
    DELIVERY,
    EXPIRE,
    GUARD,
    KEY_CHARS_MAX,
    NAMES,
    NEVER,
    NOEXPIRE,
    RETENTION,
    ROLE,
    ROLES,
    TEXT_CHARS_MAX,
    Expire,
    GuardRule,
    LegalHold,
    is_key,
    is_text,
    name_of,
)
from mailkeep.wire.units import (
    format_share,
    parse_duration,
    parse_share,
    parse_size,
    write_duration,
    write_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    Parsed = Expire | LegalHold | GuardRule | int | str | None

AGE_SECONDS_MIN = 3600
"""A limit below an hour is a slip: such mail would be gone before anybody has read it."""
COUNT_MAX = 1_000_000_000
FLAGGED, UNREAD = "flagged", "unread"
FOREVER = "forever"
OFF = "off"
UNTIL = "until="


def check_key(key: str) -> str:
    """A key as a person gives it.

    Raises:
        ValueError: It is none, or of a name that there is not.
    """
    if name_of(key) not in NAMES:
        known = ", ".join(NAMES)
        raise ValueError(f'there is no annotation "{key[:100]}": the names are {known}')
    if "." in key and name_of(key) != NOEXPIRE:
        raise ValueError(f'"{key[:100]}": only noexpire can be set several times, as in noexpire.case-4711')
    if not is_key(key):
        raise ValueError(
            f'"{key[:100]}": the name of a legal hold is made of a to z, 0 to 9, - and _, and with "noexpire." it has at'
            f" most {KEY_CHARS_MAX} characters"
        )
    return key


def parse(key: str, text: str) -> Parsed:
    """The value that a text says; None of the empty one, which says that there is none.

    Raises:
        ValueError: It is not a value of this annotation, or there is no such annotation.
    """
    if not is_text(text):
        raise ValueError(f"a value is one line of at most {TEXT_CHARS_MAX} printable characters")
    if not text:
        return None
    name = name_of(key)
    if name == EXPIRE:
        return _expire(text)
    if name == RETENTION:
        return parse_duration(text)
    if name == NOEXPIRE:
        return _legal_hold(key.partition(".")[2], text)
    if name == GUARD:
        return _guard(text)
    if name == ROLE:
        if text not in ROLES:
            raise ValueError(f'the role "{text[:100]}" is not one of {", ".join(ROLES)}')
        return text
    raise ValueError(f'there is no annotation "{key[:100]}"')


def write(value: Parsed) -> str:
    """The text of a value."""
    if isinstance(value, Expire):
        return _write_expire(value)
    if isinstance(value, LegalHold):
        until = FOREVER if value.until is None else UNTIL + _day_before(value.until)
        return f"{until} {value.query}".rstrip()
    if isinstance(value, GuardRule):
        return _write_guard(value)
    if isinstance(value, int):
        return write_duration(value)
    return value or ""


# --- words of the form key=value


def _words(text: str, keys: tuple[str, ...], what: str) -> tuple[list[str], dict[str, str]]:
    plain: list[str] = []
    named: dict[str, str] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals:
            plain.append(word)
        elif key not in keys:
            raise ValueError(f'{what} has no "{key[:100]}=": it has {", ".join(k + "=" for k in keys)}')
        elif key in named:
            raise ValueError(f'{what}: "{key}=" is there twice')
        else:
            named[key] = value
    return plain, named


def _count(text: str, what: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= COUNT_MAX):
        raise ValueError(f'{what}"{text[:100]}" is not a number from {least} to {COUNT_MAX:,}')
    return int(text)


# --- expire


def _expire(text: str) -> Expire:
    if text.strip() == "never":
        return NEVER
    plain, named = _words(text, ("by", "keep", "count", "size"), "a rule of expiry")
    age = parse_duration(" ".join(plain)) if plain else None
    if age is not None and age < AGE_SECONDS_MIN:
        raise ValueError(f'"{" ".join(plain)}" is less than an hour')
    by = named.get("by", DELIVERY)
    if by not in BY:
        raise ValueError(f'"by={by[:100]}" is not one of {", ".join("by=" + b for b in BY)}')
    keep = named["keep"].split(",") if "keep" in named else []
    for word in keep:
        if word not in (FLAGGED, UNREAD):
            raise ValueError(f'"keep={named["keep"][:100]}": what can be kept is {FLAGGED}, {UNREAD}')
    size = parse_size(named["size"]) if "size" in named else None
    if size == 0:
        raise ValueError('"size=0" would let everything expire')
    rule = Expire(
        age,
        by,
        keep_flagged=FLAGGED in keep,
        keep_unread=UNREAD in keep,
        count=_count(named["count"], "count=", 1) if "count" in named else None,
        size=size,
    )
    if rule.is_never:
        raise ValueError('a rule of expiry has an age (30d), count=, size=, or is "never"')
    return rule


def _write_expire(rule: Expire) -> str:
    if rule.is_never:
        return "never"
    words = [] if rule.age is None else [write_duration(rule.age)]
    if rule.by != DELIVERY:
        words.append(f"by={rule.by}")
    keep = [word for word, on in ((FLAGGED, rule.keep_flagged), (UNREAD, rule.keep_unread)) if on]
    if keep:
        words.append("keep=" + ",".join(keep))
    if rule.count is not None:
        words.append(f"count={rule.count}")
    if rule.size is not None:
        words.append(f"size={write_size(rule.size)}")
    return " ".join(words)


# --- noexpire


def _legal_hold(name: str, text: str) -> LegalHold:
    when, _, query = text.strip().partition(" ")
    if when == FOREVER:
        return LegalHold(name, None, query.strip())
    if not when.startswith(UNTIL):
        raise ValueError(f'a legal hold begins with "{FOREVER}" or "{UNTIL}2027-01-31"; a query may follow')
    try:
        day = datetime.strptime(when.removeprefix(UNTIL), "%Y-%m-%d").replace(tzinfo=UTC)
        end = day + timedelta(days=1)
    except (ValueError, OverflowError):
        raise ValueError(f'"{when[:100]}" is not a date such as {UNTIL}2027-01-31') from None
    if day.year < 1971:
        raise ValueError(f'"{when}" is not a date such as {UNTIL}2027-01-31')
    return LegalHold(name, int(end.timestamp()), query.strip())


def _day_before(until: int) -> str:
    return (datetime.fromtimestamp(until, UTC) - timedelta(days=1)).strftime("%Y-%m-%d")


# --- guard


def _guard(text: str) -> GuardRule:
    if text.strip() == OFF:
        return GuardRule(off=True)
    plain, named = _words(text, ("count", "share", "minimum"), "a guard rule")
    if plain or not named:
        raise ValueError(f'a guard rule is "{OFF}", or has count=1000, share=25% or minimum=50')
    return GuardRule(
        _count(named["count"], "count=", 0) if "count" in named else None,
        parse_share(named["share"]) if "share" in named else None,
        _count(named["minimum"], "minimum=", 0) if "minimum" in named else None,
    )


def _write_guard(rule: GuardRule) -> str:
    if rule.off:
        return OFF
    words = []
    if rule.count_max is not None:
        words.append(f"count={rule.count_max}")
    if rule.share_max is not None:
        words.append(f"share={format_share(rule.share_max)}")
    if rule.minimum is not None:
        words.append(f"minimum={rule.minimum}")
    return " ".join(words)
