"""What the loop's tests share: marks, peers, and sockets in a state that is hard to get."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

import uvworks
from tests.support import until

# Where we do better than some asyncio that we run beside: newer options, fewer leaks, earlier errors.
only_uvworks = pytest.mark.parametrize("loop_factory", [uvworks.new_event_loop], ids=["uvworks"])

LOCALHOST = "127.0.0.1"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def serving(server: Any) -> AsyncIterator[Any]:
    """A server, closed at the end; what serves its connections must end, too."""
    before = asyncio.all_tasks()
    try:
        yield server
    finally:
        server.close()
        await asyncio.wait_for(server.wait_closed(), 10)
        await until(lambda: asyncio.all_tasks() <= before)


@asynccontextmanager
async def echo_server(**options: Any) -> AsyncIterator[int]:
    """An echo server on loopback; its port."""
    async with serving(await asyncio.start_server(echo, LOCALHOST, 0, **options)) as server:
        yield server.sockets[0].getsockname()[1]


async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes = b"hello") -> None:
    """Asserts that the other side echoes, and closes."""
    writer.write(data)
    assert await asyncio.wait_for(reader.readexactly(len(data)), 10) == data
    writer.close()
    await writer.wait_closed()


def unused_port(host: str = LOCALHOST) -> int:
    with socket.socket() as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


@contextmanager
def unanswering() -> Iterator[tuple[str, int]]:
    """An address where connections neither succeed nor fail: the queue of one who never accepts is full."""
    with socket.socket() as listener:
        listener.bind((LOCALHOST, 0))
        listener.listen(0)
        address = listener.getsockname()
        queued = []
        try:
            for _ in range(4):
                sock = socket.socket()
                queued.append(sock)
                sock.setblocking(False)
                sock.connect_ex(address)
            yield address
        finally:
            for sock in queued:
                sock.close()


class Recorder(asyncio.Protocol, asyncio.DatagramProtocol):
    """Keeps what a transport tells it."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.data = bytearray()
        self.datagrams: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.eof = False
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.datagrams.append((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
