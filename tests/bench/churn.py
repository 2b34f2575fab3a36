"""A day of mail on a Maildir++ tree: deliveries, flag changes, moves and deletions.

    PYTHONPATH=tests python -m bench.churn DEST --new 250 --flag 500 --move 100 --delete 150 --seed 7 --part 0/2

The same tree and arguments give the same day. `--part I/M` touches only messages
whose size leaves the remainder I on division by M: two ends of a sync, whatever
their file names are, never change the same message, so the right outcome is
known beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.corpus import LAST_DELIVERY, MessageMaker, deliver, file_name

# Marks that mbsync and OfflineIMAP put into names; they belong to the folder that is left.
PRIVATE_MARKS = re.compile(r",(U=\d+|FMD5=[0-9a-f]+)")
FIRST_CHURN = LAST_DELIVERY + 86_400


class Place(NamedTuple):
    """Where a message lies: folder directory, cur or new, file name."""

    folder: str
    part: str
    name: str


class Change(NamedTuple):
    """One thing done: `before` is None for a delivery, `after` for a deletion."""

    kind: str
    before: Place | None
    after: Place | None


@dataclass
class Churn:
    """What `churn` did; `contents` are the delivered messages, in order."""

    changes: list[Change] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Return how many changes of a kind were made."""
        return sum(change.kind == kind for change in self.changes)


def file_size(path: Path) -> int:
    """Return the size in bytes: what `part` divides unless told otherwise."""
    return path.stat().st_size


def list_messages(dest: Path) -> tuple[list[str], list[Place]]:
    """Return the folders and the messages of a Maildir++ tree, each sorted."""
    folders = ["", *sorted(path.name for path in dest.glob(".*") if (path / "cur").is_dir())]
    places = [
        Place(folder, part, name)
        for folder in folders
        for part in ("cur", "new")
        for name in sorted(os.listdir(dest / folder / part))
        if not name.startswith(".")
    ]
    return folders, places


def churn(
    dest: Path | str,
    *,
    new: int = 0,
    flag: int = 0,
    move: int = 0,
    delete: int = 0,
    seed: int = 1,
    part: tuple[int, int] = (0, 1),
    mean_size: int = 8000,
    key: Callable[[Path], int] = file_size,
) -> Churn:
    """Change a Maildir++ tree as a day of use would, and return what was done.

    Fewer changes than asked for are made when the tree has too few messages in this part.

    Args:
        part: (i, m): flags, moves and deletions touch only messages whose `key` modulo m is i.
        mean_size: Mean size in bytes of the delivered messages.
        key: The number that decides the part. It must be equal on both ends.
    """
    dest = Path(dest)
    index, parts = part
    rng = random.Random(f"churn {seed} {index}/{parts}")
    folders, places = list_messages(dest)
    wanted = delete + move + flag
    done = Churn()
    picked: list[Place] = []
    for place in rng.sample(places, len(places)):
        if len(picked) == wanted:
            break
        if key(dest.joinpath(*place)) % parts == index:
            picked.append(place)
    for number, place in enumerate(picked):
        if number < delete:
            done.changes.append(_delete(dest, place))
        elif number < delete + move:
            target = rng.choice([folder for folder in folders if folder != place.folder] or folders)
            done.changes.append(_move(dest, place, target, rng))
        else:
            done.changes.append(_flag(dest, place, rng))
    maker = MessageMaker(f"{seed} {index}", mean_size, label="churn")
    inlets = [folder for folder in folders if folder.startswith(".Lists")] + [""] * (1 + len(folders) // 4)
    for number in range(new):
        folder = rng.choice(inlets)
        when = FIRST_CHURN + 61 * number
        data, _ = maker.make(folder, when)
        name = file_name(rng, data, when, number, f"mx{index}.home.example")
        deliver(dest, folder, name, None, data, when)
        done.contents.append(data)
        done.changes.append(Change("new", None, Place(folder, "new", name)))
    return done


def _split(name: str) -> tuple[str, set[str]]:
    base, _, letters = name.partition(":2,")
    return base, set(letters)


def _rename(dest: Path, kind: str, before: Place, after: Place) -> Change:
    os.rename(dest.joinpath(*before), dest.joinpath(*after))
    return Change(kind, before, after)


def _delete(dest: Path, place: Place) -> Change:
    dest.joinpath(*place).unlink()
    return Change("delete", place, None)


def _move(dest: Path, place: Place, target: str, rng: random.Random) -> Change:
    """Move to another folder under a fresh unique name, as mail readers do."""
    base, letters = _split(PRIVATE_MARKS.sub("", place.name))
    _, comma, tail = base.partition(",")
    fresh = f"{FIRST_CHURN}.R{rng.getrandbits(60):015x}.reader{comma}{tail}"
    return _rename(dest, "move", place, Place(target, "cur", f"{fresh}:2,{''.join(sorted(letters | {'S'}))}"))


def _flag(dest: Path, place: Place, rng: random.Random) -> Change:
    """Read an unread message, or flip one of the other flags of a read one."""
    base, letters = _split(place.name)
    letters = letters ^ {rng.choice("FFR")} if "S" in letters else letters | {"S"}
    return _rename(dest, "flag", place, Place(place.folder, "cur", f"{base}:2,{''.join(sorted(letters))}"))


def main() -> None:
    """Run one churn from the command line and print the counts as JSON."""
    parser = argparse.ArgumentParser(description="Change a Maildir++ tree as a day of use would.")
    parser.add_argument("dest", type=Path)
    for kind in ("new", "flag", "move", "delete"):
        parser.add_argument(f"--{kind}", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mean-size", type=int, default=8000, help="bytes")
    parser.add_argument("--part", default="0/1", help="I/M: touch only messages whose size modulo M is I")
    args = vars(parser.parse_args())
    index, _, parts = args.pop("part").partition("/")
    done = churn(args.pop("dest"), part=(int(index), int(parts)), **args)
    json.dump({kind: done.count(kind) for kind in ("new", "flag", "move", "delete")}, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
