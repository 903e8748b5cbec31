"""What the tests of zlib share: pairs of functions that undo each other, and data of every kind."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from uvworks import zlib
from uvworks.zlib import constants as c

Call = Callable[..., Awaitable[bytes]]

PAIRS: dict[str, tuple[Call, Call]] = {
    "deflate": (zlib.deflate, zlib.inflate),
    "deflate_raw": (zlib.deflate_raw, zlib.inflate_raw),
    "gzip": (zlib.gzip, zlib.gunzip),
    "gzip-unzip": (zlib.gzip, zlib.unzip),
    "deflate-unzip": (zlib.deflate, zlib.unzip),
    "brotli": (zlib.brotli_compress, zlib.brotli_decompress),
    "zstd": (zlib.zstd_compress, zlib.zstd_decompress),
}
DECODERS: dict[str, Call] = {pair[1].__name__: pair[1] for pair in PAIRS.values()}
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")  # slower, and keeps up to 256 MiB of what was freed
FAST: dict[str, Any] = {"brotli": {"params": {c.BROTLI_PARAM_QUALITY: 3}}}

pair = pytest.mark.parametrize("name", PAIRS)
decoder = pytest.mark.parametrize("name", DECODERS)


def text(size: int, seed: int = 0) -> bytes:
    words = [b"lane", b"worker", b"loop", b"a", b"the", b"uv", b"\n", b"0123456789"]
    chosen = random.Random(seed).choices(words, k=size // 2 + 1)
    return b" ".join(chosen)[:size]


def sources() -> bytes:
    """Python's own, as an example of what people compress."""
    return b"".join(path.read_bytes() for path in sorted(Path(os.__file__).parent.glob("*.py")))


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)
