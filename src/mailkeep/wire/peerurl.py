"""Where a peer is: ``ssh://me@server:2222/path`` and the short ``server:Maildir``.

What is accepted here ends in an argument of ``ssh``, so nothing that ssh would take for an option
(a leading dash) or a shell for syntax gets through in user, host or port.
"""

from __future__ import annotations

HOST_LENGTH_MAX = 255  # RFC 1035 §2.3.4, and longer than any ssh alias in use.

_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


class PeerUrl:
    """An address that ssh can reach.

    Attributes:
        user: Log-in name, or empty for the one that ssh chooses.
        host: A name, an alias of the user's ssh configuration, or an IP address without brackets.
        port: 0 for the one that ssh chooses.
        path: What follows the host: empty for the far end's own configured store; else a path, where
            ``~/x`` is below the home directory over there and ``/x`` is absolute.
    """

    __slots__ = ("host", "path", "port", "user")

    def __init__(self, user: str, host: str, port: int, path: str) -> None:
        self.user = user
        self.host = host
        self.port = port
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PeerUrl) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"PeerUrl{self._key()!r}"

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        path = self.path if self.path.startswith("/") else "/" + self.path
        return f"ssh://{user}{host}{port}{path}"

    def _key(self) -> tuple[str, str, int, str]:
        return self.user, self.host, self.port, self.path


def parse_peer_url(text: str) -> PeerUrl:
    """Read ``ssh://[user@]host[:port][/path]``.

    Raises:
        ValueError: Not such a URL. The message is a whole sentence.
    """
    scheme, colon, rest = text.partition("://")
    if not colon or scheme != "ssh":
        raise ValueError(f'"{text}" is not a URL such as ssh://me@server/')
    authority, slash, path = rest.partition("/")
    user, at, address = authority.rpartition("@")
    host, port_text = _host_and_port(address)
    if at and not _is_safe(user):
        raise ValueError(f'"{text}" has a user name that ssh would not take')
    if not _is_host(host):
        raise ValueError(f'"{text}" has no host name that ssh would take')
    port = int(port_text) if port_text.isascii() and port_text.isdigit() else -1
    if port_text and (len(port_text) > 5 or not 0 < port < 65536):
        raise ValueError(f'"{text}" has a port that is not a number from 1 to 65535')
    if not path.isprintable():
        raise ValueError(f'"{text}" has a path with control characters')
    full = path if not path or path == "~" or path.startswith("~/") else slash + path
    return PeerUrl(user, host, max(port, 0), full)


def parse_location(text: str) -> PeerUrl | None:
    """Read ``[user@]host:path`` as scp and rsync do, or a URL; None if it is a local path.

    A colon after the first slash belongs to a path, so ``./a:b`` and ``/a:b`` are local.

    Raises:
        ValueError: It looks like an address but is none.
    """
    scheme, separator, _ = text.partition("://")
    if separator and "/" not in scheme:
        return parse_peer_url(text)
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        address, path = (f"[{inside}]", rest[1:]) if bracket and rest[:1] == ":" else ("", "")
    else:
        address, colon, path = text.partition(":")
        if not colon or "/" in address:
            return None
    user, at, bare = address.rpartition("@")
    host, port_text = _host_and_port(bare)
    if (at and not _is_safe(user)) or not _is_host(host) or port_text:
        raise ValueError(f'"{text}" is neither a local path nor an address such as server:Maildir')
    if not path.isprintable():
        raise ValueError(f'"{text}" has a path with control characters')
    if path and not path.strip("/"):
        raise ValueError(f'"{text}" names the root directory over there, which is no Maildir')
    if path == "/~" or path.startswith("/~/"):
        path = (
            "/." + path
        )  # a directory called "~" in the root: in a URL, what follows the host as "/~" is the home directory
    # Relative to the home directory over there, as with scp.
    home_relative = path and path != "~" and not path.startswith(("/", "~/"))
    return PeerUrl(user, host, 0, "~/" + path if home_relative else path or "~")


def _host_and_port(address: str) -> tuple[str, str]:
    """The parts of ``host``, ``host:port``, ``[v6]`` and ``[v6]:port``; an empty host if malformed."""
    if not address.startswith("["):
        host, colon, port = address.partition(":")
        return (host, port) if bool(colon) == bool(port) else ("", "")
    inside, bracket, rest = address[1:].partition("]")
    if not bracket or ":" not in inside or (rest and (rest[0] != ":" or len(rest) == 1)):
        return "", ""
    return inside, rest[1:]


def _is_safe(word: str) -> bool:
    return bool(word) and word[0] != "-" and _SAFE.issuperset(word)


def _is_host(host: str) -> bool:
    if ":" in host:  # An IPv6 address, perhaps with a zone.
        head, percent, zone = host.partition("%")
        digits = frozenset("0123456789abcdefABCDEF:.")
        return digits.issuperset(head) and (not percent or _is_safe(zone))
    return len(host) <= HOST_LENGTH_MAX and _is_safe(host)
