"""The errors that mailkeep raises, and the exit codes that a run can end with.

An error carries facts as attributes, so that the edge can choose what has to stop and what to
print; ``describe`` is the one form in which a person sees any of them. Failures use the numbers of
sysexits.h; outcomes that are not failures have low numbers. 1 and 2 are never chosen, because the
interpreter and argparse end with them by accident.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import ClassVar, Literal

    Scope = Literal["message", "mailbox", "store", "process"]

# Outcomes.
EXIT_DONE = 0
EXIT_SKIPPED = 3
EXIT_FAULTS = 4
EXIT_HELD = 5
EXIT_BUSY = 6
# Failures (sysexits.h).
EXIT_USAGE = 64
EXIT_DATA = 65
EXIT_NO_INPUT = 66
EXIT_UNAVAILABLE = 69
EXIT_INTERNAL = 70
EXIT_STORAGE = 74
EXIT_TRY_AGAIN = 75
EXIT_PROTOCOL = 76
EXIT_PERMISSION = 77
EXIT_CONFIG = 78
# What a shell reports for a program that SIGINT ended.
EXIT_INTERRUPTED = 130

EXIT_CODES: dict[int, tuple[str, str]] = {
    EXIT_DONE: ("done", "everything asked for was done"),
    EXIT_SKIPPED: ("skipped", "done, but some messages or mailboxes wait; they are named"),
    EXIT_FAULTS: ("faults", "a check found faults; they are named"),
    EXIT_HELD: (
        "held",
        "deletions are held until somebody approves or rejects them, or an expire waits for a person",
    ),
    EXIT_BUSY: ("busy", "another run has the store"),
    EXIT_USAGE: ("usage", "the command line is wrong"),
    EXIT_DATA: ("data", "something read is not what it should be"),
    EXIT_NO_INPUT: ("no-input", "a file, a directory or a store named is not there"),
    EXIT_UNAVAILABLE: ("unavailable", "the peer cannot be reached"),
    EXIT_INTERNAL: ("internal", "a bug in mailkeep"),
    EXIT_STORAGE: ("storage", "reading or writing failed, or the disk is full"),
    EXIT_TRY_AGAIN: ("try-again", "a passing trouble: the same command may succeed later"),
    EXIT_PROTOCOL: ("protocol", "the two ends do not speak the same protocol"),
    EXIT_PERMISSION: ("permission", "the operating system or the peer does not allow it"),
    EXIT_CONFIG: ("config", "the configuration is wrong"),
    EXIT_INTERRUPTED: ("interrupted", "stopped by the user; nothing acknowledged is lost"),
}
"""Exit code to a short stable name and its meaning. The name also appears in ``--json``."""

# The worst first: what a person must not overlook outranks what mends itself.
_SEVERITY = (
    EXIT_INTERRUPTED,
    EXIT_INTERNAL,
    EXIT_STORAGE,
    EXIT_DATA,
    EXIT_PROTOCOL,
    EXIT_CONFIG,
    EXIT_PERMISSION,
    EXIT_USAGE,
    EXIT_NO_INPUT,
    EXIT_HELD,
    EXIT_FAULTS,
    EXIT_UNAVAILABLE,
    EXIT_TRY_AGAIN,
    EXIT_BUSY,
    EXIT_SKIPPED,
    EXIT_DONE,
)


class MailkeepError(Exception):
    """Base of every error that mailkeep raises on purpose.

    Attributes:
        what: What is wrong, one sentence without a final stop.
        where: The file, mailbox, peer or setting concerned, or empty.
        hint: What the operator can do about it, or empty.
        untouched: What was left as it was, or empty.
        scope: How much has to stop: this message, this mailbox, this store, or the process.
        temporary: The same command may succeed later without anybody doing anything.
        exit_code: How a process ends that stops because of it.
    """

    exit_code: ClassVar[int] = EXIT_INTERNAL
    default_scope: ClassVar[Scope] = "process"
    default_temporary: ClassVar[bool] = False

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        hint: str = "",
        untouched: str = "",
        scope: Scope | None = None,
        temporary: bool | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.untouched = untouched
        self.scope: Scope = self.default_scope if scope is None else scope
        self.temporary = self.default_temporary if temporary is None else temporary

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class UsageError(MailkeepError):
    """The command line asks for something that makes no sense."""

    exit_code = EXIT_USAGE


class DataError(MailkeepError):
    """Something that was read, and is neither configuration nor a peer's bytes, is malformed."""

    exit_code = EXIT_DATA
    default_scope = "store"


