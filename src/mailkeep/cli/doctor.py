"""`mailkeep doctor`: what is wrong with a set-up, why that matters, and what to type. It only reads.

Each look is a function that yields findings. One that fails is a finding itself: a broken set-up must not
keep the doctor from looking at the rest.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING, Any

from mailkeep.cli.run import Options, Output, Place, find, places
from mailkeep.domain.errors import (
    EXIT_BUSY,
    EXIT_DONE,
    EXIT_FAULTS,
    EXIT_PROTOCOL,
    MailkeepError,
    NoInput,
    describe,
    printable,
)
from mailkeep.system import clock, fs
from mailkeep.wire.units import format_count, format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailkeep.cli.look import Look
    from mailkeep.system.configfile import Places

FAULT, NOTE, FINE = "fault", "note", "fine"
FREE_SHARE, FREE_BYTES, FREE_INODES = 0.02, 256 << 20, 10_000
"""Below these the disk, or what is left of its inodes, is called short."""
LINKS_NEAR = 60_000
"""ext4 allows 65,000 names of a file; beyond that messages are copied."""
BACKUP_LATE = 7
"""So many times the interval may pass before an old backup of the index is spoken of."""
CLOCK_SKEW_SECONDS = 120
FILES_LOOKED_AT = 2000
"""Files of the Maildir whose owner and kind are looked at, spread over its mailboxes."""
PEER_SECONDS = 20.0


class Finding:
    """One thing that was found: what it is, why it matters, and the command to type, or ''."""

    __slots__ = ("command", "level", "subject", "what", "why")

    def __init__(self, level: str, subject: str, what: str, why: str = "", command: str = "") -> None:
        self.level, self.subject, self.what, self.why, self.command = level, subject, what, why, command

    def table(self) -> dict[str, str]:
        """For --json."""
        return {
            name: printable(getattr(self, name)) for name in ("level", "subject", "what", "why", "command")
        }


def doctor(options: Options) -> int:
    """Look at stores and their surroundings; exit status 4 when anything is wrong."""
    output = Output(options)
    found: list[Finding] = []
    for finding in _all(options):
        found.append(finding)
        _say(finding, output)
    faults = sum(finding.level == FAULT for finding in found)
    notes = sum(finding.level == NOTE for finding in found)
    output.say(
        f"{format_count(faults, 'fault')}, {format_count(notes, 'note')}"
        if faults or notes
        else "nothing is wrong"
    )
    status = EXIT_FAULTS if faults else EXIT_DONE
    output.result({"exit": status, "faults": faults, "findings": [finding.table() for finding in found]})
    return status


def _say(finding: Finding, output: Output) -> None:
    if finding.level == FINE:
        output.detail(f"fine: {finding.subject}: {printable(finding.what)}")
        return
    lines = [f"{finding.level}: {finding.subject}: {finding.what}"]
    if finding.why:
        lines.append(f"  why it matters: {finding.why}")
    if finding.command:
        lines.append(f"  to do: {finding.command}")
    text = "\n".join(map(printable, lines))
    if finding.level == FAULT:
        print(text, file=sys.stderr)
    else:
        output.say(text)


def _all(options: Options) -> Iterator[Finding]:
    where = places()
    names: list[str] = []
    try:
        names = _names(where, options)
        yield Finding(FINE, "configuration", where.config_file)
    except MailkeepError as err:
        yield _of_error("configuration", err, "without it no store is known, and no run begins")
        return
    yield from _guarded("programs", _programs())
    for name in names:
        place = find(name, None, where)
        yield from _guarded(f"store {name}", _store(place, offline=options.args.offline))


def _names(where: Places, options: Options) -> list[str]:
    from mailkeep.system.configfile import load_settings_with_lines

    settings = load_settings_with_lines(where)
    if options.store is not None:
        settings.store(options.store)
        return [options.store]
    if not settings.stores:
        settings.store(None)  # says that there is none, and what to do
    return list(settings.stores)


def _guarded(subject: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Findings of one look; an error that ends it is the last of them."""
    try:
        yield from findings
    except (MailkeepError, OSError) as err:
        yield _of_error(subject, err)


