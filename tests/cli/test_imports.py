"""What a run with nothing to do loads: start-up is most of its time, so nothing gets in by accident."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from cli.machine import SRC, Machine

pytestmark = pytest.mark.slow

# What the interpreter, apsw and msgpack bring along, and the few modules of the standard library that every run needs.
ALLOWED = {
    "__future__", "_collections", "_collections_abc", "_datetime", "_operator", "_pydatetime", "_stat", "_struct", "apsw",
    "collections", "cython_runtime", "datetime", "errno", "gc", "fcntl", "genericpath", "itertools", "keyword", "mailkeep", "math",
    "msgpack", "operator", "os", "posixpath", "reprlib", "select", "stat", "struct", "time", "zlib",
}  # fmt: skip
OURS_NEVER = {
    "mailkeep.cli.copies", "mailkeep.cli.notmuch", "mailkeep.store.chosen", "mailkeep.store.copyread", "mailkeep.store.snapshot",
    "mailkeep.store.takein", "mailkeep.system.notmuch", "mailkeep.wire.copies",
    "mailkeep.cli.backup", "mailkeep.cli.doctor", "mailkeep.cli.rebuild", "mailkeep.store.aside", "mailkeep.store.backup",
    "mailkeep.cli.giving", "mailkeep.rules.inverse", "mailkeep.store.giveback", "mailkeep.store.past", "mailkeep.store.undo",
    "mailkeep.store.rebuild", "mailkeep.store.repair", "mailkeep.rules.rotation",
    "mailkeep.cli.check", "mailkeep.cli.hooks", "mailkeep.cli.look", "mailkeep.cli.parser", "mailkeep.cli.progress",
    "mailkeep.rules.digest", "mailkeep.store.apply", "mailkeep.store.holds", "mailkeep.store.merge", "mailkeep.store.news",
    "mailkeep.store.onesided", "mailkeep.store.verify", "mailkeep.system.configedit", "mailkeep.wire.patterns",
    "mailkeep.wire.zstd",
}  # fmt: skip

SHOW = """
import sys
before = set(sys.modules)
from mailkeep.cli.main import main
status = main(sys.argv[1:])
print(status, *sorted(set(sys.modules) - before), file=sys.stderr)
"""


def loaded(here: Machine, *words: str) -> tuple[int, set[str]]:
    """The modules that a command loads, beyond those of a bare interpreter."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {[str(SRC), *site()]!r}\n" + SHOW, *words],
        env=here.environment(), capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    status, *modules = done.stderr.strip().split("\n")[-1].split()
    return int(status), set(modules)


def site() -> list[str]:
    return [path for path in sys.path if "site-packages" in path or "dist-packages" in path]


def forbidden(modules: set[str]) -> set[str]:
    known = {name for name in modules if name.split(".")[0] in ALLOWED or name.startswith("_cython_")}
    return (modules - known) | (modules & OURS_NEVER)


def settle(here: Machine) -> None:
    """Until the configuration and the last changes are old enough to be believed without another look."""
    now = time.time()
    here.ok("sync")
    time.sleep(max(0.0, 2.2 - (time.time() - now)))
    here.ok("sync")


def test_a_sync_with_nothing_to_do_loads_only_what_it_needs(pair: Machine) -> None:
    settle(pair)
    status, modules = loaded(pair, "sync")
    assert status == 0
    assert forbidden(modules) == set()
    assert "mailkeep.replicate.responder" not in modules


def test_version_loads_nothing(here: Machine) -> None:
    status, modules = loaded(here, "--version")
    assert status == 0
    ours = {name for name in modules if name.startswith("mailkeep")}
    assert ours == {
        "mailkeep",
        "mailkeep.cli",
        "mailkeep.cli.main",
        "mailkeep.domain",
        "mailkeep.domain.errors",
    }
    assert forbidden(modules) == set()


def test_a_serve_with_nothing_to_do_loads_only_what_it_needs(pair: Machine) -> None:
    settle(pair)
    record = pair.home / "modules"
    shim = pair.home / "shim.py"
    shim.write_text(
        f"import sys\nsys.path[:0] = {[str(SRC), *site()]!r}\nbefore = set(sys.modules)\n"
        "from mailkeep.cli.main import main\nstatus = main(sys.argv[1:])\n"
        f"open({str(record)!r}, 'w').write(' '.join(set(sys.modules) - before))\nsys.exit(status)\n"
    )
    text = pair.config.read_text().replace(
        f'path = "{pair.home}/Other"\n', f"command = '{sys.executable} -I -S {shim} serve --store other'\n"
    )
    assert text.count("command =") >= 1
    # The store `other` is found by its path: only the peer's way changed.
    text = text.replace("[stores.other]\ncommand =", f'[stores.other]\npath = "{pair.home}/Other"\n#')
    pair.config.write_text(text)
    time.sleep(2.2)
    assert pair.ok("sync", "--json").json["peers"][0]["same"]
    pair.ok("sync")
    modules = set(record.read_text().split())
    assert "mailkeep.replicate.responder" in modules
    assert forbidden(modules) == set()
    assert "mailkeep.replicate.initiator" not in modules
