"""`mailkeep serve`: the far end of a session, on standard input and output."""

from __future__ import annotations

import os
import select
import sys

from mailkeep.cli.main import explained
from mailkeep.cli.run import Options, Place, find, open_store
from mailkeep.domain.errors import (
    EXIT_DONE,
    EXIT_HELD,
    MailkeepError,
    PeerUnavailable,
    StoreBusy,
    UsageError,
    describe,
    exit_code_of,
    printable,
)
from mailkeep.replicate.channel import drive
from mailkeep.replicate.responder import Responder
from mailkeep.system import clock
from mailkeep.wire.frames import GREETING_BYTES_MAX, Wire

TIMEOUT_SECONDS = 300.0
GREETING_SECONDS = 60.0


def serve(options: Options) -> int:
    """Answer one session; the exit status says how it went here."""
    if os.isatty(0):
        raise UsageError(
            "mailkeep serve speaks its protocol on standard input and output, and this is a terminal",
            hint="run mailkeep sync on the other machine; it starts mailkeep serve here by itself",
        )
    wire = Wire()
    try:
        return _serve(options, wire)
    except Exception as err:
        shown = explained(err)
        if not isinstance(shown, MailkeepError | OSError):
            raise
        if not _tell(wire, shown) and not isinstance(shown, StoreBusy):
            sys.stderr.write(describe(shown) + "\n")
        return exit_code_of(shown)


def _serve(options: Options, wire: Wire) -> int:
    greeting = _greeting(wire)
    dry = greeting.get("dry") == "1"
    place = find(options.store or greeting.get("store") or None if not options.path else None, options.path)
    try:
        return _answer(options, wire, place, greeting, dry=dry)
    finally:
        place.close()


def _answer(options: Options, wire: Wire, place: Place, greeting: dict[str, str], *, dry: bool) -> int:
    try:
        store = open_store(place, dry=dry, create=options.path is not None, verb="serve")
    except StoreBusy as err:
        if greeting.get("lock") and greeting["lock"] == err.holder:
            raise UsageError(
                f"both ends of this session are one store, {printable(place.root)}",
                untouched="anything",
                hint="correct the peer's address (mailkeep peer list): a store needs no session with itself",
            ) from None
        raise
    try:
        report = store.scan()
        responder = Responder(store, dry=dry, role=options.role)
        responder.wire = wire
        responder.scan_problems = report.problems
        while (frame := wire.next_frame()) is not None:
            responder._dispatch(*frame)
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        try:
            drive(responder, 0, 1, timeout_seconds=TIMEOUT_SECONDS, until=lambda: responder.finished)
        except BaseException as err:
            responder.abandon()
            unseen = responder.outcome is not None and not responder.applies
            if unseen and isinstance(err, PeerUnavailable) and not dry:
                store.bump()  # committed, and nobody is left to be told: the mail is to be seen all the same
                store.apply()
            raise
        status = EXIT_HELD if responder.waiting() else EXIT_DONE
        if responder.final is not None:
            status = responder.final["status"]
        store.end_run(
            "serve", responder.peer_id.hex(), status, responder.final["counts"] if responder.final else {}
        )
        return int(status)
    finally:
        store.close()
        if store.noted:
            from mailkeep.cli.backup import after_serving

            after_serving(place)


def _greeting(wire: Wire) -> dict[str, str]:
    """Read the initiator's first line: it says what to do before anything is done."""
    end = clock.monotonic() + GREETING_SECONDS  # for the whole line, however it drips
    while wire.greeting is None:
        ready, _, _ = select.select([0], [], [], max(0.0, end - clock.monotonic()))
        data = os.read(0, GREETING_BYTES_MAX) if ready else b""
        if not data:
            raise PeerUnavailable("nobody spoke: mailkeep serve is started by mailkeep sync, not by hand")
        wire.feed(data)
        wire.peek_greeting()
    return wire.greeting


def _tell(wire: Wire, err: BaseException) -> bool:
    """Send the reason to the other end; False when nobody is there any more."""
    from msgpack import packb

    from mailkeep.wire.frames import ERROR

    what = str(err) if isinstance(err, MailkeepError) else describe(err).removeprefix("mailkeep: ")
    untouched, hint = getattr(err, "untouched", ""), getattr(err, "hint", "")
    if not wire.greeted_out:
        wire.greet()
    wire.send(ERROR, packb([exit_code_of(err), what[:2000], untouched[:500], hint[:500]]))
    out = wire.output(flush=True)
    try:
        os.set_blocking(1, True)
        while out:
            del out[: os.write(1, bytes(out))]
    except OSError:
        return False
    return True
