"""`annotate` and `annotations` as they are typed, and what they come to on a peer."""

from __future__ import annotations

import pytest

from cli.machine import Machine, mailbox, message

pytestmark = pytest.mark.slow


@pytest.fixture
def lists(here: Machine) -> Machine:
    """The store `mail` with INBOX, Lists, Lists/python and Trash."""
    mailbox(here.home / "Maildir", message(1))
    for name in (".Lists", ".Lists.python", ".Trash"):
        mailbox(here.home / "Maildir" / name)
    here.ok("init", "--store", "mail", here.home / "Maildir")
    return here


def sources(machine: Machine, name: str, *words: str) -> dict[str, tuple[str, str, str | None]]:
    rows = machine.ok("annotations", "--effective", name, "--json", *words).json["effective"]
    return {row["name"]: (row["value"], row["source"], row["where"]) for row in rows}


def test_a_trash_that_expires_by_delivery_is_told_of_and_another_is_not(lists: Machine) -> None:
    hint = "an old message that is moved there is due at once"
    said = lists.ok("annotate", "Trash", "expire", "30d").out
    assert f"Trash: by delivery, {hint}" in said
    assert hint not in lists.ok("annotate", "Trash", "retention", "30d").out
    assert hint not in lists.ok("annotate", "Trash", "expire", "30d by=flag").out
    assert hint not in lists.ok("annotate", "Lists", "expire", "30d").out
    assert hint in lists.ok("annotate", "Lists/python", "role", "trash").out


def test_what_came_with_a_copy_is_said_to_and_waits_for_an_answer(lists: Machine) -> None:
    lists.ok("annotate", "Lists", "expire", "30d", "noexpire", "forever")
    copy = lists.home / "copy"
    lists.ok("snapshot", copy)
    lists.ok("init", "--store", "second", "--create", lists.home / "Second")
    done = lists.run("import", "--store", "second", copy)
    assert (done.code, "2 annotations laid down as in the copy" in done.out) == (0, True)
    assert "1 of them waits for an answer" in done.err
    assert "pending, taken in with a copy: 30d" in lists.ok("annotations", "--store", "second").out
    lists.ok("annotate", "Lists", "--accept", "expire", "--store", "second")
    assert sources(lists, "Lists", "--store", "second")["expire"][0] == "30d"
    assert lists.ok("import", "--store", "second", copy, "--json").json["annotations"] == 0


def test_what_is_laid_down_is_listed_and_says_where_it_comes_from(lists: Machine) -> None:
    out = lists.ok("annotate", "Lists", "expire", "30d", "keep=flagged", "retention", "1w").out
    assert out == "Lists: expire: 30d keep=flagged (before: none)\nLists: retention: 7d (before: none)\n"
    lists.ok("annotate", "--all", "noexpire.case-7", "until=2030-12-31   from:bank", "expire", "400d")
    lists.ok("annotate", "Lists/python", "expire", "never")
    assert lists.ok("annotations").out == (
        "the whole store:\n  expire       400d\n  noexpire.case-7 until=2030-12-31 from:bank\n"
        "Lists:\n  expire       30d keep=flagged\n  retention    7d\n"
        "Lists/python:\n  expire       never\n"
    )
    lists.configure("[stores.mail.guard]\ncount = 77\n")
    line = lists.config.read_text().splitlines().index("count = 77") + 1
    found = sources(lists, "Lists/python")
    guard = found.pop("guard")
    assert guard[:2] == ("count=77 share=25% minimum=50", "config")
    assert str(guard[2]).endswith(f"config.toml:{line}")
    assert found == {
        "expire": ("never", "mailbox", "Lists/python"),
        "retention": ("7d", "mailbox", "Lists"),
        "noexpire.case-7": ("until=2030-12-31 from:bank", "store", None),
        "role": ("none", "default", None),
    }
    assert sources(lists, "Trash")["role"] == ("trash", "default", None)
    assert sources(lists, "INBOX")["retention"] == ("90d", "default", None)
    said = lists.ok("annotations", "--effective", "Lists").out.splitlines()
    assert said[0] == "expire       30d keep=flagged  (laid down here)"
    assert said[2].endswith("(from the whole store)")


