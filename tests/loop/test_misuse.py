"""What no program means to do and some do: objects dropped in odd moments, callbacks that undo what called them."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
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


@only_uvworks  # on asyncio both wait for ever
def test_a_socket_is_closed_under_an_operation_and_its_number_used_again(loop_factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        former = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await asyncio.sleep(0.01)
        number = ours.fileno()
        ours.close()
        theirs.close()
        pair = socket.socketpair()
        with pair[0], pair[1]:
            ours, theirs = pair if pair[0].fileno() == number else reversed(pair)
            assert ours.fileno() == number
            ours.setblocking(False)
            latter = asyncio.ensure_future(loop.sock_recv(ours, 10))
            await asyncio.sleep(0.01)
            theirs.send(b"new")
            assert await latter == b"new"
            with pytest.raises(OSError, match="Bad file descriptor"):
                await former

    run(loop_factory, main)


def test_arguments_by_name(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []

    def callback(name: str = "no name") -> None:
        ran.append(name)

    r, w = os.pipe()
    loop.call_soon(callback=callback)
    loop.call_soon_threadsafe(callback=callback)
    loop.call_later(delay=0, callback=callback)
    loop.call_at(loop.time(), callback=callback)
    loop.call_at(when=0, callback=callback, context=None)
    loop.add_reader(fd=r, callback=callback)
    loop.add_writer(w, callback=callback)
    assert loop.remove_reader(fd=r)
    assert loop.remove_writer(fd=w)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert ran == ["no name"] * 5
    for wrong in (
        lambda: loop.call_soon(),  # type: ignore[call-arg]
        lambda: loop.call_later(1),  # type: ignore[call-arg]
        lambda: loop.call_soon(callback, callback=callback),  # type: ignore[misc]
        lambda: loop.call_soon(callback, other=1),  # type: ignore[call-arg]
        lambda: loop.call_later(callback=callback),  # type: ignore[call-arg]
        lambda: loop.add_reader(r, callback, context=None),  # type: ignore[call-arg]
        lambda: loop.remove_reader(r, r),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError):
            wrong()
    os.close(r)
    os.close(w)


def test_each_connection_has_a_context_of_its_own(loop_factory: Factory) -> None:
    async def main() -> list[int]:
        variable: ContextVar[int] = ContextVar("variable", default=0)
        seen: list[int] = []

        def factory() -> asyncio.Protocol:
            seen.append(variable.get())
            variable.set(variable.get() + 1)
            return asyncio.Protocol()

        server = await asyncio.get_running_loop().create_server(factory, LOCALHOST, 0)
        peers = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(3)]
        await until(lambda: len(seen) == 3)
        server.close()
        for peer in peers:
            peer.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)
        return seen

    assert run(loop_factory, main) == [0, 0, 0]


def test_to_compare_timers_may_cancel_them(loop: asyncio.AbstractEventLoop) -> None:
    class Callback:
        def __call__(self, *args: object) -> None:
            raise AssertionError

        def __eq__(self, other: object) -> bool:
            for timer in timers:
                timer.cancel()
            return True

        __hash__ = None  # type: ignore[assignment]

    timers = [loop.call_at(1e9, Callback(), [1], [2]) for _ in range(2)]
    assert timers[0] == timers[1]


def test_a_transport_is_closed_after_its_loop(loop_factory: Factory) -> None:
    loop = loop_factory()
    ours, theirs = socket.socketpair()
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    with pytest.warns(ResourceWarning, match="unclosed"):
        del transport, _, ours
        gc.collect()
    theirs.settimeout(5)
    assert theirs.recv(1) == b""
    theirs.close()


def in_a_thread(function: Callable[[], object]) -> None:
    """While the loop of this one waits for events."""
    errors: list[BaseException] = []

    def work() -> None:
        time.sleep(0.02)
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    threads.append((thread, errors))


threads: list[tuple[threading.Thread, list[BaseException]]] = []


def join() -> None:
    while threads:
        thread, errors = threads.pop()
        thread.join(10)
        assert not errors, errors


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_collector_drops_a_transport_in_another_thread(loop_factory: Factory) -> None:
    class Protocol(asyncio.Protocol):
        transport: Any

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(10):
            ours, theirs = socket.socketpair()
            transport, protocol = await loop.create_connection(Protocol, sock=ours)
            transport.pause_reading()
            protocol.transport = transport
            del transport, protocol, ours
            done = loop.create_future()
            in_a_thread(lambda done=done: (gc.collect(), loop.call_soon_threadsafe(done.set_result, None)))  # type: ignore[misc]
            await done
            join()
            theirs.settimeout(5)
            assert theirs.recv(1) == b""
            theirs.close()

    run(loop_factory, main)


@only_uvworks  # asyncio's loop is not woken
def test_a_transport_in_the_hands_of_another_thread(loop_factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                lost.set_result(exc)

        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_connection(Protocol, sock=ours)
        size = 4_000_000
        received = bytearray()

        def work() -> None:
            transport.write(b"x" * size)
            while len(received) < size:
                received.extend(theirs.recv(1 << 20))
            transport.close()

        in_a_thread(work)
        assert await lost is None
        join()
        assert len(received) == size
        theirs.close()

    run(loop_factory, main)


@only_uvworks
def test_a_reader_added_by_another_thread_is_refused(loop_factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        r, w = os.pipe()

        def work() -> None:
            try:
                with pytest.raises(RuntimeError, match="Non-thread-safe"):
                    loop.add_reader(r, print)
            finally:
                loop.call_soon_threadsafe(done.set_result, None)

        in_a_thread(work)
        await done
        join()
        os.close(r)
        os.close(w)

    run(loop_factory, main)


# asyncio's child takes the parent's descriptors out of their shared epoll.
def test_a_forked_child_that_goes_on_does_the_parent_no_harm() -> None:
    program = """
