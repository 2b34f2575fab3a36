"""A Maildir++ tree full of plausible mail, the same one for the same arguments.

    PYTHONPATH=tests python -m bench.corpus DEST --messages 100000 --folders 60 --seed 1 --mean-size 8000

Names, bytes, flags and modification times depend on the arguments alone, so two
runs on two machines measure the same work. Sizes are log-normal. The mail holds
what real mail holds: threads, encoded subjects, MIME trees with base64 parts,
exact copies under another name, and every `ODD_EVERY` messages one that is
unusual but legal enough for every program measured here. Messages that break
other people's programs (empty, headless, with NULs) are made only on request,
by `wild`.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.header import Header
from email.utils import formatdate
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

# Past this a message is cut: one file of 50 MB would drown the per-message figures.
MESSAGE_SIZE_BYTES_MAX = 2_000_000
FIRST_DELIVERY = 1_262_304_000  # 2010-01-01, UTC
LAST_DELIVERY = 1_735_689_600  # 2025-01-01, UTC

DUPLICATE_SHARE = 0.005
NEW_SHARE = 0.04
ODD_EVERY = 200
SIZE_SIGMA = 1.2
# Large enough that two messages seldom quote the same passage: otherwise a
# streaming compressor would find text that real mail does not repeat.
TEXT_POOL_BYTES = 8_000_000

INBOX = ""
NAMED_FOLDERS = (
    ".Sent", ".Drafts", ".Trash", ".Junk", ".Clients", ".Clients.North", ".Clients.North.Invoices",
    ".Lists.python-dev", ".Lists.maildir", ".Caf&AOk-", ".Reisen M&APw-nchen", ".Archive.2012",
    ".Archive.2017", ".Lists.sailing", ".R&AOk-sum&AOk-s.Past &- present", ".Family",
)  # fmt: skip
PEOPLE = (
    "Astrid Holm", "Benoît Carré", "Carla Ruiz", "Derek Oyelaran", "Ewa Wójcik", "Finn Aas", "Gita Rao",
    "Henk de Vries", "Inês Duarte", "Jun Watanabe", "Katya Orlova", "Łukasz Zając", "Mina Park", "Noor Haddad",
)  # fmt: skip
HOSTS = ("harbour.example", "post.example", "lists.example", "office.example", "uni.example")
TOPICS = (
    "Boat trailer for sale", "Quarterly figures", "Test failures on arm64", "Lunch?", "Travel claim",
    "Änderung der Öffnungszeiten", "Compte rendu de la séance", "Zaproszenie na spotkanie", "会議の日程について",
    "Приглашение на семинар", "Reminder: library books", "Draft of chapter four", "Patch review wanted",
)  # fmt: skip
FLAG_CHOICES = ("S", "RS", "", "FS", "F", "FRS", "PS", "S", "S", "RS", "S", "S")


@dataclass(frozen=True)
class CorpusSummary:
    """What `make_corpus` wrote; sizes in bytes."""

    messages: int
    folders: int
    size: int
    duplicates: int
    odd: int
    unseen: int


@lru_cache(maxsize=1)
def _text_pool() -> str:
    """Prose-like lines with the word frequencies of a natural language (Zipf)."""
    rng = random.Random("mail text")
    onsets = (
        "b",
        "br",
        "c",
        "d",
        "f",
        "g",
        "h",
        "k",
        "l",
        "m",
        "n",
        "p",
        "pr",
        "r",
        "s",
        "st",
        "t",
        "tr",
        "v",
        "w",
    )
    vowels = ("a", "e", "i", "o", "u", "ai", "ea", "ou", "é", "ö")
    codas = ("", "", "n", "r", "s", "t", "l", "nd", "ck", "m")
    words = []
    for rank in range(6000):
        syllables = 1 if rank < 150 else 2 if rank < 2500 else 3
        words.append(
            "".join(rng.choice(onsets) + rng.choice(vowels) + rng.choice(codas) for _ in range(syllables))
        )
    weights = list(accumulate(1.0 / (rank + 2.7) for rank in range(len(words))))
    stream = rng.choices(words, cum_weights=weights, k=TEXT_POOL_BYTES // 6)
    lines, start = [], 0
    while start < len(stream):
        width = 9 + start % 5
        lines.append(" ".join(stream[start : start + width]))
        start += width
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=2)
def _pool(ascii_only: bool) -> bytes:
    text = _text_pool()
    return text.encode("ascii", "replace").replace(b"?", b"e") if ascii_only else text.encode()


@lru_cache(maxsize=64)
def _encoded(text: str) -> str:
    return text if text.isascii() else Header(text, "utf-8").encode()


class MessageMaker:
    """Writes one message after another; each call draws from the same seeded stream."""

    def __init__(self, seed: int | str, mean_size: int = 8000, *, label: str = "corpus") -> None:
        self._rng = random.Random(f"{label} {seed}")
        self._label = f"{label}.{seed}".replace(" ", "-")
        # Mean of a log-normal is exp(mu + sigma^2 / 2).
        self._mu = math.log(mean_size) - SIZE_SIGMA**2 / 2
        self._threads: dict[str, list[tuple[str, list[str]]]] = {}
        self._last_id = f"<first@{HOSTS[0]}>"
        self.count = 0

    def make(self, folder: str, when: int) -> tuple[bytes, bool]:
        """Return the next message for `folder`, and whether it is one of the odd ones."""
        number = self.count
        self.count += 1
        odd = ODD_KINDS[number // ODD_EVERY % len(ODD_KINDS)] if number % ODD_EVERY == 17 else None
        size = min(MESSAGE_SIZE_BYTES_MAX, int(self._rng.lognormvariate(self._mu, SIZE_SIGMA)))
        head = self._head(folder, when, number, odd)
        room = max(40, size - sum(map(len, head)) - 90)
        body = self._body(head, number, room)
        data = "\n".join(head).encode("ascii", "replace") + b"\n\n" + body
        change = ODD_CHANGES.get(odd) if odd else None
        return (change(data) if change else data), odd is not None

    def _address(self) -> str:
        name = self._rng.choice(PEOPLE)
        local = "".join(letter for letter in name.lower() if "a" <= letter <= "z")
        return f"{_encoded(name)} <{local}@{self._rng.choice(HOSTS)}>"

    def _head(self, folder: str, when: int, number: int, odd: str | None) -> list[str]:
        rng = self._rng
        message_id = f"<{number}.{rng.getrandbits(48):012x}.{self._label}@{HOSTS[number % len(HOSTS)]}>"
        thread = self._threads.setdefault(folder, [])
        references: list[str] = []
        if thread and rng.random() < 0.45:
            topic, references = rng.choice(thread)
            subject = topic if topic.startswith("Re: ") else f"Re: {topic}"
        else:
            subject = f"{_encoded(rng.choice(TOPICS))} {rng.randrange(10_000)}"
        if odd == "shared id":
            message_id = self._last_id
        self._last_id = message_id
        thread.append((subject, [*references, message_id][-6:]))
        del thread[:-32]
        hop = rng.randrange(200)
        head = [
            f"Return-Path: <sender{number % 977}@{HOSTS[number % 5]}>",
            f"Received: from out{hop}.{HOSTS[hop % 5]} ([198.51.100.{hop}]) by in.home.example\n"
            f"\twith ESMTPS id {rng.getrandbits(52):013x}; {formatdate(when)}",
            f"Date: {formatdate(when - rng.randrange(600))}",
            f"From: {self._address()}",
            f"To: {self._address()}",
            f"Subject: {subject}",
        ]
        if odd != "no id":
            head.append(f"Message-ID: {message_id}")
        if references:
            head += [f"In-Reply-To: {references[-1]}", "References: " + "\n ".join(references)]
        if ".Lists." in folder:
            head.append(f"List-Id: <{folder.rpartition('.')[2]}.lists.example>")
        if rng.random() < 0.4:
            signature = base64.b64encode(rng.randbytes(128)).decode()
            head.append(f"DKIM-Signature: v=1; a=rsa-sha256; d={HOSTS[1]}; s=s1;\n\tb={signature}")
        head.append("MIME-Version: 1.0")
        return head

    def _body(self, head: list[str], number: int, room: int) -> bytes:
        rng = self._rng
        shape = rng.random()
        boundary = f"part.{number}.{rng.getrandbits(32):08x}"
        mark = f"--{boundary}".encode()
        if room > 30_000 or (room > 3000 and shape < 0.2):
            head.append(f'Content-Type: multipart/mixed; boundary="{boundary}"')
            text = self._prose(min(1200, room // 4), ascii_only=False)
            blob = base64.encodebytes(rng.randbytes(max(57, (room - len(text)) * 57 // 77)))
            return b"%s\n%s\n%s\n%s\n%s\n\n%s%s--\n" % (
                mark, UTF8_PART, text, mark, ATTACHMENT_PART % number, blob, mark,
            )  # fmt: skip
        if room > 1200 and shape < 0.5:
            head.append(f'Content-Type: multipart/alternative; boundary="{boundary}"')
            plain = self._prose(room * 2 // 5, ascii_only=False)
            html = self._prose(room * 3 // 5, ascii_only=False).replace(b"\n", b"<br>\n")
            return b"%s\n%s\n%s\n%s\n%s\n<html><body>%s</body></html>\n%s--\n" % (
                mark, UTF8_PART, plain, mark, HTML_PART, html, mark,
            )  # fmt: skip
        ascii_only = shape < 0.8
        head.append(f"Content-Type: text/plain; charset={'us-ascii' if ascii_only else 'utf-8'}")
        head.append(f"Content-Transfer-Encoding: {'7bit' if ascii_only else '8bit'}")
        return self._prose(room, ascii_only=ascii_only)

    def _prose(self, size: int, *, ascii_only: bool) -> bytes:
        pool = _pool(ascii_only)
        size = min(size, len(pool) // 2)
        start = pool.index(b"\n", self._rng.randrange(len(pool) - size - 200)) + 1
        return pool[start : pool.index(b"\n", start + max(1, size) - 1) + 1]


UTF8_PART = b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
HTML_PART = b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
ATTACHMENT_PART = (
    b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n"
    b'Content-Disposition: attachment; filename="plan-%d.bin"'
)
ODD_KINDS = (
    "no id",
    "crlf",
    "shared id",
    "raw header",
    "no final newline",
    "long line",
    "from line",
    "mixed line ends",
)
ODD_CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "crlf": lambda data: data.replace(b"\n", b"\r\n"),
    "raw header": lambda data: data.replace(b"\nSubject: ", b"\nSubject: na\xefve ", 1),
    "no final newline": lambda data: data.rstrip(b"\n"),
    "long line": lambda data: data + b"y" * 5000 + b"\n",
    "from line": lambda data: data + b"\nFrom here on\nFrom now on\n",
    "mixed line ends": lambda data: data[:300] + data[300:].replace(b"\n", b"\r\n"),
}
WILD_MESSAGES = (
    b"",
    b"\n",
    b"no header at all, no final newline",
    b"Subject: header only, no blank line\n",
    b"Subject: NULs\n\nbefore\0\0after\n",
    b"Subject: every byte\n\n" + bytes(range(256)) + b"\n",
    b"Subject: lone returns\r\rone\rtwo\r",
    b": no name\n continued\n\nbody\n",
    b"Subject: one long line\n\n" + b"z" * 300_000,
)


def folder_names(count: int) -> list[str]:
    """Return `count` Maildir++ directory names; the first is the INBOX, ''."""
    names = [INBOX, *NAMED_FOLDERS]
    names += [f".Lists.topic-{n:03}" if n % 3 else f".Archive.box.{n:03}" for n in range(count)]
    return names[: max(1, count)]


def file_name(rng: random.Random, data: bytes, when: int, number: int, host: str) -> str:
    """Return a base name as one of the usual delivery agents would choose it."""
    name = f"{when}.M{rng.randrange(1_000_000):06}P{2000 + number % 9000}Q{number}.{host}"
    style = rng.random()
    if style < 0.3:
        return name
    name += f",S={len(data)}"
    bare_newlines = data.count(b"\n") - data.count(b"\r\n")
    return name if style < 0.5 else f"{name},W={len(data) + bare_newlines}"


def choose_flags(rng: random.Random, folder: str) -> str | None:
    """Return the letters after `:2,`, or None for a message that lies in new/."""
    draw = rng.random()
    if folder == ".Sent":
        return "S"
    if folder == ".Drafts":
        return "DS" if draw < 0.7 else "D"
    if draw < NEW_SHARE and not folder.startswith(".Archive"):
        return None
    return rng.choice(FLAG_CHOICES)


def make_folders(dest: Path, folders: list[str]) -> None:
    """Make the three directories of each folder, 0700."""
    for folder in folders:
        base = dest / folder if folder else dest
        for part in ("cur", "new", "tmp"):
            (base / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder:
            (base / "maildirfolder").touch(mode=0o600)


def deliver(dest: Path, folder: str, name: str, flags: str | None, data: bytes, when: int) -> Path:
    """Write a message under tmp/ and rename it into place. Nothing is made durable."""
    base = os.path.join(dest, folder) if folder else str(dest)
    draft = f"{base}/tmp/{name}"
    final = f"{base}/new/{name}" if flags is None else f"{base}/cur/{name}:2,{flags}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.utime(file.fileno(), (when, when))
    os.rename(draft, final)
    return Path(final)


def make_corpus(
    dest: Path | str,
    *,
    messages: int = 1000,
    folders: int = 12,
    seed: int = 1,
    mean_size: int = 8000,
    wild: int = 0,
) -> CorpusSummary:
    """Fill an empty or missing directory with a Maildir++ tree.

    Args:
        mean_size: Mean size of a message in bytes, before the rare cut at MESSAGE_SIZE_BYTES_MAX.
        wild: How many of the `messages` are replaced by ones that break other programs.

    Raises:
        FileExistsError: `dest` holds something already; nothing was written.
    """
    dest = Path(dest)
    if dest.is_dir() and any(dest.iterdir()):
        raise FileExistsError(f"{dest} is not empty")
    names = folder_names(folders)
    make_folders(dest, names)
    rng = random.Random(f"places {seed}")
    weights = list(accumulate(1.0 / (rank + 1.8) ** 0.9 for rank in range(len(names))))
    maker = MessageMaker(seed, mean_size)
    earlier: list[bytes] = []
    size = duplicates = odd_count = unseen = 0
    for number in range(messages):
        when = FIRST_DELIVERY + (LAST_DELIVERY - FIRST_DELIVERY) * number // messages + rng.randrange(900)
        folder = rng.choices(names, cum_weights=weights)[0]
        if messages - number <= wild:
            data = WILD_MESSAGES[number % len(WILD_MESSAGES)]
        elif earlier and rng.random() < DUPLICATE_SHARE:
            data = rng.choice(earlier)
            duplicates += 1
        else:
            data, odd = maker.make(folder, when)
            odd_count += odd
            if number % 40 == 0 and len(data) < 100_000:
                earlier = [*earlier[-99:], data]
        flags = choose_flags(rng, folder)
        unseen += flags is None
        deliver(dest, folder, file_name(rng, data, when, number, "mx.home.example"), flags, data, when)
        size += len(data)
    return CorpusSummary(messages, len(names), size, duplicates, odd_count, unseen)


def main() -> None:
    """Make a corpus from the command line and print its summary as JSON."""
    parser = argparse.ArgumentParser(description="Make a deterministic Maildir++ tree.")
    parser.add_argument("dest", type=Path)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--folders", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mean-size", type=int, default=8000, help="bytes")
    parser.add_argument("--wild", type=int, default=0, help="how many messages break other programs")
    args = vars(parser.parse_args())
    json.dump(asdict(make_corpus(args.pop("dest"), **args)), sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
