"""A store: one Maildir with its vault and index, opened under its lock.

open: lock -> index -> marker -> journal replayed        (before anything is believed)
scan: what other programs did -> index                   (mailkeep.store.scan)
session: mailkeep.replicate -> index                     (mailkeep.store.merge)
apply: index -> files                                    (mailkeep.store.apply)
close: marker advanced when something changed, the run noted
"""

from __future__ import annotations

import os

from msgpack import packb, unpackb

from mailkeep.domain.errors import EXIT_DONE, DataError, UsageError, printable
from mailkeep.rules.guard import Limits
from mailkeep.store import marker
from mailkeep.store.findings import Findings
from mailkeep.store.gate import INDEX, LOCK, take_lock
from mailkeep.store.index import Index
from mailkeep.store.ledger import Ledger
from mailkeep.store.maildir import Maildir
from mailkeep.store.scan import Scan
from mailkeep.store.vault import COPY, Vault
from mailkeep.system import clock, fs
from mailkeep.system.lock import Lock
from mailkeep.wire.layouts import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mailkeep.domain.progress import Watch
    from mailkeep.store.apply import Applied
    from mailkeep.store.findings import Report


INDEX_OLD, MAILDIR_OLD = "the index came from a backup", "the Maildir came from a backup"
"""Why absences are not believed. Of the two, only the first may mean that what is missing was removed since."""


