"""`mailkeep selftest`: mailkeep is broken on a copy of somebody's mail, and judged."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailkeep.cli.run import Options, Output, find, places
from mailkeep.domain.errors import EXIT_DONE, EXIT_FAULTS, UsageError, printable
from mailkeep.system import clock
from mailkeep.wire.units import format_count, format_duration, format_size

if TYPE_CHECKING:
    from mailkeep.testing.spool import Copied
    from mailkeep.testing.trial import Verdict

BYTES_MAX = 200 << 20
MADE_MESSAGES = 80


def selftest(options: Options) -> int:
    """Mistreat two scratch stores for a while; exit status 4 when anything was lost, doubled or half done."""
    from mailkeep.testing import spool, trial

    output = Output(options)
    args = options.args
    root = _root(options)
    seed = args.seed if args.seed is not None else int.from_bytes(clock.random_bytes(4), "big")
    scratch = _scratch(root, args.scratch)
    copied: list[Copied] = []

    def fill(target: bytes, random: Any) -> None:
        if root is None:
            spool.make(target, random, MADE_MESSAGES)
        else:
            copied.append(spool.copy(root, target, args.messages, BYTES_MAX))

    of_what = "mail made up" if root is None else f"a copy of {printable(root)}"
    output.say(
        f"seed {seed}: {format_duration(args.time)} with {of_what}, in {printable(os.fsencode(scratch))}"
    )
    signal.signal(signal.SIGTERM, _interrupted)
    verdict = trial.selftest(scratch, seed, args.time, fill, tell=_teller(output))
    _report(output, verdict, copied[0] if copied else None, options)
    return EXIT_FAULTS if verdict.findings else EXIT_DONE


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _root(options: Options) -> bytes | None:
    """The Maildir to copy, or None: mail is made up."""
    path = options.args.maildir
    if path is not None and options.store is not None:
        raise UsageError(
            "a Maildir or --store, not both", untouched="anything", hint="mailkeep selftest --store mail"
        )
    if path is not None:
        return os.fsencode(os.path.abspath(os.path.expanduser(path)))
    return find(options.store, None).root if options.store is not None else None


def _scratch(root: bytes | None, wanted: str | None) -> Path:
    """Where to make the scratch directory: on the Maildir's file system, and never in a mail tree."""
    from mailkeep.store.store import refuse_mail_tree

    if wanted is not None:
        parent = Path(os.path.abspath(os.path.expanduser(wanted)))
    else:
        parent = Path(places().state_dir)
        there = parent
        while not there.is_dir():
            there = there.parent
        if root is not None and os.path.isdir(root) and there.stat().st_dev != os.stat(root).st_dev:
            parent = Path(os.fsdecode(root)).parent
    refuse_mail_tree(os.fsencode(parent))
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return parent


def _teller(output: Output) -> Any:
    """Shows how far it is, on a terminal."""
    if output.quiet or output.as_json or not sys.stderr.isatty():
        return None
    return lambda text: sys.stderr.write(f"\r{text}\x1b[K\r")


def _report(output: Output, verdict: Verdict, copied: Copied | None, options: Options) -> None:
    if copied is not None:
        more = f", {copied.left_out:,} left out" if copied.left_out else ""
        output.say(
            f"copied {format_count(copied.messages, 'message')} ({format_size(copied.bytes)}) of"
            f" {format_count(copied.mailboxes, 'mailbox', 'mailboxes')}{more}"
        )
    output.say(
        f"{format_count(verdict.rounds, 'round')}, {format_count(verdict.runs, 'run')} of sync,"
        f" {format_count(sum(verdict.acts.values()), 'change')} by mail programs, in {format_duration(verdict.seconds)}"
    )
    output.say("injected (of these, so many ended the run otherwise than with 0):")
    for kind, number in sorted(verdict.faults.items()):
        output.say(f"    {number:>5} ({verdict.struck[kind]})  {kind}")
    for text in verdict.findings:
        output.warn("found: " + text)
    if verdict.findings:
        again = ["mailkeep", "selftest", "--seed", str(verdict.failed)]
        again += ["--store", options.store] if options.store else []
        again += [options.args.maildir] if options.args.maildir else []
        output.warn(f"the evidence is in {verdict.evidence} (read its log first); again: {' '.join(again)}")
    output.say(
        "verdict: FAILED"
        if verdict.findings
        else "verdict: nothing lost, nothing doubled, nothing half done, nothing sent again; both ends equal, verify clean"
    )
    output.result(
        {
            "exit": EXIT_FAULTS if verdict.findings else EXIT_DONE, "seed": verdict.seed,
            "seconds": round(verdict.seconds, 3), "trials": verdict.trials, "rounds": verdict.rounds, "runs": verdict.runs,
            "faults": dict(verdict.faults), "struck": dict(verdict.struck), "acts": dict(verdict.acts),
            "findings": [printable(text) for text in verdict.findings], "failed_seed": verdict.failed,
            "evidence": str(verdict.evidence) if verdict.evidence else None,
            "copied": None if copied is None else {"messages": copied.messages, "bytes": copied.bytes,
                "mailboxes": copied.mailboxes, "left_out": copied.left_out, "skipped": copied.skipped},
        }
    )  # fmt: skip
