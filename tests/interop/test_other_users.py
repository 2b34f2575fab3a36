"""Mail that belongs to another user: a shared spool, a delivery as root. It flows, and stops nobody."""

from __future__ import annotations

import hashlib
import os

import pytest

from interop.machines import Machine, contents, deliver, mails, make_mailbox, message

pytestmark = [pytest.mark.interop, pytest.mark.slow]

NOBODY = 65534


def test_messages_that_another_user_owns(
    laptop: Machine, server: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving files away takes root")
    caps = "-dac_override,-dac_read_search,-fowner,-chown"  # what makes root an owner of everything
    prefix = ["setpriv", "--bounding-set", caps, "--inh-caps", caps, "--"]
    monkeypatch.setattr("interop.machines.ordinary", lambda: prefix)
    make_mailbox(server.mail, "")
    for number in range(6):
        file = deliver(laptop.mail, "", message(number), number, "S")
        if number % 2:
            file.chmod(0o644)
            os.chown(file, NOBODY, NOBODY)
    server.mailkeep("init", "--store", "mail", server.mail)
    laptop.mailkeep("init", "--store", "mail", laptop.mail)
    laptop.mailkeep("peer", "add", "server", "--command", f"{server.bin}/mailkeep serve --store mail")
    late = deliver(laptop.mail, "", message(6), 6)
    late.chmod(0o644)
    os.chown(late, NOBODY, NOBODY)
    secret = deliver(laptop.mail, "", message(7), 7)
    secret.chmod(0o600)
    os.chown(secret, NOBODY, NOBODY)
    laptop.settle()
    done = laptop.sync(status=3)
    assert [row["where"] for row in done["problems_of_scan"]] == [f"new/{secret.name}"], (
        "one that cannot be read waits"
    )
    digests = {number: hashlib.sha256(message(number)).hexdigest() for number in range(8)}
    assert contents(server.mail) == sorted(digests[n] for n in range(7))
    # Their mode and owner are as they were, and no object of the vault is a file that somebody else may write to.
    for file in laptop.mail.glob("*/*"):
        st = file.stat()
        if st.st_uid == NOBODY:
            assert (st.st_mode & 0o777, st.st_nlink) == (0o600 if file == secret else 0o644, 1), file
        else:
            assert (st.st_mode & 0o777, st.st_nlink) == (0o400, 2), file
    # Flags and deletions from the other side reach them.
    for digest, flags in ((digests[1], "FS"), (digests[3], None)):
        (file,) = [
            f for f in server.mail.glob("cur/*") if hashlib.sha256(f.read_bytes()).hexdigest() == digest
        ]
        if flags is None:
            file.unlink()
        else:
            file.rename(file.with_name(file.name.partition(":")[0] + ":2," + flags))
    secret.chmod(0o644)
    laptop.settle()
    assert laptop.sync()["exit"] == 0
    assert mails(laptop.mail) == mails(server.mail)
    assert dict(mails(laptop.mail)["."])[digests[1]] == "FS"
    assert contents(laptop.mail) == sorted(digests[n] for n in range(8) if n != 3)
    laptop.mailkeep("verify")
    assert laptop.sync()["same"]
