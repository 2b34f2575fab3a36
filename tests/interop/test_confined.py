"""What the kernel saw of a server whose peer and whose Maildir are hostile: nothing outside root and state is written.

Nor is anything of a person's read there: only programs, libraries, the configuration and the clock's own files.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from interop.machines import SOURCES, Machine, deliver, make_mailbox, message, program

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CALLS = (
    "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mknodat,"
    "truncate,ftruncate,chmod,fchmod,fchmodat,chown,fchownat,utimensat,setxattr"
)
LINE = re.compile(r"^\d+ +(?P<call>\w+)\((?P<args>.*)\) += (?P<result>-?\d+)")
AT = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<dir>[^>]*)>, |(?P<bare>))"(?P<path>(?:[^"\\]|\\.)*)"')
FD = re.compile(r"^\d+<(?P<path>[^>]*)>")


def paths(call: str, args: str) -> list[str]:
    """Absolute paths that a system call names."""
    out = [os.path.normpath(os.path.join(m["dir"] or "/", m["path"])) for m in AT.finditer(args)]
    if not out and (m := FD.match(args)):
        out = [m["path"]]
    return out


def seen(trace: Path) -> tuple[set[str], set[str]]:
    """Paths that were changed, and that were opened for reading; calls that failed, too, if they were to change."""
    wrote, read = set(), set()
    for line in trace.read_text(errors="replace").splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        call, args = match["call"], match["args"]
        found = paths(call, args)
        if call.startswith("open") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", args):
            if int(match["result"]) >= 0:
                read.update(found)
        else:
            wrote.update(found)
    return wrote, read


def test_a_server_stays_within_its_root_and_its_state(
    laptop: Machine, server: Machine, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    make_mailbox(private, "", "Old")
    deliver(private, "", message(99), 99, "S")
    (private / "secret").write_text("secret")
    for number, mailbox in enumerate(["", ".Work", ".Work.Old", ".&ZeVnLIqe-"]):
        deliver(laptop.mail, mailbox, message(number), number, "FS")
    deliver(server.mail, "", message(50), 50, "S")
    deliver(server.mail, ".Attic", message(51), 51, "S")
    laptop.mailkeep("init", "--store", "mail", laptop.mail)
    server.mailkeep("init", "--store", "mail", server.mail)
    # Planted: a mailbox that is to come, parts of one that is there, names of files.
    (server.mail / ".Work").symlink_to(private)
    (server.mail / ".Attic" / "new").rename(server.mail / ".Attic" / "was-new")
    (server.mail / ".Attic" / "new").symlink_to(private / "new")
    (server.mail / "cur" / "1717400000.M1P1.evil:2,S").symlink_to(private / "secret")
    os.mkfifo(server.mail / "cur" / "1717400001.M1P1.evil:2,S")
    trace = tmp_path / "trace"
    strace = f"{program('strace')} -f -y -s 4000 -e trace={CALLS} -o {trace}"
    laptop.mailkeep(
        "peer", "add", "server", "--command", f"{strace} {server.bin}/mailkeep serve --store mail"
    )
    before = subprocess.run(
        ["find", str(private), "-printf", "%p %s %T@ %m\n"], capture_output=True, check=True
    ).stdout
    laptop.sync(status=(0, 3, 5))
    wrote, read = seen(trace)
    state = server.home / ".local/state/mailkeep/mail"
    allowed = (str(server.mail), str(state), "/dev/null")
    assert wrote
    strangers = {path for path in wrote if not path.startswith(allowed)}
    # Python's own caches of its modules, where the sources may be written.
    strangers = {
        path
        for path in strangers
        if "__pycache__" not in path and not path.startswith(("/proc/self/fd", "/dev/pts"))
    }
    assert not strangers
    assert any(path.startswith(str(server.mail)) for path in wrote)
    assert not {path for path in wrote | read if path.startswith(str(private))}
    personal = {path for path in read if path.startswith((str(server.home), str(laptop.home), str(tmp_path)))}
    config = str(server.home / ".config/mailkeep")
    assert not {path for path in personal if not path.startswith((*allowed, config, str(server.bin), str(SOURCES)))} - {
        str(server.home), str(laptop.home), str(tmp_path),
    }  # fmt: skip
    after = subprocess.run(
        ["find", str(private), "-printf", "%p %s %T@ %m\n"], capture_output=True, check=True
    ).stdout
    assert before == after
