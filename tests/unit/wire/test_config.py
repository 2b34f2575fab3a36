from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkeep.domain.errors import ConfigError
from mailkeep.wire.config import (
    Settings,
    read_peer,
    read_settings,
    read_store,
    settings_rows,
)
from mailkeep.wire.peerurl import PeerUrl
from mailkeep.wire.tables import Origin

HOME = Origin("config.toml", home="/home/me")

FULL = """
[stores.mail]
path = "~/Maildir/"
layout = "maildir++"
encoding = "utf-7"
state = "/var/state"
default = true

[stores.mail.guard]
count = 10
share = "12.5%"
store_share = "1%"
minimum = 5
window = "12h"
exempt = []

[stores.mail.peers.server]
url = "ssh://me@server:2222/"
remote_store = "main"
direction = "archive"
include = ["Work/*"]
exclude = ["Work/tmp"]
map = { "Work" = "Archive/Work" }
accept_approvals = false
timeout = "90s"

[stores.mail.peers.disk]
path = "~/backup"

[stores.mail.peers.odd]
command = ["ssh", "-q", "server", ""]

[stores.mail.hooks]
pre = "true"
post = ["notify", "done"]

[stores.mail.retention]
expunged = "0s"
tombstones = "800d"

[stores.mail.notmuch]
config = "~/.notmuch-config"
new = true
dump = true
threshold = 0
keep = 1

[stores.other]
path = "/srv/other"
"""


def read(text: str, origin: Origin = HOME) -> Settings:
    return read_settings(tomllib.loads(text), origin)


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


def test_every_setting() -> None:
    settings = read(FULL)
    mail = settings.store()
    assert (mail.name, mail.path, mail.state, mail.layout) == (
        "mail",
        "/home/me/Maildir",
        "/var/state",
        "maildir++",
    )
    assert (mail.encoding, mail.default) == ("utf-7", True)
    guard = mail.guard
    assert (guard.count, guard.share, guard.store_share) == (10, 0.125, 0.01)
    assert (guard.minimum, guard.window, guard.exempt) == (5, 43200, ())
    server = mail.peer("server")
    assert server.url == PeerUrl("me", "server", 2222, "")
    assert (server.remote_store, server.direction, server.timeout) == ("main", "archive", 90)
    assert (server.include, server.exclude) == (("Work/*",), ("Work/tmp",))
    assert server.map == {"Work": "Archive/Work"}
    assert not server.accept_approvals
    assert mail.peer("disk").path == "/home/me/backup"
    assert mail.peer("odd").command == ("ssh", "-q", "server", "")
    assert (mail.hooks.pre, mail.hooks.post) == ("true", ("notify", "done"))
    assert (mail.retention.expunged, mail.retention.tombstones) == (0, 800 * 86400)
    assert (mail.notmuch.config, mail.notmuch.new, mail.notmuch.dump) == (
        "/home/me/.notmuch-config",
        True,
        True,
    )
    assert (mail.notmuch.threshold, mail.notmuch.keep) == (0, 1)


