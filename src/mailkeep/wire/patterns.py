"""Which mailboxes a peer gets, and under what names: include and exclude patterns, and a name map."""

from __future__ import annotations

from mailkeep.domain.names import BadMailboxName, MailboxName, normalised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PATTERN_CHARS_MAX = 1000
"""Characters of a pattern: no mailbox name is longer."""

_SPECIAL = "*%!\\"


class Pattern:
    r"""One pattern over mailbox names in their text form.

    `*` stands for any characters, `%` for any but "/", as in LIST of RFC 9051 §6.3.9; all else
    stands for itself, the whole name has to match. A backslash before `* % ! \` takes their
    meaning away. A first component that spells inbox in any case is INBOX.

    Attributes:
        text: As given.
    """

    __slots__ = ("_final", "_literal", "_percent", "_start", "_wild", "text")

    def __init__(self, text: str) -> None:
        """Compile a pattern.

        Raises:
            ValueError: It is empty or too long.
        """
        if not 0 < len(text) <= PATTERN_CHARS_MAX:
            raise ValueError(f"a mailbox pattern has 1 to {PATTERN_CHARS_MAX} characters: {text[:100]!r}")
        self.text = text
        # The pattern runs as a set of states in the bits of an integer: bit i says that the name so far
        # may have used up the first i tokens. Linear, whatever the pattern: no backtracking to blow up.
        self._literal: dict[str, int] = {}
        self._wild = self._percent = 0
        tokens = _tokens(_with_inbox(normalised(text)))
        for at, token in enumerate(tokens):
            bit = 1 << at
            if token is _ANY or token is _WITHIN:
                self._wild |= bit
                if token is _WITHIN:
                    self._percent |= bit
            else:
                self._literal[token] = self._literal.get(token, 0) | bit
        self._final = 1 << len(tokens)
        self._start = self._skip(1)

    def matches(self, name: MailboxName) -> bool:
        """Whether the whole name matches."""
        states = self._start
        for char in str(name):
            staying = self._wild if char != "/" else self._wild & ~self._percent
            states = self._skip((states & self._literal.get(char, 0)) << 1 | (states & staying))
            if not states:
                return False
        return bool(states & self._final)

    def _skip(self, states: int) -> int:
        """Add the states that follow when a wildcard stands for nothing; no two wildcards are neighbours."""
        return states | (states & self._wild) << 1


class Patterns:
    """Rules that choose mailboxes; the last that matches decides.

    A list that is empty or starts with an exclusion starts from every mailbox, any other from none.
    """

    __slots__ = ("_rules",)

    def __init__(self, rules: Iterable[tuple[bool, Pattern]] = ()) -> None:
        self._rules = tuple(rules)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Patterns:
        r"""Read rules as configured: a pattern includes, one with "!" before it excludes.

        ``\!`` at the start stands for an exclamation mark in a name.

        Raises:
            ValueError: A pattern is empty or too long.
        """
        return cls([(text[:1] != "!", Pattern(text.removeprefix("!"))) for text in texts])

    @property
    def texts(self) -> list[str]:
        """The rules as `parse` reads them."""
        return [pattern.text if include else "!" + pattern.text for include, pattern in self._rules]

    def selects(self, name: MailboxName) -> bool:
        """Whether the peer gets this mailbox."""
        for include, pattern in reversed(self._rules):
            if pattern.matches(name):
                return include
        return not self._rules or not self._rules[0][0]

    def deciding(self, name: MailboxName) -> str | None:
        """Return the rule that decides on a mailbox, as configured, or None if none matches."""
        for include, pattern in reversed(self._rules):
            if pattern.matches(name):
                return pattern.text if include else "!" + pattern.text
        return None

    def unused(self, names: Iterable[MailboxName]) -> list[str]:
        """Return the rules that match none of the names: often a slip of the keyboard."""
        every = list(names)
        return [
            pattern.text if include else "!" + pattern.text
            for include, pattern in self._rules
            if not any(map(pattern.matches, every))
        ]


