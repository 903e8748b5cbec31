"""connect_read_pipe and connect_write_pipe: pipes, FIFOs, sockets, terminals, and what is none of them."""

from __future__ import annotations

import asyncio
import logging
import os
import pty
import socket
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.loop.support import only_uvworks
from tests.support import until

MIB = 1 << 20


class Reader(asyncio.Protocol):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.received = bytearray()
        self.error: Exception | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.events.append("lost")


class Writer(asyncio.BaseProtocol):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.error: Exception | None = None

    def connection_made(self, transport: Any) -> None:
        self.events.append("made")

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.events.append("lost")


@pytest.fixture
def pipe() -> Iterator[tuple[Any, Any]]:
    """The two ends of a pipe as file objects."""
    ends = [open(fd, mode, buffering=0) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True)]
    yield ends[0], ends[1]
    for end in ends:
        end.close()


async def test_reading_to_the_end(pipe: tuple[Any, Any]) -> None:
    reader, writer = pipe
    transport, protocol = await asyncio.get_running_loop().connect_read_pipe(Reader, reader)
    assert isinstance(transport, asyncio.ReadTransport)
    assert protocol.transport is transport and transport.get_extra_info("pipe") is reader
    assert not os.get_blocking(reader.fileno())
    writer.write(b"hello")
    await until(lambda: protocol.received == b"hello")
    writer.write(b" world")
    writer.close()
    await until(lambda: "lost" in protocol.events)
    assert protocol.received == b"hello world"
    assert protocol.events == ["made", "eof", "lost"] and protocol.error is None
    assert reader.closed and transport.is_closing()


async def test_reading_can_be_paused(pipe: tuple[Any, Any]) -> None:
    reader, writer = pipe
    transport, protocol = await asyncio.get_running_loop().connect_read_pipe(Reader, reader)
    assert transport.is_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    writer.write(b"later")
    await asyncio.sleep(0.02)
    assert not protocol.received
    transport.resume_reading()
    await until(lambda: protocol.received == b"later")
    transport.close()
    await until(lambda: "lost" in protocol.events)
    assert protocol.events == ["made", "lost"]


async def test_writing(pipe: tuple[Any, Any]) -> None:
    reader, writer = pipe
    transport, protocol = await asyncio.get_running_loop().connect_write_pipe(Writer, writer)
    assert isinstance(transport, asyncio.WriteTransport)
    assert transport.get_extra_info("pipe") is writer
    transport.write(b"one ")
    transport.write(bytearray(b"two "))
    transport.write(memoryview(b"three"))
    transport.write(b"")
    assert os.read(reader.fileno(), 100) == b"one two three"
    with pytest.raises((TypeError, AssertionError)):  # asyncio asserts
        transport.write("text")  # type: ignore[arg-type]
    assert transport.can_write_eof()
    transport.write_eof()
    await until(lambda: "lost" in protocol.events)
    assert protocol.error is None and writer.closed


async def test_many_mebibytes_through_a_pipe(pipe: tuple[Any, Any]) -> None:
    loop = asyncio.get_running_loop()
    sender, writing = await loop.connect_write_pipe(Writer, pipe[1])
    _, reading = await loop.connect_read_pipe(Reader, pipe[0])
    data = os.urandom(MIB) * 16
    sender.write(data)
    assert sender.get_write_buffer_size() > 0
    assert "pause" in writing.events
    sender.write_eof()
    await until(lambda: "lost" in reading.events, 30)
    assert reading.received == data
    await until(lambda: "lost" in writing.events)
    assert writing.events == ["made", "pause", "resume", "lost"]


async def test_the_reader_goes_away(pipe: tuple[Any, Any]) -> None:
    reader, writer = pipe
    transport, protocol = await asyncio.get_running_loop().connect_write_pipe(Writer, writer)
    reader.close()
    await until(lambda: "lost" in protocol.events)
    assert transport.is_closing()


