"""Mail logs, as servers write them: what was delivered into a mailbox of this machine, and nothing else."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkeep.wire import maillog
from mailkeep.wire.maillog import Export, MailLog

NOW = 1_800_000_000  # 2027-01-15T08:00:00Z

EXIM = """\
2027-01-12 10:00:00 1abcDE-000123-AB <= sender@x H=mail.x [192.0.2.1] P=esmtps S=1234 id=exim1@x
2027-01-12 10:00:01 1abcDE-000123-AB => me <me@example.net> R=local_user T=maildir_home
2027-01-12 10:00:01 1abcDE-000123-AB -> her@example.net R=lmtp T=dovecot_lmtp
2027-01-12 10:00:01 1abcDE-000123-AB Completed
2027-01-12 10:00:02 [4711] 1abcDE-000124-AB <= me@y U=me P=local S=12 id=exim2@x
2027-01-12 10:00:03 [4711] 1abcDE-000124-AB => you@far R=dnslookup T=remote_smtp H=far [192.0.2.3]
2027-01-12 10:00:04 1abcDE-000125-AB <= a@b H=x P=smtp S=1 id=exim3@x
2027-01-12 10:00:05 1abcDE-000125-AB ** me@example.net R=local_user: full
"""
SENDMAIL = """\
Jan 12 10:00:00 mx sm-mta[1]: 70CAB0: from=<a@b>, size=10, class=0, nrcpts=1, msgid=<send1@x>, proto=ESMTP, relay=x [192.0.2.1]
Jan 12 10:00:01 mx sm-mta[2]: 70CAB0: to=<me@example.net>, delay=00:00:01, xdelay=00:00:00, mailer=local, pri=30, dsn=2.0.0, stat=Sent
Jan 12 10:00:00 mx sm-mta[1]: 70CAB1: from=<a@b>, size=10, class=0, nrcpts=1, msgid=<send2@x>, proto=ESMTP, relay=x [192.0.2.1]
Jan 12 10:00:01 mx sm-mta[2]: 70CAB1: to=<you@far>, delay=00:00:01, xdelay=00:00:00, mailer=esmtp, pri=30, relay=far., dsn=2.0.0, stat=Sent (ok)
Jan 12 10:00:00 mx sm-mta[1]: 70CAB2: from=<a@b>, size=10, class=0, nrcpts=1, msgid=<send3@x>, proto=ESMTP, relay=x [192.0.2.1]
Jan 12 10:00:01 mx sm-mta[2]: 70CAB2: to=<me@example.net>, delay=00:00:01, mailer=local, dsn=4.0.0, stat=Deferred
"""
DOVECOT = """\
2027-01-12T10:00:00.123456+01:00 mx dovecot: lmtp(me@example.net)<123><abc>: msgid=<dove1@x>: saved mail to INBOX
2027-01-12T10:00:00+01:00 mx dovecot: lmtp(me)<123><abc>: sieve: msgid=<dove2@x>: stored mail into mailbox 'Lists/Debian'
2027-01-12T10:00:00Z mx dovecot: imap(me)<1><2>: Logged out in=1 out=2
Jan 12 10:00:00 mx dovecot: lda(me): msgid=<dove3@x>: save failed to INBOX: Quota exceeded
"""
POSTFIX = """\
Jan 12 10:00:00 mx postfix/cleanup[2]: 3AAAAA1: message-id=<post1@x>
Jan 12 10:00:01 mx postfix/local[4]: 3AAAAA1: to=<me@example.net>, relay=local, status=sent (delivered to command: procmail)
Jan 12 10:00:01 mx postfix/local[4]: 3AAAAA1: to=<all@example.net>, relay=local, status=sent (forwarded as 3AAAAA9)
Jan 12 10:00:02 mx postfix-in/cleanup[2]: 4bXyZwQqRr: message-id=post2@x
Jan 12 10:00:03 mx postfix-in/pipe[4]: 4bXyZwQqRr: to=<me@example.net>, relay=dovecot, status=sent (delivered via dovecot service)
Jan 12 10:00:03 mx postfix/qmgr[4]: 3AAAAA1: removed
Jan 12 10:00:04 mx postfix/local[4]: 3AAAAA1: to=<me@example.net>, relay=local, status=sent (delivered to maildir)
"""


def told(text: str) -> list[str]:
    log = MailLog(NOW)
    found = [log.line(line) for line in text.splitlines()]
    return [delivery.message_id for delivery in found if delivery is not None]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (EXIM, ["exim1@x", "exim1@x"]),
        (SENDMAIL, ["send1@x"]),
        (DOVECOT, ["dove1@x", "dove2@x"]),
        (POSTFIX, ["post1@x", "post2@x"]),
    ],
    ids=["exim", "sendmail", "dovecot", "postfix"],
)
def test_servers(text: str, ids: list[str]) -> None:
    assert told(text) == ids
    shifted = "".join("<22>" + line for line in text.splitlines(keepends=True))
    assert told(shifted) == ids


def journal(text: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for line in text.splitlines():
        program, _, message = line.split(" ", 4)[4].partition(": ")
        rows.append(
            {
                "__REALTIME_TIMESTAMP": str(NOW * 1_000_000), "SYSLOG_IDENTIFIER": program.partition("[")[0], "_PID": "1",
                "MESSAGE": message,
            }
        )  # fmt: skip
    return rows


def test_the_journal_as_json() -> None:
    rows = journal(POSTFIX)
    rows[0]["MESSAGE"] = list(str(rows[0]["MESSAGE"]).encode())  # what is no UTF-8 comes as numbers
    assert told("\n".join(map(json.dumps, rows))) == ["post1@x", "post2@x"]
    log = MailLog(NOW)
    found = [log.line(json.dumps(row)) for row in rows]
    assert [d.date for d in found if d] == [NOW, NOW]


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_the_journal_as_export(step: int) -> None:
    data = b""
    for number, row in enumerate(journal(POSTFIX)):
        for name, value in row.items():
            if name == "MESSAGE" and number % 2:
                raw = str(value).encode()
                data += b"MESSAGE\n" + len(raw).to_bytes(8, "little") + raw + b"\n"
            else:
                data += f"{name}={value}\n".encode()
        data += (
            b"COREDUMP\n" + (2 << 20).to_bytes(8, "little") + b"x" * (2 << 20) + b"\n"
            if number == 2 and step > 3
            else b""
        )
        data += b"\n"
    export = Export(MailLog(NOW))
    found = [d.message_id for at in range(0, len(data), step) for d in export.feed(data[at : at + step])]
    found += [d.message_id for d in export.end()]
    assert found == ["post1@x", "post2@x"]


def test_a_time_without_a_year_is_the_last_one_before_now() -> None:
    line = "{} mx dovecot: lmtp(me)<1><2>: msgid=<a@b>: saved mail to INBOX"
    log = MailLog(NOW)
    for day, year in (
        ("Jan 15 08:00:00", 2027),
        ("Jan 17 00:00:00", 2026),
        ("Dec 31 23:59:59", 2026),
        ("Feb 29 10:00:00", 2024),
    ):
        delivery = log.line(line.format(day))
        assert delivery is not None
        assert datetime.fromtimestamp(delivery.date).astimezone().year == year
    assert log.line(line.format("Feb 30 10:00:00")) is None
    assert log.lines == log.mail == 4


def test_queue_ids_that_never_end_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maillog, "QUEUE_IDS_MAX", 10)
    log = MailLog(NOW)
    for number in range(1000):
        log.line(f"Jan 12 10:00:00 mx postfix/cleanup[2]: {number:08X}: message-id=<{number}@x>")
    assert len(log._ids) == 10
    assert (
        log.line("Jan 12 10:00:00 mx postfix/local[2]: 000003E7: to=<a@b>, relay=local, status=sent (ok)")
        is not None
    )
    assert (
        log.line("Jan 12 10:00:00 mx postfix/local[2]: 00000001: to=<a@b>, relay=local, status=sent (ok)")
        is None
    )


@given(st.sampled_from([EXIM, SENDMAIL, DOVECOT, POSTFIX]), st.data())
def test_lines_that_are_cut_or_mixed_up_harm_nothing(text: str, data: st.DataObject) -> None:
    lines = text.splitlines()
    log = MailLog(NOW)
    for _ in range(5):
        line = data.draw(st.sampled_from(lines))
        at = data.draw(st.integers(0, len(line)))
        delivery = log.line(line[:at] + data.draw(st.text(max_size=3)) + line[at:])
        assert delivery is None or delivery.message_id