def _of_error(subject: str, err: BaseException, why: str = "") -> Finding:
    if isinstance(err, MailkeepError):
        return Finding(
            FAULT,
            subject,
            str(err),
            why or (f"not touched: {err.untouched}" if err.untouched else ""),
            err.hint,
        )
    return Finding(FAULT, subject, describe(err).removeprefix("mailkeep: "), why)


def _programs() -> Iterator[Finding]:
    import apsw

    from mailkeep.store.index import SQLITE_OLDEST, _sqlite_version

    version = apsw.sqlite_lib_version()
    if _sqlite_version() < SQLITE_OLDEST:
        yield Finding(
            FAULT, "programs", f"SQLite {version} is too old", "in WAL mode it can corrupt an index",
            "pip install --upgrade apsw",
        )  # fmt: skip
    else:
        yield Finding(FINE, "programs", f"SQLite {version}")
    now = clock.now()
    if not 1_700_000_000 < now < 4_000_000_000:
        yield Finding(
            FAULT, "clock", f"the clock of this machine says {clock.utc(now)}",
            "dates of messages and of runs, the guard's window and backups go by it", "timedatectl",
        )  # fmt: skip


# --- one store


def _store(place: Place, *, offline: bool) -> Iterator[Finding]:
    subject = f"store {place.name}"
    yield from _guarded(subject, _root(place, subject))
    yield from _guarded(subject, _state(place, subject))
    yield from _guarded(subject, _disk(place, subject))
    yield from _guarded(subject, _index(place, subject))
    yield from _guarded(subject, _backups(place, subject))
    yield from _guarded(subject, _notmuch(place, subject))
    if place.settings is not None:
        for peer in place.settings.peers.values():
            yield from _guarded(f"peer {peer.name}", _peer(place, peer, offline=offline))


def _root(place: Place, subject: str) -> Iterator[Finding]:
    root, shown = place.root, printable(place.root)
    try:
        st = os.stat(root)
    except FileNotFoundError:
        yield Finding(
            FAULT, subject, f"the Maildir {shown} is not there",
            "no run begins: a root that is missing says nothing about its mail", _mount_of(root),
        )  # fmt: skip
        return
    if not os.path.isdir(root):
        yield Finding(FAULT, subject, f"{shown} is no directory", "a Maildir is one", "mailkeep config show")
        return
    if os.path.islink(root):
        yield Finding(
            NOTE, subject, f"the Maildir {shown} is a symbolic link to {printable(os.path.realpath(root))}",
            "if it is turned to another tree, the marker there is another store's and no run begins",
        )  # fmt: skip
    for mode, word in ((os.R_OK | os.X_OK, "read"), (os.W_OK, "written")):
        if not os.access(root, mode):
            yield Finding(
                FAULT, subject, f"the Maildir {shown} may not be {word} by this user",
                "mailkeep runs as the mail's owner: what it may not see is unknown, and what it may not write waits",
                f"ls -ld {_quote(root)}",
            )  # fmt: skip
            return
    if st.st_uid != os.geteuid():
        yield Finding(
            FAULT if os.geteuid() else NOTE, subject,
            f"the Maildir {shown} belongs to the user number {st.st_uid}, and this is number {os.geteuid()}",
            "files made here would be another user's, and only an owner may link a file that he cannot write",
            f"sudo -u '#{st.st_uid}' mailkeep doctor",
        )  # fmt: skip
    if st.st_mode & 0o2000:
        yield Finding(
            NOTE, subject, f"the Maildir {shown} has the setgid bit",
            "what is made in it gets its group; the state directory's files, linked into it, keep theirs",
            f"chmod g-s {_quote(root)}",
        )  # fmt: skip
    yield Finding(FINE, subject, f"the Maildir {shown}")


def _mount_of(path: bytes) -> str:
    """The command that mounts what fstab has for a path, or the one that shows what is mounted."""
    at = os.path.realpath(path)
    try:
        with open("/etc/fstab", "rb") as file:
            points = [fields[1] for line in file if len(fields := line.split()) > 2 and fields[0][:1] != b"#"]
    except OSError:
        points = []
    for point in sorted(points, key=len, reverse=True):
        if point != b"/" and (at + b"/").startswith(point.rstrip(b"/") + b"/") and not os.path.ismount(point):
            return f"mount {_quote(point)}"
    return "findmnt; mailkeep config show"


