"""Connections: every option, every refusal, and nothing left open by what fails or is cancelled."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.loop.support import LOCALHOST, Recorder, echo_server, echoes, only_uvworks, serving, unanswering, unused_port
from tests.support import async_error_of, until
from uvworks.loop.connect import interleaved

STREAM, INET, INET6 = socket.SOCK_STREAM, socket.AF_INET, socket.AF_INET6


def answer(*addresses: tuple[str, int]) -> None:
    """Have the running loop find these addresses for any name."""

    async def getaddrinfo(*args: Any, **options: Any) -> Any:
        return [(INET6 if ":" in address[0] else INET, STREAM, 6, "", address) for address in addresses]

    asyncio.get_running_loop().getaddrinfo = getaddrinfo  # type: ignore[method-assign]


def open_sockets() -> int:
    links = (os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd"))
    return sum(os.path.islink(link) and os.readlink(link).startswith("socket:") for link in links)


async def test_a_connection_carries_data_both_ways() -> None:
    async with echo_server() as port:
        transport, protocol = await asyncio.get_running_loop().create_connection(Recorder, LOCALHOST, port)
        assert isinstance(transport, asyncio.Transport)
        assert protocol.transport is transport
        assert transport.get_extra_info("peername") == (LOCALHOST, port)
        assert transport.get_extra_info("sockname") == transport.get_extra_info("socket").getsockname()
        transport.write(b"x" * 100_000)
        transport.write_eof()
        assert await asyncio.wait_for(protocol.lost, 10) is None
        assert protocol.data == b"x" * 100_000


Options = dict[str, Any]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "host and port was not specified and no sock specified"),
        ({"host": "h", "port": 1, "server_hostname": "x"}, ValueError, "server_hostname is only meaningful with ssl"),
        ({"host": "h", "port": 1, "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful"),
        ({"host": "h", "port": 1, "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful"),
        ({"port": 1, "ssl": True}, ValueError, "You must set server_hostname when using ssl without a host"),
        ({"host": "", "port": 1, "ssl": True}, ValueError, "You must set server_hostname"),
        ({"host": "h", "port": 1, "sock": socket.socket}, ValueError, "host/port and sock can not be specified"),
        ({"sock": lambda: socket.socket(type=socket.SOCK_DGRAM)}, ValueError, "A Stream Socket was expected"),
        ({"host": "127.0.0.1", "port": "no such service"}, socket.gaierror, "not "),
    ],
    ids=str,
)
async def test_arguments_that_do_not_fit(options: Options, error: type[Exception], message: str) -> None:
    made = None
    if "sock" in options:
        made = options["sock"]()
        options = {**options, "sock": made}
    try:
        with pytest.raises(error, match=message):
            await asyncio.get_running_loop().create_connection(asyncio.Protocol, **options)
    finally:
        if made is not None:
            assert made.fileno() >= 0, "the caller's socket was closed"
            made.close()


async def test_nobody_listens() -> None:
    port = unused_port()
    error = await async_error_of(asyncio.open_connection(LOCALHOST, port))
    assert isinstance(error, ConnectionRefusedError)
    assert error.errno == errno.ECONNREFUSED
    assert str((LOCALHOST, port)) in str(error)


async def test_the_next_address_is_tried() -> None:
    async with echo_server() as port:
        answer((LOCALHOST, unused_port()), (LOCALHOST, port))
        await echoes(*await asyncio.open_connection("name.test", port))


@pytest.mark.parametrize("delay", [None, 0, 0.01])
async def test_every_address_refuses(delay: float | None) -> None:
    answer(("127.0.0.1", unused_port()), ("127.0.0.2", unused_port("127.0.0.2")))
    error = await async_error_of(asyncio.open_connection("name.test", 1, happy_eyeballs_delay=delay))
    assert type(error) is OSError
    assert str(error).startswith("Multiple exceptions: ")
    assert "127.0.0.1" in str(error) and "127.0.0.2" in str(error)


async def test_one_error_stands_for_equal_ones() -> None:
    address = (LOCALHOST, unused_port())
    answer(address, address)
    error = await async_error_of(asyncio.open_connection("name.test", 1))
    assert isinstance(error, ConnectionRefusedError)


@only_uvworks
@pytest.mark.parametrize("delay", [None, 0.01])
async def test_all_errors(delay: float | None) -> None:
    answer(("127.0.0.1", unused_port()), ("127.0.0.2", unused_port("127.0.0.2")))
    with pytest.raises(ExceptionGroup, match="create_connection failed") as caught:
        await asyncio.open_connection("name.test", 1, happy_eyeballs_delay=delay, all_errors=True)
    assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2


def test_interleaved_families_take_turns() -> None:
    four = [(INET, STREAM, 6, "", (f"127.0.0.{n}", 1)) for n in range(3)]
    six = [(INET6, STREAM, 6, "", (f"::{n}", 1, 0, 0)) for n in range(1, 3)]
    assert interleaved(four + six, 1) == [four[0], six[0], four[1], six[1], four[2]]
    assert interleaved(six + four, 1) == [six[0], four[0], six[1], four[1], four[2]]
    assert interleaved(four + six, 2) == [four[0], four[1], six[0], four[2], six[1]]
    assert interleaved(four + six, 9) == four + six
    assert interleaved(four, 1) == four


async def test_happy_eyeballs_does_not_wait_for_who_does_not_answer() -> None:
    async with echo_server() as port:
        with unanswering() as silent:
            answer(silent, silent, (LOCALHOST, port))
            before = open_sockets()
            start = time.monotonic()
            reader, writer = await asyncio.open_connection("name.test", port, happy_eyeballs_delay=0.05)
            assert 0.09 < time.monotonic() - start < 2
            assert open_sockets() <= before + 2, "a loser's socket is still open"
            await echoes(reader, writer)


async def test_happy_eyeballs_goes_on_at_once_after_a_failure() -> None:
    async with echo_server() as port:
        answer((LOCALHOST, unused_port()), (LOCALHOST, port))
        start = time.monotonic()
        await echoes(*await asyncio.open_connection("name.test", port, happy_eyeballs_delay=60))
        assert time.monotonic() - start < 5


async def test_happy_eyeballs_lets_a_late_one_win() -> None:
    """The delay starts the next attempt, it does not end the one before."""
    async with echo_server() as port:
        with unanswering() as silent:
            answer((LOCALHOST, port), silent)
            for _ in range(20):
                await echoes(*await asyncio.open_connection("name.test", port, happy_eyeballs_delay=0))


@only_uvworks
@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are Python 3.12's")
async def test_happy_eyeballs_with_eager_tasks() -> None:
    """An attempt may be over, well or badly, when its task has just been made."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    connect = loop.sock_connect

    async def at_once(sock: socket.socket, address: Any) -> None:
        if address[1] == refusing:
            raise ConnectionRefusedError
        sock.setblocking(True)
        sock.connect(address)
        sock.setblocking(False)

    async with echo_server() as port:
        refusing = unused_port()
        for connecting in (at_once, connect):
            loop.sock_connect = connecting  # type: ignore[method-assign]
            for addresses in ([port], [port, refusing], [refusing, port], [port, port]):
                answer(*((LOCALHOST, number) for number in addresses))
                before = open_sockets()
                reader, writer = await asyncio.open_connection("name.test", port, happy_eyeballs_delay=0.05)
                assert open_sockets() <= before + 2
                await echoes(reader, writer)
                await until(lambda before=before: open_sockets() == before)
            answer((LOCALHOST, refusing))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("name.test", port, happy_eyeballs_delay=0.05)
    loop.set_task_factory(None)


