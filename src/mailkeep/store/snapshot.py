"""Making a copy: a whole store, or what was chosen of it, as a Maildir tree with a manifest, anywhere.

    DIR.partial/.plan.db   what is to be copied: one state of the index, drawn up under the store's lock
    DIR.partial/...        files, from the vault, each hashed on the way
    DIR                    the same directory, under this name only once it is complete and durable

Everything after the plan needs no lock: sessions go on meanwhile, and what they change is not in the copy. Cut
off anywhere, the same command goes on: with the same plan, so that the copy is still of one moment, and each file
that is there already is read and hashed before it counts. Nothing is overwritten, and no link is followed.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import apsw

from mailkeep.domain.annotation import NOEXPIRE, name_of
from mailkeep.domain.errors import DataError, StorageError, UsageError, printable
from mailkeep.domain.flags import LETTERS, RAW_KEYWORDS, unpack
from mailkeep.domain.record import STORE_ID
from mailkeep.store.annotations import in_effect
from mailkeep.store.copyfiles import LACKS, LINKED, Place, Source, Written, pages
from mailkeep.store.store import refuse_mail_tree
from mailkeep.system import clock, fs
from mailkeep.system.lock import Lock
from mailkeep.wire import copies, dovecotkeywords
from mailkeep.wire.layouts import Layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailkeep.domain.progress import Watch
    from mailkeep.store.ledger import Ledger
    from mailkeep.store.rows import Mailbox
    from mailkeep.store.store import Store
    from mailkeep.wire.copies import Kind

APPLICATION_ID = 0x6D6B6370
"""Of the plan, in SQLite's header: tells a copy in the making from what merely has such a name."""
PROBLEMS_MAX = 1000

_PLAN = """
CREATE TABLE plan.meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE plan.box (no INTEGER PRIMARY KEY, name TEXT, id BLOB, directory BLOB, validity INTEGER, uidnext INTEGER,
    keywords BLOB) STRICT;
CREATE TABLE plan.message (no INTEGER PRIMARY KEY, box INTEGER, id BLOB, size INTEGER, date INTEGER, flags TEXT,
    uid INTEGER, copy INTEGER, gone INTEGER, mailbox TEXT, kept INTEGER, file BLOB) STRICT;
CREATE TABLE plan.annotation (mailbox TEXT, id BLOB, key TEXT, text TEXT) STRICT;
CREATE INDEX plan.message_box ON message (box, no);
"""
NO_BOX = 0
"""The expunged messages of the plan belong to none: they come after all mailboxes."""

_ORDER = f"r.flags != '', max(0, min(r.date, {copies.DATED_MAX}))"
# Which of several equal ones in its mailbox, counted anew in the order of the manifest: 0, 1, 2.
_COPY = f"row_number() OVER (PARTITION BY r.content ORDER BY {_ORDER}, r.copy) - 1"
_FILE = "iif(r.sub, CAST(iif(r.sub = 1, 'new/', 'cur/') || CAST(r.base || coalesce(r.info, x'') AS TEXT) AS BLOB), NULL)"


class Wanted:
    """What a copy is to have in it.

    Attributes:
        kind: A whole store, or what was chosen of it.
        chosen: The words by which messages are chosen, for the manifest.
        expunged: Expunged messages too, as far as the vault has them.
    """

    __slots__ = ("chosen", "expunged", "kind")

    def __init__(self, kind: Kind, chosen: tuple[str, ...] = (), *, expunged: bool = False) -> None:
        self.kind, self.chosen, self.expunged = kind, chosen, expunged


