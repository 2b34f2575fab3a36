"""Modified UTF-7, the encoding of mailbox names in IMAP4rev1 and in most Maildirs.

RFC 3501 §5.1.3: printable ASCII stands for itself, but "&" is written "&-"; every other
run of characters is UTF-16BE in base64 without padding and with "," for "/", between
"&" and "-". Only one way of writing each text is legal, and `decode` takes only that
one: a laxer decoder would give two directories one name.
"""

from __future__ import annotations


def encode(text: str) -> bytes:
    """Encode text, which may hold any characters.

    Raises:
        ValueError: The text holds a lone surrogate.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return text.encode("ascii")
    from binascii import b2a_base64  # most names have no use for it

    out = bytearray()
    at, end = 0, len(text)
    while at < end:
        start = at
        while at < end and not " " <= text[at] <= "~":
            at += 1
        if at > start:
            shifted = b2a_base64(text[start:at].encode("utf-16-be"), newline=False)
            out += b"&" + shifted.rstrip(b"=").replace(b"/", b",") + b"-"
        else:
            out += b"&-" if text[at] == "&" else text[at].encode("ascii")
            at += 1
    return bytes(out)


def decode(data: bytes) -> str:
    """Decode the one legal encoding of a text.

    Raises:
        ValueError: `encode` would not write these bytes.
    """
    if not data.isascii():
        raise ValueError("modified UTF-7 is ASCII")
    if b"&" not in data:
        text = data.decode("ascii")
        if not text.isprintable():
            raise ValueError("a control character outside a modified UTF-7 shift")
        return text
    from binascii import a2b_base64  # most names have no use for it

    first, *rest = data.split(b"&")
    texts = [first.decode("ascii")]
    for chunk in rest:
        shifted, dash, plain = chunk.partition(b"-")
        if not dash:
            raise ValueError("a modified UTF-7 shift that does not end")
        if shifted:
            padding = b"=" * (-len(shifted) % 4)
            # binascii.Error and UnicodeDecodeError are ValueErrors.
            texts.append(a2b_base64(shifted.replace(b",", b"/") + padding).decode("utf-16-be"))
        else:
            texts.append("&")
        texts.append(plain.decode("ascii"))
    text = "".join(texts)
    # Catches what is left: ASCII inside a shift, two shifts in a row, "/" for ",", bits in the padding.
    if encode(text) != data:
        raise ValueError("modified UTF-7 in a form that is not the legal one")
    return text
