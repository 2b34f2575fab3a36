"""Every parser of bytes that others wrote, as a function of bytes that holds its promise or fails.

Each returns for any bytes, or raises what its parser documents (ALLOWED); whatever else it raises is a finding. Where
there is a writer, what was read is written and read again. Used by Hypothesis (`make test`) and by `make fuzz`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import date
from hashlib import sha256

from msgpack import packb, unpackb

from mailkeep.cli.main import plain
from mailkeep.domain.annotation import is_key, is_text
from mailkeep.domain.errors import ConfigError, RemoteProtocolError
from mailkeep.domain.flags import pack, unpack
from mailkeep.domain.names import MailboxName
from mailkeep.domain.record import LAMPORT_MAX, SIZE_MAX
from mailkeep.replicate import bounds
from mailkeep.store import marker
from mailkeep.wire import annotations as values
from mailkeep.wire import (
    copies,
    dovecotkeywords,
    frames,
    headers,
    maildirname,
    maillog,
    mbox,
    messageids,
    mutf7,
    peerurl,
    query,
    registers,
    units,
    zstd,
)
from mailkeep.wire.config import read_settings, settings_rows
from mailkeep.wire.layoutdetect import detect
from mailkeep.wire.layouts import FS, UTF8, Layout, Unmappable
from mailkeep.wire.moments import parse_moment
from mailkeep.wire.patterns import NameMap, Patterns
from mailkeep.wire.tables import Origin

Target = Callable[[bytes], None]
ALLOWED = (ValueError, RemoteProtocolError, ConfigError)
"""UnicodeDecodeError, BadMailboxName, BadFlags and Unmappable are ValueErrors."""


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape" if data[:1] == b"\xff" else "replace")


def wire(data: bytes) -> None:
    """A stream, plain or compressed, in pieces of a size that its first byte says."""
    if not data:
        return
    size, compressed, data = 1 + data[0] % 64, bool(data[0] & 64), data[1:]
    end = frames.Wire()
    end.feed(b"mailkeep/2 dry=0\n")
    end.next_frame()
    if compressed:
        end.compress()
        if data[:1] == b"\0":  # what an honest compressor would make of it
            data = zstd.compressor(3).compress(data[1:], zstd.FLUSH_BLOCK)
    for at in range(0, len(data), size):
        end.feed(data[at : at + size])
        while (frame := end.next_frame()) is not None:
            assert len(frame[1]) <= frames.FRAME_BYTES_MAX
            try:
                unpackb(frame[1], strict_map_key=False)
            except (ValueError, TypeError, OverflowError):
                pass


def greeting(data: bytes) -> None:
    end = frames.Wire()
    for at in range(len(data)):
        end.feed(data[at : at + 1])
        if end.peek_greeting():
            assert end.greeting is not None
            return
        assert at < frames.GREETING_BYTES_MAX


def frames_roundtrip(data: bytes) -> None:
    """What is sent arrives, compressed or not, wherever the stream is cut."""
    one, other = frames.Wire(), frames.Wire()
    one.greet()
    if data[:1] > b"\x80":
        other.feed(bytes(one.output(flush=True)))
        one.output(flush=True).clear()
        other.next_frame()
        one.compress()
        other.compress()
    pieces = data.split(b"\n")
    for piece in pieces:
        one.send(frames.PIECE, piece)
    stream = bytes(one.output(flush=True))
    found = []
    for at in range(0, len(stream), 7):
        other.feed(stream[at : at + 7])
        while (frame := other.next_frame()) is not None:
            found.append(frame[1])
    assert found == pieces


def registers_of_a_peer(data: bytes) -> None:
    blob = registers.remap(data, {1: 3, 2: 4}, {3: LAMPORT_MAX, 4: 7})
    decoded = registers.decode(blob, True, 5)
    assert registers.decode(registers.encode(decoded), True, 5) == decoded
    assert all(0 <= r.rank <= r.lamport for r in decoded.values())


def flags(data: bytes) -> None:
    found = unpack(text_of(data))
    assert pack(found) == text_of(data)


def file_name(data: bytes) -> None:
    name = data.replace(b"/", b"").replace(b"\0", b"")
    table = {"a": "work", "b": "$Forwarded"} if data[:1] == b"\x01" else None
    base, info = maildirname.split(name)
    assert base + info == name
    found, foreign = maildirname.flags_of(info, table)
    again = maildirname.info_for(found | {"O"}, table, foreign)
    assert b"/" not in again
    found_again, rest = maildirname.flags_of(again, table)
    assert found_again == found
    assert maildirname.info_for(found | {"O"}, table, rest) == again


def mailbox_name(data: bytes) -> None:
    name = MailboxName.parse(text_of(data))
    assert MailboxName.parse(str(name)) == name
    assert not {"", ".", ".."} & set(name.parts)
    for layout in (Layout(), Layout(FS), Layout(FS, UTF8)):
        try:
            directory = layout.directory(name)
        except Unmappable:
            continue
        assert b"\0" not in directory
        assert not directory.startswith(b"/")
        assert b".." not in directory.split(b"/")
        assert layout.name(directory) == name


def directory_name(data: bytes) -> None:
    for layout in (Layout(), Layout(FS), Layout(FS, UTF8)):
        try:
            name = layout.name(data)
            directory = layout.directory(
                name
            )  # another one where somebody meant an "&" literally, or wrote UTF-8
        except Unmappable:
            continue
        assert layout.name(directory) == name


def modified_utf7(data: bytes) -> None:
    assert mutf7.encode(mutf7.decode(data)) == data


def patterns(data: bytes) -> None:
    texts = text_of(data).split("\n")
    rules = Patterns.parse(texts)
    assert Patterns.parse(rules.texts).texts == rules.texts
    for text in (*texts[:5], "INBOX", "a/" * 40 + "a"):
        try:
            name = MailboxName.parse(text)
        except ValueError:
            continue
        assert rules.selects(name) == Patterns.parse(rules.texts).selects(name)


def name_map(data: bytes) -> None:
    words = text_of(data).split("\n")[
        :200
    ]  # the configuration is its owner's: pairs are compared with one another
    names = NameMap(zip(words[::2], words[1::2], strict=False))
    known = [MailboxName.parse(text) for text in ("INBOX", "Work/Old")]
    if not names.problems(known):
        assert all(names.to_local(names.to_peer(name)) == name for name in known)


def keyword_table(data: bytes) -> None:
    table, _ = dovecotkeywords.parse(data)
    assert dovecotkeywords.parse(dovecotkeywords.render(table))[0] == table
    more = dovecotkeywords.add(table, ["work", "$forwarded"])
    assert table.items() <= more.items()
    dovecotkeywords.render(more)


def layout_detection(data: bytes) -> None:
    lines = [line for line in data.split(b"\n") if line]
    found = detect(bool(data[:1] > b"m"), [(line[1:], line[0] % 2 == 0) for line in lines if len(line) > 1])
    assert Layout.parse(str(found.layout)) == found.layout


def layout_text(data: bytes) -> None:
    assert str(Layout.parse(text_of(data))) == text_of(data)


def amounts(data: bytes) -> None:
    text = text_of(data)
    for parse in (units.parse_duration, units.parse_size, units.parse_share):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert value >= 0
        if parse is units.parse_duration:
            assert units.parse_duration(units.write_duration(int(value))) == value


def point_in_time(data: bytes) -> None:
    moment = parse_moment(text_of(data), date(2026, 11, 22))
    assert moment.run is not None or -(2**40) < moment.seconds(1_800_000_000) < 2**40


def search_query(data: bytes) -> None:
    asked = query.parse(text_of(data), now=1_800_000_000)
    assert 0 < len(asked.terms) <= query.TERMS_MAX
    again = query.parse(str(asked), now=1_800_000_000)
    assert str(again) == str(asked)
    assert again.needs_headers == asked.needs_headers


def message_head(data: bytes) -> None:
    found = headers.parse(data)
    assert len(found.message_id) <= headers.ID_CHARS_MAX
    assert len(found.sender) <= headers.ADDRESS_CHARS_MAX
    assert len(found.recipients) <= headers.RECIPIENTS_CHARS_MAX
    assert len(found.subject) <= headers.SUBJECT_CHARS_MAX
    assert found.date is None or abs(found.date) < 1 << 40
    assert headers.message_key(found.message_id) == found.message_id


def mailbox_file(data: bytes) -> None:
    whole = [(mail.from_line, mail.raw) for mail in mbox.split([b"From a Mon Jan 12 10:11:12 2026\n" + data])]
    pieces = (data[at : at + 5] for at in range(0, len(data), 5))
    assert whole == [
        (mail.from_line, mail.raw) for mail in mbox.split([b"From a Mon Jan 12 10:11:12 2026\n", *pieces])
    ]
    for from_line, raw in whole:
        assert raw is not None
        assert raw in mbox.variants(raw)
        mbox.date_of(from_line)
        pack(mbox.flags_of(raw))
        assert all(mbox.body_key(variant) == mbox.body_key(raw) for variant in mbox.variants(raw)[:1])


def log_lines(data: bytes) -> None:
    log = maillog.MailLog(1_800_000_000)
    for line in text_of(data).split("\n"):
        delivery = log.line(line)
        assert delivery is None or (delivery.message_id and abs(delivery.date) < 1 << 40)
    export = maillog.Export(log)
    for at in range(0, len(data), 7):
        export.feed(data[at : at + 7])
    export.end()


def id_list(data: bytes) -> None:
    for line in text_of(data).split("\n"):
        assert messageids.plain(line) != ""
        tagged = messageids.notmuch(line)
        assert tagged is None or tagged[0] == headers.message_key(tagged[0]) or "<" in tagged[0]


def address(data: bytes) -> None:
    url = peerurl.parse_location(text_of(data))
    if url is not None:
        assert not url.host.startswith("-")
        assert peerurl.parse_peer_url(str(url)) == url


def configuration(data: bytes) -> None:
    settings = read_settings(tomllib.loads(data.decode()), Origin("config.toml"))
    assert settings_rows(settings) is not None


def root_marker(data: bytes) -> None:
    store, generation = marker.parse(data[:500])
    assert len(store) == 16
    assert 0 <= generation <= marker.GENERATION_MAX


def command_line(data: bytes) -> None:
    words = text_of(data).split("\0")
    options = plain(words)
    assert options is None or options.verb in ("sync", "serve")


def claims(data: bytes) -> None:
    try:
        message = unpackb(data, strict_map_key=False)
        bounds.replicas(message, [b"12345678"], 1_800_000_000)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError):
        return  # as an endpoint: all of these are a malformed frame
    assert all(value <= message["lamport"] <= LAMPORT_MAX for value in message["vector"])


def annotation(data: bytes) -> None:
    key, _, text = text_of(data).partition("\n")
    if not is_key(key):
        raise ValueError(key)
    value = values.parse(values.check_key(key), text)
    written = values.write(value)
    assert is_text(written)
    assert values.parse(key, written) == value
    assert values.write(values.parse(key, written)) == written


def manifest_of_a_copy(data: bytes) -> None:
    reading = copies.Reading()
    if data[:1] == b"+":  # what a copy begins with, so that what follows is looked at
        reading.line(_HEAD)
        reading.line(_RULE)
        reading.line(_BOX)
        data = data[1:]
    read = [reading.line(line) for line in data.splitlines(keepends=True)]
    for line in read:
        if isinstance(line, copies.Message):
            assert line.path.split(b"/")[0] in (copies.MAIL, copies.OTHER, copies.EXPUNGED)
            assert b".." not in line.path.split(b"/")
            assert 0 <= line.size < SIZE_MAX


_HEAD = copies.line_of(copies.Head("snapshot", bytes(16), 1_700_000_000, str(Layout()), (), expunged=True))
_RULE = copies.line_of(copies.Annotation("Work", bytes(16), "noexpire.case-7", "until=2027-12-31 from:bank"))
_BOX = copies.line_of(copies.Box("Work", bytes(16), b"Maildir/.Work", 1, 2))
_PATH = b"Maildir/.Work/cur/1700000000." + b"ab" * 32 + b".1:2,S"
_MESSAGE = copies.Message(_PATH, b"\xab" * 32, 7, 1_700_000_000, "OS $Forwarded", 1, 1)
_EXPUNGED = copies.Message(
    copies.expunged_path(b"\xab" * 32), b"\xab" * 32, 7, -5, "", 1, 0, 1_700_000_000, "Work"
)
_END = copies.line_of(
    copies.End(
        1, 1, 1, 14, 0,
        sha256(_HEAD + _RULE + _BOX + copies.line_of(_MESSAGE) + copies.line_of(_EXPUNGED)).hexdigest(),
    )
)  # fmt: skip

TARGETS: dict[str, Target] = {
    function.__name__: function
    for function in (
        wire, greeting, frames_roundtrip, registers_of_a_peer, flags, file_name, mailbox_name, directory_name, modified_utf7, patterns,
        name_map, keyword_table, layout_detection, layout_text, amounts, point_in_time, search_query, message_head, mailbox_file, log_lines, id_list, address, configuration, root_marker, command_line, claims,
        manifest_of_a_copy, annotation,
    )
}  # fmt: skip

SEEDS: dict[str, list[bytes]] = {
    "manifest_of_a_copy": [
        _HEAD, _HEAD + _BOX, _HEAD + _RULE + _BOX, b"+" + copies.line_of(_MESSAGE), b"+" + copies.line_of(_MESSAGE) + copies.line_of(_EXPUNGED) + _END,
    ],
    "annotation": [
        b"expire\n30d by=flag keep=flagged,unread count=5000 size=2GiB", b"expire\nnever", b"retention\n1w2d", b"role\njunk",
        b"noexpire.case-7\nuntil=2027-01-31 from:a", b"noexpire\nforever", b"guard\ncount=5 share=0.5% minimum=0", b"guard\noff",
    ],
    "wire": [b"\x05\0\0\0\x01\x06\xc0", b"\x45\0\0\0\0\x01\x06\xc0", b"\x48\x28\xb5\x2f\xfd\0\x58\x31\0\0\0\0\0\x01\x06\xc0"],
    "greeting": [b"mailkeep/2 dry=0 lock=8:1\n", b"mailkeep/9\n", b"Welcome to server\n"],
    "frames_roundtrip": [b"a\n\nbc", b"\xffa\n" + b"x" * 300],
    "registers_of_a_peer": [
        packb([[3, 1, 1, 1, 1]]), packb([[1, 5, 1, 6, 1, "FS $Forwarded", "T"], [6, 2, 2, 3, 2, "", "", 2]]),
    ],
    "flags": [b"FS $Forwarded work", b"", b"aO"],
    "file_name": [b"1700000000.M1P1.host,S=12:2,FS", b"\x01x:2,Sab,X=1", b"plain"],
    "mailbox_name": [b"INBOX", b"Work/Old", "Entw\u00fcrfe/\u53f0".encode(), b"a.b/cur", b"../x"],
    "directory_name": [b".Work.Old", b"Work/Old", b".Entw&APw-rfe", b"INBOX", b""],
    "modified_utf7": [b"Entw&APw-rfe", b"&U,BTFw-", b"a&-b"],
    "patterns": [b"INBOX\nWork*\n!Work/Old%", b"!Junk", b"\\!x\\*"],
    "name_map": [b"Work\nOffice\n\nLaptop", b"INBOX\nInbox/All"],
    "keyword_table": [b"0 work\n1 $Forwarded\n", b"25 z\n27 no\nx\n0 twice\n0 again\n"],
    "layout_detection": [b"b.Work\nb.Work.Old\n", b"bWork\nbWork/Old\nc.hidden"],
    "layout_text": [b"maildir++ utf-7 inbox-at-root", b"fs utf-8 inbox-below-root"],
    "amounts": [b"1h30m", b"90s", b"10MiB", b"25%", b"0.5 %", b"999999999999999d"],
    "point_in_time": [
        b"2026-11-20T14:00:00.5+01:00", b"2026-11-20 14:00", b"yesterday 9:05", b"1 hour 30 minutes ago", b"before run 17",
    ],
    "search_query": [
        b'from:a -subject:"b c" date:2025-01..30d flag:seen larger:1MB mailbox:Lists/* id:<a@b> word', b"-x", b"date:2025-02-03T10:00..",
    ],
    "message_head": [
        b"Message-ID: <a@b>\r\nFrom: =?utf-8?q?a=C3=BC?= <a@b>\r\nTo: x,\r\n y\r\nDate: Mon, 12 Jan 2026 10:11:12 +0100\r\n\r\n",
        b"Subject: =?utf-8?B?w5w=?= =?x-nothing?q?a_b?=\nCc: a\nDate: 1 Jan 99 10:00 EST\n\nbody",
    ],
    "mailbox_file": [
        b"Subject: a\nStatus: RO\n\n>From b\n\nFrom c Mon Jan 12 10:11:12 2026\nTo: d\n\ne\n", b"A: b\r\n\r\nFrom c\r\n\r\n",
    ],
    "log_lines": [
        b"Jan 12 10:00:00 mx postfix/cleanup[2]: 3AAAAA1: message-id=<a@b>\nJan 12 10:00:01 mx postfix/local[4]: 3AAAAA1: to=<a>, status=sent",
        b"2027-01-12 10:00:00 1abcDE-000123-AB <= a id=b@c\n2027-01-12 10:00:00 1abcDE-000123-AB => d R=e",
        b"Jan 12 10:00:01 mx sm-mta[2]: 70CAB0: from=<a>, msgid=<b@c>\nJan 12 10:00:01 mx sm-mta[2]: 70CAB0: to=a, delay=1, mailer=local, stat=Sent",
        b"2027-01-12T10:00:00+01:00 mx dovecot: lmtp(a)<1><b>: msgid=<a@b>: saved mail to INBOX",
        b'{"MESSAGE": "3AAAAA1: message-id=<a@b>", "__REALTIME_TIMESTAMP": "1800000000000000", "SYSLOG_IDENTIFIER": "postfix/cleanup"}',
        b"__REALTIME_TIMESTAMP=1800000000000000\nMESSAGE\n\x03\0\0\0\0\0\0\0abc\n\n",
    ],
    "id_list": [b"<a@b>\nid:c@d\n# x", b'+a%20b -- id:"x%22@y"\n+c -- id:d@e', b"a@b (inbox unread)"],
    "address": [b"ssh://me@server:22/", b"server:Maildir", b"[::1]:x", b"./a:b", b"ssh://-oProxyCommand=x/"],
    "configuration": [
        b'[stores.mail]\npath = "/m"\n[stores.mail.peers.server]\nurl = "ssh://me@server/"\ndirection = "pull"\n',
        b'[stores.mail]\npath = "~/m"\n[stores.mail.guard]\ncount = 5\nshare = "10%"\nwindow = "1d"\n',
    ],
    "root_marker": [
        b"mailkeep store marker 1: do not edit, copy or remove\n0123456789abcdef0123456789abcdef 7\n",
        b"mailkeep store marker 1: do not edit, copy or remove\n00 9\n",
    ],
    "command_line": [b"sync\0server", b"serve\0--store\0mail\0--role\0append", b"sync\0-q"],
    "claims": [packb({"ids": [b"12345678"], "vector": [5], "lamport": 6}), packb({"ids": [], "vector": [], "lamport": 0})],
}  # fmt: skip
"""Where mutation begins, for each target."""


def run(name: str, data: bytes) -> None:
    """One input for one target; what it may raise is passed over."""
    try:
        TARGETS[name](data)
    except ALLOWED:
        pass