class Store:
    """An open store. Holds the lock until `close`.

    Attributes:
        root: The Maildir.
        state: mailkeep's own directory, on the same file system.
        distrust: Why absences are not believed in this run, or ''.
        noted: A run that changed the store has ended: a backup of the index may be due.
        before_removal: Called before so many messages' files go, or when a scan found that so many are gone. It must not
            fail, and must not touch the store.
    """

    def __init__(self, root: bytes, state: bytes, lock: Lock, index: Index, limits: Limits) -> None:
        self.root, self.state, self.lock, self.index, self.limits = root, state, lock, index, limits
        self.maildir = Maildir(root, Layout.parse(index.meta["layout"]))
        self.ledger = Ledger(index)
        self._vault: Vault | None = None
        self.distrust = str(index.meta.get("distrust") or "")
        self.bumped = self.noted = False
        self.dry = False
        self.progress: Watch | None = None
        self.before_removal: Callable[[int], None] | None = None
        self.first_content = index.value("SELECT coalesce(max(no), 0) FROM content")

    # --- opening and closing

    @classmethod
    def open(
        cls,
        root: bytes,
        state: bytes,
        limits: Limits | None = None,
        wait_seconds: float = 0,
        *,
        dry: bool = False,
        lock: Lock | None = None,
        before_removal: Callable[[int], None] | None = None,
    ) -> Store:
        """Open under the lock; replay the journal if a run was cut off.

        Args:
            dry: Write nothing but what `close` takes back.
            lock: The store's lock, if the caller has taken it already.

        Raises:
            NoInput: No such root, or no such store.
            StoreBusy: Another run has it.
            DataError: The root is another store's.
            StorageError: The index is damaged.
        """
        if lock is None:
            lock = take_lock(root, state, wait_seconds)
        try:
            index = Index.open(os.fsdecode(os.path.join(state, INDEX)), doubt=True, migrate=True)
            store = cls(root, state, lock, index, limits or Limits())
            store.before_removal = before_removal
            if dry:
                store.dry = True
                index.begin_dry()
            store._check_marker()
            if not dry and store.journal():
                store.apply(replay=True)
        except BaseException:
            lock.release()
            raise
        return store

    @classmethod
    def create(
        cls,
        root: bytes,
        state: bytes,
        layout: Layout,
        limits: Limits | None = None,
        *,
        adopt: bool = False,
        rehearsal: bool = False,
    ) -> Store:
        """Make the state of a new store around an existing Maildir (or an empty directory).

        Nothing is indexed yet: the first scan does that, and finds everything 'weak': written by nobody.

        Args:
            adopt: Take a root over that has another store's marker.
            rehearsal: For dry runs: nothing is written but the state, and no run but a dry one may use it.

        Raises:
            UsageError: The root belongs to a store already, or the state would lie in a mail tree.
        """
        refuse_mail_tree(state)
        # Each by itself: makedirs gives the mode to the last directory only, and the index names people's mailboxes.
        os.makedirs(state, 0o700, exist_ok=True)
        os.makedirs(os.path.join(state, b"objects"), 0o700, exist_ok=True)
        lock = Lock(os.path.join(state, LOCK))
        lock.acquire()
        index: Index | None = None
        try:
            if os.path.exists(os.path.join(state, INDEX)):
                raise UsageError(
                    f"{printable(state)} already holds the state of a store",
                    untouched="anything",
                    hint="mailkeep status shows it; choose another --state for a second store",
                )
            root_fd = fs.open_directory(root)
            if marker.read(root_fd, root) is not None and not adopt:
                raise UsageError(
                    f"{printable(root)} carries the marker of a mailkeep store, whose state is not in {printable(state)}",
                    untouched="anything",
                    hint="name that state with --state, or make a new one with init --adopt (peers then see a new replica)",
                )
            from mailkeep.store.vault import probe

            same = os.stat(state).st_dev == os.fstat(root_fd).st_dev and not rehearsal
            mode = probe(state, root_fd) if same else COPY
            temporary = os.path.join(state, INDEX + b".new")
            for leftover in (temporary, temporary + b"-wal", temporary + b"-shm"):
                if os.path.exists(leftover):
                    fs.unlink(leftover)
            index = Index.create(
                os.fsdecode(temporary),
                clock.random_bytes(16),
                clock.random_bytes(8),
                layout=str(layout),
                vault=mode,
                granularity=fs.measure_granularity(state),
                root_path=root,
                **({"rehearsal": 1} if rehearsal else {}),
                rebuilt=int(adopt),
            )
            index.close()
            fs.rename(temporary, os.path.join(state, INDEX))
            index = Index.open(os.fsdecode(os.path.join(state, INDEX)))
            if not rehearsal:
                marker.write(root_fd, index.meta["store"], 0)
            os.close(root_fd)
            return cls(root, state, lock, index, limits or Limits())
        except OSError as err:
            lock.release()
            raise fs.explain(err, "the store could not be made") from err
        except BaseException:
            lock.release()
            raise

    @classmethod
    def adopt(cls, root: bytes, state: bytes, limits: Limits | None = None) -> Store:
        """Open a store whose Maildir lost its marker: a person says that it is the right one.

        The store goes on as a new replica, and no absence is believed in its next scan: what is missing is
        put back from the vault.

        Raises:
            NoInput, StoreBusy, StorageError: As for `open`.
            DataError: The root is another store's.
        """
        lock = take_lock(root, state)
        try:
            store = cls(
                root,
                state,
                lock,
                Index.open(os.fsdecode(os.path.join(state, INDEX)), migrate=True),
                limits or Limits(),
            )
            found = marker.read(store.maildir.fd, root)
            if found is not None and found[0] != store.id:
                raise marker.foreign(root)
            store.distrust = "its marker was lost"
            with store.index.transaction():
                store.index.meta["distrust"] = store.distrust
                store.become_new()
                if found is not None:
                    store.index.meta["generation"] = max(found[1], store.index.meta["generation"])
                store._list_again()
            store.bump()
        except BaseException:
            lock.release()
            raise
        return store

    @classmethod
    def restored(cls, root: bytes, state: bytes, lock: Lock, limits: Limits | None, generation: int) -> Store:
        """Open a store whose index was just replaced by a backup of it: it went back in time.

        As when a run finds that out by the marker, but also where marker and backup happen to agree.

        Args:
            generation: The highest one known, of the marker or of what was displaced.
        """
        from mailkeep.store.cleanup import note_gone

        index = Index.open(os.fsdecode(os.path.join(state, INDEX)), migrate=True)
        store = cls(root, state, lock, index, limits or Limits())
        store.distrust = f"{INDEX_OLD} (generation {index.meta['generation']})"
        with index.transaction():
            index.meta["distrust"] = store.distrust
            store.become_new()
            note_gone(store.ledger, store.vault)
            index.meta["generation"] = max(generation, index.meta["generation"]) + 1
            index.meta["marker_pending"] = 1
            store._list_again()
        store._write_marker()
        if store.journal():
            store.apply(replay=True)
        return store

    def close(self, *, keep_lock: bool = False) -> None:
        """Give everything back, the lock last, unless the caller keeps it."""
        self.index.close()
        self.maildir.close()
        if self._vault is not None:
            self._vault.syncer.close()
        if not keep_lock:
            self.lock.release()

    @property
    def vault(self) -> Vault:
        """The vault, opened when first asked for."""
        if self._vault is None:
            self._vault = Vault(self.state, self.index.meta["vault"], fs.Syncer(self.state))
        return self._vault

    @property
    def id(self) -> bytes:
        """What the marker in the Maildir says too; a store keeps it for good, unlike its replica id."""
        return bytes(self.index.meta["store"])

    def _check_marker(self) -> None:
        if self.index.meta.get("rehearsal"):
            assert self.dry, "what was made for a dry run serves for nothing else"
            return
        pending = bool(self.index.meta.get("marker_pending"))
        try:
            found = marker.read(self.maildir.fd, self.root)
        except DataError:
            if not pending:
                raise
            # A power cut kept the name that the last run gave it, and not its bytes: they were not synced yet.
            found = self.id, self.index.meta["generation"] - 1
        if (
            found is None
            and not self.index.meta["generation"]
            and not self.index.meta.get("indexed")
            and not self.ledger.boxes
        ):
            self._write_marker()  # init died before it: nothing was indexed, so nothing can be concluded from absence
            return
        if found is None:
            raise marker.missing(self.root)
        store, generation = found
        if store != self.id:
            raise marker.foreign(self.root)
        ours = self.index.meta["generation"]
        if generation == ours:
            self._confirm_marker()
            return
        if generation == ours - 1 and pending:
            self._write_marker()
            self._confirm_marker()
            return
        from mailkeep.store.cleanup import note_gone

        older = MAILDIR_OLD if generation < ours else INDEX_OLD
        self.distrust = f"{older} (generations {generation} and {ours})"
        with self.index.transaction():
            self.index.meta["distrust"] = (
                self.distrust
            )  # until a scan was sure of everything, in whichever run
            if generation > ours:
                self.become_new()
                note_gone(self.ledger, self.vault)
            self.index.meta["generation"] = max(generation, ours)
            self._list_again()
        self.bump()

    def _list_again(self) -> None:
        """Let the next scan look at everything. Inodes stay known: by them a renamed mailbox is recognised."""
        for box in self.ledger.boxes.values():
            if box.stamps is not None:
                box.stamps, box.dirty = packb([[s[0], 0, 0] for s in unpackb(box.stamps)]), True
        self.index.meta["structure"] = None

    def _confirm_marker(self) -> None:
        """Note, after a run that was cut off, that marker and index agree again.

        Left pending, a Maildir restored from a backup one generation older would later pass for the work of
        that crash.
        """
        if self.index.meta.get("marker_pending") and not self.dry:
            self.vault.syncer.sync()
            with self.index.transaction():
                self.index.meta["marker_pending"] = 0

    def give_up(self, replica: int) -> None:
        """Wait for a replica no longer: no tombstone is kept until it has heard of it, no session takes it back.

        Stores that never met it hear of it by their next session; to those that did, a person says it. Durable on
        return.

        Args:
            replica: Its number, another one than this store's own.
        """
        assert replica != self.index.me, "a store cannot give itself up"
        with self.index.transaction():
            self.index.mark("forgotten", [replica])
            self.index.stamp()  # without a write, both sides of the next session would have nothing to say

    def become_new(self) -> None:
        """Take a new replica id: this store went back in time, or is a copy. Belongs in a transaction.

        Mailboxes get a new UIDVALIDITY, since UIDs may have been given twice; the next session with each
        peer compares everything.
        """
        from mailkeep.domain.record import VALIDITY

        self.index.become(clock.random_bytes(8))
        self.index.meta["floor"] = self.index.fresh_validity(clock.now())
        self.index.meta["suspect"] = 1
        for box in self.ledger.boxes.values():
            self.ledger.set_mailbox(
                box, VALIDITY, self.index.fresh_validity(max(box.validity + 1, self.index.meta["floor"]))
            )

    # --- work

    def journal(self) -> bool:
        """Whether a run was cut off before its files were as the index says."""
        if any(box.todo for box in self.ledger.boxes.values()):
            return True
        if os.path.isdir(os.path.join(self.state, b"trash")) and os.listdir(
            os.path.join(self.state, b"trash")
        ):
            return True
        boxes = self.index.execute("SELECT DISTINCT mailbox FROM record WHERE todo")
        return any(self.ledger.boxes[no].dir is not None for (no,) in boxes)

    def scan(self) -> Report:
        """What other programs did. Durable on return."""
        findings = Findings(
            self.ledger,
            self.maildir,
            self.vault,
            self.limits,
            state=self.state,
            granularity_ns=self.index.meta["granularity"],
            believe_absence=not self.distrust,
            ask=self.distrust.startswith(INDEX_OLD),
            dry=self.dry,
            progress=self.progress,
        )
        scan = Scan(findings)
        try:
            report = scan.run()
        except OSError as err:
            raise fs.explain(err, "the scan could not go on") from err
        if report.changed:
            self.bump()
        if self.before_removal is not None and not self.dry and (report.expunged or report.held):
            self.before_removal(report.expunged + report.held)
        waiting = any(
            box.problem and box.alive for box in self.ledger.boxes.values()
        )  # what stood in the way may be gone
        if not self.dry and (report.put_back or waiting or self.journal()):
            self.apply()
        if self.distrust and scan.sure:
            with self.index.transaction():
                self.index.meta["distrust"] = self.distrust = ""
        return report

    def apply(self, *, replay: bool = False) -> Applied:
        """Make files as the index says. Durable on return.

        Args:
            replay: What an earlier run began is finished.
        """
        from mailkeep.store.apply import Apply

        if self.before_removal is not None and not self.dry:
            going = "SELECT count(*) FROM record WHERE todo AND NOT live AND hold IS NULL AND sub != 0"
            if count := self.index.value(going):
                self.before_removal(count)
        work = Apply(
            self.ledger,
            self.maildir,
            self.vault,
            self.state,
            hashed_after=self.first_content,
            replay=replay,
            progress=self.progress,
        )
        try:
            report = work.run()
        except OSError as err:
            raise fs.explain(err, "files could not be put in place") from err
        if report.linked or report.removed or report.renamed:
            self.bump()
        return report

    def bump(self) -> None:
        """This run changed something: advance the generation, once."""
        if self.bumped or self.dry:
            return
        if not self.index.meta.get(
            "marker_pending"
        ):  # else the index is one ahead: writing the marker failed
            with self.index.transaction():
                self.index.meta["generation"] += 1
                self.index.meta["marker_pending"] = 1
        self._write_marker()
        self.bumped = True

    def _write_marker(self) -> None:
        try:
            marker.write(self.maildir.fd, self.id, self.index.meta["generation"])
        except OSError as err:
            raise fs.explain(err, "the marker could not be written") from err

    def end_run(self, verb: str, peer: str | None, status: int, counts: dict[str, int]) -> None:
        """Note the run when it changed something, or failed as the last one did not. Durable on return.

        A timer comes back each minute while deletions wait for a person: that is one line of the log. What a run
        changes before this is called is noted as a run that was cut off, until this says how it ended.
        """
        history = self.ledger.history
        silent = status == EXIT_DONE or self._is_said(verb, peer, status)
        if self.dry or (not self.bumped and history.run is None and silent):
            return
        if self.bumped:
            self.vault.syncer.sync()
            self.noted = True
        with self.index.transaction():
            if self.bumped:
                self.index.meta["marker_pending"] = 0
            history.end(verb, peer, status, counts)
        history.begin()
        self.bumped = False

    def _is_said(self, verb: str, peer: str | None, status: int) -> bool:
        """Whether the last run of this kind ended so too, and the log says it."""
        last = self.index.execute(
            "SELECT status FROM run WHERE verb = ? AND peer IS ? ORDER BY no DESC LIMIT 1", (verb, peer)
        ).fetchone()
        return last is not None and last[0] == status


def refuse_mail_tree(
    directory: bytes,
    what: str = "the state directory",
    hint: str = "choose a directory outside every mail tree with --state",
) -> None:
    """State never lies inside a mail root: one IMAP DELETE removed vault and index there (measured). Nor do copies."""
    path = os.path.realpath(directory)
    while True:
        inside = ""
        if os.path.isdir(os.path.join(path, b"cur")) and os.path.isdir(os.path.join(path, b"new")):
            inside = "the Maildir"
        elif os.path.isdir(os.path.join(path, b".notmuch")):
            inside = "the notmuch database"
        if inside:
            raise UsageError(
                f"{what} {printable(directory)} would lie inside {inside} {printable(path)}",
                untouched="anything",
                hint=hint,
            )
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent
