"""What `pip install .` and `pipx install .` put there is the whole command: the schema, completion, the entry point."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from interop.machines import contents, deliver, make_mailbox, message, program

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 250


class Home:
    """A home in which only what was installed is found."""

    def __init__(self, path: Path, command: list[str], **environment: str) -> None:
        self.path, self.command = path, command
        self.environment = {"HOME": str(path), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment}
        path.mkdir(parents=True)

    def __call__(self, *words: str | Path) -> str:
        done = subprocess.run(
            [*self.command, *map(str, words)], env=self.environment, cwd=self.path, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout


def sources(directory: Path) -> Path:
    """The project as a fresh clone has it; a build in our own tree would see what lies about here."""
    copy = directory / "clone"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def assert_does_the_main_job(home: Home) -> None:
    assert home("--version").startswith("mailkeep ")
    assert "complete" in home("completion", "bash")
    deliver(home.path / "Maildir", "", message(1), 1, "S")
    make_mailbox(home.path / "Other", "")
    home("init", "--store", "mail", home.path / "Maildir")
    home("sync", home.path / "Maildir", home.path / "Other")
    assert contents(home.path / "Other") == contents(home.path / "Maildir") != []
    home("verify")


def test_the_package_has_all_that_the_command_needs(tmp_path: Path) -> None:
    """Without the network: the wheel, put beside the packages that these tests run with."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
    ]
    target = tmp_path / "installed"
    subprocess.run(
        [*pip, "--no-build-isolation", "--target", target, sources(tmp_path)],
        check=True, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL, env={**os.environ, "PIP_USER": "0"},
    )  # fmt: skip
    where = [sys.executable, "-c", "import mailkeep; print(mailkeep.__file__)"]
    found = subprocess.run(
        where, env={"PYTHONPATH": str(target)}, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(target))
    assert_does_the_main_job(
        Home(tmp_path / "home", [str(target / "bin" / "mailkeep")], PYTHONPATH=str(target))
    )


@pytest.mark.soak
@pytest.mark.parametrize("how", ["pip", "pipx"])
def test_installed_from_a_clone_as_the_readme_says(how: str, tmp_path: Path) -> None:
    """With the network: build and dependencies come from the package index."""
    clone = sources(tmp_path)
    if how == "pip":
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
        bin_directory, environment = tmp_path / "env/bin", dict(os.environ)
        argv: list[str | Path] = [bin_directory / "pip", "install", "-q", "."]
    else:
        bin_directory = tmp_path / "bin"
        environment = {
            **os.environ,
            "PIPX_HOME": str(tmp_path / "pipx"),
            "PIPX_BIN_DIR": str(bin_directory),
            "PIPX_MAN_DIR": str(tmp_path / "man"),
        }
        argv = [program("pipx"), "install", "."]
    subprocess.run(argv, cwd=clone, env=environment, check=True, timeout=TIMEOUT_SECONDS)
    assert_does_the_main_job(Home(tmp_path / "home", [str(bin_directory / "mailkeep")]))