class Made:
    """What came of it.

    Attributes:
        at: As it was then; seconds since 1970.
        again: It went on with what an earlier run had begun.
        lacking: (mailbox, why) of messages that are not in the copy, at most PROBLEMS_MAX.
        damaged: How many of these the vault should have; the others wait for a peer.
    """

    __slots__ = (
        "again", "at", "bytes", "damaged", "expunged", "lacking", "linked", "mailboxes", "messages", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.at = self.mailboxes = self.messages = self.expunged = self.bytes = self.linked = 0
        self.damaged = self.waiting = 0
        self.again = False
        self.lacking: list[tuple[str, str]] = []

    def lacks(self, mailbox: str, why: str, *, damaged: bool) -> None:
        """Note a message that could not be copied."""
        self.damaged += damaged
        self.waiting += not damaged
        if len(self.lacking) < PROBLEMS_MAX:
            self.lacking.append((mailbox, why))


class Snapshot:
    """One copy in the making. Use as a context: it holds the copy's lock."""

    def __init__(self, target: bytes, store_root: bytes, state: bytes, wanted: Wanted) -> None:
        """Make the directory it is made in, or take up one that an earlier run left.

        Args:
            target: Where the copy is to be; nothing is there yet.

        Raises:
            UsageError: Something is there, or it would lie inside a mail tree or a store's state.
            StoreBusy: Another process is making it.
        """
        self.target, self.wanted = target, wanted
        self.partial = target + copies.PARTIAL
        self.made = Made()
        self.progress: Watch | None = None
        self._where_it_may_be(store_root, state)
        try:
            self._begin()
        except OSError as err:
            raise fs.explain(err, "the copy could not be begun") from err

    def _where_it_may_be(self, store_root: bytes, state: bytes) -> None:
        if not os.path.basename(self.target):
            raise UsageError("a copy needs a name of its own", untouched="anything")
        parent = os.path.dirname(self.target)
        if not os.path.isdir(parent):
            raise UsageError(
                f"{printable(parent)} is not there",
                untouched="anything",
                hint="the directory in which the copy is made has to be there (a disk that is not mounted?)",
            )
        if os.path.lexists(self.target):
            raise UsageError(
                f"{printable(self.target)} is there already: a copy never overwrites anything",
                untouched="anything",
                hint="name one that is not there, such as "
                + printable(self.target)
                + "/"
                + clock.utc(clock.now())[:8],
            )
        refuse_mail_tree(
            self.partial, f"the copy {printable(self.target)}", "choose a directory outside every mail tree"
        )
        inside = os.path.realpath(parent) + b"/"
        for other, what in ((state, "the state directory"), (store_root, "the Maildir")):
            if inside.startswith(os.path.realpath(other) + b"/"):
                raise UsageError(
                    f"the copy {printable(self.target)} would lie inside {what} {printable(other)}",
                    untouched="anything",
                    hint="choose a directory outside of it, best on another disk",
                )

    def _begin(self) -> None:
        try:
            os.mkdir(self.partial, 0o700)
        except FileExistsError:
            pass
        self.fd = os.open(self.partial, fs.O_DIRECTORY)
        try:
            names = set(os.listdir(self.fd))
            self._refuse_foreign({os.fsencode(name) for name in names})
            self._lock = Lock(os.path.join(self.partial, copies.LOCK))
            self._lock.acquire()
        except BaseException:
            os.close(self.fd)
            raise
        self._syncer = fs.Syncer(self.partial)

    def _refuse_foreign(self, names: set[bytes]) -> None:
        new = copies.PLAN + b".new"
        if copies.PLAN in names or names <= {copies.LOCK, new, new + b"-journal"}:
            return
        raise UsageError(
            f"{printable(self.partial)} is there, and is no unfinished copy",
            untouched="anything",
            hint="move it away, or choose another name for the copy",
        )

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()
        self._syncer.close()
        os.close(self.fd)

    @property
    def _path(self) -> str:
        """The directory by its descriptor: whatever its name has in it, and wherever it is moved."""
        return f"/proc/self/fd/{self.fd}"

    # --- what is to be copied

    @property
    def planned(self) -> bool:
        """Whether an earlier run drew the plan up: what is in the copy is settled, and the store is not asked again."""
        return os.path.exists(os.path.join(self._path, os.fsdecode(copies.PLAN)))

    def plan(self, store: Store, chosen: Iterable[int] | None = None) -> None:
        """Draw the plan up from the index, under the store's lock. Durable on return.

        Args:
            chosen: Numbers of the records that are to be in it; None: all.

        Raises:
            StorageError: There is no room for it.
        """
        new = copies.PLAN + b".new"
        try:
            for leftover in (new, new + b"-journal"):
                try:
                    fs.unlink(leftover, dir_fd=self.fd)
                except FileNotFoundError:
                    pass
            self._draw(store, new, chosen)
            fd = os.open(new, fs.O_READ, dir_fd=self.fd)
            try:
                fs.fsync(fd)
            finally:
                os.close(fd)
            fs.rename(new, copies.PLAN, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            fs.fsync(self.fd)
        except (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as err:
            raise StorageError(
                f"the copy could not be begun: {err}",
                untouched="the store",
                hint="free some space there, then run the same command again",
            ) from err
        except OSError as err:
            raise fs.explain(err, "the copy could not be begun") from err

    def _draw(self, store: Store, new: bytes, chosen: Iterable[int] | None) -> None:
        db = store.index.db
        path = os.path.join(self._path, os.fsdecode(new))
        os.close(os.open(new, fs.O_CREATE, 0o600, dir_fd=self.fd))
        db.execute("ATTACH ? AS plan", (path,))
        try:
            db.execute("PRAGMA plan.synchronous = OFF")  # it is synced as a whole before it gets its name
            db.execute(f"PRAGMA plan.application_id = {APPLICATION_ID}")
            with db:
                for statement in _PLAN.split(";"):
                    db.execute(statement)
                layout: Layout = store.maildir.layout
                meta = {
                    "version": copies.VERSION, "kind": self.wanted.kind, "store": store.id, "made": clock.now(),
                    "layout": str(layout), "chosen": "\n".join(self.wanted.chosen), "expunged": int(self.wanted.expunged),
                }  # fmt: skip
                db.executemany("INSERT INTO plan.meta VALUES (?, ?)", meta.items())
                if chosen is None:
                    db.executemany(
                        "INSERT INTO plan.annotation VALUES (?, ?, ?, ?)", _laid_down(store.ledger)
                    )
                else:
                    db.execute("CREATE TEMP TABLE chosen (no INTEGER PRIMARY KEY)")
                    db.executemany("INSERT OR IGNORE INTO chosen VALUES (?)", ((no,) for no in chosen))
                taken: set[bytes] = set()
                for box in _shown(store):
                    directory = copies.directory_of(layout, box.name, box.id)
                    if directory in taken:
                        directory = copies.OTHER + b"/" + box.id.hex().encode()
                    taken.add(directory)
                    self._draw_box(db, box, directory, chosen is not None)
                if self.wanted.expunged:
                    self._draw_expunged(db, chosen is not None)
                db.execute("DROP TABLE IF EXISTS temp.chosen")
        finally:
            db.execute("DETACH plan")

    def _draw_box(self, db: apsw.Connection, box: Mailbox, directory: bytes, by_choice: bool) -> None:
        only = "AND r.no IN (SELECT no FROM temp.chosen)" if by_choice else ""
        db.execute(
            f"INSERT INTO plan.message SELECT NULL, r.mailbox, c.id, c.size, r.date, r.flags, r.uid, {_COPY}, NULL, NULL,"
            f" c.kept, {_FILE} FROM main.record r JOIN main.content c ON c.no = r.content"
            f" WHERE r.mailbox = ? AND (r.live OR r.hold IS NOT NULL) {only}"
            f" ORDER BY {_ORDER}, c.id, 8",
            (box.no,),
        )
        flags = [
            row[0] for row in db.execute("SELECT DISTINCT flags FROM plan.message WHERE box = ?", (box.no,))
        ]
        if flags or not by_choice:
            db.execute(
                "INSERT INTO plan.box VALUES (?, ?, ?, ?, ?, ?, ?)",
                (box.no, box.name, box.id, directory, box.validity, box.uidnext, _keywords(flags)),
            )

    def _draw_expunged(self, db: apsw.Connection, by_choice: bool) -> None:
        only = "AND r.no IN (SELECT no FROM temp.chosen)" if by_choice else ""
        copy = "row_number() OVER (PARTITION BY c.id, b.name ORDER BY r.no) - 1"
        db.execute(
            f"INSERT INTO plan.message SELECT NULL, {NO_BOX}, c.id, c.size, r.date, r.flags, r.uid, {copy},"
            " max(0, coalesce(r.gone, 0)), b.name, c.kept, NULL"
            " FROM main.record r JOIN main.content c ON c.no = r.content JOIN main.mailbox b ON b.no = r.mailbox"
            f" WHERE NOT r.live AND r.hold IS NULL AND c.kept {only} ORDER BY c.id, b.name, 8"
        )

    # --- copying

    def run(self, store: Source, *, link: bool = False) -> Made:
        """Copy everything that is planned, and give the copy its name. Durable on return.

        Args:
            store: Where contents come from; its lock is not needed.
            link: By hard links to the vault where that can be.

        Raises:
            UsageError: What an earlier run began is of another store, or of other words.
            StorageError: The disk is full, or fails; the same command goes on where it stopped.
        """
        db = self._open_plan(store.id)
        try:
            self._copy(db, store, link)
        except OSError as err:
            raise fs.explain(err, "the copy could not be finished") from err
        finally:
            db.close()
        try:
            self._syncer.sync()
            parent = os.open(os.path.dirname(self.target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _name(self.partial, self.target, parent)
                fs.fsync(parent)
            finally:
                os.close(parent)
            for name in (copies.PLAN, copies.LOCK):
                fs.unlink(name, dir_fd=self.fd)
        except OSError as err:
            raise fs.explain(err, "the copy could not be finished") from err
        return self.made

    def _open_plan(self, store_id: bytes) -> apsw.Connection:
        db = apsw.Connection(
            os.path.join(self._path, os.fsdecode(copies.PLAN)), flags=apsw.SQLITE_OPEN_READONLY
        )
        try:
            if db.pragma("application_id") != APPLICATION_ID:
                raise apsw.NotADBError("it is none of mailkeep's")
            self.meta = dict(db.execute("SELECT key, value FROM meta"))
            wanted = (self.wanted.kind, "\n".join(self.wanted.chosen), int(self.wanted.expunged), store_id)
            begun = tuple(self.meta[key] for key in ("kind", "chosen", "expunged", "store"))
        except (apsw.Error, KeyError) as err:
            db.close()
            raise DataError(
                f"the unfinished copy {printable(self.partial)} is damaged: {err}",
                untouched="the store",
                hint="move it away, then run the same command again",
            ) from err
        if wanted != begun:
            db.close()
            raise UsageError(
                f"the unfinished copy {printable(self.partial)} was begun with another store, or with other words",
                untouched="anything",
                hint="finish it with the words that it was begun with, or move it away",
            )
        self.made.at = int(self.meta["made"])
        return db

    def _copy(self, db: apsw.Connection, store: Source, link: bool) -> None:
        made = self.made
        count, size = db.execute("SELECT count(*), total(size) FROM message").get
        if self.progress is not None:
            self.progress.expect("copied", count, int(size))
        boxes = list(
            db.execute(
                "SELECT no, directory, name, id, validity, uidnext, keywords FROM box ORDER BY directory"
            )
        )
        with Written(self.fd, copies.MANIFEST) as manifest, Written(self.fd, copies.SUMS) as sums:
            chosen = tuple(filter(None, self.meta["chosen"].split("\n")))
            manifest.write(copies.line_of(copies.Head(
                self.meta["kind"], self.meta["store"], made.at, self.meta["layout"], chosen, bool(self.meta["expunged"])
            )))  # fmt: skip
            laid_down = db.execute("SELECT mailbox, id, key, text FROM annotation ORDER BY mailbox, id, key")
            for mailbox, box_id, key, text in laid_down:
                manifest.write(copies.line_of(copies.Annotation(mailbox, box_id, key, text)))
            for no, directory, name, box_id, validity, uidnext, keywords in boxes:
                made.mailboxes += 1
                manifest.write(copies.line_of(copies.Box(name, box_id, directory, validity, uidnext)))
                place = Place(self.fd, directory, name, keywords, store, link, self._syncer)
                self._fill(db, no, place, manifest, sums)
            self._fill(db, NO_BOX, Place(self.fd, b"", "", None, store, link, self._syncer), manifest, sums)
            lacking = made.damaged + made.waiting
            manifest.write(copies.line_of(copies.End(
                made.mailboxes, made.messages, made.expunged, made.bytes, lacking, manifest.digest.hexdigest()
            )))  # fmt: skip
            sums.write(copies.sums_line(manifest.digest.digest(), copies.MANIFEST))
        with Written(self.fd, copies.README) as text:
            text.write(_README.encode())
        for file in (copies.MANIFEST, copies.SUMS, copies.README):
            self._syncer.note(os.path.join(self.partial, file))

    def _fill(self, db: apsw.Connection, box: int, place: Place, manifest: Written, sums: Written) -> None:
        """Copy the messages of one mailbox, or the expunged ones of all."""
        made, last = self.made, b""
        try:
            for rows in pages(db, box):
                for row, (path, how, why) in zip(rows, place.files(rows), strict=True):
                    if how == LACKS:
                        made.lacks(place.name or row.mailbox, why, damaged=bool(row.kept))
                        continue
                    made.linked += how == LINKED
                    made.bytes += row.size
                    made.messages += row.gone is None
                    made.expunged += row.gone is not None
                    manifest.write(copies.line_of(copies.Message(
                        path, row.id, row.size, row.date, row.flags, row.uid, row.copy, row.gone, row.mailbox or ""
                    )))  # fmt: skip
                    if path != last:  # an expunged content has one file, however often it was expunged
                        sums.write(copies.sums_line(row.id, path))
                    last = path
                if not self._syncer.whole:  # else their names would fill the memory
                    self._syncer.sync()
                if self.progress is not None:
                    self.progress("copied", made.messages + made.expunged, made.bytes)
        finally:
            place.close()


def _name(partial: bytes, target: bytes, parent: int) -> None:
    """Give a finished copy its name, which nothing has."""
    try:
        fs.rename_noreplace(partial, target, parent, parent)
    except OSError as err:
        # Where the file system has no such call (NFS), a directory is no file that could be linked instead. rename(2)
        # puts one in the place of nothing, or of an empty directory that was made a moment ago.
        if err.errno not in (errno.EPERM, errno.EINVAL, errno.ENOTSUP) or os.path.lexists(target):
            raise
        fs.rename(partial, target)


def _shown(store: Store) -> list[Mailbox]:
    """Mailboxes that are there, and behind them deleted ones of which a guard holds messages."""
    held = {no for (no,) in store.index.execute("SELECT DISTINCT mailbox FROM record WHERE hold IS NOT NULL")}
    boxes = [box for box in store.ledger.boxes.values() if box.alive or box.no in held]
    return sorted(boxes, key=lambda box: (not box.alive, box.no))


def _laid_down(ledger: Ledger) -> Iterator[tuple[str, bytes, str, str]]:
    """(mailbox or '', id, key, text) of all annotations that have effect here, of deleted mailboxes too.

    Of a deleted one whose name another mailbox has by now only legal holds have.
    """
    alive = {box.name for box in ledger.alive()}
    for box in ledger.rows():
        covered = box.id != STORE_ID and not box.alive and box.name in alive
        for key, text in in_effect(ledger, box).items():
            if not covered or name_of(key) == NOEXPIRE:
                yield box.name, box.id, key, text


def _keywords(packed: list[str]) -> bytes | None:
    """What dovecot-keywords says in a copy for messages with these flags: letters by which their names show keywords.

    None where there are no keywords with a name, or where letters without a meaning are in use already.
    """
    flags = frozenset().union(*map(unpack, packed)) if packed else frozenset()
    named = flags - LETTERS
    if not named or flags & RAW_KEYWORDS:
        return None
    return dovecotkeywords.render(dovecotkeywords.add({}, sorted(named)))


_README = """\
This is a copy of mail, made by mailkeep.

Maildir/        the mail, as a Maildir tree: any program that reads Maildirs reads it
other/          mailboxes whose names have no place in that tree, if there are any
expunged/       contents of messages that had been removed, if they were asked for
manifest.jsonl  every mailbox and message, with flags, keywords and dates; JSON, a line for each
SHA256SUMS      checksums of all that

To check it:           sha256sum -c --quiet SHA256SUMS
or, more closely:      mailkeep verify-copy DIRECTORY
To take it in again:   mailkeep import DIRECTORY
"""
