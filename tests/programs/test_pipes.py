"""Subprocesses and their pipes under load: many MiB both ways, children that end early, many children at once."""

import asyncio
import hashlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT

import pytest

MIB = 1 << 20
DATA = os.urandom(MIB)
COPY = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"


async def test_32_mib_there_and_back() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", COPY, stdin=PIPE, stdout=PIPE)
    assert process.stdin and process.stdout
    state = hashlib.sha256()

    async def feed() -> None:
        for _ in range(32):
            process.stdin.write(DATA)
            await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()

    feeding = asyncio.create_task(feed())
    while data := await process.stdout.read(MIB):
        state.update(data)
    await feeding
    assert await process.wait() == 0
    assert state.digest() == hashlib.sha256(DATA * 32).digest()


async def test_communicate_with_both_outputs() -> None:
    script = (
        "import sys; data = sys.stdin.buffer.read(); sys.stderr.buffer.write(data[::-1]); sys.stdout.buffer.write(data)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert await process.communicate(DATA * 4) == (DATA * 4, (DATA * 4)[::-1])
    assert process.returncode == 0


async def test_a_child_that_does_not_read_its_input() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass", stdin=PIPE, stdout=DEVNULL)
    await process.communicate(DATA * 4)  # a broken pipe is no error here
    assert process.returncode == 0


async def test_a_slow_reader_holds_up_the_child() -> None:
    process = await asyncio.create_subprocess_exec("cat", "/dev/zero", stdout=PIPE, limit=1000)
    assert process.stdout
    await asyncio.sleep(0.2)
    assert len(process.stdout._buffer) <= 4 * MIB  # type: ignore[attr-defined]
    process.kill()
    await process.stdout.read()
    assert await process.wait() == -signal.SIGKILL


async def test_lines() -> None:
    process = await asyncio.create_subprocess_exec("seq", "100000", stdout=PIPE)
    assert process.stdout
    assert [int(line) async for line in process.stdout] == list(range(1, 100_001))
    assert await process.wait() == 0


async def test_many_children_at_once() -> None:
    async def one(number: int) -> bytes:
        process = await asyncio.create_subprocess_shell(f"echo {number}; exit {number}", stdout=PIPE, stderr=STDOUT)
        output, _ = await process.communicate()
        assert process.returncode == number
        return output

    assert await asyncio.gather(*(one(number) for number in range(60))) == [b"%d\n" % n for n in range(60)]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_a_child_is_ended(end: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    process.send_signal(end)
    assert await process.wait() == -end
