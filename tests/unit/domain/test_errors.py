from __future__ import annotations

import pickle

import pytest

from mailkeep.domain import errors
from mailkeep.domain.errors import (
    EXIT_CODES,
    EXIT_DONE,
    EXIT_HELD,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_PERMISSION,
    EXIT_SKIPPED,
    EXIT_STORAGE,
    EXIT_TRY_AGAIN,
    EXIT_UNAVAILABLE,
    ConfigError,
    LocalProtocolError,
    MailkeepError,
    PeerUnavailable,
    RemoteProtocolError,
    StorageError,
    StoreBusy,
    describe,
    exit_code_of,
    printable,
    worst_exit_code,
)


def all_errors() -> list[type[MailkeepError]]:
    found: list[type[MailkeepError]] = []
    waiting = [MailkeepError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


def test_exit_codes_are_unique_and_never_those_of_accidents() -> None:
    constants = {
        name: code for name, code in vars(errors).items() if name.startswith("EXIT_") and name != "EXIT_CODES"
    }
    assert len(set(constants.values())) == len(constants)
    assert set(constants.values()) == set(EXIT_CODES)
    assert not {1, 2} & set(EXIT_CODES)
    names = [name for name, _ in EXIT_CODES.values()]
    assert len(set(names)) == len(names)


def test_each_kind_of_error_has_an_exit_code_of_its_own() -> None:
    own = [kind for kind in all_errors() if "exit_code" in vars(kind) and kind is not MailkeepError]
    codes = [kind.exit_code for kind in own]
    assert len(set(codes)) == len(codes)
    assert set(codes) <= set(EXIT_CODES)
    assert LocalProtocolError.exit_code == RemoteProtocolError.exit_code == 76


def test_every_exit_code_has_a_severity() -> None:
    for code in EXIT_CODES:
        assert worst_exit_code([code, EXIT_DONE]) == code


def test_worst_exit_code() -> None:
    assert worst_exit_code([]) == EXIT_DONE
    assert worst_exit_code([EXIT_DONE, EXIT_SKIPPED, EXIT_HELD]) == EXIT_HELD
    assert worst_exit_code([EXIT_UNAVAILABLE, EXIT_HELD]) == EXIT_HELD
    assert worst_exit_code([EXIT_HELD, EXIT_STORAGE]) == EXIT_STORAGE
    assert worst_exit_code([200]) == EXIT_INTERNAL


def test_describe_has_one_form() -> None:
    error = StorageError(
        "the disk is full", where="/mail", untouched="the Maildir", hint="free some space, then sync again"
    )
    assert describe(error) == (
        "mailkeep: /mail: the disk is full\n  not touched: the Maildir\n  to do: free some space, then sync again"
    )
    assert describe(ConfigError("no")) == "mailkeep: no"


def test_defaults_of_class_and_what_an_instance_says() -> None:
    assert (StoreBusy("x").temporary, StoreBusy("x").scope) == (True, "store")
    assert PeerUnavailable("x").temporary
    assert not StorageError("x").temporary
    one = StorageError("x", scope="message", temporary=True)
    assert (one.scope, one.temporary) == ("message", True)


def test_an_error_survives_pickling_between_test_workers() -> None:
    error = pickle.loads(pickle.dumps(ConfigError("bad", where="f:1", hint="mend")))
    assert (str(error), error.hint) == ("f:1: bad", "mend")


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (FileNotFoundError(2, "No such file", b"/a\xff"), "mailkeep: /a\\xff: No such file", EXIT_STORAGE),
        (PermissionError(13, "Permission denied"), "mailkeep: Permission denied", EXIT_PERMISSION),
        (MemoryError(), "internal error: MemoryError", EXIT_TRY_AGAIN),
        (KeyboardInterrupt(), "mailkeep: interrupted", EXIT_INTERRUPTED),
        (ZeroDivisionError("oops"), "internal error: ZeroDivisionError: oops", EXIT_INTERNAL),
    ],
)
def test_foreign_exceptions(error: BaseException, text: str, code: int) -> None:
    assert text in describe(error)
    assert exit_code_of(error) == code


def test_hostile_text_reaches_no_terminal() -> None:
    assert printable("plain – ünïcode") == "plain – ünïcode"
    assert printable("a\x1b[2Jb\nc\u2028\udcff") == "a\\x1b[2Jb\\nc".replace("\\n", "\\x0a") + "\\u2028\\xff"
    assert printable(b"\xffA") == "\\xffA"
    assert "\x1b" not in describe(ConfigError("x\x1b", where="y\x1b", hint="z\x1b"))
    assert describe(ConfigError("one\n  to do: forged")).count("\n") == 0
