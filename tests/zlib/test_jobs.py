"""Calls as jobs: many at once, large ones beside others, cancelled, in a forked child, without memory."""

from __future__ import annotations

import asyncio
import os
import random
import zlib as std
from typing import Any

import pytest

from tests.support import python, until
from tests.zlib.support import FAST, PAIRS, SANITIZED, noise, pair, sources, text
from uvworks import pool, zlib
from uvworks.zlib import constants as c


@pytest.mark.parametrize("name", ["gzip", "brotli", "zstd"])
async def test_ten_thousand_at_once(name: str) -> None:
    encode, decode = PAIRS[name]
    data = text(2000)
    options = FAST.get(name, {})
    one = await encode(data, **options)
    before = resident()
    results = await asyncio.gather(*[encode(data, inline_size=0, **options) for _ in range(10_000)])
    # Ten thousand states of zlib would be 2.6 GB; the results, tasks and jobs are some 4 KiB each.
    assert resident() - before < (600 if SANITIZED else 200) << 20
    assert all(result == one for result in results)
    assert len(await asyncio.gather(*[decode(one, inline_size=0) for _ in range(10_000)])) == 10_000
    assert pool.statistics().lanes["cpu"].waiting == 0


async def test_large_results_come_as_they_are_ready() -> None:
    data = noise(300_000)
    finished = []

    async def one(number: int) -> None:
        await zlib.gzip(data)
        finished.append(number)
        if number == 0:
            assert pool.statistics().lanes["cpu"].waiting > 50

    await asyncio.gather(*map(one, range(100)))
    # A worker that the system lets wait delays the one it has.
    assert sorted(abs(number - place) for place, number in enumerate(finished))[-5] < 20


async def test_many_large_ones_leave_other_lanes_their_turn() -> None:
    data = noise(16 << 20)
    lane, loop = pool.lane("cpu"), asyncio.get_running_loop()
    before, lane.limit = lane.limit, 64  # as many as there may be
    try:
        params = {c.BROTLI_PARAM_QUALITY: 6}
        tasks = [asyncio.create_task(zlib.brotli_compress(data, params=params)) for _ in range(12)]
        waits = []
        while not all(task.done() for task in tasks):
            asked = loop.time()
            await pool.submit(int)
            waits.append(loop.time() - asked)
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)
    finally:
        lane.limit = before
    assert sorted(waits)[-4] < 0.08  # one of these takes some 200 ms, a piece of it a few


FORKED = """
import asyncio, os, random
from uvworks import pool, zlib

noise = random.Random(0).randbytes(1 << 20)
pool.configure(size=8, lanes={"cpu": {"limit": 7}})

async def parent():
    slow = [asyncio.ensure_future(zlib.brotli_compress(noise * 8, params={1: 9})) for _ in range(7)]
    while pool.statistics().lanes["cpu"].running < 5:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    forked = os.fork()
    for task in slow:
        task.cancel()
    return forked

async def child():
    pool.lane("cpu").limit = 1
    large = asyncio.ensure_future(zlib.gzip(noise * 64, level=1))
    while not pool.statistics().lanes["cpu"].running:
        await asyncio.sleep(0.001)
    await zlib.gzip(noise)
    assert not large.done()
    await large

loop = asyncio.new_event_loop()
forked = loop.run_until_complete(parent())
if forked == 0:
    status = 1
    try:
        asyncio.run(child())
        status = 0
    finally:
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
loop.run_until_complete(asyncio.sleep(0))
loop.close()
"""


def test_a_forked_child_does_not_count_its_parents_states() -> None:
    python(FORKED, warnings="ignore")


async def test_large_states_are_counted_as_such() -> None:
    data = noise(8 << 20)
    params = {c.ZSTD_c_strategy: c.ZSTD_fast, c.ZSTD_c_hashLog: 24, c.ZSTD_c_windowLog: 23}  # 64 MiB and more
    before = most = resident()
    tasks = [asyncio.create_task(zlib.zstd_compress(data, params=params)) for _ in range(12)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.002)
        most = max(most, resident())
    await asyncio.gather(*tasks)
    assert most - before < (900 if SANITIZED else 600) << 20


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_loop_of_small_calls_gives_others_their_turn() -> None:
    turns = 0
    done = False

    async def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await asyncio.sleep(0)
    for _ in range(2000):
        await zlib.gzip(b"abc" * 300, inline_size=4096)
    done = True
    await task
    assert turns > 20


