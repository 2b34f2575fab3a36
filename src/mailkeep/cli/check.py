"""`mailkeep check`: is everything set up as it should be? Nothing is changed, here or at a peer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mailkeep.cli.look import Look
from mailkeep.cli.run import Options, Output, Place, find, open_store, places
from mailkeep.cli.target import Target, ask, target_of, view_of
from mailkeep.domain.errors import (
    EXIT_BUSY,
    EXIT_FAULTS,
    MailkeepError,
    StoreBusy,
    exit_code_of,
    printable,
    worst_exit_code,
)
from mailkeep.domain.names import BadMailboxName, MailboxName
from mailkeep.replicate.initiator import Initiator
from mailkeep.rules.identity import Stale
from mailkeep.store.maildir import Maildir
from mailkeep.store.vault import COPY
from mailkeep.wire.layouts import Layout, Unmappable
from mailkeep.wire.units import format_count

if TYPE_CHECKING:
    from mailkeep.system.configfile import Places
    from mailkeep.wire.config import PeerSettings
    from mailkeep.wire.patterns import NameMap

FAULT, NOTE, FINE = "fault", "note", "fine"


class Findings:
    """What was found, said as it comes."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.rows: list[dict[str, Any]] = []
        self.codes: list[int] = []

    def add(self, level: str, subject: str, what: str, hint: str = "", code: int = EXIT_FAULTS) -> None:
        """A finding. Faults make the exit status; notes are worth knowing."""
        self.rows.append({"level": level, "subject": subject, "what": what, "hint": hint})
        if level == FAULT:
            self.codes.append(code)
            self.output.warn(f"{subject}: {what}" + (f"; to do: {hint}" if hint else ""))
        elif level == NOTE:
            self.output.say(f"note: {subject}: {what}")
        else:
            self.output.say(f"ok: {subject}: {what}")

    def error(self, subject: str, err: BaseException, code: int = EXIT_FAULTS) -> None:
        """An error as a fault."""
        hint = err.hint if isinstance(err, MailkeepError) else ""
        self.add(FAULT, subject, str(err), hint, code)


def check(options: Options) -> int:
    """Check stores and their peers."""
    from mailkeep.system.configfile import load_settings_with_lines

    output = Output(options)
    findings = Findings(output)
    where = places()
    settings = load_settings_with_lines(where)
    names = [options.store] if options.store is not None else list(settings.stores)
    if not names:
        settings.store(None)
    findings.add(FINE, "configuration", where.config_file)
    for name in names:
        settings.store(name)
        _store(name, where, findings, offline=options.args.offline)
    status = worst_exit_code(findings.codes)
    faults = sum(row["level"] == FAULT for row in findings.rows)
    output.say("everything is as it should be" if not faults else f"{faults} to be looked at")
    output.result({"exit": status, "faults": faults, "findings": findings.rows})
    return status


def _store(name: str, where: Places, findings: Findings, *, offline: bool) -> None:
    place = find(name, None, where)
    subject = f"store {name}"
    try:
        look = Look(place)
    except MailkeepError as err:
        findings.error(subject, err)
        return
    with look:
        _root(look, subject, findings)
        _state(look, subject, findings)
        _mailboxes(look, subject, findings)
        local = sorted(MailboxName.parse(box.name) for box in look.ledger.alive())
        busy = bool(look.busy)
    assert place.settings is not None
    if place.settings.notmuch.new or place.settings.notmuch.dump:
        from mailkeep.cli.notmuch import trouble

        found = trouble(place)
        if found is not None:
            findings.add(FAULT, subject, found[0], found[2])
        else:
            findings.add(FINE, subject, "notmuch can be run, and looks for mail there")
    for peer in place.settings.peers.values():
        theirs = None
        if busy and not offline:
            findings.add(NOTE, f"peer {peer.name}", "was not asked: another run has this store")
        elif not offline:
            theirs = _ask(place, peer, findings)
        _names(peer, local, theirs, findings)


def _root(look: Look, subject: str, findings: Findings) -> None:
    if look.trouble is not None:
        findings.error(subject, look.trouble)
        return
    root = printable(look.place.root)
    for mode, word in ((os.R_OK | os.X_OK, "readable"), (os.W_OK, "writable")):
        if not os.access(look.place.root, mode):
            findings.add(
                FAULT,
                subject,
                f"the Maildir {root} is not {word} for this user",
                "look at its owner and mode",
            )
            return
    findings.add(FINE, subject, f"the Maildir {root} and its marker")
    if look.distrust:
        findings.add(
            NOTE, subject, f"{look.distrust}: the next run believes no absence and puts back what is missing"
        )


def _state(look: Look, subject: str, findings: Findings) -> None:
    state = look.place.state
    st = os.stat(state)
    if st.st_mode & 0o077:
        findings.add(
            FAULT,
            subject,
            f"the state directory {printable(state)} can be entered by other users",
            f"chmod 700 {printable(state)}",
        )
    mode = look.index.meta["vault"]
    same = os.path.isdir(look.place.root) and os.stat(look.place.root).st_dev == st.st_dev
    if mode == COPY:
        findings.add(
            NOTE,
            subject,
            "the vault copies: mail takes twice its size, since files cannot be shared with the Maildir",
        )
    elif look.trouble is None and not same:
        findings.add(
            FAULT, subject, f"the vault shares files by {mode}, and Maildir and state are on different file systems by now",
            "put both on one file system again",
        )  # fmt: skip
    else:
        findings.add(FINE, subject, f"state in {printable(state)}; the vault shares files by {mode}")
    free = os.statvfs(state)
    if free.f_bavail < free.f_blocks / 50:
        findings.add(NOTE, subject, "less than 2% of the file system is free")


