"""The programs that do the same job, from their Debian packages, each in its own scratch home.

Every far end is reached through the counting relay. The IMAP programs talk to
Dovecot's `imap` over a pre-authenticated pipe, without a daemon or a password.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.census import Ruler
from bench.measure import Command
from bench.subjects import Subject

DOVECOT_IMAP = Path("/usr/lib/dovecot/imap")
FAR_HOST = "peer"


class RemoteShell(Subject):
    """A program that expects an ssh: it is given a script that drops the options and the host."""

    def remote_shell(self, **env: str) -> str:
        """Write the script and return its path."""
        text = (
            "#!/bin/sh\n"
            f'while [ "$1" != {FAR_HOST} ]; do shift; done; shift\n'
            '[ "$1" = -e ] && shift 2\n'  # unison's "-e none" comes after the host
            f'exec {self.tunnel("sh", "-c", **env)} "exec $*"\n'
        )
        return str(self.write("remote-shell", text, mode=0o700))


class DovecotSubject(Subject):
    """A program that sees at least its far end through Dovecot."""

    unprivileged = True
    # An fsync per message costs 0.2 ms on a quiet disk and 15 ms on a busy one (ext4, measured in the
    # same hour): the noisiest part of any figure. Without it these programs are the harder rivals.
    fsync = False
    ruler = Ruler(ignore_returns=True, ignore_flags="P")

    def missing(self) -> list[str]:
        """Dovecot's imap is not in PATH."""
        return super().missing() + [str(path) for path in (DOVECOT_IMAP,) if not path.exists()]

    def dovecot(self, end: int) -> tuple[str, ...]:
        """Configure Dovecot for one end's Maildir and return the command that speaks IMAP."""
        root = (self.a, self.b)[end]
        root.mkdir(exist_ok=True)
        settings = (
            f"mail_location = maildir:{root}\n"
            f"base_dir = {self.base}/run-{end}\n"
            f"log_path = {self.base}/dovecot-{end}.log\n"
            f"mail_fsync = {'optimized' if self.fsync else 'never'}\n"
        )
        return str(DOVECOT_IMAP), "-c", str(self.write(f"dovecot-{end}.conf", settings))


class Mbsync(DovecotSubject):
    """isync: a Maildir here, IMAP there. Renames the files here to note UIDs in them."""

    # P arrives as the keyword $Forwarded, letter a.
    name = "mbsync"
    programs = ("mbsync",)
    ruler = Ruler(ignore_returns=True, ignore_header=b"X-TUID: ", ignore_flags="Pa")

    def configure(self) -> None:
        """One channel for all folders, both ways."""
        tunnel = self.tunnel(*self.dovecot(1)).replace('"', '\\"')
        self.write(
            "mbsyncrc",
            f"FSync {'yes' if self.fsync else 'no'}\n\n"
            f'IMAPAccount far\nTunnel "{tunnel}"\n\nIMAPStore far\nAccount far\n\n'
            f"MaildirStore near\nInbox {self.a}\nSubFolders Maildir++\n\n"
            "Channel mail\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
        )

    def first(self) -> Sequence[Command]:
        """The first run is like any other."""
        return self.again()

    def again(self) -> Sequence[Command]:
        """Sync all channels."""
        return (self.command("sync", "mbsync", "-q", "-c", str(self.base / "mbsyncrc"), "-a"),)


class Interimap(DovecotSubject):
    """interimap: IMAP with QRESYNC at both ends."""

    name = "interimap"
    programs = ("interimap",)

    def configure(self) -> None:
        """Two tunnels; only the far one is counted."""
        self.write(
            "home-a/.config/interimap/config",
            "database = mail.db\n\n"
            f"[local]\ntype = tunnel\ncommand = {' '.join(self.dovecot(0))}\n\n"
            f"[remote]\ntype = tunnel\ncommand = {self.tunnel(*self.dovecot(1))}\n",
        )
        (self.homes[0] / ".local/share/interimap").mkdir(mode=0o700, parents=True)
        (self.homes[0] / ".config/interimap").chmod(0o700)

    def first(self) -> Sequence[Command]:
        """The first run is like any other."""
        return self.again()

    def again(self) -> Sequence[Command]:
        """Sync once."""
        return (self.command("sync", "interimap", "--quiet"),)


