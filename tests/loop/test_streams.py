"""Stream transports in C, seen by protocols: order of events, writing, flow control, half-close, aborts, buffers."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.loop.support import LOCALHOST, only_uvworks, serving
from tests.support import until


class Events(asyncio.Protocol):
    """Writes down what it is told, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.data = bytearray()
        self.transport: Any = None
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.keep_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes and data
        if self.events[-1] != "data":
            self.events.append("data")
        self.data += data

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.lost.set_result(exc)


@asynccontextmanager
async def connected(
    client: type[asyncio.BaseProtocol] = Events, server: type[asyncio.BaseProtocol] = Events
) -> AsyncIterator[tuple[Any, Any]]:
    """Two protocols that talk to each other; both ends are gone at the end."""
    loop = asyncio.get_running_loop()
    accepted: list[Any] = []

    def factory() -> asyncio.BaseProtocol:
        accepted.append(server())
        return accepted[0]

    async with serving(await loop.create_server(factory, LOCALHOST, 0)) as listener:
        _, ours = await loop.create_connection(client, *listener.sockets[0].getsockname())
        await until(lambda: accepted and accepted[0].transport)
        try:
            yield ours, accepted[0]
        finally:
            for protocol in (ours, accepted[0]):
                if not protocol.lost.done():
                    protocol.transport.abort()
                await asyncio.wait_for(protocol.lost, 10)


# Order ----------------------------------------------------------------------------


async def test_what_a_protocol_is_told_in_which_order() -> None:
    async with connected() as (ours, theirs):
        ours.transport.write(b"hello")
        await until(lambda: theirs.data == b"hello")
        theirs.transport.write(b"bye")
        theirs.transport.close()
        assert await asyncio.wait_for(ours.lost, 10) is None
        assert await asyncio.wait_for(theirs.lost, 10) is None
        assert ours.events == ["made", "data", "eof", "lost"] and ours.data == b"bye"
        assert theirs.events == ["made", "data", "lost"]


async def test_the_transport_tells_of_itself() -> None:
    async with connected() as (ours, theirs):
        transport = ours.transport
        assert isinstance(transport, asyncio.Transport) and not transport.is_closing() and transport.is_reading()
        assert transport.get_extra_info("peername") == theirs.transport.get_extra_info("sockname")
        assert transport.get_extra_info("sockname") == theirs.transport.get_extra_info("peername")
        sock = transport.get_extra_info("socket")
        assert sock.family == socket.AF_INET and sock.getsockname() == transport.get_extra_info("sockname")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert transport.get_extra_info("nothing") is None and transport.get_extra_info("nothing", 3) == 3
        assert transport.get_protocol() is ours
        assert str(sock.fileno()) in repr(transport)


async def test_another_protocol_takes_over() -> None:
    async with connected() as (ours, theirs):
        other = Events()
        other.connection_made(ours.transport)
        ours.transport.set_protocol(other)
        theirs.transport.write(b"for the other")
        await until(lambda: other.data == b"for the other")
        assert ours.data == b"" and ours.transport.get_protocol() is other
        ours.transport.set_protocol(ours)


async def test_a_protocol_takes_over_while_it_receives() -> None:
    other = None

    class First(Events):
        def data_received(self, data: bytes) -> None:
            nonlocal other
            super().data_received(data)
            other = Events()
            other.connection_made(self.transport)
            self.transport.set_protocol(other)

    async with connected(server=First) as (ours, theirs):
        ours.transport.write(b"one")
        await until(lambda: theirs.data == b"one")
        ours.transport.write(b"two")
        await until(lambda: other and other.data == b"two")
        theirs.transport.set_protocol(theirs)


# Reading --------------------------------------------------------------------------


async def test_pausing_and_resuming() -> None:
    async with connected() as (ours, theirs):
        theirs.transport.pause_reading()
        theirs.transport.pause_reading()
        assert not theirs.transport.is_reading()
        ours.transport.write(b"x" * 1000)
        await asyncio.sleep(0.02)
        assert theirs.data == b""
        theirs.transport.resume_reading()
        theirs.transport.resume_reading()
        assert theirs.transport.is_reading()
        await until(lambda: len(theirs.data) == 1000)


async def test_pausing_inside_data_received() -> None:
    class Careful(Events):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.0005, self.transport.resume_reading)

    async with connected(server=Careful) as (ours, theirs):
        data = os.urandom(1 << 20)
        ours.transport.write(data)
        await until(lambda: len(theirs.data) == len(data))
        assert theirs.data == data
        await asyncio.sleep(0.01)