async def test_the_reader_goes_away_with_data_unread(pipe: tuple[Any, Any]) -> None:
    reader, writer = pipe
    transport, protocol = await asyncio.get_running_loop().connect_write_pipe(Writer, writer)
    transport.write(bytes(MIB))
    reader.close()
    await until(lambda: "lost" in protocol.events)
    assert isinstance(protocol.error, BrokenPipeError)


async def test_abort_drops_what_waits(pipe: tuple[Any, Any]) -> None:
    reader, writer = pipe
    transport, protocol = await asyncio.get_running_loop().connect_write_pipe(Writer, writer)
    transport.write(bytes(MIB))
    transport.abort()
    await until(lambda: "lost" in protocol.events)
    assert protocol.error is None
    assert len(reader.read(2 * MIB)) < MIB


async def test_limits_of_the_write_buffer(pipe: tuple[Any, Any]) -> None:
    transport, protocol = await asyncio.get_running_loop().connect_write_pipe(Writer, pipe[1])
    for low, high in ((-1, 10), (20, 10)):
        with pytest.raises(ValueError, match="high"):
            transport.set_write_buffer_limits(high=high, low=low)
    transport.set_write_buffer_limits(high=1000, low=10)
    assert transport.get_write_buffer_limits() == (10, 1000)
    transport.write(bytes(MIB))
    assert protocol.events == ["made", "pause"]
    transport.abort()
    await until(lambda: "lost" in protocol.events)