class Unison(RemoteShell):
    """Unison: any two trees, no idea of mail; stats every file at both ends."""

    name = "unison"
    programs = ("unison",)

    def configure(self) -> None:
        """One profile; the far end keeps its archive apart."""
        self.b.mkdir()
        shell = self.remote_shell(UNISON=str(self.homes[1] / "archive"))
        self.write(
            "home-a/archive/mail.prf",
            f"root = {self.a}\nroot = ssh://{FAR_HOST}/{self.b}\nsshcmd = {shell}\n"
            "batch = true\nsilent = true\nconfirmbigdel = false\ntimes = true\nfastcheck = true\n"
            "log = false\n",
        )

    def first(self) -> Sequence[Command]:
        """The first run is like any other."""
        return self.again()

    def again(self) -> Sequence[Command]:
        """Sync the profile without a question."""
        return (self.command("sync", "unison", "-ui", "text", "mail", UNISON=str(self.homes[0] / "archive")),)


class Muchsync(RemoteShell):
    """muchsync: two notmuch databases. Its sync runs "notmuch new" at both ends."""

    name = "muchsync"
    programs = ("muchsync", "notmuch")

    def configure(self) -> None:
        """Two notmuch configurations; tags and file names follow each other."""
        for part in ("cur", "new", "tmp"):
            (self.b / part).mkdir(parents=True)
        self._shell = self.remote_shell(NOTMUCH_CONFIG=str(self.base / "notmuch-1"))
        for end, root in enumerate((self.a, self.b)):
            self.write(
                f"notmuch-{end}",
                f"[database]\npath={root}\n[user]\nname=Me\nprimary_email=me@home.example\n"
                "[new]\ntags=inbox;\nignore=\n[search]\nexclude_tags=deleted;\n[maildir]\nsynchronize_flags=true\n",
            )

    def first(self) -> Sequence[Command]:
        """Index both ends, then sync."""
        return (
            self.command(
                "notmuch new a", "notmuch", "new", "--quiet", NOTMUCH_CONFIG=str(self.base / "notmuch-0")
            ),
            self.command(
                "notmuch new b", "notmuch", "new", "--quiet", NOTMUCH_CONFIG=str(self.base / "notmuch-1")
            ),
            *self.again(),
        )

    def again(self) -> Sequence[Command]:
        """Sync, which includes the indexing of what changed."""
        config = str(self.base / "notmuch-0")
        argv = ("muchsync", "-C", config, "-s", self._shell, FAR_HOST, "-C", str(self.base / "notmuch-1"))
        return (self.command("sync", *argv, NOTMUCH_CONFIG=config),)


class Rsync(RemoteShell):
    """`rsync -a`: one way, no memory of the last run, nothing made durable."""

    name = "rsync -a"
    programs = ("rsync",)
    two_way = False

    def configure(self) -> None:
        """Nothing but the script."""
        self._shell = self.remote_shell()

    def first(self) -> Sequence[Command]:
        """Copy."""
        return (
            self.command("copy", "rsync", "-a", "-e", self._shell, f"{self.a}/", f"{FAR_HOST}:{self.b}/"),
        )

    def again(self) -> Sequence[Command]:
        """Copy what differs and delete what is gone."""
        argv = ("rsync", "-a", "--delete", "-e", self._shell, f"{self.a}/", f"{FAR_HOST}:{self.b}/")
        return (self.command("copy", *argv),)


PEERS: tuple[type[Subject], ...] = (Rsync, Interimap, Mbsync, Unison, Muchsync)
