"""The command `mailkeep`: finds the verb, runs it, and ends with its exit status.

A run with nothing to do takes a few hundredths of a second, of which loading code is most. So the two verbs
that timers call all day are recognised here in their plain forms; everything else goes through argparse
(`mailkeep.cli.parser`), the one description of the command line, from which help, completion and man pages
are made as well.
"""

from __future__ import annotations

import gc
import os
import sys

from mailkeep.domain.errors import (
    EXIT_DONE,
    EXIT_STORAGE,
    MailkeepError,
    ProtocolError,
    describe,
    exit_code_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mailkeep.cli.run import Options


class Steady:
    """A standard stream whose troubles do not stop the work: the first of them is kept, and the rest unsaid.

    A reader that went away (a pager, head), a full disk under a log or a stream that was never open say nothing of
    the mail: a session goes on without words, and ends with its own status.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115 - as long as the process
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write, if that still works."""
        try:
            if self.error is None:
                self.stream.write(text)
        except OSError as err:
            self.error = err
        return len(text)

    def flush(self) -> None:
        """Flush, if that still works."""
        try:
            if self.error is None:
                self.stream.flush()
        except OSError as err:
            self.error = err

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def entry() -> None:
    """Console script: never returns."""
    for fd in range(3):  # else the next file opened would get its number, and somebody's words
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    out, err = Steady(sys.stdout), Steady(sys.stderr)
    sys.stdout, sys.stderr = out, err
    gc.set_threshold(100_000)  # rows by the thousand are no garbage: do not look for cycles among them
    status = main(sys.argv[1:])
    out.flush()
    if out.error is not None and not isinstance(out.error, BrokenPipeError) and status == EXIT_DONE:
        err.write(f"mailkeep: the result could not be written: {os.strerror(out.error.errno or 5)}\n")
        status = EXIT_STORAGE
    err.flush()
    os._exit(status)  # taking the interpreter apart would cost a tenth of a run that has nothing to do


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the exit status (docs/reference/exit-status.md)."""
    if not __debug__:
        sys.stderr.write("mailkeep: refuses to run under python -O: its checks must stay on\n")
        return 70
    if len(argv) == 1 and argv[0] == "--version":
        from mailkeep import __version__

        print(f"mailkeep {__version__}")
        return 0
    try:
        options = plain(argv)
        if options is None:
            from mailkeep.cli.parser import run

            status = run(argv)
        elif options.verb == "serve":
            from mailkeep.cli.serve import serve

            status = serve(options)
        else:
            from mailkeep.cli.sync import sync

            status = sync(options)
        sys.stdout.flush()
    except KeyboardInterrupt as err:
        return _failed(err, argv)
    except Exception as err:  # noqa: BLE001 - the edge: a person reads one message, not a traceback
        shown = explained(err)
        status = _failed(shown, argv)
        if not isinstance(shown, MailkeepError | OSError) or "MAILKEEP_DEBUG" in os.environ:
            import traceback

            traceback.print_exc()
    return status


def explained(err: Exception) -> Exception:
    """The error itself, or, where a damaged index is behind it, that.

    What cannot be read in a session is taken for the peer's words at first.
    """
    cause = err.__cause__ if isinstance(err, ProtocolError) else err
    if isinstance(cause, MailkeepError | OSError | None) or "mailkeep.store.index" not in sys.modules:
        return err
    from mailkeep.store.index import explain

    return explain(cause) or err


def _failed(err: BaseException, argv: Sequence[str]) -> int:
    """Say what is wrong, and with --json as an object too."""
    sys.stderr.write(describe(err) + "\n")
    if "--json" in argv:
        import json

        from mailkeep.cli.run import error_table

        print(json.dumps({"exit": exit_code_of(err), "error": error_table(err)}, sort_keys=True), flush=True)
    return exit_code_of(err)


def plain(argv: Sequence[str]) -> Options | None:
    """The options of `sync` or `serve` in a plain form, or None: let argparse see to it."""
    if not argv or argv[0] not in ("sync", "serve"):
        return None
    from mailkeep.cli.run import Options

    options = Options(argv[0])
    words = iter(argv[1:])
    for word in words:
        if word == "-q":
            options.quiet = True
        elif word in ("--store", "--path") and argv[0] == "serve":
            value = next(words, None)
            if value is None or value.startswith("-"):
                return None
            setattr(options, word[2:], value)
        elif word == "--role" and argv[0] == "serve":
            value = next(words, None)
            if value not in ("read", "append", "full"):
                return None
            options.role = value
        elif not word.startswith("-") and argv[0] == "sync" and not {"/", ":", "."} & set(word):
            options.peers.append(word)
        else:
            return None
    return options
