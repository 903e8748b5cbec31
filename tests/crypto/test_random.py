"""Random bytes and numbers, primes."""

from __future__ import annotations

import array
import asyncio
import math
from collections import Counter
from typing import Any

import pytest

from tests.support import until
from uvworks import crypto, pool


def jobs() -> int:
    lane = pool.statistics().lanes["cpu"]
    return lane.waiting + lane.running + lane.done + lane.failed + lane.cancelled


@pytest.mark.parametrize("size", [0, 1, 64, 4096, 4097, 1 << 18, (1 << 20) + 1])
async def test_random_bytes(size: int) -> None:
    found = await crypto.random_bytes(size)
    assert isinstance(found, bytes) and len(found) == size
    if size >= 64:
        assert found != await crypto.random_bytes(size)
        assert abs(sum(map(int.bit_count, found)) - 4 * size) < 8 * math.sqrt(8 * size)


async def test_small_requests_need_no_job() -> None:
    before = jobs()
    await crypto.random_bytes(4096)
    await crypto.random_fill(bytearray(4096))
    await crypto.random_int(10**9)
    assert jobs() == before
    await crypto.random_bytes(4097)
    assert jobs() == before + 1


@pytest.mark.parametrize(
    "buffer", [bytearray(100), bytearray(100_000), memoryview(bytearray(10_000)), array.array("d", bytes(80_000))]
)
async def test_random_fill(buffer: Any) -> None:
    await crypto.random_fill(buffer)
    assert bytes(buffer).count(0) < len(bytes(buffer)) / 20 + 10


@pytest.mark.parametrize("length", [100, 100_000])
async def test_random_fill_keeps_to_its_part(length: int) -> None:
    buffer = bytearray(length)
    await crypto.random_fill(buffer, 30, length - 50)
    assert not any(buffer[:30]) and not any(buffer[-20:]) and any(buffer[30:-20])
    await crypto.random_fill(buffer, length)
    await crypto.random_fill(buffer, 0, 0)
    assert not any(buffer[:30])


async def test_random_fill_locks_its_buffer() -> None:
    buffer = bytearray(1 << 20)
    task = asyncio.create_task(crypto.random_fill(buffer))
    await asyncio.sleep(0)
    with pytest.raises(BufferError):
        buffer.append(1)
    await task
    buffer.append(1)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 3), (-5, 5), (10, 266), (2**200, 2**200 + 7)])
async def test_random_int_is_even(low: int, high: int) -> None:
    count = 200 * (high - low)
    found = Counter([await crypto.random_int(low, high) for _ in range(count)])
    assert set(found) == set(range(low, high))
    assert max(found.values()) < 300 and min(found.values()) > 110