def test_it_is_removed_again(lists: Machine) -> None:
    lists.ok("annotate", "Lists", "expire", "30d", "role", "junk")
    assert "none (before: 30d)" in lists.ok("annotate", "Lists", "--remove", "expire").out
    lists.ok("annotate", "--remove", "Lists", "role")
    assert lists.ok("annotations").out.startswith("nothing is laid down")
    done = lists.run("annotate", "Lists", "--remove", "expire")
    assert done.code == 66
    assert "has no annotation expire" in done.err


def test_to_say_the_same_again_changes_nothing(lists: Machine) -> None:
    lists.ok("annotate", "Lists", "expire", "30d")
    before = lists.ok("log", "--json").json["runs"]
    assert "(as before)" in lists.ok("annotate", "Lists", "expire", "4w", "2d").out
    assert lists.ok("log", "--json").json["runs"] == before


def test_a_mailbox_that_is_new_in_the_maildir_can_be_annotated_at_once(lists: Machine) -> None:
    mailbox(lists.home / "Maildir" / ".New", message(5))
    lists.ok("annotate", "New", "expire", "30d")
    assert sources(lists, "New")["expire"] == ("30d", "mailbox", "New")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["annotate"], 64, "which mailbox?"),
        (["annotate", "Lists"], 64, "which annotation?"),
        (["annotate", "Lists", "expire"], 64, "expire has no value"),
        (["annotate", "Lists", "expire", "30x"], 64, "is not a duration"),
        (
            ["annotate", "Lists", "expires", "30d"],
            64,
            "the names are expire, retention, noexpire, guard, role",
        ),
        (["annotate", "Lists", "guard.x", "off"], 64, "only noexpire"),
        (["annotate", "Lists", "noexpire", "forever", "larger:"], 64, "larger:"),
        (["annotate", "Lists", "role", "trash", "expire", "1s"], 64, "less than an hour"),
        (["annotate", "Lists", "--remove", "expire", "30d"], 64, "takes names only"),
        (["annotate", "List", "expire", "30d"], 66, 'did you mean "Lists"?'),
        (["annotate", "--accept"], 66, "no change by a peer waits"),
        (["annotate", "Lists", "--refuse", "expire"], 66, "does not wait for an answer"),
        (["annotate", "Lists", "--accept", "--refuse"], 64, "not allowed with"),
        (["annotations", "--effective", "No"], 66, "there is no mailbox"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_changed(
    lists: Machine, words: list[str], code: int, said: str
) -> None:
    done = lists.run(*words)
    assert done.code == code, done
    assert said in done.err, done
    assert "not touched" in done.err
    assert lists.ok("annotations", "--json").json["annotations"] == []


def test_what_a_peer_lays_down_waits_is_told_and_is_answered(pair: Machine) -> None:
    mailbox(pair.home / "Maildir" / ".Lists", message(10))
    pair.ok("sync")
    pair.ok("annotate", "--store", "other", "Lists", "expire", "30d", "retention", "365d")
    pair.ok("annotate", "--store", "other", "--all", "role", "junk")
    out = pair.ok("sync").out
    assert "rules that peers laid down wait for you" in out
    assert sources(pair, "Lists")["retention"] == ("365d", "mailbox", "Lists"), "safer: at once"
    assert sources(pair, "Lists")["expire"] == ("never", "default", None)
    assert pair.ok("annotations").out == (
        "the whole store:\n  role         none\n    pending, laid down by other: junk\n"
        "Lists:\n  expire       none\n    pending, laid down by other: 30d\n  retention    365d\n"
        "what is pending has no effect here: mailkeep annotate MAILBOX --accept NAME lets it, --refuse lays down anew what there"
        " is\n"
    )
    status = pair.run("status", "--json", "--store", "mail").json["stores"][0]
    assert (status["annotations_pending"], status["exit"]) == (2, 0)
    assert "2 rules that peers laid down wait" in pair.run("status", "--store", "mail").err
    found = pair.run("doctor", "--offline").out
    assert "a peer's word is expire 30d for Lists; in effect is none" in found
    assert "mailkeep annotate Lists --accept expire" in found
    done = pair.run("annotate", "--accept")
    assert (done.code, "2 changes by peers wait" in done.err) == (64, True)
    done = pair.run("annotate", "Lists", "--accept", "expire", "20d")
    assert done.code == 66
    assert "now it is: 30d" in done.err
    assert pair.ok("annotate", "Lists", "--accept", "expire", "30d").out.startswith(
        "Lists: expire: 30d (before: none)"
    )
    assert sources(pair, "Lists")["expire"] == ("30d", "mailbox", "Lists")
    assert pair.ok("annotate", "--refuse").out == "the whole store: role: none (before: junk)\n"
    assert "rules" not in pair.ok("sync").out
    assert "role" not in pair.ok("annotations", "--store", "other").out


def test_the_guard_follows_limits_and_roles(pair: Machine) -> None:
    pair.configure("[stores.mail.guard]\ncount = 3\n")
    for name in (".Work", ".Bin", ".Scripts"):
        mailbox(pair.home / "Maildir" / name, *map(message, range(100, 110)))
        for number, file in enumerate(sorted((pair.home / "Maildir" / name / "cur").iterdir())):
            file.write_bytes(message(number, f"of {name}"))
    pair.ok("sync")
    pair.ok("annotate", "Bin", "role", "trash")
    pair.ok("annotate", "Scripts", "guard", "count=8")

    def remove(name: str, count: int) -> list[str]:
        for file in sorted((pair.home / "Maildir" / name / "cur").iterdir())[:count]:
            file.unlink()
        pair.run("sync")
        held = pair.run("holds", "--json", "--store", "mail").json["holds"]
        return [reason for hold in held for reason in [hold["reason"]]]

    assert remove(".Bin", 10) == []
    assert remove(".Scripts", 8) == []
    assert remove(".Work", 2) == []
    assert remove(".Scripts", 1) == ["9 messages of Scripts and below would have vanished, more than 8"]
    assert "4 messages of the store would have vanished, more than 3" in remove(".Work", 2)


def test_a_level_of_the_tree_that_is_no_mailbox_can_be_annotated(pair: Machine) -> None:
    mailbox(pair.home / "Maildir" / ".Deep.down.here", message(70))
    pair.ok("annotate", "Deep", "expire", "30d")
    assert sources(pair, "Deep/down/here")["expire"] == ("30d", "mailbox", "Deep")
    assert "Deep " not in pair.ok("ls").out
    pair.ok("sync")
    assert not (pair.home / "Maildir" / ".Deep").exists()
    assert not (pair.home / "Other" / ".Deep").exists()
    assert pair.ok("verify", "--quick").code == 0
    there = pair.ok("annotations", "--store", "other", "--json").json
    assert "Deep" in str(there)
    mailbox(pair.home / "Maildir" / ".Deep", message(71))  # and when it becomes one, it has them
    pair.ok("sync")
    assert sources(pair, "Deep")["expire"] == ("30d", "mailbox", "Deep")
    assert pair.run("annotate", "Nowhere", "expire", "30d").code == 66


def test_an_index_that_was_lost_brings_back_legal_holds_at_once_and_expiry_when_it_is_accepted(
    pair: Machine,
) -> None:
    pair.ok("sync")
    pair.ok("annotate", "--all", "noexpire.case", "forever", "expire", "30d")
    pair.ok("annotate", "INBOX", "retention", "300d")
    pair.ok("sync")
    for store in ("mail", "other"):
        pair.ok("verify", "--store", store)
    for file in sorted(pair.state().glob("index.db*")):
        file.unlink()
    pair.ok("rebuild", "--store", "mail", "--from-mail")
    assert pair.ok("annotations", "--json").json["annotations"] == []
    pair.ok("sync")
    pair.ok("sync")
    found = sources(pair, "INBOX")
    assert found["noexpire.case"] == ("forever", "store", None)
    assert found["retention"] == ("300d", "mailbox", "INBOX")
    assert found["expire"] == ("never", "default", None)
    assert pair.ok("annotations", "--json").json["pending"] == 1
    pair.ok("annotate", "--all", "--accept")
    assert sources(pair, "INBOX")["expire"] == ("30d", "store", None)
    assert "nothing to do" in pair.ok("sync").out


def test_a_backup_of_the_index_knows_what_is_pending(pair: Machine) -> None:
    pair.ok("sync")
    pair.ok("annotate", "--store", "other", "--all", "expire", "30d")
    pair.ok("sync")
    pair.ok("annotate", "INBOX", "retention", "300d")
    pair.ok("backup")
    for file in sorted(pair.state().glob("index.db*")):
        file.write_bytes(b"nonsense")
    pair.ok("rebuild", "--store", "mail")
    assert pair.ok("annotations", "--json").json["pending"] == 1
    assert sources(pair, "INBOX")["retention"] == ("300d", "mailbox", "INBOX")
