"""The bench's own parts: what it measures with must be right before its figures are."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.census import Ruler, Verdict, expected_after, judge, take_census
from bench.churn import churn, file_size, list_messages
from bench.corpus import ODD_EVERY, WILD_MESSAGES, make_corpus
from bench.measure import BARE_PYTHON, HERE, Command, Meter, Sample, StepError
from bench.report import CHURN, FIRST, NOOP, Day, Result, targets

PLAIN = Ruler()
SMALL = {"messages": 120, "folders": 6, "mean_size": 1500}


def tree(root: Path) -> dict[str, tuple[bytes, float]]:
    """Return each file's content and modification time by its path."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "maildirfolder")
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime) for path in files}


def test_corpus_depends_on_its_arguments_alone(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        make_corpus(tmp_path / name, seed=seed, **SMALL)
    assert tree(tmp_path / "one") == tree(tmp_path / "same")
    assert tree(tmp_path / "one").keys() != tree(tmp_path / "other").keys()


def test_corpus_holds_what_it_says(tmp_path: Path) -> None:
    summary = make_corpus(tmp_path / "mail", messages=2 * ODD_EVERY, folders=17, wild=len(WILD_MESSAGES))
    folders, places = list_messages(tmp_path / "mail")
    contents = [tmp_path.joinpath("mail", *place).read_bytes() for place in places]
    assert (len(folders), len(places)) == (17, summary.messages)
    assert sum(map(len, contents)) == summary.size
    assert sum(place.part == "new" for place in places) >= summary.unseen > 0
    assert summary.odd == 2
    assert set(WILD_MESSAGES) <= set(contents)
    assert any("&" in folder for folder in folders)
    for place, data in zip(places, contents, strict=True):
        if ",S=" in place.name:
            assert int(place.name.partition(",S=")[2].split(",")[0].split(":")[0]) == len(data)


def test_corpus_refuses_a_directory_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(FileExistsError, match="not empty"):
        make_corpus(tmp_path)


def test_two_parts_of_a_churn_never_meet(tmp_path: Path) -> None:
    make_corpus(tmp_path / "a", **SMALL)
    make_corpus(tmp_path / "b", **SMALL)
    before = {path.name: path.stat().st_size for path in (tmp_path / "a").rglob("*.mx.home.example*")}
    amounts = {"new": 3, "flag": 10, "move": 4, "delete": 5}
    for index, end in enumerate("ab"):
        done = churn(tmp_path / end, seed=5, part=(index, 2), key=file_size, **amounts)
        assert {kind: done.count(kind) for kind in amounts} == amounts
        assert len(done.contents) == 3
        touched = {change.before.name for change in done.changes if change.before}
        assert len(touched) == 19
        assert {before[name] % 2 for name in touched} == {index}


def test_the_right_outcome_of_two_churns_is_known(tmp_path: Path) -> None:
    for end in "ab":
        make_corpus(tmp_path / end, **SMALL)
    before = take_census(tmp_path / "a", PLAIN), take_census(tmp_path / "b", PLAIN)
    assert judge(*before) == Verdict()
    churn(tmp_path / "a", new=2, delete=3, seed=1, part=(0, 2))
    churn(tmp_path / "b", move=2, flag=4, seed=1, part=(1, 2))
    after = take_census(tmp_path / "a", PLAIN), take_census(tmp_path / "b", PLAIN)
    wanted = expected_after(before, after)
    assert wanted.total() == 119
    verdict = judge(after[0], wanted)
    assert (verdict.missing, verdict.surplus) == (2, 2)
    assert not verdict.agrees
    assert verdict.flags == 4


def test_a_ruler_leaves_out_what_mbsync_and_imap_change(tmp_path: Path) -> None:
    ruler = Ruler(ignore_returns=True, ignore_header=b"X-TUID: ")
    (tmp_path / "sent").write_bytes(b"Subject: a\r\n\r\nbody\r\n")
    (tmp_path / "kept").write_bytes(b"Subject: a\nX-TUID: abcdefghijkl\n\nbody\n")
    assert ruler.read(tmp_path / "sent") == ruler.read(tmp_path / "kept") == b"Subject: a\n\nbody\n"


@pytest.fixture
def run_step(tmp_path: Path) -> Callable[..., Sample]:
    def run(script: str, delay_ms: float = 0) -> Sample:
        command = Command("step", ("sh", "-c", script), {"PATH": "/usr/bin:/bin"})
        return Meter(tmp_path, unprivileged=False, timeout_seconds=30).run([command], delay_ms=delay_ms)

    return run


def through_tunnel(tmp_path: Path, command: str) -> str:
    tunnel = [*BARE_PYTHON, str(HERE / "tunnel.py"), str(tmp_path / "tunnel.json"), "--"]
    return f"{' '.join(tunnel)} {command}"


def test_tunnel_counts_bytes_and_turns(tmp_path: Path) -> None:
    argv = through_tunnel(tmp_path, "cat").split()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin
        assert process.stdout
        for word in (b"one", b"three"):
            process.stdin.write(word)
            assert process.stdout.read(len(word)) == word
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait() == 0
    wire = json.loads((tmp_path / "tunnel.json").read_text())
    assert (wire["up"], wire["down"], wire["turns"], wire["exit"]) == (8, 8, 2, 0)


def test_tunnel_passes_the_exit_status_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [*through_tunnel(tmp_path, "sh -c").split(), "exit 6"], stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 6


@pytest.mark.slow
def test_delay_shows_in_the_time_and_not_in_the_bytes(
    tmp_path: Path, run_step: Callable[..., Sample]
) -> None:
    script = f"head -c 300000 /dev/zero | {through_tunnel(tmp_path, 'cat')} | wc -c"
    sample = run_step(script, 100)
    assert (sample.up_bytes, sample.down_bytes) == (300_000, 300_000)
    assert sample.wall_seconds >= 0.2


def test_what_an_orphan_uses_is_counted(run_step: Callable[..., Sample]) -> None:
    sample = run_step("(sleep 0.1; head -c 50000000 /dev/zero | sha256sum) >&2 & exit 0")
    assert sample.wall_seconds < sample.linger_seconds
    assert sample.cpu_seconds > 0.01


def test_a_failed_step_is_no_figure(run_step: Callable[..., Sample]) -> None:
    with pytest.raises(StepError, match=r"step: exit 3: lost it"):
        run_step("echo lost it; exit 3")


def test_targets_compare_with_the_fastest_that_did_the_job() -> None:
    def result(name: str, first: float, *, two_way: bool = True, failed: str = "") -> Result:
        wire = Sample(first, up_bytes=400, down_bytes=100, turns=1)
        return Result(name, two_way, "no", {FIRST: wire, NOOP: wire, CHURN: wire}, failed=failed)

    found = targets(
        [
            result("mailkeep", 5),
            result("slow", 20),
            result("fast", 10),
            result("wrong", 1, failed="2 missing"),
            result("copy", 2, two_way=False),
        ],
        Day(records=2, zstd_bytes=1000),
    )
    lines = [str(target) for target in found]
    assert "met      first sync, wall, 0.6 x fast (10.00 s): 0.500 of at most 0.600 x" in lines
    assert "NOT met  first sync, wall, 2.0 x copy (2.00 s): 2.500 of at most 2.000 x" in lines
    assert "met      daily churn, wire: 500 of at most 1,220 bytes" in lines
    assert "met      nothing to do, round trips: 1 of at most 1 trips" in lines