async def test_the_end_waits_while_reading_is_paused() -> None:
    async with connected() as (ours, theirs):
        theirs.transport.pause_reading()
        ours.transport.write(b"last words")
        ours.transport.close()
        await asyncio.sleep(0.02)
        assert theirs.events == ["made"]
        theirs.transport.resume_reading()
        await asyncio.wait_for(theirs.lost, 10)
        assert theirs.events == ["made", "data", "eof", "lost"] and theirs.data == b"last words"


async def test_one_fast_sender_does_not_starve_the_others() -> None:
    """A peer that sends without end may take only so much of each turn."""

    class Endless(Events):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.more()

        def more(self) -> None:
            while "pause" not in self.events[-1:] and not self.transport.is_closing():
                self.transport.write(bytes(1 << 16))

        def resume_writing(self) -> None:
            super().resume_writing()
            self.more()

    class Drain(Events):
        def data_received(self, data: bytes) -> None:
            if self.events[-1] != "data":
                self.events.append("data")

    async with connected(client=Drain, server=Endless):
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert loop.time() - start < 5


class Buffered(asyncio.BufferedProtocol):
    """Receives into a small buffer of its own."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.buffer = bytearray(1000)
        self.data = bytearray()
        self.sizes: list[int] = []
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        self.sizes.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert 0 < nbytes <= len(self.buffer)
        self.data += self.buffer[:nbytes]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def test_a_buffered_protocol() -> None:
    async with connected(server=Buffered) as (ours, theirs):
        data = os.urandom(100_000)
        ours.transport.write(data)
        await until(lambda: len(theirs.data) == len(data))
        assert theirs.data == data and theirs.sizes


@pytest.mark.parametrize("wrong", [b"read only", bytearray(), 3])
async def test_a_buffered_protocol_without_a_buffer(wrong: Any) -> None:
    class Wrong(Buffered):
        def get_buffer(self, sizehint: int) -> Any:
            return wrong

    contexts: list[dict[str, Any]] = []
    async with connected(server=Wrong) as (ours, theirs):
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
        ours.transport.write(b"x")
        assert isinstance(await asyncio.wait_for(theirs.lost, 10), Exception)
    assert len(contexts) == 1


# Writing --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=lambda make: make.__name__)
async def test_every_kind_of_bytes(make: Any) -> None:
    async with connected() as (ours, theirs):
        ours.transport.write(make(b"one "))
        ours.transport.write(make(b""))
        ours.transport.writelines([make(b"two "), make(b""), make(b"three")])
        await until(lambda: theirs.data == b"one two three")


@only_uvworks
async def test_a_bytearray_may_change_after_the_write() -> None:
    async with connected() as (ours, theirs):
        theirs.transport.pause_reading()
        size = 4 << 20
        data = bytearray(b"x") * size
        ours.transport.write(data)
        data[:] = b"y" * size
        data.clear()
        theirs.transport.resume_reading()
        await until(lambda: len(theirs.data) == size)
        assert theirs.data == b"x" * size


async def test_what_is_no_bytes() -> None:
    async with connected() as (ours, _):
        for wrong in ("text", None, 3, [b"bytes"]):
            with pytest.raises(TypeError):
                ours.transport.write(wrong)
        with pytest.raises(TypeError):
            ours.transport.writelines(["text"])
        assert not ours.transport.is_closing()


async def test_the_order_of_many_writes() -> None:
    async with connected() as (ours, theirs):
        pieces = [os.urandom(size) for size in (1, 10, 100_000, 3, 2_000_000, 0, 7) * 3]
        for number, piece in enumerate(pieces):
            if number % 3:
                ours.transport.write(piece)
            else:
                ours.transport.writelines([piece[:1], piece[1:]])
        ours.transport.close()
        await asyncio.wait_for(theirs.lost, 20)
        assert theirs.data == b"".join(pieces)


async def test_memory_is_given_back_after_a_large_write() -> None:
    async with connected() as (ours, theirs):
        theirs.transport.pause_reading()
        ours.transport.write(bytes(5 << 20))
        assert ours.transport.get_write_buffer_size() > 0
        theirs.transport.resume_reading()
        await until(lambda: len(theirs.data) == 5 << 20)
        await until(lambda: ours.transport.get_write_buffer_size() == 0)


# Flow control ---------------------------------------------------------------------


async def test_a_peer_that_does_not_read_holds_up_the_writer() -> None:
    async with connected() as (ours, theirs):
        theirs.transport.pause_reading()
        written = 0
        while ours.events[-1] != "pause":
            ours.transport.write(bytes(1 << 16))
            written += 1 << 16
            assert written < 100 << 20
        low, high = ours.transport.get_write_buffer_limits()
        assert ours.transport.get_write_buffer_size() > high == 65536 and low == 16384
        theirs.transport.resume_reading()
        await until(lambda: ours.events[-1] == "resume")
        assert ours.transport.get_write_buffer_size() <= low
        await until(lambda: len(theirs.data) == written)
        assert ours.events == ["made", "pause", "resume"]


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ({}, (16384, 65536)),
        ({"high": 1000}, (250, 1000)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 10, "low": 5}, (5, 10)),
        ({"high": 0}, (0, 0)),
        ({"high": 1 << 40}, (1 << 38, 1 << 40)),
    ],
)
async def test_limits(arguments: dict[str, int], limits: tuple[int, int]) -> None:
    async with connected() as (ours, _):
        ours.transport.set_write_buffer_limits(**arguments)
        assert ours.transport.get_write_buffer_limits() == limits


@pytest.mark.parametrize("arguments", [{"high": -1}, {"low": -1}, {"high": 5, "low": 10}, {"high": -5, "low": -6}])
async def test_limits_that_are_none(arguments: dict[str, int]) -> None:
    async with connected() as (ours, _):
        with pytest.raises(ValueError, match=r"high \(.*\) must be >= low \(.*\) must be >= 0"):
            ours.transport.set_write_buffer_limits(**arguments)
        assert ours.transport.get_write_buffer_limits() == (16384, 65536)


async def test_a_limit_of_nothing_pauses_at_once() -> None:
    async with connected() as (ours, theirs):
        ours.transport.set_write_buffer_limits(high=0)
        theirs.transport.pause_reading()
        while not ours.transport.get_write_buffer_size():
            ours.transport.write(bytes(1 << 18))
        assert ours.events[-1] == "pause"
        theirs.transport.resume_reading()
        await until(lambda: ours.events[-1] == "resume")
        assert ours.transport.get_write_buffer_size() == 0


@only_uvworks  # asyncio calls connection_lost() twice
async def test_resume_writing_may_close_with_an_error() -> None:
    loop = asyncio.get_running_loop()
    lost = loop.create_future()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def resume_writing(self) -> None:
            self.transport._force_close(ConnectionError("mine"))

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(exc)

    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await loop.create_connection(Protocol, sock=ours)
        transport.write(b"x" * 4_000_000)
        while not lost.done():
            await loop.run_in_executor(None, theirs.recv, 1 << 20)
        assert str(lost.result()) == "mine"


async def test_pause_writing_may_exit_and_the_writer_catch_it() -> None:
    class Protocol(asyncio.Protocol):
        caught = 0

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def write(self) -> None:
            try:
                self.transport.write(b"x" * 4_000_000)
            except SystemExit:
                self.caught += 1

        def data_received(self, data: bytes) -> None:
            self.transport.set_write_buffer_limits(1 << 30)  # paused no more, once there is less
            self.transport.set_write_buffer_limits(0)
            self.write()

        def pause_writing(self) -> None:
            raise SystemExit(3)

    ours, theirs = socket.socketpair()
    with theirs:
        transport, protocol = await asyncio.get_running_loop().create_connection(Protocol, sock=ours)
        protocol.write()
        await asyncio.sleep(0.01)
        theirs.send(b"more")
        await asyncio.sleep(0.01)
        transport.abort()
        await asyncio.sleep(0.01)
    assert protocol.caught == 1


# The end --------------------------------------------------------------------------


async def test_half_a_connection_closed() -> None:
    async with connected() as (ours, theirs):
        theirs.keep_open = True
        assert ours.transport.can_write_eof()
        ours.transport.write(b"question")
        ours.transport.write_eof()
        ours.transport.write_eof()
        await until(lambda: theirs.events[-1] == "eof")
        assert not theirs.transport.is_closing()
        theirs.transport.write(b"answer")
        await until(lambda: ours.data == b"answer")
        theirs.transport.close()
        await asyncio.wait_for(ours.lost, 10)
        assert ours.events == ["made", "data", "eof", "lost"]


async def test_the_end_comes_after_all_that_was_written() -> None:
    async with connected() as (ours, theirs):
        theirs.transport.pause_reading()
        ours.transport.write(bytes(5 << 20))
        ours.transport.write_eof()
        theirs.transport.resume_reading()
        await until(lambda: "eof" in theirs.events)
        assert len(theirs.data) == 5 << 20


async def test_a_write_after_the_end() -> None:
    async with connected() as (ours, _):
        ours.transport.write_eof()
        with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
            ours.transport.write(b"more")


async def test_writing_after_close_is_forgiven_some_times(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (ours, _):
        ours.transport.abort()
        for _ in range(8):
            ours.transport.write(b"x")
        assert caplog.text.count("socket.send() raised exception.") == 4
        assert ours.transport.is_closing()


async def test_close_is_idempotent_and_so_is_abort() -> None:
    async with connected() as (ours, theirs):
        for _ in range(3):
            ours.transport.close()
        ours.transport.pause_reading()
        ours.transport.resume_reading()
        ours.transport.abort()
        await asyncio.wait_for(ours.lost, 10)
        for _ in range(3):
            ours.transport.close()
        assert ours.events.count("lost") == 1
        await asyncio.wait_for(theirs.lost, 10)


async def test_abort_drops_what_waits() -> None:
    async with connected() as (ours, theirs):
        theirs.transport.pause_reading()
        ours.transport.write(bytes(10 << 20))
        ours.transport.abort()
        assert await asyncio.wait_for(ours.lost, 10) is None
        theirs.transport.resume_reading()
        await asyncio.wait_for(theirs.lost, 10)
        assert len(theirs.data) < 10 << 20


@pytest.mark.parametrize("moment", ["made", "data", "eof"])
async def test_aborting_inside_a_callback(moment: str) -> None:
    class Nervous(Events):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if moment == "made":
                transport.abort()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if moment == "data":
                self.transport.abort()

        def eof_received(self) -> bool:
            if moment == "eof":
                self.transport.abort()
            return super().eof_received()

    async with connected(server=Nervous) as (ours, theirs):
        ours.transport.write(b"data")
        await asyncio.sleep(0.01)
        if not ours.transport.is_closing():
            ours.transport.write_eof()
        await asyncio.wait_for(theirs.lost, 10)
        await asyncio.wait_for(ours.lost, 10)


@pytest.mark.parametrize("moment", ["connection_made", "data_received", "eof_received", "connection_lost"])
async def test_a_protocol_that_fails(moment: str) -> None:
    """It is told of, as asyncio does, and the loop goes on."""

    class Failing(Events): ...

    def fail(self: Any, *args: Any) -> None:
        getattr(Events, moment)(self, *args)
        raise ZeroDivisionError(moment)

    setattr(Failing, moment, fail)
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
    async with connected(server=Failing) as (ours, theirs):
        ours.transport.write(b"data")
        await until(lambda: theirs.data or theirs.lost.done())
        if not ours.transport.is_closing():
            ours.transport.write_eof()
        await asyncio.wait_for(theirs.lost, 10)
    assert [str(context["exception"]) for context in contexts] == [moment]


async def test_a_peer_that_resets() -> None:
    async with connected() as (ours, theirs):
        sock = theirs.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.transport.abort()
        assert isinstance(await asyncio.wait_for(ours.lost, 10), ConnectionResetError)
        assert ours.events == ["made", "lost"]


async def test_a_peer_that_resets_in_mid_write() -> None:
    async with connected() as (ours, theirs):
        theirs.transport.pause_reading()
        while ours.events[-1] != "pause":
            ours.transport.write(bytes(1 << 20))
        theirs.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.transport.abort()
        assert isinstance(await asyncio.wait_for(ours.lost, 10), (ConnectionResetError, BrokenPipeError))
        assert ours.transport.get_write_buffer_size() == 0 or ours.transport.is_closing()


@only_uvworks
async def test_errors_come_later_never_inside_write() -> None:
    """A write() that meets a dead peer must not call connection_lost() before it returns."""
    async with connected() as (ours, theirs):
        theirs.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        ours.transport.pause_reading()
        theirs.transport.abort()
        await asyncio.wait_for(theirs.lost, 10)
        for _ in range(3):
            ours.transport.write(b"x")
            assert "lost" not in ours.events
        assert isinstance(await asyncio.wait_for(ours.lost, 10), OSError)