async def test_random_int_of_any_size() -> None:
    found = [await crypto.random_int(1 << 1000) for _ in range(50)]
    assert all(0 <= number < 1 << 1000 for number in found) and max(found) >> 980
    assert await crypto.random_int(7, 8) == 7


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: crypto.random_bytes(-1), ValueError, "size"),
        (lambda: crypto.random_bytes(2**31), ValueError, "size"),
        (lambda: crypto.random_bytes(1.0), TypeError, None),  # type: ignore[arg-type]
        (lambda: crypto.random_fill(b"fixed"), TypeError, "read-write"),
        (lambda: crypto.random_fill(bytearray(5), -1), ValueError, "offset"),
        (lambda: crypto.random_fill(bytearray(5), 6), ValueError, "offset"),
        (lambda: crypto.random_fill(bytearray(5), 3, 3), ValueError, "size"),
        (lambda: crypto.random_fill(bytearray(5), 3, -1), ValueError, "size"),
        (lambda: crypto.random_int(0), ValueError, "max"),
        (lambda: crypto.random_int(5, 5), ValueError, "max"),
        (lambda: crypto.random_int(5.0), TypeError, None),  # type: ignore[arg-type]
        (lambda: crypto.generate_prime(1), ValueError, "bits"),
        (lambda: crypto.generate_prime(5, safe=True), ValueError, "bits"),
        (lambda: crypto.generate_prime(16385), ValueError, "bits"),
        (lambda: crypto.generate_prime(32, rem=1), ValueError, "add"),
        (lambda: crypto.generate_prime(32, add=0), ValueError, "add"),
        (lambda: crypto.generate_prime(32, add=1 << 32), ValueError, "add"),
        (lambda: crypto.generate_prime(32, add=12, rem=12), ValueError, "rem"),
        (lambda: crypto.generate_prime(64, add=9, rem=3), ValueError, "rem"),
        (lambda: crypto.generate_prime(64, add=4, rem=2), ValueError, "rem"),
        (lambda: crypto.generate_prime(64, add=12, safe=True), ValueError, "rem=3"),  # 3 is OpenSSL's
        (lambda: crypto.generate_prime(64, add=7, rem=1, safe=True), ValueError, "rem"),
        (lambda: crypto.generate_prime(64, add=4, rem=1, safe=True), ValueError, "rem"),
        (lambda: crypto.check_prime(-7), ValueError, "candidate"),
        (lambda: crypto.check_prime(1 << 16384), ValueError, "candidate"),
        (lambda: crypto.check_prime("7"), TypeError, "candidate"),  # type: ignore[arg-type]
        (lambda: crypto.check_prime(7, checks=-1), ValueError, "checks"),
    ],
)
async def test_refused(call: Any, error: type[Exception], names: str | None) -> None:
    with pytest.raises(error, match=names):
        await call()


PRIMES = [2, 3, 5, 65537, 2**61 - 1, 2**127 - 1, 2**255 - 19, 2**521 - 1]
COMPOSITES = [0, 1, 4, 561, 2**61 - 3, 2**127 + 1, 3215031751, (2**61 - 1) ** 2]


async def test_check_prime() -> None:
    for number in PRIMES:
        assert await crypto.check_prime(number) is True, number
        assert await crypto.check_prime(number.to_bytes(80, "big"), checks=70) is True
        assert await crypto.check_prime(bytearray(number.to_bytes(80, "big"))) is True
    for number in COMPOSITES:
        assert await crypto.check_prime(number) is False, number


@pytest.mark.parametrize("bits", [2, 3, 16, 100, 512])
async def test_generate_prime(bits: int) -> None:
    prime = await crypto.generate_prime(bits)
    assert prime.bit_length() == bits and await crypto.check_prime(prime)


async def test_generate_prime_with_conditions() -> None:
    safe = await crypto.generate_prime(64, safe=True)
    assert await crypto.check_prime(safe) and await crypto.check_prime(safe >> 1)
    assert await crypto.generate_prime(64, add=60, rem=17) % 60 == 17
    assert await crypto.generate_prime(64, add=60) % 60 == 1
    assert await crypto.generate_prime(64, add=12, rem=11, safe=True) % 12 == 11
    assert (await crypto.generate_prime(64, add=1, rem=0)).bit_length() == 64


@pytest.mark.parametrize(
    "call",
    [
        lambda: crypto.generate_prime(8192, safe=True),
        lambda: crypto.generate_key_pair("rsa", modulus_length=8192),
        lambda: crypto.generate_key_pair("dsa", modulus_length=8192),
        lambda: crypto.generate_key_pair("dh", prime_length=8192),
    ],
)
async def test_a_search_stops_when_nobody_waits(call: Any) -> None:
    task = asyncio.create_task(call())
    await until(lambda: pool.statistics().lanes["cpu"].running == 1)
    before = pool.statistics().lanes["cpu"]
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await until(lambda: pool.statistics().busy == 0)
    after = pool.statistics().lanes["cpu"]
    assert (after.orphaned, after.cancelled) == (before.orphaned + 1, before.cancelled + 1)
