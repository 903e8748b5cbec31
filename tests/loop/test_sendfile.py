"""sendfile: through the kernel, and by reading and writing; what is sent, where the file stands, who may not."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.loop.support import LOCALHOST, Recorder, only_uvworks, serving
from tests.support import until

DATA = os.urandom(3 << 20)
BUFFER = 1 << 16


@pytest.fixture
def file(tmp_path: Path) -> Any:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as opened:
        yield opened


@asynccontextmanager
async def connection(**options: Any) -> AsyncIterator[tuple[Any, Recorder, Recorder]]:
    """A client's transport and protocol, and the server's protocol; `ssl` is a pair of contexts."""
    loop = asyncio.get_running_loop()
    theirs: list[Recorder] = []

    def factory() -> Recorder:
        theirs.append(Recorder())
        return theirs[-1]

    server_tls, client_tls = options.pop("ssl", (None, None))
    async with serving(await loop.create_server(factory, LOCALHOST, 0, ssl=server_tls)) as server:
        # Small buffers: a file must not vanish in those of the kernel.
        server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=client_tls, **options
        )
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        await until(lambda: theirs and theirs[0].transport)
        try:
            yield transport, protocol, theirs[0]
        finally:
            transport.abort()
            theirs[0].transport.abort()
            await asyncio.wait_for(asyncio.wait([protocol.lost, theirs[0].lost]), 10)


@asynccontextmanager
async def connected_sockets() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server((LOCALHOST, 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        with ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            ours.setblocking(False)
            theirs.setblocking(False)
            yield ours, theirs


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> Any:
    """Options for `connection`: sendfile(2), or reading and writing."""
    if request.param == "plain":
        return {}
    return {"ssl": (request.getfixturevalue("server_tls"), request.getfixturevalue("client_tls"))}


@pytest.mark.parametrize(("offset", "count"), [(0, None), (1000, None), (0, 70_000), (1000, 70_000), (0, 1 << 40)])
async def test_through_a_transport(file: BinaryIO, tls: Any, offset: int, count: int | None) -> None:
    expected = DATA[offset:] if count is None else DATA[offset : offset + count]
    async with connection(**tls) as (transport, protocol, theirs):
        transport.write(b"before ")
        sent = await asyncio.wait_for(asyncio.get_running_loop().sendfile(transport, file, offset, count), 30)
        assert sent == len(expected)
        assert file.tell() == offset + sent
        transport.write(b" after")
        assert transport.get_protocol() is protocol
        await until(lambda: len(theirs.data) == sent + 13)
        assert theirs.data == b"before " + expected + b" after"
        theirs.transport.write(b"still reading")
        await until(lambda: protocol.data == b"still reading")


@pytest.mark.parametrize(("offset", "count"), [(0, None), (1000, None), (0, 70_000), (1000, 70_000)])
async def test_through_a_socket(file: BinaryIO, offset: int, count: int | None) -> None:
    expected = DATA[offset:] if count is None else DATA[offset : offset + count]
    loop = asyncio.get_running_loop()
    async with connected_sockets() as (ours, theirs):
        sending = loop.create_task(loop.sock_sendfile(ours, file, offset, count))
        data = bytearray()
        while len(data) < len(expected):
            data += await asyncio.wait_for(loop.sock_recv(theirs, 1 << 20), 10)
        assert data == expected
        assert await sending == len(expected)
        assert file.tell() == offset + len(expected)


async def test_empty_files(tmp_path: Path, tls: Any) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file:
        async with connection(**tls) as (transport, _, _):
            assert await asyncio.get_running_loop().sendfile(transport, file) == 0
        async with connected_sockets() as (ours, _):
            assert await asyncio.get_running_loop().sock_sendfile(ours, file) == 0


async def test_files_that_the_kernel_cannot_send() -> None:
    loop = asyncio.get_running_loop()
    async with connection() as (transport, _, theirs):
        assert await loop.sendfile(transport, io.BytesIO(DATA)) == len(DATA)
        await until(lambda: len(theirs.data) == len(DATA))
        assert theirs.data == DATA
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sendfile(transport, io.BytesIO(DATA), fallback=False)
    async with connected_sockets() as (ours, theirs_):
        assert await loop.sock_sendfile(ours, io.BytesIO(b"few")) == 3
        assert await loop.sock_recv(theirs_, 10) == b"few"
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sock_sendfile(ours, io.BytesIO(b"few"), fallback=False)


async def test_tls_has_no_sendfile_of_its_own(
    file: BinaryIO, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with connection(ssl=(server_tls, client_tls)) as (transport, _, _):
        with pytest.raises(RuntimeError, match="fallback is disabled and native sendfile is not supported"):
            await asyncio.get_running_loop().sendfile(transport, file, fallback=False)


@only_uvworks  # asyncio begins where the file stands when it cannot use the kernel
async def test_offset_zero_is_the_beginning(file: BinaryIO, tls: Any) -> None:
    file.seek(5)
    async with connection(**tls) as (transport, _, theirs):
        await asyncio.get_running_loop().sendfile(transport, file, count=10)
        await until(lambda: len(theirs.data) == 10)
        assert theirs.data == DATA[:10]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1, None), ValueError, "offset must be a non-negative integer"),
        (("1", None), TypeError, "offset must be a non-negative integer"),
        ((0, 0), ValueError, "count must be a positive integer"),
        ((0, -1), ValueError, "count must be a positive integer"),
        ((0, 1.5), TypeError, "count must be a positive integer"),
    ],
)
async def test_numbers_that_are_none(
    file: BinaryIO, arguments: tuple[Any, Any], error: type[Exception], message: str
) -> None:
    loop = asyncio.get_running_loop()
    async with connected_sockets() as (ours, _):
        with pytest.raises(error, match=message):
            await loop.sock_sendfile(ours, file, *arguments)


async def test_text_files_and_datagram_sockets(tmp_path: Path, file: BinaryIO) -> None:
    loop = asyncio.get_running_loop()
    with (tmp_path / "file").open() as text:
        async with connected_sockets() as (ours, _):
            with pytest.raises(ValueError, match="binary mode"):
                await loop.sock_sendfile(ours, text)
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.setblocking(False)
        with pytest.raises(ValueError, match="only SOCK_STREAM type sockets are supported"):
            await loop.sock_sendfile(datagrams, file)


async def test_transports_that_cannot(file: BinaryIO) -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(RuntimeError, match="sendfile is not supported for transport"):
        await loop.sendfile(_Unable(), file)
    async with connection() as (transport, _, _):
        transport.close()
        with pytest.raises(RuntimeError, match="Transport is closing"):
            await loop.sendfile(transport, file)


class _Unable(asyncio.WriteTransport):
    def is_closing(self) -> bool:
        return False


async def test_writing_meanwhile_is_an_error(file: BinaryIO) -> None:
    loop = asyncio.get_running_loop()
    async with connection() as (transport, _, theirs):
        theirs.transport.pause_reading()
        task = loop.create_task(loop.sendfile(transport, file))
        await asyncio.sleep(0.05)
        assert not task.done()
        with pytest.raises(RuntimeError, match="sendfile is in progress"):
            transport.write(b"x")
        theirs.transport.resume_reading()
        assert await asyncio.wait_for(task, 10) == len(DATA)


async def test_the_peer_leaves(file: BinaryIO, tls: Any) -> None:
    loop = asyncio.get_running_loop()
    async with connection(**tls) as (transport, protocol, theirs):
        theirs.transport.pause_reading()
        task = loop.create_task(loop.sendfile(transport, file))
        await asyncio.sleep(0.05)
        assert not task.done()
        theirs.transport.abort()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(task, 10)
        assert 0 < file.tell() < len(DATA)
        transport.close()
        await asyncio.wait_for(protocol.lost, 10)


@only_uvworks  # asyncio's waits for ever
async def test_the_transport_is_closed_meanwhile(file: BinaryIO, tls: Any) -> None:
    loop = asyncio.get_running_loop()
    async with connection(**tls) as (transport, protocol, theirs):
        theirs.transport.pause_reading()
        task = loop.create_task(loop.sendfile(transport, file))
        await asyncio.sleep(0.05)
        transport.abort()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(task, 10)
        await asyncio.wait_for(protocol.lost, 10)


@only_uvworks  # asyncio does not set the file's position then, and may send what it has not counted
async def test_cancelled(file: BinaryIO, tls: Any) -> None:
    loop = asyncio.get_running_loop()
    async with connection(**tls) as (transport, protocol, theirs):
        theirs.transport.pause_reading()
        task = loop.create_task(loop.sendfile(transport, file))
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sent = file.tell()
        assert 0 < sent < len(DATA)
        theirs.transport.resume_reading()
        transport.write(b"end")
        await until(lambda: theirs.data.endswith(b"end"))
        assert theirs.data == DATA[:sent] + b"end"
        assert transport.get_protocol() is protocol


@only_uvworks
async def test_a_cancelled_socket_is_left_alone(file: BinaryIO) -> None:
    loop = asyncio.get_running_loop()
    async with connected_sockets() as (ours, _):
        task = loop.create_task(loop.sock_sendfile(ours, file))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert 0 < file.tell() < len(DATA)
        assert not loop.remove_writer(ours)


class Failing(io.BytesIO):
    def readinto(self, buffer: Any) -> int:
        if self.tell() > 0:
            raise ZeroDivisionError
        return super().readinto(memoryview(buffer)[:100])


async def test_a_file_that_fails(tls: Any) -> None:
    loop = asyncio.get_running_loop()
    file = Failing(DATA)
    async with connection(**tls) as (transport, protocol, theirs):
        with pytest.raises(ZeroDivisionError):
            await loop.sendfile(transport, file)
        assert file.tell() == 100
        await until(lambda: theirs.data == DATA[:100])
        assert transport.get_protocol() is protocol
        theirs.transport.write(b"still reading")
        await until(lambda: protocol.data == b"still reading")


@only_uvworks
async def test_flow_control_is_what_it_was(file: BinaryIO, tls: Any) -> None:
    """A protocol hears of a pause and of its end in pairs, also when a transfer is between them."""
    loop = asyncio.get_running_loop()
    heard: list[str] = []
    async with connection(**tls) as (transport, protocol, theirs):
        protocol.pause_writing = lambda: heard.append("pause")  # type: ignore[method-assign]
        protocol.resume_writing = lambda: heard.append("resume")  # type: ignore[method-assign]
        theirs.transport.pause_reading()
        written = 0
        while not heard:  # TLS notices when the transport below it has paused
            transport.write(bytes(1 << 20))
            written += 1 << 20
        assert heard == ["pause"]
        task = loop.create_task(loop.sendfile(transport, file))
        await asyncio.sleep(0.05)
        assert heard == ["pause"]
        theirs.transport.resume_reading()
        assert await asyncio.wait_for(task, 30) == len(DATA)
        await until(lambda: len(theirs.data) == written + len(DATA))
        assert heard[:2] == ["pause", "resume"]
        assert heard == ["pause", "resume"] * (len(heard) // 2)


@only_uvworks  # asyncio takes them for empty
async def test_files_that_do_not_know_their_size(tls: Any) -> None:
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    with open(writing, "wb") as end:
        end.write(b"through a pipe")
    with open(reading, "rb") as pipe, open("/proc/self/cmdline", "rb") as kernels:
        expected = b"through a pipe" + kernels.read()
        async with connection(**tls) as (transport, _, theirs):
            assert await loop.sendfile(transport, pipe) == 14
            assert await loop.sendfile(transport, kernels) == len(expected) - 14
            await until(lambda: theirs.data == expected)


async def test_files_that_cannot_be_read(tmp_path: Path, tls: Any) -> None:
    loop = asyncio.get_running_loop()
    async with connection(**tls) as (transport, protocol, theirs):
        (tmp_path / "closed").write_bytes(b"x")
        with (tmp_path / "closed").open("rb") as closed:
            pass
        with pytest.raises(ValueError, match="closed file"):
            await loop.sendfile(transport, closed)
        assert transport.get_protocol() is protocol
        theirs.transport.write(b"still reading")
        await until(lambda: protocol.data == b"still reading")


@only_uvworks  # asyncio: KeyError, or the second's data among the first's
async def test_two_at_once(file: BinaryIO, tls: Any) -> None:
    loop = asyncio.get_running_loop()
    async with connection(**tls) as (transport, protocol, theirs):
        first = loop.create_task(loop.sendfile(transport, file))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="sendfile is in progress"):
            await loop.sendfile(transport, file)
        assert await asyncio.wait_for(first, 30) == len(DATA)
        await until(lambda: theirs.data == DATA)
        assert transport.get_protocol() is protocol


@only_uvworks
@pytest.mark.parametrize("end", ["close", "abort"])
async def test_the_transport_ends_while_it_is_drained(file: BinaryIO, tls: Any, end: str) -> None:
    loop = asyncio.get_running_loop()
    async with connection(**tls) as (transport, protocol, theirs):
        theirs.transport.pause_reading()
        for _ in range(20):
            transport.write(bytes(1 << 20))
        task = loop.create_task(loop.sendfile(transport, file))
        await asyncio.sleep(0.02)
        getattr(transport, end)()
        theirs.transport.resume_reading()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(task, 10)
        await asyncio.wait_for(protocol.lost, 10)