def test_defaults() -> None:
    store = read('stores.a.path = "/m"\nstores.a.peers.p.path = "/n"').store()
    assert (store.layout, store.encoding, store.state, store.default) == ("auto", "auto", None, False)
    assert (store.guard.count, store.guard.share, store.guard.store_share) == (1000, 0.25, 0.1)
    assert (store.guard.minimum, store.guard.window, store.guard.exempt) == (50, 86400, ("Trash", "Junk"))
    assert (store.retention.expunged, store.retention.tombstones) == (90 * 86400, 400 * 86400)
    assert (store.notmuch.config, store.notmuch.new, store.notmuch.dump) == (None, False, False)
    assert (store.notmuch.threshold, store.notmuch.keep) == (10, 10)
    peer = store.peer("p")
    assert (peer.direction, peer.accept_approvals, peer.timeout, peer.map) == ("both", True, 300, {})
    assert store.source("layout") == "default"
    assert store.source("path") == "config.toml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'stores.mail.path = "/m"\nstores.mail.peers.server = { path = "/n", direction = "bot" }',
            'config.toml: stores.mail.peers.server.direction: "bot" is not one of both, pull, push, archive',
        ),
        (
            'stores.mail.path = "/m"\nstores.mail.guard.shares = "1%"',
            'config.toml: stores.mail.guard.shares: there is no such setting; did you mean "share"?',
        ),
        ("store.mail = 1", 'config.toml: store: there is no such setting; did you mean "stores"?'),
        ("xyzzy = 1", "config.toml: xyzzy: there is no such setting"),
        ("stores = 1", "config.toml: stores: 1 is not a table"),
        ('stores.mail = "x"', 'config.toml: stores.mail: "x" is not a table'),
        ("[stores.mail]", "config.toml: stores.mail: has no path"),
        ("stores.mail.path = 3", "config.toml: stores.mail.path: 3 is not a text in quotes"),
        (
            'stores.mail.path = "Mail"',
            'config.toml: stores.mail.path: "Mail" is neither an absolute path nor one that starts with ~/',
        ),
        ('stores.mail.path = ""', "config.toml: stores.mail.path: an empty text means nothing here"),
        (
            'stores.mail.path = "/a\\u0000"',
            'config.toml: stores.mail.path: "/a\\x00" contains a NUL character',
        ),
        (
            '[stores.mail]\npath = "/m"\ndefault = 1',
            "config.toml: stores.mail.default: 1 is neither true nor false",
        ),
        (
            '[stores.mail]\npath = "/m"\nguard.count = true',
            "config.toml: stores.mail.guard.count: true is not a whole number from 0 to 2147483647",
        ),
        (
            '[stores.mail]\npath = "/m"\nguard.share = 0.25',
            'config.toml: stores.mail.guard.share: 0.25 is not a share such as "25%", in quotes',
        ),
        (
            '[stores.mail]\npath = "/m"\nguard.window = "0s"',
            'config.toml: stores.mail.guard.window: "0s" must be longer than nothing',
        ),
        (
            '[stores.mail]\npath = "/m"\nretention.expunged = 90',
            'config.toml: stores.mail.retention.expunged: 90 is not a duration such as "90s" or "7d", in quotes',
        ),
        (
            '[stores.mail]\npath = "/m"\nnotmuch.keep = 0',
            "config.toml: stores.mail.notmuch.keep: 0 is not a number of dumps from 1 to 1000",
        ),
        (
            '[stores.mail]\npath = "/m"\npeers.p.url = "ssh://-x/"',
            'config.toml: stores.mail.peers.p.url: "ssh://-x/" has no host name that ssh would take',
        ),
        (
            '[stores.mail]\npath = "/m"\n[stores.mail.peers.p]',
            "config.toml: stores.mail.peers.p: needs exactly one of url, path and command, but has none",
        ),
        (
            '[stores.mail]\npath = "/m"\npeers.p = { path = "/n", command = "x" }',
            "config.toml: stores.mail.peers.p: needs exactly one of url, path and command, but has path and command",
        ),
        (
            '[stores.mail]\npath = "/m"\npeers.p = { path = "/n", map = { A = "X", B = "X" } }',
            'config.toml: stores.mail.peers.p.map: "A" and "B" would both be "X" over there',
        ),
        (
            '[stores.mail]\npath = "/m"\nhooks.pre = []',
            "config.toml: stores.mail.hooks.pre: an empty list names no program",
        ),
        ('stores."a/b".path = "/m"', 'config.toml: stores."a/b": "a/b" is not a name of letters'),
        ('stores."..".path = "/m"', 'config.toml: stores."..": ".." is not a name of letters'),
        ('stores.-x.path = "/m"', 'config.toml: stores.-x: "-x" is not a name of letters'),
        (
            'stores.a = { path = "/m", default = true }\nstores.b = { path = "/n", default = true }',
            'config.toml: stores.b.default: store "a" is the default already',
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_key(text: str, expected: str) -> None:
    assert problem(text).startswith(expected)


def test_an_unknown_key_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        read('stores.mail.path = "/m"\nstores.mail.hooks.after = "x"')
    assert caught.value.hint == "known here: pre, post"


def test_home_is_needed_only_where_it_is_used() -> None:
    nowhere = Origin("config.toml")
    assert read('stores.a.path = "/m"', nowhere).store().path == "/m"
    with pytest.raises(ConfigError, match="HOME is not set"):
        read('stores.a.path = "~/m"', nowhere)


def test_lines_are_named_where_they_are_known() -> None:
    origin = Origin("config.toml", lines={("stores", "a", "path"): 7})
    assert read('stores.a.path = "/m"', origin).store().source("path") == "config.toml:7"
    with pytest.raises(ConfigError, match=r"^config\.toml:7: stores\.a\.path: "):
        read("stores.a.path = 1", origin)


def test_which_store_is_meant() -> None:
    two = read('stores.a.path = "/a"\nstores.bee.path = "/b"')
    assert two.store("bee").path == "/b"
    with pytest.raises(ConfigError, match="none of them is the default"):
        two.store()
    with pytest.raises(ConfigError, match='no store "be"; did you mean "bee"'):
        two.store("be")
    with pytest.raises(ConfigError, match="no store is configured"):
        read("").store()
    with pytest.raises(ConfigError, match='store "a" has no peer "x"'):
        two.store("a").peer("x")


def test_made_on_the_command_line() -> None:
    origin = Origin("command line", home="/home/me")
    store = read_store("once", {"path": "~/Maildir"}, origin)
    assert (store.path, store.source("path"), store.source("layout")) == (
        "/home/me/Maildir",
        "command line",
        "default",
    )
    peer = read_peer("there", {"command": "ssh x"}, origin)
    assert (peer.command, peer.source("command")) == ("ssh x", "command line")
    with pytest.raises(ConfigError, match=r"^command line: peers\.there\.path: "):
        read_peer("there", {"path": "x"}, origin)
    peer.override("direction", "pull")
    assert (peer.direction, peer.source("direction")) == ("pull", "command line")
    with pytest.raises(KeyError):
        peer.override("name", "x")


def test_rows_hold_every_setting_as_it_is_written() -> None:
    rows = {key: (value, source) for key, value, source in settings_rows(read(FULL))}
    assert rows["stores.mail.guard.share"] == ("12.5%", "config.toml")
    assert rows["stores.mail.guard.exempt"] == ([], "config.toml")
    assert rows["stores.mail.peers.server.url"] == ("ssh://me@server:2222/", "config.toml")
    assert rows["stores.mail.peers.server.timeout"] == ("90s", "config.toml")
    assert rows["stores.mail.peers.disk.timeout"] == ("5m", "default")
    assert rows["stores.mail.retention.tombstones"] == ("800d", "config.toml")
    assert rows["stores.other.state"] == (None, "default")
    assert len(rows) == 2 * (5 + 6 + 2 + 5 + 3 + 5) + 3 * 10


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    [
        "path",
        "layout",
        "guard",
        "peers",
        "hooks",
        "retention",
        "count",
        "share",
        "map",
        "url",
        "command",
        "pre",
        "default",
    ]
)
nested = st.recursive(json_like, lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=8)


@given(st.dictionaries(st.text(max_size=5), nested, max_size=3))
def test_any_tables_give_settings_or_a_config_error(stores: dict[str, object]) -> None:
    try:
        settings_rows(read_settings({"stores": stores}, HOME))
    except ConfigError as err:
        assert err.where.startswith("config.toml: stores")
