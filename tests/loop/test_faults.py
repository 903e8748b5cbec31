"""What no program means to do and some do: objects dropped in odd moments, callbacks that undo what called them."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

import uvworks
from tests.loop.support import LOCALHOST, only_uvworks
from tests.support import until

Factory = Callable[[], asyncio.AbstractEventLoop]


def run(factory: Factory, main: Any) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(asyncio.wait_for(main(), 20))


def test_nobody_holds_the_task_that_waits_for_a_socket(loop_factory: Factory) -> None:
    async def main() -> list[bytes]:
        got: list[bytes] = []

        async def receive(sock: socket.socket) -> None:
            got.append(await asyncio.get_running_loop().sock_recv(sock, 10))

        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            asyncio.get_running_loop().create_task(receive(ours))
            await asyncio.sleep(0.01)
            gc.collect()
            theirs.send(b"here")
            await until(lambda: got)
        return got

    assert run(loop_factory, main) == [b"here"]


def test_a_subclass_outlives_the_collection_of_its_loops() -> None:
    class Mine(uvworks.Loop):
        me: Any

        def hello(self) -> str:
            return "hello"

    gc.collect()
    loop = Mine()
    loop.me = loop
    loop.close()
    del loop
    gc.collect()
    again = Mine()
    assert again.hello() == "hello"
    again.close()


def test_a_write_to_a_pipe_that_is_closing_does_not_stop_the_flush(loop_factory: Factory) -> None:
    async def main() -> int:
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
        return size

    assert run(loop_factory, main) == 1_000_000


def test_a_pipe_takes_any_iterable_of_lines(loop_factory: Factory) -> None:
    async def main() -> bytes:
        r, w = os.pipe()
        transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.Protocol, os.fdopen(w, "wb", 0))
        transport.writelines((b"a", b"b"))
        transport.writelines(iter([b"c"]))
        transport.close()
        try:
            return os.read(r, 10)
        finally:
            os.close(r)

    assert run(loop_factory, main) == b"abc"


def test_the_null_device_can_be_written_to(loop_factory: Factory) -> None:
    async def main() -> None:
        null = open(os.devnull, "wb", 0)
        transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.Protocol, null)
        transport.write(b"x" * 1_000_000)
        transport.close()
        await until(lambda: null.closed)

    run(loop_factory, main)


@only_uvworks  # asyncio closes the transport when anything can be read
def test_what_comes_in_on_the_socket_of_a_write_pipe_is_for_others(loop_factory: Factory) -> None:
    async def main() -> None:
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

    run(loop_factory, main)


@only_uvworks  # asyncio calls connection_lost() twice
def test_resume_writing_may_close_with_an_error(loop_factory: Factory) -> None:
    async def main() -> None:
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

    run(loop_factory, main)


def test_pause_writing_may_exit_and_the_writer_catch_it(loop_factory: Factory) -> None:
    async def main() -> int:
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
        return protocol.caught

    assert run(loop_factory, main) == 1


@only_uvworks  # asyncio notices by chance only
def test_one_transport_to_a_descriptor(loop_factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            for _ in range(2):
                with pytest.raises(RuntimeError, match="used by"):
                    await loop.create_connection(asyncio.Protocol, sock=ours)
                transport.pause_reading()
            transport.abort()
        server = await loop.create_server(asyncio.Protocol, LOCALHOST, 0)
        with pytest.raises(RuntimeError, match="used by"):
            loop.add_reader(server.sockets[0].fileno(), print)
        server.close()

    run(loop_factory, main)


def test_add_reader_leaves_a_descriptor_blocking(loop: asyncio.AbstractEventLoop) -> None:
    r, w = os.pipe()
    loop.add_reader(r, print)
    assert os.get_blocking(r)
    loop.remove_reader(r)
    os.close(r)
    os.close(w)


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


def test_a_callback_that_cancels_itself_and_fails_is_reported(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[Any] = []
    loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))

    class Unspeakable:
        def __call__(self) -> None:
            handle.cancel()
            raise ValueError

        def __repr__(self) -> str:
            return "\udc80"

    handle = loop.call_soon(Unspeakable())
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert [type(error) for error in seen] == [ValueError]


def test_the_sender_of_a_datagram_has_the_full_address(loop_factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        got = loop.create_future()

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                got.set_result(addr)

        transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("::1", 0))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
            peer.bind(("::1", 0))
            name = peer.getsockname()
            transport.sendto(b"x", ("0:0::1", name[1]))
            peer.sendto(b"y", transport.get_extra_info("sockname"))
            assert await got == name
        transport.close()

    run(loop_factory, main)