async def test_a_fifo(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    writing = open(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb", buffering=0)
    _, protocol = await loop.connect_read_pipe(Reader, reading)
    sender, sending = await loop.connect_write_pipe(Writer, writing)
    sender.write(b"through a fifo")
    sender.close()
    await until(lambda: "lost" in protocol.events and "lost" in sending.events)
    assert protocol.received == b"through a fifo"


async def test_both_ends_of_a_socket_pair() -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    sender, sending = await loop.connect_write_pipe(Writer, left)
    _, protocol = await loop.connect_read_pipe(Reader, right)
    sender.write(b"through a socket")
    await until(lambda: protocol.received == b"through a socket")
    sender.close()
    await until(lambda: "lost" in protocol.events and "lost" in sending.events)


async def test_a_terminal() -> None:
    loop = asyncio.get_running_loop()
    master, slave = pty.openpty()
    tty.setraw(slave)
    sender, sending = await loop.connect_write_pipe(Writer, open(slave, "wb", buffering=0))
    receiver, protocol = await loop.connect_read_pipe(Reader, open(master, "rb", buffering=0))
    sender.write(b"through a terminal")
    await until(lambda: protocol.received == b"through a terminal")
    sender.close()
    await until(lambda: "lost" in sending.events)
    receiver.close()
    await until(lambda: "lost" in protocol.events)


async def test_regular_files_are_refused(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with open(path, "rb") as file, pytest.raises(ValueError, match="Pipe transport is"):
        await loop.connect_read_pipe(Reader, file)
    with open(path, "ab") as file, pytest.raises(ValueError, match="Pipe transport is"):
        await loop.connect_write_pipe(Writer, file)


@only_uvworks
async def test_a_closed_file_is_refused(pipe: tuple[Any, Any]) -> None:
    loop = asyncio.get_running_loop()
    for end in pipe:
        end.close()
    with pytest.raises(ValueError, match="closed"):
        await loop.connect_read_pipe(Reader, pipe[0])
    with pytest.raises(ValueError, match="closed"):
        await loop.connect_write_pipe(Writer, pipe[1])


async def test_a_factory_that_raises_leaves_the_pipe_alone(pipe: tuple[Any, Any]) -> None:
    loop = asyncio.get_running_loop()

    def factory() -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await loop.connect_read_pipe(factory, pipe[0])
    with pytest.raises(ZeroDivisionError):
        await loop.connect_write_pipe(factory, pipe[1])
    assert not pipe[0].closed and not pipe[1].closed


async def test_a_cancelled_connect_closes_the_pipe(pipe: tuple[Any, Any]) -> None:
    loop = asyncio.get_running_loop()
    for connect, end in ((loop.connect_read_pipe, pipe[0]), (loop.connect_write_pipe, pipe[1])):
        task = asyncio.create_task(connect(Reader, end))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda end=end: end.closed)  # type: ignore[misc]


def test_debug_mode_tells_of_pipes(run: Run, pipe: tuple[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "asyncio")

    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        receiver, protocol = await loop.connect_read_pipe(Reader, pipe[0])
        sender, sending = await loop.connect_write_pipe(Writer, pipe[1])
        receiver.close()
        sender.close()
        await until(lambda: "lost" in protocol.events and "lost" in sending.events)
        loop.set_debug(False)

    run(body())
    assert "Read pipe" in caplog.text and "Write pipe" in caplog.text and "connected: (" in caplog.text


async def test_a_write_to_a_pipe_that_is_closing_does_not_stop_the_flush() -> None:
    loop = asyncio.get_running_loop()
    lost = loop.create_future()

    class Protocol(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(exc)

    r, w = os.pipe()
    transport, _ = await loop.connect_write_pipe(Protocol, os.fdopen(w, "wb", 0))
    transport.write(b"x" * 1_000_000)
    transport.close()
    transport.write(b"too late")
    size = 0
    while size < 1_000_000:
        size += len(await loop.run_in_executor(None, os.read, r, 65536))
    assert await lost is None
    os.close(r)
    assert size == 1_000_000


async def test_a_pipe_takes_any_iterable_of_lines() -> None:
    r, w = os.pipe()
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.Protocol, os.fdopen(w, "wb", 0))
    transport.writelines((b"a", b"b"))
    transport.writelines(iter([b"c"]))
    transport.close()
    try:
        assert os.read(r, 10) == b"abc"
    finally:
        os.close(r)


async def test_lines_are_one_write() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # a read is what one write has sent
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.Protocol, ours)
    lines = [b"%03d\n" % i for i in range(200)]
    with theirs:
        theirs.setblocking(False)
        transport.writelines(lines)
        assert theirs.recv(2000) == b"".join(lines)
        transport.writelines([])
        with pytest.raises(TypeError, match="sequence item 1: expected a bytes-like object, str found"):
            transport.writelines([b"a", "b"])  # type: ignore[list-item]
        with pytest.raises(BlockingIOError):
            theirs.recv(2000)
        transport.close()
        await asyncio.sleep(0)


async def test_the_null_device_can_be_written_to() -> None:
    null = open(os.devnull, "wb", 0)
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.Protocol, null)
    transport.write(b"x" * 1_000_000)
    transport.close()
    await until(lambda: null.closed)


@only_uvworks  # asyncio closes the transport when anything can be read
async def test_what_comes_in_on_the_socket_of_a_write_pipe_is_for_others() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.Protocol, ours)
        theirs.send(b"hello")
        await asyncio.sleep(0.01)
        assert not transport.is_closing()
        assert ours.recv(10) == b"hello"
        transport.write(b"fine")
        assert theirs.recv(10) == b"fine"
        transport.close()


def test_a_pipe_breaks_while_a_callback_ends_the_run(loop: asyncio.AbstractEventLoop) -> None:
    lost: list[Exception | None] = []

    class Impatient(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise KeyboardInterrupt

    class Writer(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(exc)
            loop.stop()

    ours, theirs = socket.socketpair()
    reading, _ = loop.run_until_complete(loop.create_connection(Impatient, sock=ours))
    r, w = os.pipe()
    loop.run_until_complete(loop.connect_write_pipe(Writer, os.fdopen(w, "wb", 0)))

    def both() -> None:
        theirs.send(b"x")
        os.close(r)

    loop.call_soon(both)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    if not lost:
        loop.call_later(10, loop.stop)
        loop.run_forever()
    assert lost == [None]
    reading.abort()
    theirs.close()
    loop.run_until_complete(asyncio.sleep(0))
