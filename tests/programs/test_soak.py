"""A soak: 500 rounds of serve, connect, talk and close on one loop, and on loops that come and go. Descriptors, tasks,
objects and resident memory stay where they were once the loop is warm."""

import asyncio
import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loops import LoopFactory

ROUNDS = 500
WARM = 100
ALLOWED_KIB = 2048  # what an allocator may still settle; a leak of one transport a round is more


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def loop_objects() -> int:
    """How many transports, servers, handles, tasks and futures the collector can see."""
    kinds = (asyncio.BaseTransport, asyncio.AbstractServer, asyncio.Handle, asyncio.Future, asyncio.StreamReader)
    return sum(isinstance(each, kinds) for each in gc.get_objects())


class Watch:
    """Compares what is there now with what was there after the warm rounds."""

    def __init__(self) -> None:
        self.before: tuple[int, int, int] | None = None

    def look(self) -> tuple[int, int, int]:
        gc.collect()
        return descriptors(), loop_objects(), resident_kib()

    def mark(self) -> None:
        self.before = self.look()

    def check(self) -> None:
        assert self.before
        files, objects, memory = self.look()
        assert files == self.before[0], "descriptors"
        assert objects <= self.before[1] + 5, "objects"
        assert memory <= self.before[2] + ALLOWED_KIB, f"{memory - self.before[2]} KiB more"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def talk(connect: Callable, size: int, abrupt: bool) -> None:
    reader, writer = await connect()
    writer.write(b"x" * size)
    await writer.drain()
    assert len(await reader.readexactly(size)) == size
    if abrupt:
        writer.transport.abort()
    else:
        writer.write_eof()
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def one_round(number: int, directory: Path) -> None:
    if number % 2:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        def connect():
            return asyncio.open_connection("127.0.0.1", port)
    else:
        path = directory / f"socket-{number}"
        server = await asyncio.start_unix_server(echo, path)

        def connect():
            return asyncio.open_unix_connection(path)

    async with server:
        await asyncio.gather(*(talk(connect, size, number % 5 == 0) for size in (1, 5000, 300_000)))
    while len(asyncio.all_tasks()) > 1:  # the server's sides end a moment later
        await asyncio.sleep(0)


@pytest.mark.timeout(180)
async def test_one_loop_for_all_rounds(tmp_path: Path) -> None:
    watch = Watch()
    for number in range(ROUNDS):
        if number == WARM:
            watch.mark()
        await one_round(number, tmp_path)
    watch.check()


@pytest.mark.timeout(180)
def test_a_loop_for_each_round(loop_factory: LoopFactory, tmp_path: Path) -> None:
    watch = Watch()
    for number in range(ROUNDS):
        if number == WARM:
            watch.mark()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(one_round(number, tmp_path))
    watch.check()