def _state(place: Place, subject: str) -> Iterator[Finding]:
    from mailkeep.store.gate import INDEX
    from mailkeep.store.store import refuse_mail_tree

    state, shown = place.state, printable(place.state)
    if not os.path.isdir(state):
        return  # the look at the index says what that means
    try:
        refuse_mail_tree(state)
    except MailkeepError as err:
        yield Finding(
            FAULT, subject, err.what,
            "Dovecot lists it as a folder, and one IMAP DELETE removes vault and index; notmuch indexes the vault",
            f"mv {_quote(state)} SOMEWHERE/ELSE and set state in the configuration: $EDITOR $(mailkeep config path)",
        )  # fmt: skip
    st = os.stat(state)
    if st.st_mode & 0o077:
        yield Finding(
            FAULT, subject, f"other users can enter the state directory {shown}",
            "the index names your mailboxes, and the vault has your mail", f"chmod 700 {_quote(state)}",
        )  # fmt: skip
    if not os.access(state, os.W_OK | os.X_OK):
        yield Finding(
            FAULT,
            subject,
            f"the state directory {shown} may not be written",
            "no run can begin",
            f"ls -ld {_quote(state)}; mount",
        )
    if (
        os.path.isdir(place.root)
        and os.stat(place.root).st_dev != st.st_dev
        and os.path.exists(os.path.join(state, INDEX))
    ):
        yield Finding(
            NOTE, subject, f"Maildir and state directory {shown} lie on different file systems",
            "the vault cannot share files with the Maildir: mail takes twice its size, and of a mailbox deleted elsewhere the directory stays",
            "mailkeep config show",
        )  # fmt: skip
    odd = [
        name
        for name in (b"index.db", b"lock", b"objects", b"backups")
        if os.path.lexists(os.path.join(state, name))
        and os.lstat(os.path.join(state, name)).st_uid != os.geteuid()
    ]
    if odd and os.geteuid():
        yield Finding(
            FAULT, subject, f"in {shown} {printable(b', '.join(odd))} belong to another user",
            "a run as root, perhaps: from then on yours cannot write there",
            f"sudo chown -R $(id -un) {_quote(state)}",
        )  # fmt: skip
    for name, why in (
        (b"lost+found", "a crash left them half removed, and they are not what was meant"),
        (b"damaged", "a rebuild or a repair displaced them"),
    ):
        count = _count(os.path.join(state, name))
        if count:
            yield Finding(
                NOTE, subject, f"{format_count(count, 'file')} in {printable(os.path.join(state, name))}",
                f"{why}; once looked at, they may be removed", f"ls -l {_quote(os.path.join(state, name))}",
            )  # fmt: skip


def _count(directory: bytes) -> int:
    try:
        return len(os.listdir(directory))
    except OSError:
        return 0


def _disk(place: Place, subject: str) -> Iterator[Finding]:
    seen: set[int] = set()
    for path in (place.root, place.state):
        if not os.path.isdir(path) or (device := os.stat(path).st_dev) in seen:
            continue
        seen.add(device)
        room = os.statvfs(path)
        free = room.f_bavail * room.f_frsize
        if room.f_flag & os.ST_RDONLY:
            yield Finding(
                FAULT, subject, f"the file system of {printable(path)} is mounted read-only",
                "nothing can be taken in; after an error of the disk the kernel does that by itself",
                f"dmesg | tail; mount -o remount,rw {_quote(path)}",
            )  # fmt: skip
        if room.f_blocks and (free < FREE_BYTES or room.f_bavail < FREE_SHARE * room.f_blocks):
            yield Finding(
                FAULT if free < FREE_BYTES // 8 else NOTE, subject,
                f"{format_size(free)} are free on the file system of {printable(path)}",
                "a run that finds no room stops, and loses nothing; but mail waits", f"df -h {_quote(path)}",
            )  # fmt: skip
        if room.f_files and room.f_favail < FREE_INODES:
            yield Finding(
                FAULT if room.f_favail < 100 else NOTE, subject,
                f"{room.f_favail:,} inodes are left on the file system of {printable(path)}",
                "each message is a file", f"df -i {_quote(path)}",
            )  # fmt: skip


