from __future__ import annotations

import pytest

from mailkeep.wire.mutf7 import decode, encode

SAMPLES = [
    ("", b""),
    ("INBOX", b"INBOX"),
    ("Q&A", b"Q&-A"),
    ("&&", b"&-&-"),
    ("Entw\u00fcrfe", b"Entw&APw-rfe"),
    ("\u53f0\u5317", b"&U,BTFw-"),
    ("\u65e5\u672c\u8a9e", b"&ZeVnLIqe-"),
    ("\U0001f4e7", b"&2D3c5w-"),
    ("\u00e9-\u00e9", b"&AOk--&AOk-"),
    ("\u00fc&\u00fc", b"&APw-&-&APw-"),
    ("a\x00b", b"a&AAA-b"),
    ("A/B.C ~", b"A/B.C ~"),
]


@pytest.mark.parametrize(("text", "data"), SAMPLES)
def test_samples(text: str, data: bytes) -> None:
    assert encode(text) == data
    assert decode(data) == text


@pytest.mark.parametrize(
    "data",
    [
        b"&",
        b"a&b",
        b"&APw",
        b"&AEE-",  # "A" has to stand for itself
        b"&APwA-",  # half a character
        b"&APx-",  # bits in the padding
        b"&APw=-",
        b"&APw-&APw-",  # two shifts in a row
        b"&ACY-",  # "&" in a shift
        b"&U/BTFw-",  # base64 of RFC 4648
        b"&2D0-",  # half a surrogate pair
        b"&A P w-",
        b"&\nAPw-",
        b"a\x00b",
        b"a\x7f",
        b"a\x7f&-",
        "\u00fc".encode(),
    ],
)
def test_only_the_legal_form_is_decoded(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


def test_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        encode("\ud83d")