@only_uvworks  # asyncio's race leaves tasks behind when it is cancelled
@pytest.mark.parametrize("delay", [None, 0.01, 60])
async def test_a_cancelled_connection_leaves_nothing(delay: float | None) -> None:
    with unanswering() as silent:
        answer(silent, silent, silent)
        before = open_sockets()
        task = asyncio.create_task(asyncio.open_connection("name.test", 1, happy_eyeballs_delay=delay))
        await asyncio.sleep(0.05)
        assert open_sockets() > before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert open_sockets() == before
        assert len(asyncio.all_tasks()) == 1


async def test_a_connection_that_times_out() -> None:
    with unanswering() as silent:
        before = open_sockets()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.open_connection(*silent), 0.05)
        assert open_sockets() == before


async def test_a_local_address() -> None:
    ours = unused_port()
    async with echo_server() as port:
        reader, writer = await asyncio.open_connection(LOCALHOST, port, local_addr=("127.0.0.1", ours))
        assert writer.get_extra_info("sockname") == ("127.0.0.1", ours)
        await echoes(reader, writer)


async def test_local_addresses_that_do_not_work() -> None:
    async with echo_server() as port:
        with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
            await asyncio.open_connection(LOCALHOST, port, local_addr=("198.51.100.1", 0))
        assert caught.value.errno == errno.EADDRNOTAVAIL
        with pytest.raises(OSError, match="no matching local address with family="):
            await asyncio.open_connection(LOCALHOST, port, local_addr=("::1", 0))


