"""notmuch(1) as a program that is run: bounded in time and in what it says, and never more than a trouble.

    STATE/notmuch/20260131T120000Z-000000.gz    `notmuch dump` of that moment, in its format batch-tag

Dumps are kept because notmuch forgets the tags of a message whose file is gone, and cannot know that it comes back.
"""

from __future__ import annotations

import os
import select
import subprocess
from typing import TYPE_CHECKING

from mailkeep.domain.errors import printable
from mailkeep.system import clock, fs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

DIRECTORY, TEMPORARY = b"notmuch", b"new.tmp"
NEW_SECONDS, DUMP_SECONDS, RESTORE_SECONDS = 600, 60, 300
"""A dump is waited for under the store's lock, with a peer at the other end; it takes some seconds for a million messages."""
DUMP_BYTES_MAX = 1 << 30
"""Compressed. A million messages take some 20 MB."""
SAID_BYTES = 2000
"""Of what it says of an error, the end."""
LINE_BYTES_MAX = 1 << 16
"""A longer line of a dump is of no message that anybody tagged."""
NESTED = "MAILKEEP_NOTMUCH"
"""Set in notmuch's environment: its hooks may call mailkeep, which then does not call notmuch again."""


class Trouble(Exception):
    """notmuch could not do it. One sentence; nothing of ours is affected."""