class NoInput(MailkeepError):
    """A root, a store, a message or a file that was named is not there."""

    exit_code = EXIT_NO_INPUT
    default_scope = "store"


class PeerUnavailable(MailkeepError):
    """The peer did not answer, refused the connection, or went away in mid-session."""

    exit_code = EXIT_UNAVAILABLE
    default_scope = "store"
    default_temporary = True


class InternalError(MailkeepError):
    """A state that only a bug of ours can bring about."""

    exit_code = EXIT_INTERNAL


class StorageError(MailkeepError):
    """The disk failed, is full or read-only, or cannot do what a store needs."""

    exit_code = EXIT_STORAGE
    default_scope = "store"


class TryAgain(MailkeepError):
    """Something stood in the way that passes by itself."""

    exit_code = EXIT_TRY_AGAIN
    default_scope = "store"
    default_temporary = True


class ProtocolError(MailkeepError):
    """The conversation between the two ends broke a rule of the protocol."""

    exit_code = EXIT_PROTOCOL
    default_scope = "store"


class LocalProtocolError(ProtocolError):
    """Our side tried to send what its state does not allow: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what its state, or the format, does not allow."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", untouched: str = "") -> None:
        super().__init__(
            what,
            where=where,
            untouched=untouched or "what was committed is whole on both sides; nothing of this was taken in",
            hint=hint
            or "update mailkeep on both machines; if both are the newest, this is a bug: please report it",
        )


class PermissionDenied(MailkeepError):
    """The operating system, or the peer, does not allow it."""

    exit_code = EXIT_PERMISSION
    default_scope = "store"


class ConfigError(MailkeepError):
    """The configuration cannot be found, read or understood."""

    exit_code = EXIT_CONFIG


class StoreBusy(MailkeepError):
    """Another run holds the store's lock.

    Attributes:
        holder: Which lock, and which process has it, or empty.
    """

    exit_code = EXIT_BUSY
    default_scope = "store"
    default_temporary = True

    def __init__(self, what: str, *, holder: str = "", untouched: str = "", hint: str = "") -> None:
        super().__init__(what, untouched=untouched, hint=hint)
        self.holder = holder


def printable(text: str | bytes) -> str:
    r"""Text that a terminal can show whatever is in it.

    File names and peers' messages are hostile: control characters (an escape sequence, a newline
    that forges a second line) and undecodable bytes come out as ``\xNN`` or ``\uNNNN``.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # An undecodable byte, as surrogateescape carries it.
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def describe(error: BaseException) -> str:
    """The error as a person sees it: one line, then what was not touched and what to do.

    No final newline. A foreign exception is described too: an ``OSError`` by the kernel's words,
    anything else as the bug that it is.
    """
    untouched = hint = ""
    if isinstance(error, MailkeepError):
        what, untouched, hint = str(error), error.untouched, error.hint
    elif isinstance(error, KeyboardInterrupt):
        what = "interrupted"
        hint = "run the same command again: it goes on where it was stopped"
    elif isinstance(error, OSError) and error.strerror:
        name = error.filename
        what = f"{printable(name)}: {error.strerror}" if _is_name(name) else error.strerror
    else:
        what = f"internal error: {type(error).__name__}: {error}"
        hint = "this is a bug in mailkeep: please report it with the output of the same command and -v"
    lines = ["mailkeep: " + printable(what)]
    if untouched:
        lines.append("  not touched: " + printable(untouched))
    if hint:
        lines.append("  to do: " + printable(hint))
    return "\n".join(lines)


def _is_name(name: object) -> bool:
    return isinstance(name, str | bytes) and bool(name)


def exit_code_of(error: BaseException) -> int:
    """How a process ends that stops because of this error."""
    if isinstance(error, MailkeepError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if isinstance(error, PermissionError):
        return EXIT_PERMISSION
    if isinstance(error, OSError):
        return EXIT_STORAGE
    if isinstance(error, MemoryError):
        return EXIT_TRY_AGAIN
    return EXIT_INTERNAL


def worst_exit_code(codes: Iterable[int]) -> int:
    """The one exit code of a run that did several things, each with its own; 0 for none.

    A code that is not in the table counts as our bug.
    """
    ranks = [_SEVERITY.index(code if code in EXIT_CODES else EXIT_INTERNAL) for code in codes]
    return _SEVERITY[min(ranks)] if ranks else EXIT_DONE
