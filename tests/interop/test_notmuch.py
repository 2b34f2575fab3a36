"""notmuch beside the runs of a store: it sees what they changed, and tags come back with the mail."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import stat
import time
from pathlib import Path

import pytest

from docs.pages import blocks, read
from interop.machines import Machine, deliver, message, ordinary, program
from interop.programs import Notmuch
from mailkeep.store.gate import LOCK
from mailkeep.system import clock, notmuch

pytestmark = [pytest.mark.slow, pytest.mark.interop]

COUNT = 60


class Pair:
    """A laptop with notmuch, and the server that it syncs with."""

    def __init__(self, base: Path, settings: str = "new = true\ndump = true\n") -> None:
        self.laptop, self.server = Machine(base / "laptop"), Machine(base / "server")
        for machine in (self.laptop, self.server):
            for part in ("cur", "new", "tmp"):
                (machine.mail / part).mkdir(parents=True)
        for number in range(COUNT):
            deliver(self.laptop.mail, "", message(number), number, "S")
        self.notmuch = Notmuch(self.laptop)
        self.notmuch("new")
        self.notmuch("tag", "+work", "--", "from:ada")
        self.notmuch("tag", "+project x", "+a%b", "--", f"id:{self.id(7)}")
        self.server.mailkeep("init", "--store", "mail", self.server.mail)
        self.laptop.mailkeep("init", "--store", "mail", self.laptop.mail)
        self.laptop.mailkeep(
            "peer", "add", "server", "--command", f"{self.server.bin}/mailkeep serve --store mail"
        )
        self.configure(self.laptop, f'config = "{self.notmuch.environment["NOTMUCH_CONFIG"]}"\n' + settings)
        self.laptop.sync()

    def configure(self, machine: Machine, text: str) -> None:
        with (machine.home / ".config/mailkeep/config.toml").open("a") as file:
            file.write(
                '\n[stores.mail.guard]\nshare = "100%"\nstore_share = "100%"\n[stores.mail.notmuch]\n' + text
            )

    @staticmethod
    def id(number: int) -> str:
        return f"m.{number}@post.example"

    def remove(self, machine: Machine, count: int) -> None:
        for number in range(count):
            (path,) = [
                p
                for p in (machine.mail / "cur").iterdir()
                if f"<{self.id(number)}>".encode() in p.read_bytes()
            ]
            path.unlink()
        machine.settle()

    def tags(self, number: int) -> list[str]:
        return sorted(self.notmuch("search", "--output=tags", f"id:{self.id(number)}").split("\n")[:-1])

    def count(self) -> int:
        return int(self.notmuch("count", "*"))

    def dumps(self) -> list[Path]:
        return sorted((self.laptop.home / ".local/state/mailkeep/mail/notmuch").glob("*.gz"))


def test_what_a_session_brings_and_removes_is_seen_and_tags_are_kept_first(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    assert pair.tags(7) == ["a%b", "inbox", "project x", "work"]
    pair.remove(pair.server, 20)
    deliver(pair.server.mail, "", message(1000), 1000)
    result = pair.laptop.sync()
    assert result["here"]["expunged"] == 20
    assert pair.count() == COUNT - 20 + 1, "notmuch new was run"
    (dump,) = pair.dumps()
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    with gzip.open(dump) as file:
        lines = file.read().splitlines()
    assert sum(b"-- id:" in line for line in lines) == COUNT, "of the time before they went"
    assert b"+a%25b +inbox +project%20x +work -- id:" + pair.id(7).encode() in lines
    assert pair.laptop.sync()["same"]
    assert pair.dumps() == [dump]


def test_few_removals_make_no_dump_and_dumps_are_bounded(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "dump = true\nthreshold = 3\nkeep = 2\n")
    pair.remove(pair.server, 3)
    pair.laptop.sync()
    assert pair.dumps() == []
    for at in range(3):
        gone = sorted(p for p in (pair.server.mail / "cur").iterdir())[:4]
        for path in gone:
            path.unlink()
        pair.server.settle()
        pair.laptop.sync()
        assert len(pair.dumps()) == min(at + 1, 2)


@pytest.mark.parametrize(
    "words",
    [
        "import --deleted-too {copy}",
        "undelete --all",
        pytest.param("undo {run}", marks=pytest.mark.soak),
        pytest.param("restore --at 'before run {run}' --yes", marks=pytest.mark.soak),
        pytest.param("restore --from {copy}/Maildir --deleted-too --yes", marks=pytest.mark.soak),
    ],
)
def test_what_comes_back_has_its_tags_and_nothing_else_changes(tmp_path: Path, words: str) -> None:
    """Removed by another program, notmuch forgot it; then somebody brings it back."""
    pair = Pair(tmp_path)
    copy = pair.laptop.home / "copy"
    pair.laptop.mailkeep("snapshot", copy)
    pair.remove(pair.laptop, 20)
    pair.laptop.sync()
    assert pair.count() == COUNT - 20
    assert pair.tags(7) == []
    pair.notmuch("tag", "+later", "--", f"id:{pair.id(30)}")
    pair.notmuch("tag", "-work", "--", f"id:{pair.id(31)}")
    run = next(
        run
        for run in json.loads(pair.laptop.mailkeep("log", "--json").stdout)["runs"]
        if run["verb"] == "sync"
    )
    pair.laptop.mailkeep(*shlex.split(words.format(copy=copy, run=run["run"])))
    assert pair.count() == COUNT
    assert pair.tags(7) == ["a%b", "inbox", "project x", "work"]
    assert pair.tags(8) == ["inbox", "work"]
    assert pair.tags(30) == ["inbox", "later", "work"]
    assert pair.tags(31) == ["inbox"]


def test_the_newest_dump_is_restored_by_hand_as_the_page_says(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.remove(pair.server, 20)
    pair.laptop.sync()
    pair.notmuch("tag", "-work", "+wrong", "--", "*")
    (typed,) = [block for block in blocks(read("docs/how-to/notmuch.md")) if "zcat" in block]
    pair.laptop.run(["/bin/sh", "-c", typed], environment=pair.notmuch.environment)
    assert pair.tags(30) == ["inbox", "work"]
    assert pair.count() == COUNT - 20


def test_what_is_rejected_has_its_tags(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    config = pair.laptop.home / ".config/mailkeep/config.toml"
    config.write_text(config.read_text().replace('\nshare = "100%"', '\nshare = "10%"\nminimum = 5'))
    pair.remove(pair.laptop, 20)
    pair.laptop.sync(status=5)
    pair.notmuch("new")
    assert pair.count() == COUNT - 20
    pair.laptop.mailkeep("reject", "all")
    assert pair.tags(7) == ["a%b", "inbox", "project x", "work"]
    assert pair.count() == COUNT


def test_the_dump_is_there_before_the_first_file_goes(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    seen = pair.laptop.home / "seen"
    wrapper(
        pair.laptop,
        f'[ "$1" = dump ] && ls {pair.laptop.mail}/cur | wc -l > {seen}\nexec {program("notmuch")} "$@"',
    )
    pair.remove(pair.server, 20)
    pair.laptop.sync()
    assert seen.read_text().strip() == str(COUNT)
    assert len(list((pair.laptop.mail / "cur").iterdir())) == COUNT - 20


def wrapper(machine: Machine, body: str) -> None:
    path = machine.bin / "notmuch"
    path.write_text("#!/bin/sh\n" + body + "\n")
    path.chmod(0o700)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("exit 7", marks=pytest.mark.soak),
        r"printf 'bad\033[2J\n\377 words\n' >&2; exit 1",
        pytest.param("echo no dump at all; exit 0", marks=pytest.mark.soak),
        r"printf '\037\213\010\000'; exit 0",
        pytest.param("kill -9 $$", marks=pytest.mark.soak),
    ],
)
def test_a_notmuch_that_fails_is_a_warning(tmp_path: Path, body: str) -> None:
    pair = Pair(tmp_path)
    wrapper(pair.laptop, body)
    pair.remove(pair.server, 20)
    result = pair.laptop.sync()
    assert result["here"]["expunged"] == 20
    assert "tags of what is removed now are only in older dumps" in result["stderr"]
    assert "\033" not in result["stderr"]
    assert pair.dumps() == []
    assert "Traceback" not in result["stderr"]
    pair.laptop.mailkeep("doctor", "--offline", status=(0, 4))


def test_a_notmuch_that_is_missing_is_a_warning_and_a_finding(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.remove(pair.server, 20)
    path = pair.laptop.home / "path"
    path.mkdir()
    for name in ("sh", "env", *(["setpriv"] if ordinary() else [])):
        os.symlink(program(name), path / name)
    nothing = {"PATH": f"{pair.laptop.bin}:{path}"}
    done = pair.laptop.run(["mailkeep", "sync"], environment=nothing)
    assert "notmuch dump could not be run: No such file or directory" in done.stderr
    assert "notmuch new could not be run" in done.stderr
    said = pair.laptop.run(["mailkeep", "doctor", "--offline"], environment=nothing, status=4).stderr
    assert "fault: store mail: notmuch config could not be run" in said
    pair.laptop.run(["mailkeep", "check", "--offline"], environment=nothing, status=4)
    pair.laptop.mailkeep("check", "--offline")


def test_a_database_of_other_mail_is_a_finding(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    config = Path(pair.notmuch.environment["NOTMUCH_CONFIG"])
    config.write_text(config.read_text().replace(str(pair.laptop.mail), str(tmp_path)))
    pair.laptop.mailkeep("doctor", "--offline")
    config.write_text(config.read_text().replace(f"path={tmp_path}", f"path={pair.server.mail}"))
    assert "is not below that" in pair.laptop.mailkeep("doctor", "--offline", status=4).stderr


def test_hooks_of_notmuch_that_sync_do_not_go_round(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    hooks = pair.laptop.mail / ".notmuch/hooks"
    hooks.mkdir(exist_ok=True)
    calls = pair.laptop.home / "calls"
    (hooks / "pre-new").write_text(
        f"#!/bin/sh\necho called >> {calls}\nexec {pair.laptop.bin}/mailkeep sync\n"
    )
    (hooks / "pre-new").chmod(0o700)
    deliver(pair.server.mail, "", message(2000), 2000)
    pair.laptop.sync()
    assert calls.read_text() == "called\n"
    assert pair.count() == COUNT + 1


def test_the_far_end_calls_notmuch_when_the_session_is_over(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "")
    seen = pair.server.home / "seen"
    wrapper(pair.laptop, f'echo "$1" >> {seen}')  # in whose environment the far end is started here
    pair.configure(pair.server, "new = true\n")
    deliver(pair.laptop.mail, "", message(3000), 3000)
    pair.laptop.sync()
    end = time.monotonic() + 30
    while not seen.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert seen.read_text() == "new\n"
    assert (pair.server.home / ".local/state/mailkeep/mail" / os.fsdecode(LOCK)).exists()


# --- the program itself, in this process


def fake(base: Path, body: str) -> dict[str, str]:
    path = base / "notmuch"
    path.write_text("#!/bin/sh\n" + body + "\n")
    path.chmod(0o700)
    return {**os.environ, "PATH": f"{base}:{os.environ['PATH']}"}


@pytest.fixture
def path_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_what_hangs_is_ended_with_all_that_it_started(path_first: Path) -> None:
    pid = path_first / "pid"
    environment = fake(path_first, f"trap '' TERM\nsleep 1000 &\necho $! > {pid}\nsleep 1000")
    before = clock.monotonic()
    with pytest.raises(notmuch.Trouble, match="took more than 1 seconds, and was ended"):
        notmuch.run(["new"], environment, 1)
    assert clock.monotonic() - before < 30
    end = clock.monotonic() + 30
    while _runs(pid.read_text().strip()) and clock.monotonic() < end:
        time.sleep(0.01)
    assert not _runs(pid.read_text().strip())


def _runs(number: str) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_what_leaves_a_process_behind_is_not_waited_for(path_first: Path) -> None:
    pid = path_first / "pid"
    environment = fake(path_first, f"sleep 1000 & echo $! > {pid}\nexit 0")
    before = clock.monotonic()
    notmuch.run(["new"], environment, 100)
    assert clock.monotonic() - before < 50
    os.kill(int(pid.read_text()), 9)


def test_what_says_no_end_is_bounded(path_first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = fake(path_first, "yes words >&2")
    with pytest.raises(notmuch.Trouble, match="took more than"):
        notmuch.run(["new"], environment, 1)
    environment = fake(path_first, "yes dump")
    monkeypatch.setattr(notmuch, "DUMP_BYTES_MAX", 1 << 20)
    state = os.fsencode(path_first / "state")
    with pytest.raises(notmuch.Trouble, match="wrote more than 1,048,576 bytes"):
        notmuch.dump(state, environment, 3)
    assert notmuch.dumps(state) == []


def test_what_does_not_read_is_no_deadlock(path_first: Path) -> None:
    environment = fake(path_first, "exit 0")
    notmuch.run(["restore"], environment, 50, said=[b"x" * 100_000] * 100)
    environment = fake(path_first, "cat")
    got: list[bytes] = []
    notmuch.run(["restore"], environment, 50, said=[b"x" * 100_000] * 100, take=got.append)
    assert sum(map(len, got)) == 10_000_000


def test_dumps_are_in_order_whatever_the_clock_says(
    path_first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = fake(path_first, "printf '#notmuch-dump batch-tag:3 tags\\n+x -- id:a@b\\n' | gzip")
    state = os.fsencode(path_first / "state")
    made = []
    for now in (1_700_000_000, 1_700_000_000, 1_600_000_000, 1_700_000_001):
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        made.append(notmuch.dump(state, environment, 3))
    assert notmuch.dumps(state) == made[:0:-1]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"+a +b%20c -- id:a@b\n", "a@b"), (b" -- id:a@b\n", "a@b"), (b'+x -- id:"quo""te@b"\n', 'quo"te@b'),
        (b"+x -- id:per%41cent@b\n", "per%41cent@b"), (b"#notmuch-dump batch-tag:3 tags\n", None), (b"\n", None),
        (b"#= x -- id:a@b\n", None), (b"+x -- tag:y\n", None), (b"+x -- id:\n", None),
    ],
)  # fmt: skip
def test_message_ids_are_read_as_notmuch_writes_them(line: bytes, wanted: str | None) -> None:
    assert notmuch.message_id(line) == wanted