def run(
    words: list[str],
    environment: Mapping[str, str],
    seconds: float,
    *,
    said: Iterable[bytes] = (),
    take: Callable[[bytes], None] | None = None,
) -> None:
    """Run notmuch to its end; whatever it started ends with it when it takes too long.

    Args:
        said: For its standard input.
        take: Gets its standard output, piece by piece.

    Raises:
        Trouble: It is not installed, failed, or took too long.
    """
    what = f"notmuch {words[0]}"
    try:
        child = subprocess.Popen(
            ["notmuch", *words], env={**environment, NESTED: "1"}, start_new_session=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if take is not None else subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
    except OSError as err:
        raise Trouble(f"{what} could not be run: {os.strerror(err.errno or 5)}") from err
    try:
        words_of_error = _converse(child, iter(said), take, clock.monotonic() + seconds)
    except TimeoutError:
        raise Trouble(f"{what} took more than {seconds:.0f} seconds, and was ended") from None
    except OSError as err:
        raise Trouble(f"{what}: {os.strerror(err.errno or 5)}") from err
    finally:
        _end(child)
    if child.returncode:
        tail = printable(words_of_error).strip().rpartition("\n")[2][-300:]
        raise Trouble(f"{what} ended with status {child.returncode}" + (f": {tail}" if tail else ""))


def _converse(
    child: subprocess.Popen[bytes], said: Iterator[bytes], take: Callable[[bytes], None] | None, end: float
) -> bytes:
    """Give and take until the program has ended, whatever it leaves behind that holds on to its pipes."""
    assert child.stdin is not None
    assert child.stderr is not None
    pid = os.pidfd_open(child.pid)
    try:
        wanted = [child.stderr.fileno(), *([child.stdout.fileno()] if child.stdout else []), pid]
        writing = [child.stdin.fileno()]
        for fd in (*wanted[:-1], *writing):
            os.set_blocking(fd, False)
        error, pending, over = b"", b"", False
        while True:
            left = end - clock.monotonic()
            if left <= 0:
                raise TimeoutError
            readable, writable, _ = select.select(wanted, writing, [], 0 if over else left)
            if over and not readable:
                return error
            if writable:
                pending = pending or next(said, b"")
                try:
                    pending = pending[os.write(writing[0], pending[:65536]) :] if pending else b""
                    done = False
                except BlockingIOError:
                    done = False
                except BrokenPipeError:
                    done = True  # it ended, or wants no more
                if done or not (pending or (pending := next(said, b""))):
                    child.stdin.close()
                    writing = []
            for fd in readable:
                if fd == pid:
                    over = True
                    continue
                data = os.read(fd, 1 << 16)
                if not data:
                    wanted.remove(fd)
                elif fd == child.stderr.fileno():
                    error = (error + data)[-SAID_BYTES:]
                elif take is not None:
                    take(data)
            if over:
                wanted = [fd for fd in wanted if fd != pid]
                writing = []
    finally:
        os.close(pid)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the program and what it started, if it has not ended, and close our ends."""
    for number in (15, 9):
        try:
            child.wait(0 if child.returncode is None and number == 15 else 3)
        except subprocess.TimeoutExpired:
            pass
        if child.returncode is not None:
            break
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            pass
    child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()


# --- dumps


def dumps(state: bytes) -> list[bytes]:
    """Paths of the dumps that there are, the newest first."""
    directory = os.path.join(state, DIRECTORY)
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [os.path.join(directory, name) for name in sorted(names, reverse=True) if _is_dump(name)]


def _is_dump(name: bytes) -> bool:
    stem, _, rest = name.decode("ascii", "replace").partition("-")
    return rest[6:] == ".gz" and rest[:6].isdigit() and clock.from_utc(stem) is not None


def dump(state: bytes, environment: Mapping[str, str], keep: int) -> bytes:
    """Dump all tags into a new file, durable on return; then drop the oldest beyond `keep`. Returns its path.

    Raises:
        Trouble: There is no new one; older ones all stay.
    """
    directory = os.path.join(state, DIRECTORY)
    temporary = os.path.join(directory, TEMPORARY)
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        _drop(temporary)
        fd = os.open(temporary, fs.O_CREATE, 0o600)
        try:
            size = 0

            def take(data: bytes) -> None:
                nonlocal size
                size += len(data)
                if size > DUMP_BYTES_MAX:
                    raise Trouble(f"notmuch dump wrote more than {DUMP_BYTES_MAX:,} bytes")
                fs.write_all(fd, data)

            run(
                ["dump", "--gzip", "--format=batch-tag", "--include=tags"],
                environment,
                DUMP_SECONDS,
                take=take,
            )
            fs.fsync(fd)
        finally:
            os.close(fd)
        _check(temporary)
        path = _name(directory)
        fs.rename(temporary, path)
        fs.fsync_path(directory)
        for old in dumps(state)[keep:]:
            fs.unlink(old)
    except OSError as err:
        raise Trouble(
            f"the dump of notmuch's tags could not be written: {os.strerror(err.errno or 5)}"
        ) from err
    return path


def _drop(path: bytes) -> None:
    try:
        fs.unlink(path)
    except FileNotFoundError:
        pass


def _name(directory: bytes) -> bytes:
    """The next name, after all that there are: a clock that went back must not make a new dump the oldest."""
    stem = clock.utc(clock.now()).encode()
    newest = max((os.path.basename(path) for path in dumps(os.path.dirname(directory))), default=b"-0")
    last, _, number = newest.partition(b"-")
    if stem > last:
        return os.path.join(directory, stem + b"-000000.gz")
    return os.path.join(directory, b"%b-%06d.gz" % (last, int(number.partition(b".")[0]) + 1))


def _check(path: bytes) -> None:
    import gzip
    import zlib

    try:
        with gzip.open(path) as file:
            head = file.read(13)
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as err:
        raise Trouble(f"what notmuch dump wrote cannot be read: {err}") from err
    if head != b"#notmuch-dump":
        raise Trouble("what notmuch dump wrote is no dump")


def lines(path: bytes) -> Iterator[bytes]:
    """Lines of a dump, as far as it can be read; absurdly long ones are passed over."""
    import gzip
    import zlib

    try:
        with gzip.open(path) as file:
            whole = True
            while line := file.readline(LINE_BYTES_MAX):
                if whole and line[-1:] == b"\n":
                    yield line
                whole = line[-1:] == b"\n"
    except (OSError, EOFError, zlib.error):
        return


def message_id(line: bytes) -> str | None:
    """The Message-ID that a line of a dump is about, as notmuch has it; None: it is about none.

    It is quoted where it has characters of notmuch's query language, and never encoded: of tags only is that so.
    """
    before, mark, query = line.rstrip(b"\n").partition(b"-- id:")
    if not mark or before[:1] == b"#" or not query:
        return None
    text = query.decode(errors="surrogateescape")
    if text[:1] == '"' and text[-1:] == '"' and len(text) > 1:
        text = text[1:-1].replace('""', '"')
    return text
