"""Keys from passwords and from other keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._engine import core
from ._checks import INT_MAX, between, data, digest_name

if TYPE_CHECKING:
    from ._checks import Data


async def pbkdf2(password: Data, salt: Data, iterations: int, keylen: int, digest: str) -> bytes:
    """`keylen` bytes from a password by PBKDF2 with HMAC.

    Raises ValueError for an unknown digest, or one without a fixed length. A
    cancel stops it. Node's crypto.pbkdf2, lane ``cpu``.
    """
    result: bytes = await core.pbkdf2(
        data("password", password),
        data("salt", salt),
        between("iterations", iterations, 1),
        between("keylen", keylen, 1),
        digest_name("digest", digest),
    )
    return result


async def scrypt(
    password: Data, salt: Data, keylen: int, *, n: int = 16384, r: int = 8, p: int = 1, maxmem: int = 32 << 20
) -> bytes:
    """`keylen` bytes from a password by scrypt.

    `n` is the cost, a power of two, `r` the block size, `p` the
    parallelization. What would take more than `maxmem` bytes, about
    ``128 * n * r``, is refused with ValueError. A cancel stops it; the memory
    is wiped then, at some 10 GiB a second. Node's crypto.scrypt, lane ``cpu``.
    """
    between("n", n, 2, 2**63)
    if n & (n - 1):
        raise ValueError(f"n must be a power of two, got {n}")
    between("r", r, 1, INT_MAX // 128)
    between("p", p, 1, INT_MAX // 128 // r)
    if n >= 1 << min(16 * r, 64):
        raise ValueError(f"n must be below 2**{16 * r} with r={r}, got {n}")
    between("maxmem", maxmem, 1, 2**63 - 1)
    needed = 128 * r * (n + p + 2)
    if needed > maxmem:
        raise ValueError(f"maxmem: n={n}, r={r}, p={p} take {needed} bytes, more than maxmem={maxmem}")
    result: bytes = await core.scrypt(
        data("password", password), data("salt", salt), between("keylen", keylen, 1), n, r, p
    )
    return result


async def hkdf(digest: str, key: Data, salt: Data, info: Data, keylen: int) -> bytes:
    """`keylen` bytes from a key by HKDF (RFC 5869), at most 255 times the digest's length.

    `info` has at most 1024 bytes. Raises ValueError as pbkdf2() does. It is
    one call of OpenSSL's, short unless `key` or `salt` is huge, and a cancel
    orphans it. Node's crypto.hkdf, lane ``cpu``.
    """
    secret = data("key", key)
    extra = data("info", info)
    if memoryview(extra).nbytes > 1024:
        raise ValueError(f"info must have at most 1024 bytes, got {memoryview(extra).nbytes}")
    if memoryview(secret).nbytes > INT_MAX:
        raise ValueError("key must be below 2 GiB")
    result: bytes = await core.hkdf(
        digest_name("digest", digest), secret, data("salt", salt), extra, between("keylen", keylen, 1)
    )
    return result
