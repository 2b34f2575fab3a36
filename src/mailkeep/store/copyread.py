"""Reading a copy: its manifest, checked line by line, and its files, opened without following links.

Needs no store. A copy may come from anywhere: nothing that it says is believed before it was looked at.
"""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from typing import TYPE_CHECKING

from mailkeep.domain.errors import DataError, NoInput, printable
from mailkeep.store.vault import hash_of
from mailkeep.system import fs
from mailkeep.wire import copies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailkeep.domain.progress import Watch
    from mailkeep.wire.copies import Box, End, Head, Line, Message

FAULTS_MAX = 1000


class Copy:
    """An open copy.

    Attributes:
        path: Where it is.
        head, end: What the manifest says of the whole; every line of it was checked.
        digest: SHA-256 of the manifest.
    """

    def __init__(self, path: bytes) -> None:
        """Open it and check its manifest from beginning to end; no message is read.

        Raises:
            NoInput: There is no copy.
            DataError: Its manifest is damaged, or none that mailkeep wrote.
        """
        self.path = path
        self._fds: dict[bytes, int] = {}
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as err:
            raise NoInput(f"there is no copy {printable(path)}", untouched="anything") from err
        except OSError as err:
            raise fs.explain(err, "the copy cannot be opened") from err
        try:
            self._manifest = self._open_manifest()
            try:
                reading = copies.Reading()
                for _ in self._lines(reading):
                    pass
            except BaseException:
                os.close(self._manifest)
                raise
        except BaseException:
            os.close(self.fd)
            raise
        assert reading.head is not None
        assert reading.end is not None
        self.head: Head = reading.head
        self.end: End = reading.end
        self.digest = reading.digest

    def _open_manifest(self) -> int:
        try:
            fd = os.open(copies.MANIFEST, fs.O_READ, dir_fd=self.fd)
        except FileNotFoundError as err:
            unfinished = self.path.endswith(copies.PARTIAL)
            raise NoInput(
                f"{printable(self.path)} is no copy: it has no {copies.MANIFEST.decode()}",
                untouched="anything",
                hint="the command that began it finishes it"
                if unfinished
                else "name the directory that snapshot or export made",
            ) from err
        except OSError as err:
            raise _unreadable(copies.MANIFEST, err) from err
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise DataError(
                f"{copies.MANIFEST.decode()} of the copy {printable(self.path)} is no file",
                untouched="anything",
            )
        return fd

    def close(self) -> None:
        """Give everything back."""
        for fd in (*self._fds.values(), self._manifest, self.fd):
            os.close(fd)

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def lines(self) -> Iterator[Line]:
        """Mailboxes and messages, in the order of the manifest; once more checked as they come.

        Raises:
            DataError: They are no longer those that were there when it was opened.
        """
        reading = copies.Reading()
        yield from self._lines(reading)
        if reading.digest != self.digest:
            raise DataError(f"the manifest of the copy {printable(self.path)} was changed while it was read")

    def _lines(self, reading: copies.Reading) -> Iterator[Line]:
        os.lseek(self._manifest, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._manifest), "rb", buffering=fs.READ_BYTES) as file:
            try:
                while data := file.readline(copies.LINE_BYTES_MAX + 1):
                    yield reading.line(data)
            except OSError as err:
                raise _unreadable(copies.MANIFEST, err) from err
        reading.finish()

    def open(self, message: Message) -> int:
        """A descriptor of a message's file, which is a file of the size that the manifest says; hash what you read.

        Raises:
            DataError: It is not there, or something else; one sentence says what.
        """
        directory, _, name = message.path.rpartition(b"/")
        try:
            if directory not in self._fds:
                while len(self._fds) >= 8:
                    os.close(self._fds.pop(next(iter(self._fds))))
                self._fds[directory] = fs.open_directory(directory, self.fd)
            fd = os.open(name, fs.O_READ, dir_fd=self._fds[directory])
        except FileNotFoundError as err:
            raise DataError("it is not there", scope="message") from err
        except OSError as err:
            raise DataError(f"it cannot be opened: {os.strerror(err.errno or 5)}", scope="message") from err
        st = os.fstat(fd)
        if stat.S_ISREG(st.st_mode) and st.st_size == message.size:
            return fd
        os.close(fd)
        if not stat.S_ISREG(st.st_mode):
            raise DataError("it is no file", scope="message")
        raise DataError(f"it has {st.st_size:,} bytes, not {message.size:,}", scope="message")

    def read(self, message: Message) -> bytes:
        """The whole content of a message, checked; of one that fits into memory.

        Raises:
            DataError: It is not there, or not what it was; one sentence says what.
        """
        fd = self.open(message)
        try:
            data = fs.read_all(fd)
        except OSError as err:
            raise DataError(f"it cannot be read: {os.strerror(err.errno or 5)}", scope="message") from err
        finally:
            os.close(fd)
        if sha256(data).digest() != message.content_id:
            raise other_bytes()
        return data


