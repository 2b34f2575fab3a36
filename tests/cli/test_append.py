"""`serve --role append`: what people see of it on both sides."""

from __future__ import annotations

import sys

import pytest

from cli.machine import Machine, contents, files, message

pytestmark = pytest.mark.slow


def test_what_was_refused_is_told_on_both_sides_and_is_back_after_the_same_command(pair: Machine) -> None:
    mine, other = pair.home / "Maildir", pair.home / "Other"
    serve = f"{sys.executable} -m mailkeep serve --store other --role append"
    pair.ok("peer", "add", "--store", "mail", "far", "--command", serve)
    pair.ok("sync", "--store", "mail", "far")
    (gone,) = [file for file in files(mine) if file.read_bytes() == message(0)]
    gone.unlink()
    done = pair.run("sync", "--store", "mail", "far")
    assert done.code == 3, done
    assert "far: role append: 1 deleted messages were not taken over: they are put back" in done.err
    assert "it did not take over all that was done here; once more, to have that back" in done.out
    assert message(0) in contents(mine)
    assert contents(mine) == contents(other)
    assert "1 refused" in pair.ok("log", "--store", "other").out
    assert "1 refused" in pair.ok("status", "--store", "other").out
    assert pair.ok("sync", "--store", "mail", "far", "--json").json["peers"][0]["same"]
    for name in ("mail", "other"):
        pair.ok("verify", "--store", name)