@pytest.mark.parametrize("name", ["gzip", "gzip of genes", "zstd"])
async def test_cancel_frees_the_worker(name: str) -> None:
    name, _, genes = name.partition(" ")
    data = (bytes(random.Random(0).choices(b"acgt", k=1 << 20)) if genes else noise(1 << 20)) * 64
    options: dict[str, Any] = {"params": {c.ZSTD_c_compressionLevel: 10}} if name == "zstd" else {"level": 9}
    loop = asyncio.get_running_loop()
    taken = []
    for _ in range(3):
        task = asyncio.create_task(PAIRS[name][0](data, **options))  # type: ignore[arg-type]
        await until(lambda: pool.statistics().lanes["cpu"].running)
        await asyncio.sleep(0.02)
        begun = loop.time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not pool.statistics().lanes["cpu"].running)
        taken.append(loop.time() - begun)
    assert min(taken) < (0.2 if SANITIZED else 0.05), taken


async def test_brotli_is_left_in_the_middle_of_its_work() -> None:
    before = pool.statistics().lanes["cpu"]
    for patience in (0.01, 0.3, 0.7):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(patience):
                await zlib.brotli_compress(sources()[: 4 << 20])
    stream = zlib.create_brotli_compress()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await stream.write(sources()[: 4 << 20])
    assert stream.closed
    await until(lambda: not pool.statistics().lanes["cpu"].running)
    after = pool.statistics().lanes["cpu"]
    assert (after.cancelled - before.cancelled, after.failed - before.failed) == (4, 0)


NO_MEMORY = """
import asyncio, pathlib, resource
from uvworks import pool, zlib

pool.configure(size=1)  # whose thread has what the C library gives it at its first job, or ends the process
large_window = {1: 5, 2: 28, 6: 1}  # of which brotli wants 512 MiB

async def main():
    data = b"all work and no play " * 20_000
    await zlib.brotli_compress(data, params={1: 5})
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (128 << 20), -1))
    stream = zlib.create_brotli_compress(params=large_window)
    for call in zlib.brotli_compress(data, params=large_window), stream.write(data):
        try:
            await call
        except MemoryError:
            print("refused")
    assert stream.closed
    assert await zlib.brotli_decompress(await zlib.brotli_compress(data, params={1: 5})) == data

asyncio.run(main())
"""


def test_brotli_without_memory() -> None:
    if SANITIZED:
        pytest.skip("a sanitizer has more address space than may be limited")
    assert python(NO_MEMORY).stdout == "refused\nrefused\n"


async def test_timeout() -> None:
    data = noise(1 << 20) * 64
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await zlib.gzip(data)
    await until(lambda: not pool.statistics().lanes["cpu"].running)


@pair
async def test_input_that_changes_meanwhile(name: str) -> None:
    encode, decode = PAIRS[name]
    data = bytearray(text(900_000))
    other = noise(900_000, 3)
    packed = bytearray(await encode(data, **FAST.get(name, {})))
    for target, call, options in ((data, encode, FAST.get(name, {})), (packed, decode, {})):
        for step in range(1, 12):
            task = asyncio.create_task(call(target, **options))  # type: ignore[arg-type]
            await asyncio.sleep(step * 0.0005)
            size = len(target) // step
            target[:size] = other[:size]
            try:
                await task
            except std.error:
                pass


async def test_a_bytearray_is_locked_until_the_job_has_ended() -> None:
    data = bytearray(noise(4 << 20))
    task = asyncio.create_task(zlib.gzip(data))
    await asyncio.sleep(0)
    with pytest.raises(BufferError):
        data.append(1)
    await task
    data.append(1)