def _index(place: Place, subject: str) -> Iterator[Finding]:
    """The index, and what it tells; the look at it takes no lock."""
    from mailkeep.cli.look import Look
    from mailkeep.store.gate import INDEX
    from mailkeep.store.index import explain

    try:
        look = Look(place)
    except NoInput as err:
        if os.path.isdir(place.root):  # else it was said already
            yield _of_error(subject, err)
        return
    except MailkeepError as err:
        yield _of_error(subject, err, "without its index no run begins; mail and vault are untouched")
        return
    with look:
        try:
            yield from _looked(look, subject)
        except Exception as err:
            known = explain(err)
            if known is None:
                raise
            yield _of_error(subject, known)
            return
        if look.busy:
            return
    fault = _quick(os.path.join(place.state, INDEX))
    if fault:
        yield Finding(
            FAULT,
            subject,
            f"the index is damaged: {fault}",
            "what it says cannot be relied on",
            "mailkeep rebuild --dry-run",
        )
    else:
        yield Finding(FINE, subject, "the index, as far as SQLite sees")


def _quick(path: bytes) -> str:
    import apsw

    db = apsw.Connection(os.fsdecode(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        said = str(db.execute("PRAGMA quick_check(1)").get)
        return "" if said == "ok" else said.replace("\n", " ")
    except apsw.Error as err:
        return str(err)
    finally:
        db.close()


def _looked(look: Look, subject: str) -> Iterator[Finding]:
    import shlex

    from mailkeep.store import holds as held
    from mailkeep.store.annotations import pending

    name = look.place.name
    if look.busy:
        yield Finding(
            NOTE, subject, f"another run has the store ({look.busy})",
            "it ends with its process; there is nothing to remove by hand", f"ps -fp {_digits(look.busy)}",
        )  # fmt: skip
    if look.trouble is not None and os.path.isdir(look.place.root):
        yield _of_error(subject, look.trouble)
    if look.distrust:
        yield Finding(
            NOTE, subject, look.distrust, "the next run believes no absence: it puts back what is missing, or holds it",
            f"mailkeep sync --store {name}",
        )  # fmt: skip
    for p in pending(look.ledger):
        where, typed = (p.box.name, shlex.quote(p.box.name)) if p.box.name else ("the whole store", "--all")
        yield Finding(
            NOTE, subject, f"a peer's word is {p.key} {p.then or 'none'} for {where}; in effect is {p.now or 'none'}",
            "less would be kept by it, so it has no effect here until you accept it",
            f"mailkeep annotate {typed} --accept {p.key}, or mailkeep annotate {typed} --refuse {p.key}",
        )  # fmt: skip
    for hold in held.holds(look.ledger):
        if not hold.archive:
            yield Finding(
                FAULT, subject, f"hold {hold.no}: {format_count(hold.count, 'deletion')} wait for you: {hold.reason}",
                "nothing happens to them until you answer; everything else flows",
                f"mailkeep holds {hold.no}; then mailkeep approve {hold.no} or mailkeep reject {hold.no}",
            )  # fmt: skip
    for row in look.waiting_mailboxes():
        yield Finding(
            FAULT, subject, f"the mailbox {row['mailbox']} waits: it {row['why']}",
            "its mail is in the vault, and shown nowhere here", "rename it where it was made, then: mailkeep sync",
        )  # fmt: skip
    lacking = look.index.value(
        "SELECT count(*) FROM record r JOIN content c ON c.no = r.content WHERE r.live AND NOT c.kept AND r.todo"
    )
    if lacking:
        yield Finding(
            FAULT, subject, f"{format_count(lacking, 'message')} have no content here",
            "a peer has yet to send it, or the vault lost it", "mailkeep sync; if that does not help: mailkeep verify --repair",
        )  # fmt: skip
    yield from _links(look, subject)
    if look.trouble is None:
        yield from _tree(look, subject)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text)) or "1"


def _links(look: Look, subject: str) -> Iterator[Finding]:
    """Contents with so many messages that the file system will not link another one."""
    if look.index.meta["vault"] != "link":
        return
    rows = look.index.execute(
        "SELECT c.id, count(*) FROM record r JOIN content c ON c.no = r.content WHERE r.sub != 0"
        " GROUP BY r.content HAVING count(*) > ? LIMIT 5",
        (LINKS_NEAR,),
    )
    for content_id, count in rows:
        yield Finding(
            NOTE, subject, f"{count:,} messages share the content {bytes(content_id).hex()}",
            "a file has at most 65,000 names on ext4; further copies take room of their own",
        )  # fmt: skip