def other_bytes() -> DataError:
    """The error for a file of a copy that was changed, or has rotted."""
    return DataError("its bytes are not those that were copied", scope="message")


def _unreadable(name: bytes, err: OSError) -> DataError:
    return DataError(
        f"{name.decode()} of the copy cannot be read: {os.strerror(err.errno or 5)}", untouched="anything"
    )


class Check:
    """Reads a whole copy and compares it with its manifest.

    Attributes:
        faults: (path, what is wrong), at most FAULTS_MAX.
        notes: What is in the copy besides, and no fault.
    """

    def __init__(self, copy: Copy, progress: Watch | None = None) -> None:
        self.copy, self.progress = copy, progress
        self.faults: list[tuple[str, str]] = []
        self.notes: list[tuple[str, str]] = []
        self.fault_count = self.messages = self.bytes = 0
        self._sums = sha256()
        self._more: dict[bytes, int] = {}
        self._last = b""

    def run(self) -> None:
        """Read every message; whatever is wrong is noted.

        Raises:
            DataError: The manifest cannot be read any more.
        """
        if self.progress is not None:
            self.progress.expect(
                "checked", self.copy.end.messages + self.copy.end.expunged, self.copy.end.bytes
            )
        for line in self.copy.lines():
            if isinstance(line, copies.Box):
                self._box(line)
            elif isinstance(line, copies.Message):
                self._message(line)
        self._sums.update(copies.sums_line(self.copy.digest, copies.MANIFEST))
        self._check_sums()
        self._strangers()

    def _box(self, box: Box) -> None:
        for sub in (b"new", b"cur"):
            self._more[box.directory + b"/" + sub] = 0
            try:
                os.close(fs.open_directory(box.directory + b"/" + sub, self.copy.fd))
            except OSError as err:
                self._fault(box.directory + b"/" + sub, os.strerror(err.errno or 5))

    def _message(self, message: Message) -> None:
        if message.path == self._last:  # an expunged content that several mailboxes had
            return
        self._last = message.path
        self._sums.update(copies.sums_line(message.content_id, message.path))
        directory = message.path.rpartition(b"/")[0]
        self._more[directory] = self._more.get(directory, 0) + 1
        try:
            fd = self.copy.open(message)
            try:
                if hash_of(fd) != message.content_id:
                    raise other_bytes()
            except OSError as err:
                raise DataError(f"it cannot be read: {os.strerror(err.errno or 5)}") from err
            finally:
                os.close(fd)
        except DataError as err:
            self._fault(message.path, err.what)
        self.messages += 1
        self.bytes += message.size
        if self.progress is not None:
            self.progress("checked", self.messages, self.bytes)

    def _fault(self, path: bytes, what: str) -> None:
        self.fault_count += 1
        if len(self.faults) < FAULTS_MAX:
            self.faults.append((printable(path), what))

    def _check_sums(self) -> None:
        try:
            fd = os.open(copies.SUMS, fs.O_READ, dir_fd=self.copy.fd)
            try:
                same = stat.S_ISREG(os.fstat(fd).st_mode) and hash_of(fd) == self._sums.digest()
            finally:
                os.close(fd)
        except OSError as err:
            self._fault(copies.SUMS, os.strerror(err.errno or 5))
            return
        if not same:
            self._fault(copies.SUMS, "it does not say what the manifest says")

    def _strangers(self) -> None:
        """Files that lie among the messages and are none of the copy: somebody used it as a Maildir."""
        for directory, count in self._more.items():
            try:
                fd = fs.open_directory(directory, self.copy.fd)
            except OSError:
                continue
            try:
                more = len(os.listdir(fd)) - count
            finally:
                os.close(fd)
            if more > 0:
                self.notes.append((printable(directory), f"{more:,} files are not in the manifest"))