import asyncio, os, socket, sys, uvworks

async def main():
    loop = asyncio.get_running_loop()
    got = loop.create_future()
    class Protocol(asyncio.Protocol):
        def data_received(self, data):
            got.set_result(data)
    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(Protocol, sock=ours)
    r, w = os.pipe()
    loop.add_reader(r, print)
    pid = os.fork()
    if pid == 0:
        transport.pause_reading()
        transport.resume_reading()
        loop.remove_reader(r)
        transport.abort()
        return
    _, status = await loop.run_in_executor(None, os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1, status
    theirs.send(b"hello")
    assert await asyncio.wait_for(got, 10) == b"hello"
    transport.close()

parent = os.getpid()
try:
    uvworks.run(main())
except RuntimeError as error:
    if os.getpid() == parent:
        raise
    os._exit("before fork()" in str(error))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, capture_output=True, timeout=60)


def test_ctrl_c_in_connection_made_leaves_the_transport_working(loop: asyncio.AbstractEventLoop) -> None:
    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            raise KeyboardInterrupt

        def data_received(self, data: bytes) -> None:
            got.append(data)
            loop.stop()

    got: list[bytes] = []
    ours, theirs = socket.socketpair()
    task = loop.create_task(loop.create_connection(Protocol, sock=ours))
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    transport, _ = loop.run_until_complete(asyncio.wait_for(task, 10))
    theirs.send(b"hello")
    loop.call_later(10, loop.stop)
    loop.run_forever()
    assert got == [b"hello"]
    transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    theirs.close()


@only_uvworks
def test_the_task_of_a_socket_operation_says_which(loop_factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            task = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(ours, 10))
            await asyncio.sleep(0)
            assert "coro=<sock_recv()>" in repr(task)
            task.cancel()
            await asyncio.wait([task])

    run(loop_factory, main)


@pytest.mark.skipif(not hasattr(socket, "AF_VSOCK"), reason="needs AF_VSOCK")
def test_the_names_of_a_rarer_family(loop_factory: Factory) -> None:
    async def main() -> None:
        try:
            listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        except OSError:
            pytest.skip("the kernel has no AF_VSOCK")
        with listener, socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as ours:
            try:
                listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
                listener.listen()
                ours.connect((1, listener.getsockname()[1]))
            except OSError:
                pytest.skip("no connections within the machine")
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
            assert transport.get_extra_info("sockname") == ours.getsockname()
            assert transport.get_extra_info("peername") == ours.getpeername()
            transport.abort()
            await asyncio.sleep(0)

    run(loop_factory, main)


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="needs AF_NETLINK")
def test_datagrams_of_a_rarer_family(loop_factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        got = loop.create_future()

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                if not got.done():
                    got.set_result(addr)

        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)  # NETLINK_ROUTE
        sock.bind((0, 0))
        transport, _ = await loop.create_datagram_endpoint(Protocol, sock=sock)
        assert transport.get_extra_info("sockname") == sock.getsockname()
        dump_links = struct.pack("=IHHIIB3x", 20, 18, 0x301, 1, 0, 0)
        transport.sendto(dump_links, (0, 0))
        assert await asyncio.wait_for(got, 10) == (0, 0)
        transport.close()

    run(loop_factory, main)