class NameMap:
    """Names here <-> names at a peer, by ordered pairs of prefixes; the first that applies is used.

    A prefix is whole components: ("Archive", "Old/Archive") moves Archive and all below it. An
    empty prefix stands for the whole tree: ("", "Laptop") puts everything below Laptop. A name
    to which no pair applies is the same on both sides.

    Not every list of pairs is a map with a way back: ask `problems` before use.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        """Read pairs of (local prefix, peer prefix).

        Raises:
            BadMailboxName: A prefix that is not empty is no mailbox name.
        """
        self._pairs = tuple([(_prefix(local), _prefix(peer)) for local, peer in pairs])

    def to_peer(self, name: MailboxName) -> MailboxName:
        """Return what the peer calls a local mailbox.

        Raises:
            BadMailboxName: The longer prefix takes the name over a limit.
        """
        return _moved(name, self._pairs)

    def to_local(self, name: MailboxName) -> MailboxName:
        """Return what a mailbox of the peer is called here.

        Raises:
            BadMailboxName: The longer prefix takes the name over a limit.
        """
        return _moved(name, tuple([(peer, local) for local, peer in self._pairs]))

    def problems(self, local: Iterable[MailboxName], peer: Iterable[MailboxName] = ()) -> list[str]:
        """Say where the map has no way back on these names; each problem is a sentence.

        Args:
            local: Mailboxes here.
            peer: Mailboxes of the peer, by its own names, as far as known.
        """
        found = _shadowed(self._pairs)
        found += _one_way(local, self.to_peer, self.to_local, "here", "at the peer")
        found += _one_way(peer, self.to_local, self.to_peer, "at the peer", "here")
        return found


_ANY, _WITHIN = "any", "within"  # no character has more than one letter, so these are no literals


def _tokens(text: str) -> list[str]:
    """Split a pattern into characters and wildcards, neighbouring wildcards made one."""
    tokens: list[str] = []
    chars = iter(text)
    for char in chars:
        if char in "*%":
            if tokens and (tokens[-1] is _ANY or tokens[-1] is _WITHIN):
                if char == "*":
                    tokens[-1] = _ANY
            else:
                tokens.append(_ANY if char == "*" else _WITHIN)
        elif char == "\\":
            after = next(chars, "")
            if not after or after not in _SPECIAL:
                tokens.append(char)
            tokens.extend(after)
        else:
            tokens.append(char)
    return tokens


def _with_inbox(text: str) -> str:
    first, slash, rest = text.partition("/")
    return f"INBOX{slash}{rest}" if first.isascii() and first.upper() == "INBOX" else text


def _prefix(text: str) -> tuple[str, ...]:
    return MailboxName.parse(text).parts if text else ()


def _moved(name: MailboxName, pairs: Iterable[tuple[tuple[str, ...], tuple[str, ...]]]) -> MailboxName:
    parts = name.parts
    for old, new in pairs:
        # A name cannot become the empty one: the pair does not apply to its own prefix then.
        if parts[: len(old)] == old and (new or len(parts) > len(old)):
            return MailboxName(new + parts[len(old) :])
    return name


def _shadowed(pairs: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]) -> list[str]:
    found = []
    for at, pair in enumerate(pairs):
        for earlier in pairs[:at]:
            for side, where in ((0, "here"), (1, "at the peer")):
                if pair[side][: len(earlier[side])] == earlier[side]:
                    found.append(
                        f"the pair {_shown(pair)} is never used for names {where}: {_shown(earlier)}, which comes"
                        " before it, takes them; put the longer prefix first"
                    )
    return found


def _shown(pair: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    return " <-> ".join([repr("/".join(prefix)) for prefix in pair])


def _one_way(
    names: Iterable[MailboxName],
    there: Callable[[MailboxName], MailboxName],
    back: Callable[[MailboxName], MailboxName],
    here: str,
    far: str,
) -> list[str]:
    found = []
    taken: dict[MailboxName, MailboxName] = {}
    for name in sorted(set(names)):
        shown = repr(str(name))
        try:
            target = there(name)
            returned = back(target)
        except BadMailboxName as err:
            found.append(f"{shown} {here} cannot be mapped: {err}")
            continue
        other = taken.setdefault(target, name)
        if other != name:
            found.append(f"{str(other)!r} and {shown} {here} would both be {str(target)!r} {far}")
        elif returned != name:
            found.append(
                f"{shown} {here} is {str(target)!r} {far}, which would come back as {str(returned)!r}"
            )
    return found
