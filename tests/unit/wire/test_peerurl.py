from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkeep.wire.peerurl import PeerUrl, parse_location, parse_peer_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://me@server/", PeerUrl("me", "server", 0, "")),
        ("ssh://server", PeerUrl("", "server", 0, "")),
        ("ssh://me@server:2222/srv/mail", PeerUrl("me", "server", 2222, "/srv/mail")),
        ("ssh://server/~/Maildir", PeerUrl("", "server", 0, "~/Maildir")),
        ("ssh://[fe80::1%eth0]:22/", PeerUrl("", "fe80::1%eth0", 22, "")),
    ],
)
def test_urls(text: str, expected: PeerUrl) -> None:
    url = parse_peer_url(text)
    assert url == expected
    assert parse_peer_url(str(url)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "server",
        "http://server/",
        "ssh:///x",
        "ssh://-oProxyCommand=x/",
        "ssh://-l@server/",
        "ssh://a b/",
        "ssh://server;id/",
        "ssh://server:0/",
        "ssh://server:65536/",
        "ssh://server:/",
        "ssh://server:٣/",
        "ssh://[::1/",
        "ssh://[x]/",
        "ssh://[::1]x/",
        "ssh://@server/",
        "ssh://server/a\nb",
        "ssh://" + "a" * 256 + "/",
    ],
)
def test_no_urls(text: str) -> None:
    with pytest.raises(ValueError, match=r"URL|ssh would|port|control"):
        parse_peer_url(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server:Maildir", PeerUrl("", "server", 0, "~/Maildir")),
        ("me@server:/srv/mail", PeerUrl("me", "server", 0, "/srv/mail")),
        ("server:~/Maildir", PeerUrl("", "server", 0, "~/Maildir")),
        ("server:", PeerUrl("", "server", 0, "~")),
        ("[::1]:Maildir", PeerUrl("", "::1", 0, "~/Maildir")),
        ("ssh://server:99/", PeerUrl("", "server", 99, "")),
        ("Maildir", None),
        ("/a:b", None),
        ("./a:b", None),
        ("a/b:c://d", None),
    ],
)
def test_locations(text: str, expected: PeerUrl | None) -> None:
    assert parse_location(text) == expected


@pytest.mark.parametrize(
    "text", ["-oX:Maildir", "a b:c", ":x", "@server:x", "[::1:x", "server:a\nb", "rsync://x/"]
)
def test_no_locations(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_location(text)


@given(st.text(alphabet="ssh:/@[]-~a1.% ", max_size=30))
def test_what_gets_through_is_no_option_and_no_shell_syntax(text: str) -> None:
    for parse in (parse_peer_url, parse_location):
        try:
            url = parse(text)
        except ValueError:
            continue
        if url is not None:
            assert url.host
            assert url.host[0] not in "-/"
            assert not url.user.startswith("-")
            assert " " not in url.host + url.user
            assert parse_peer_url(str(url)) == url


@pytest.mark.parametrize("text", ["server:/~/mail", "server:/~", "me@server:/~/a b"])
def test_a_directory_called_tilde_in_the_root_is_not_the_home_directory_once_it_is_written_as_a_url(
    text: str,
) -> None:
    url = parse_location(text)
    assert url is not None
    assert url.path.startswith("/./~")
    assert parse_peer_url(str(url)) == url
