"""Random bytes and numbers, and primes, from OpenSSL's generator."""

from __future__ import annotations

from math import gcd
from operator import index
from typing import TYPE_CHECKING, Any

from .._engine import core
from ._checks import INT_MAX, between, integer

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MAX_BITS = 16384  # one step of a test takes about a second then, and cannot be interrupted


async def random_bytes(size: int) -> bytes:
    """`size` random bytes, fit for keys.

    Up to 4 KiB they are made at once, which is cheaper than the trip to a
    worker. Node's crypto.randomBytes, lane ``cpu``.
    """
    result: Any = core.random_bytes(between("size", size, 0))
    if result.__class__ is not bytes:
        result = await result
    filled: bytes = result
    return filled


async def random_fill(buffer: Buffer, offset: int = 0, size: int | None = None) -> None:
    """Fill `size` bytes of a writable buffer, from `offset` on, with random bytes; without a size, to the end.

    After a cancel the buffer may hold some. Node's crypto.randomFill, lane ``cpu``.
    """
    job = core.random_fill(
        buffer, between("offset", offset, 0, 2**63 - 1), -1 if size is None else between("size", size, 0, 2**63 - 1)
    )
    if job is not None:
        await job


async def random_int(min: int, max: int | None = None) -> int:
    """A random int from `min` up to, not including, `max`, all equally likely; with one argument, from 0 up to it.

    The numbers may be of any size. Node's crypto.randomInt, at once.
    """
    low, high = (0, index(min)) if max is None else (index(min), index(max))
    if low >= high:
        raise ValueError(f"max must be greater than {low}, got {high}")
    bits = (high - low - 1).bit_length()
    size = (bits + 7) // 8
    while True:
        number = int.from_bytes(await random_bytes(size), "big") >> (8 * size - bits)
        if number < high - low:
            return low + number


def _number(name: str, value: int | None) -> bytes | None:
    if value is None:
        return None
    number = index(value)
    if number < 0 or number.bit_length() > _MAX_BITS:
        raise ValueError(f"{name} must be between 0 and 2**{_MAX_BITS} - 1")
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


async def generate_prime(bits: int, *, safe: bool = False, add: int | None = None, rem: int | None = None) -> int:
    """A random prime of `bits` bits (2 to 16384).

    With `safe`, half of it, rounded down, is prime too. With `add` and `rem`
    it is ``rem`` more than a multiple of ``add``; `rem` is 1 by default, or 3
    for safe primes; ValueError if no prime can be so, and more bits than asked
    for if `add` is so large that few can. A cancel ends it at the
    next candidate or step of a test, which is at once up to 4096 bits, and
    within a second at 16384. Node's crypto.generatePrime, lane ``cpu``.
    """
    between("bits", bits, 2, _MAX_BITS)
    if safe and bits < 6:
        raise ValueError(f"bits must be at least 6 for a safe prime, got {bits}")
    if rem is not None and add is None:
        raise ValueError("rem: give add, too")
    if add is not None:
        if index(add) < 1 or index(add).bit_length() > bits:
            raise ValueError(f"add must be positive and have at most {bits} bits, got {add}")
        if rem is not None and not 0 <= index(rem) < add:
            raise ValueError(f"rem must be below add, got {rem}")
        rest = rem if rem is not None else 3 if safe else 1
        if gcd(add, rest) != 1 or (safe and gcd(add, rest - 1) > 2):  # OpenSSL would search for ever
            raise ValueError(f"rem: there is no such prime with rem={rest}, add={add}, safe={safe}")
    found: bytes = await core.generate_prime(bits, safe, _number("add", add), _number("rem", rem))
    return int.from_bytes(found, "big")


async def check_prime(candidate: int | Buffer, *, checks: int = 0) -> bool:
    """Whether an int, or the one that big-endian bytes hold, of at most 16384 bits is a prime.

    `checks` is a number of rounds; OpenSSL makes at least as many as give an
    error of less than 2**-128. A cancel ends it at the next round, of which
    one may take a second at 16384 bits. Node's crypto.checkPrime, lane ``cpu``.
    """
    between("checks", checks, 0, INT_MAX)
    number = integer("candidate", candidate)
    result: bool = await core.check_prime(_number("candidate", number), checks)
    return result
