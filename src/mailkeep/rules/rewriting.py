"""A file has other bytes than it had: is it the same mail, edited, or was it overwritten?"""

from __future__ import annotations

import re

_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:\s*(<[^<>\s]+>|[^\s<>]+)", re.IGNORECASE | re.MULTILINE)
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
HEAD_BYTES = 1 << 16
"""A Message-ID further down than this is not looked for."""


def message_id(head: bytes) -> bytes | None:
    """The Message-ID (RFC 5322 §3.6.4) in the first bytes of a message, as it is written there."""
    end = _END_OF_HEADER.search(head)
    found = _MESSAGE_ID.search(head[: end.start()] if end else head)
    return found[1] if found else None


def is_same_mail(before: bytes, after: bytes) -> bool:
    """Whether a message that was rewritten is the same one still: it has the Message-ID that it had.

    Args:
        before, after: The first HEAD_BYTES of each.
    """
    identity = message_id(before)
    return identity is not None and identity == message_id(after)
