"""A real sshd on the loopback, with keys and a configuration of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

from interop.machines import SYSTEM_PATH, Machine, program


class Sshd:
    """A real sshd with keys and a configuration of its own.

    Attributes:
        client: The laptop's ssh configuration, which knows the server as `server`.
        key: The laptop's key, for which the server runs `mailkeep serve --store mail` and nothing else.
    """

    def __init__(self, directory: Path, server: Machine) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700)
        keygen = program("ssh-keygen")
        for name in ("host_key", "key", "stranger"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
        self.key = directory / "key"
        forced = f'restrict,command="{server.bin}/mailkeep serve --store mail" '
        (directory / "authorized_keys").write_text(forced + (directory / "key.pub").read_text())
        (directory / "authorized_keys").chmod(0o600)
        self.port = 0
        self.client = directory / "ssh_config"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; another port if somebody was quicker to take the first."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it when it starts as root
        for _ in range(3):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            (self.directory / "sshd_config").write_text(
                f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.directory}/host_key\nPidFile {self.directory}/pid\n"
                f"AuthorizedKeysFile {self.directory}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
                "KbdInteractiveAuthentication no\nPermitRootLogin yes\nAllowTcpForwarding yes\nPrintMotd no\nLogLevel VERBOSE\n"
                f"SetEnv PATH={SYSTEM_PATH}\n"
            )
            log = (self.directory / "log").open("wb")
            self.process = subprocess.Popen(
                [program("sshd"), "-D", "-e", "-f", self.directory / "sshd_config"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
            log.close()
            if self._answers():
                break
            self.stop()
        else:
            raise AssertionError("sshd did not start:\n" + self.log())
        (self.directory / "known_hosts").write_text(
            f"[127.0.0.1]:{self.port} " + (self.directory / "host_key.pub").read_text()
        )
        self.client.write_text(
            f"Host server\n  HostName 127.0.0.1\n  Port {self.port}\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.directory}/known_hosts\n  StrictHostKeyChecking yes\n  BatchMode yes\n"
            "  ConnectTimeout 10\n  LogLevel ERROR\n"
        )

    def _answers(self) -> bool:
        assert self.process is not None
        for _ in range(200):
            if self.process.poll() is not None:
                return False
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            except OSError:
                time.sleep(0.02)
        return False

    def ssh(self, *options: str) -> list[str]:
        """The command line of a client that uses none of this user's own configuration."""
        return [program("ssh"), "-F", str(self.client), *options]

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None