def _mailboxes(look: Look, subject: str, findings: Findings) -> None:
    waiting = look.waiting_mailboxes()
    for row in waiting:
        findings.add(
            FAULT,
            subject,
            f"the mailbox {row['mailbox']} waits: it {row['why']}",
            "rename it where it was made",
        )
    if look.trouble is not None:
        return
    layout = Layout.parse(look.index.meta["layout"])
    maildir = Maildir(look.place.root, layout)
    try:
        found, _ = maildir.survey()
        seen: dict[str, bytes] = {}
        for path in found:
            try:
                name = str(layout.name(path))
            except Unmappable as err:
                findings.add(
                    FAULT,
                    subject,
                    f"the directory {printable(path) or '.'} is no mailbox: it {err.reason}",
                    "rename it",
                )
                continue
            if name in seen:
                findings.add(
                    FAULT,
                    subject,
                    f"the directories {printable(seen[name])} and {printable(path)} have one name, {name}",
                    "rename one",
                )
            seen.setdefault(name, path)
        for where, why in maildir.problems:
            findings.add(FAULT, subject, f"{where}: {why}")
        findings.add(
            FINE, subject, f"{format_count(len(seen), 'mailbox', 'mailboxes')}, {layout.kind} layout"
        )
    except OSError as err:
        findings.error(subject, err)
    finally:
        maildir.close()


# --- peers


class Asking(Initiator):
    """A dry session that notes the peer's mailboxes by its own names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.their_names: dict[bytes, str] = {}

    def on_box(self, message: list[Any]) -> None:
        """Note a name before it is mapped."""
        box_id, regs = message[0], message[1]
        if regs and "(live)" in regs and regs["(live)"][0]:
            self.their_names[box_id] = str(regs["(name)"][0])
        super().on_box(message)

    def peer_names(self) -> list[MailboxName]:
        """Every mailbox of the peer, as far as it can be said."""
        names = dict(self.their_names)
        for box_id, (digest, _) in self.digests.items():
            box = self.ledger.by_id.get(box_id)
            if box is not None and box.alive and digest and box_id not in names:
                names[box_id] = self.view.theirs(box.name)
        out = []
        for name in names.values():
            try:
                out.append(MailboxName.parse(name))
            except BadMailboxName:
                continue
        return sorted(set(out))


def _ask(place: Place, peer: PeerSettings, findings: Findings) -> list[MailboxName] | None:
    """The peer's mailboxes, from a dry session; None when it cannot be reached."""
    subject = f"peer {peer.name}"
    target = target_of(peer)
    try:
        names = _session(place, target)
    except Stale:
        findings.add(NOTE, subject, "answers; this store came from a backup, the next sync settles that")
        return None
    except StoreBusy as err:
        findings.add(NOTE, subject, f"was not asked: {err.what}", code=EXIT_BUSY)
        return None
    except (MailkeepError, OSError) as err:
        findings.error(subject, err, exit_code_of(err))
        return None
    findings.add(
        FINE, subject, f"{target.shown} answers, with {format_count(len(names), 'mailbox', 'mailboxes')}"
    )
    return names


def _session(place: Place, target: Target) -> list[MailboxName]:
    store = open_store(place, dry=True)
    try:
        return ask(store, target, Asking, 2.0).peer_names()
    finally:
        store.close()


def _names(
    peer: PeerSettings, local: list[MailboxName], theirs: list[MailboxName] | None, findings: Findings
) -> None:
    """Patterns and name map of a peer, on the names of both sides."""
    subject = f"peer {peer.name}"
    view = view_of(peer)
    names: NameMap | None = view.names
    if view.patterns is not None:
        here = list(local)
        for name in theirs or ():
            try:
                here.append(name if names is None else names.to_local(name))
            except BadMailboxName:
                continue
        for rule in view.patterns.unused(here):
            findings.add(
                NOTE,
                subject,
                f"the pattern {rule!r} fits no mailbox, here or there"
                if theirs
                else f"the pattern {rule!r} fits no mailbox here",
            )
        chosen = sum(map(view.patterns.selects, local))
        findings.add(
            FINE, subject, f"{chosen:,} of {format_count(len(local), 'mailbox', 'mailboxes')} here take part"
        )
    if names is not None:
        shown = [name for name in local if view.patterns is None or view.patterns.selects(name)]
        problems = names.problems(shown, theirs or ())
        for problem in problems:
            findings.add(
                FAULT, subject, f"name map: {problem}", "correct the map of that peer in the configuration"
            )
        if not problems:
            both = "both ways" if theirs is not None else "on the names here; the peer's are not known"
            findings.add(FINE, subject, f"the name map is one to one, {both}")