async def test_a_socket_that_is_connected_already() -> None:
    async with echo_server() as port:
        sock = socket.create_connection((LOCALHOST, port))  # blocking: it will be made not to
        reader, writer = await asyncio.open_connection(sock=sock)
        assert sock.gettimeout() == 0
        await echoes(reader, writer)
        assert sock.fileno() == -1


async def test_an_accepted_socket() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server((LOCALHOST, 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
        client.sendall(b"data")
        client.shutdown(socket.SHUT_WR)
        assert await asyncio.wait_for(protocol.lost, 10) is None
        assert protocol.data == b"data"
        assert transport.is_closing()


async def test_accepted_sockets_that_are_none() -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="A Stream Socket was expected"):
            await loop.connect_accepted_socket(asyncio.Protocol, sock)
    with socket.socket() as sock:
        for option in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            with pytest.raises(ValueError, match=f"{option} is only meaningful with ssl"):
                await loop.connect_accepted_socket(asyncio.Protocol, sock, **{option: 1})


class Refusal(Exception):
    pass


def refuse() -> asyncio.Protocol:
    raise Refusal


class Refuser(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raise Refusal


@only_uvworks  # asyncio leaves the socket to the garbage collector
async def test_a_factory_that_fails() -> None:
    async with echo_server() as port:
        loop = asyncio.get_running_loop()
        before = open_sockets()
        with pytest.raises(Refusal):
            await loop.create_connection(refuse, LOCALHOST, port)
        await asyncio.sleep(0.05)  # the server's side sees the end
        assert open_sockets() == before
        with socket.create_connection((LOCALHOST, port)) as sock:
            with pytest.raises(Refusal):
                await loop.create_connection(refuse, sock=sock)
            assert sock.fileno() >= 0, "the caller's socket was closed"


@only_uvworks
async def test_a_waiting_connection_is_cancelled_before_it_is_made() -> None:
    async with echo_server() as port:
        before = open_sockets()
        for steps in range(8):
            task = asyncio.create_task(asyncio.get_running_loop().create_connection(Recorder, LOCALHOST, port))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            try:
                transport, _ = await task
                transport.abort()
            except asyncio.CancelledError:
                pass
        await asyncio.sleep(0.1)
        assert open_sockets() == before


@pytest.mark.parametrize("method", ["create_connection", "create_server", "sock_connect"])
def test_a_closed_loop(loop_factory: Callable[[], asyncio.AbstractEventLoop], method: str) -> None:
    loop = loop_factory()
    loop.close()
    with socket.socket() as sock:
        sock.setblocking(False)
        arguments: tuple[Any, ...] = (sock, (LOCALHOST, 1)) if method == "sock_connect" else (Recorder, LOCALHOST, 1)
        coroutine = getattr(loop, method)(*arguments)
        try:
            with pytest.raises(RuntimeError, match="Event loop is closed"):
                loop.run_until_complete(coroutine)
        finally:
            coroutine.close()


async def test_debug_mode_wants_sockets_that_do_not_block() -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await loop.sock_connect(sock, (LOCALHOST, 1))


def garbage() -> list[str]:
    """The types of what only the garbage collector frees now."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return sorted(type(thing).__name__ for thing in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@only_uvworks
@pytest.mark.parametrize("delay", [None, 0.01])
async def test_failures_leave_nothing_to_the_garbage_collector(delay: float | None) -> None:
    loop = asyncio.get_running_loop()

    async def fail(**options: Any) -> None:
        try:
            await loop.create_connection(asyncio.Protocol, "name.test", 1, **options)
        except (OSError, ExceptionGroup):
            return
        raise AssertionError("did connect")

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(await asyncio.start_server(hang_up, LOCALHOST, 0)) as server:
        answer(server.sockets[0].getsockname())
        await fail(ssl=True)
        answer((LOCALHOST, unused_port()), ("127.0.0.2", unused_port("127.0.0.2")))
        gc.collect()
        gc.disable()
        try:
            await fail(happy_eyeballs_delay=delay)
            await fail(happy_eyeballs_delay=delay, all_errors=True)
            await fail(happy_eyeballs_delay=delay, local_addr=("198.51.100.1", 0))
            answer(server.sockets[0].getsockname())
            await fail(ssl=True)
            await asyncio.sleep(0.05)
            assert garbage() == []
        finally:
            gc.enable()


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


@pytest.mark.skipif(not hasattr(socket, "AF_VSOCK"), reason="needs AF_VSOCK")
async def test_the_names_of_a_rarer_family() -> None:
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