def _tree(look: Look, subject: str) -> Iterator[Finding]:
    """Mailboxes that cannot be mapped, files that are not ours or no files, names that no program should have."""
    from mailkeep.store.maildir import SUBS, Maildir
    from mailkeep.wire.layouts import Layout, Unmappable

    layout = Layout.parse(look.index.meta["layout"])
    maildir = Maildir(look.place.root, layout)
    foreign, odd, looked = 0, 0, 0
    example = b""
    future = 0
    horizon = clock.now() + CLOCK_SKEW_SECONDS
    try:
        paths, _ = maildir.survey()
        for path in paths:
            try:
                layout.name(path)
            except Unmappable as err:
                yield Finding(
                    FAULT, subject, f"the directory {printable(path) or '.'} is no mailbox: it {err.reason}",
                    "its mail is not replicated; the others are", f"mv {_quote(os.path.join(look.place.root, path))} ANOTHER-NAME",
                )  # fmt: skip
            share = max(20, FILES_LOOKED_AT // max(1, len(paths)))
            for sub in SUBS[1:]:
                try:
                    entries = maildir.listing(path, sub)
                except OSError as err:
                    yield Finding(
                        FAULT, subject, f"{printable(os.path.join(path, sub))} cannot be listed: {os.strerror(err.errno or 5)}",
                        "what it holds is unknown, and no removal is believed anywhere until it is seen",
                        f"ls -ld {_quote(os.path.join(look.place.root, path, sub))}",
                    )  # fmt: skip
                    continue
                with entries:
                    for number, entry in enumerate(entries):
                        if number >= share:
                            break
                        if entry.name[:1] == b".":
                            continue
                        looked += 1
                        st = entry.stat(follow_symlinks=False)
                        if not fs.is_regular(st):
                            odd, example = odd + 1, os.path.join(path, sub, entry.name)
                        elif st.st_uid != os.geteuid():
                            foreign, example = foreign + 1, os.path.join(path, sub, entry.name)
                        elif st.st_mtime > horizon:
                            future += 1
        for where, why in maildir.problems:
            yield Finding(FAULT, subject, f"{where}: {why}", "that mailbox waits; the others flow")
    finally:
        maildir.close()
    if odd:
        yield Finding(
            FAULT, subject, f"{odd:,} things in cur or new are no files, such as {printable(example)}",
            "links, FIFOs and directories are never opened, and not replicated", f"ls -l {_quote(os.path.join(look.place.root, example))}",
        )  # fmt: skip
    if foreign and os.geteuid():
        yield Finding(
            FAULT, subject, f"{foreign:,} of {looked:,} files belong to another user, such as {printable(example)}",
            "they cannot be linked into the vault or made read-only: they are copied, or cannot be read at all",
            f"sudo chown -R $(id -un) {_quote(look.place.root)}",
        )  # fmt: skip
    if future:
        yield Finding(
            NOTE, subject, f"{future:,} of {looked:,} files are dated in the future",
            "their date of delivery is wrong everywhere: the clock of this machine, or of the one that delivered, is off", "timedatectl",
        )  # fmt: skip


def _backups(place: Place, subject: str) -> Iterator[Finding]:
    from mailkeep.cli.backup import _settings
    from mailkeep.store import backup as backups
    from mailkeep.store.gate import INDEX

    every, daily, weekly = _settings(place)
    path = os.path.join(place.state, INDEX)
    if not os.path.exists(path) or not (daily or weekly):
        return
    now = clock.now()
    newest = max((one.at for one in backups.backups(place.state)), default=None)
    command = f"mailkeep backup --store {place.name}"
    if newest is None:
        yield Finding(
            NOTE,
            subject,
            "there is no backup of the index",
            "a damaged index costs UIDs and history then",
            command,
        )
    elif newest > now + CLOCK_SKEW_SECONDS:
        yield Finding(
            NOTE,
            subject,
            "the newest backup of the index is dated in the future",
            "a clock is, or was, wrong",
            "timedatectl; " + command,
        )
    elif now - newest > BACKUP_LATE * every and os.stat(path).st_mtime > newest + every:
        yield Finding(
            NOTE, subject, f"the newest backup of the index is {format_duration(now - newest)} old",
            "runs make one by themselves, unless there is no room", command,
        )  # fmt: skip
    else:
        yield Finding(
            FINE, subject, f"the newest backup of the index is {format_duration(max(1, now - newest))} old"
        )


def _notmuch(place: Place, subject: str) -> Iterator[Finding]:
    if place.settings is None or not (place.settings.notmuch.new or place.settings.notmuch.dump):
        return
    from mailkeep.cli.notmuch import trouble

    found = trouble(place)
    if found is not None:
        yield Finding(FAULT, subject, *found)
    else:
        yield Finding(FINE, subject, "notmuch can be run, and looks for mail there")


# --- peers


def _peer(place: Place, peer: Any, *, offline: bool) -> Iterator[Finding]:
    """Can the peer's command be started, and does a mailkeep answer there? No session is begun."""
    from mailkeep.cli.target import target_of

    target = target_of(peer)
    subject = f"peer {peer.name}"
    program = target.argv[0]
    if shutil.which(program) is None:
        yield Finding(
            FAULT,
            subject,
            f"there is no program {printable(program)}",
            "the peer is reached by it",
            f"command -v {shlex.quote(program)}",
        )
        return
    if peer.path is not None and not os.path.isdir(peer.path):
        yield Finding(
            FAULT,
            subject,
            f"{peer.path} is not there",
            "no session is possible until it is",
            _mount_of(os.fsencode(peer.path)),
        )
        return
    if offline:
        yield Finding(FINE, subject, f"{target.shown} (not asked)")
        return
    said, status, answer = _ask(target.argv)
    if answer is not None:
        code, what, hint = answer
        if code == EXIT_PROTOCOL:  # it understood that it was asked nothing
            yield Finding(FINE, subject, f"{target.shown} answers")
        elif code == EXIT_BUSY:
            yield Finding(
                NOTE,
                subject,
                f"is busy: {what}",
                "a session waits for the other run to end",
                "mailkeep sync --wait 5m",
            )
        else:
            yield Finding(
                FAULT,
                subject,
                f"{target.shown} answers: {what}",
                "no session is possible until that is mended",
                f"there: {hint}",
            )
        return
    first = said.split(b"\n", 1)[0][:200]
    by_hand = " ".join(shlex.quote(word) for word in target.argv)
    if first:
        what, why = (
            f"another program answers: {printable(first)}",
            "its start-up files print something, perhaps, before mailkeep starts",
        )
    elif status in (126, 127):
        what, why = (
            "there is no mailkeep at the far end",
            "it has to be in the PATH that non-interactive logins get",
        )
    elif status == 255 and program == "ssh":
        what, why = "ssh could not reach it, or was refused", "its own words are above"
    else:
        what, why = (
            f"nothing answers (the command ended with {status})",
            "its own words are above, if it had any",
        )
    yield Finding(FAULT, subject, what, why, f"{by_hand} </dev/null")


def _ask(argv: list[str]) -> tuple[bytes, int | None, tuple[int, str, str] | None]:
    """Say hello with nothing in it: (what came, how the command ended, the far end's (status, words, hint)).

    A dry greeting and a hello that says nothing begin no session: mailkeep answers why, or what stands in
    the way over there.
    """
    import select

    from msgpack import packb, unpackb

    from mailkeep.system.process import Child
    from mailkeep.wire import frames

    wire = frames.Wire()
    wire.greet(dry="1")
    wire.send(frames.HELLO, packb({}))
    child = Child(argv)
    said, answer = b"", None
    try:
        try:
            os.write(child.stdin, bytes(wire.output(flush=True)))
        except OSError:
            pass
        end = clock.monotonic() + PEER_SECONDS
        while answer is None and (left := end - clock.monotonic()) > 0 and len(said) < 1 << 16:
            ready, _, _ = select.select([child.stdout], [], [], left)
            data = os.read(child.stdout, 4096) if ready else b""
            if not data:
                break
            said += data
            try:
                wire.feed(data)
                while (frame := wire.next_frame()) is not None:
                    if frame[0] == frames.ERROR:
                        code, what, _, hint = unpackb(frame[1])
                        answer = (int(code), str(what), str(hint))
            except (MailkeepError, ValueError, TypeError):
                break
    finally:
        status = child.end(1.0)
    return said, status, answer


def _quote(path: bytes) -> str:
    return shlex.quote(os.fsdecode(path))
