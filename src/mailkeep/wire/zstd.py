"""Zstandard, from the standard library (3.14) or its backport. Imported only when contents travel."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd as _zstd
else:
    from backports import zstd as _zstd

Error: type[Exception] = _zstd.ZstdError
"""What is no stream, a damaged one, or one that wants more memory than allowed."""
GO_ON = _zstd.ZstdCompressor.CONTINUE
FLUSH_BLOCK = _zstd.ZstdCompressor.FLUSH_BLOCK
FLUSH_FRAME = _zstd.ZstdCompressor.FLUSH_FRAME


def compressor(level: int) -> Any:
    """A compressor for one stream; a higher level is slower and smaller, a negative one fast."""
    return _zstd.ZstdCompressor(level=level)


def decompressor(window_log_max: int) -> Any:
    """A decompressor that refuses to use more memory than the window allows."""
    return _zstd.ZstdDecompressor(options={_zstd.DecompressionParameter.window_log_max: window_log_max})


def compressed_size(data: bytes, level: int = 3) -> int:
    """How many bytes `data` takes when it is compressed by itself."""
    return len(_zstd.compress(data, level))
