"""sock_* on the loop: whole transfers, every shape of address, cancels that lose nothing, and what is refused."""

import asyncio
import gc
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loop.support import LOCALHOST, only_uvworks, unused_port
from tests.support import until

Loop = asyncio.AbstractEventLoop
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


@pytest.fixture
def udp() -> Iterator[Pair]:
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        for sock in (one, other):
            sock.bind((LOCALHOST, 0))
            sock.setblocking(False)
        yield one, other


def running() -> Loop:
    return asyncio.get_running_loop()


# Receiving and sending -------------------------------------------------------------


async def test_what_is_there_already_and_what_comes(pair: Pair) -> None:
    pair[1].send(b"there")
    assert await running().sock_recv(pair[0], 100) == b"there"
    task = asyncio.create_task(running().sock_recv(pair[0], 3))
    await asyncio.sleep(0.01)
    assert not task.done()
    pair[1].send(b"came")
    assert await task == b"cam"
    assert await running().sock_recv(pair[0], 100) == b"e"
    pair[1].close()
    assert await running().sock_recv(pair[0], 100) == b""


async def test_a_large_transfer_both_ways(pair: Pair) -> None:
    data = os.urandom(3 << 20)

    async def take(sock: socket.socket) -> bytes:
        received = bytearray()
        while len(received) < len(data):
            received += await running().sock_recv(sock, 1 << 20)
        return bytes(received)

    async def give(sock: socket.socket) -> None:
        assert await running().sock_sendall(sock, data) is None

    results = await asyncio.gather(give(pair[0]), give(pair[1]), take(pair[0]), take(pair[1]))
    assert results == [None, None, data, data]


async def test_small_and_large_by_turns(pair: Pair) -> None:
    """Whatever the last one was: what is there already, what is waited for, and the end."""
    for sock in pair:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
    for size in (10, 60_000, 60_000, 10, 20_000, 0xFFFF + 1, 1, 50_000):
        data = os.urandom(size)
        assert pair[1].send(data) == size
        assert await running().sock_recv(pair[0], 65536) == data
        task = asyncio.create_task(running().sock_recv(pair[0], 65536))
        await asyncio.sleep(0)
        assert pair[1].send(data) == size
        assert await task == data
    pair[1].close()
    assert await running().sock_recv(pair[0], 65536) == b""


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=lambda make: make.__name__)
async def test_every_kind_of_bytes_is_sent(pair: Pair, make: Any) -> None:
    await running().sock_sendall(pair[0], make(b"hello"))
    await running().sock_sendall(pair[0], make(b""))
    assert await running().sock_recv(pair[1], 100) == b"hello"


async def test_into_a_buffer(pair: Pair) -> None:
    buffer = bytearray(8)
    pair[1].send(b"abc")
    assert await running().sock_recv_into(pair[0], buffer) == 3
    assert buffer == b"abc" + bytes(5)
    task = asyncio.create_task(running().sock_recv_into(pair[0], memoryview(buffer)[3:5]))
    await asyncio.sleep(0.01)
    pair[1].send(b"defg")
    assert await task == 2 and buffer == b"abcde" + bytes(3)
    buffer.append(1)  # nothing holds it any longer


async def test_a_buffer_is_held_while_it_waits(pair: Pair) -> None:
    buffer = bytearray(8)
    task = asyncio.create_task(running().sock_recv_into(pair[0], buffer))
    await asyncio.sleep(0.01)
    pair[1].send(b"x")
    assert await task == 1
    buffer.extend(b"more")


async def test_datagrams(udp: Pair) -> None:
    one, other = udp
    for data in (b"one", b"", b"x" * 60_000):
        assert await running().sock_sendto(one, data, other.getsockname()) == len(data)
        assert await running().sock_recvfrom(other, 65536) == (data, one.getsockname())
    buffer = bytearray(10)
    task = asyncio.create_task(running().sock_recvfrom_into(other, buffer))
    await asyncio.sleep(0.01)
    await running().sock_sendto(one, b"later", other.getsockname())
    assert await task == (5, one.getsockname()) and buffer[:5] == b"later"
    await running().sock_sendto(one, b"truncated", other.getsockname())
    assert await running().sock_recvfrom_into(other, buffer, 5) == (5, one.getsockname()) and buffer[:5] == b"trunc"


async def test_datagrams_on_unix_sockets(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        for number, sock in enumerate((one, other)):
            sock.bind(str(tmp_path / str(number)))
            sock.setblocking(False)
        await running().sock_sendto(one, b"hello", other.getsockname())
        assert await running().sock_recvfrom(other, 100) == (b"hello", one.getsockname())


async def test_nobody_holds_the_task_that_waits_for_a_socket() -> None:
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
    assert got == [b"here"]


@only_uvworks  # on asyncio both wait for ever
async def test_a_socket_is_closed_under_an_operation_and_its_number_used_again() -> None:
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


@only_uvworks
async def test_the_task_of_a_socket_operation_says_which() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        task = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(ours, 10))
        await asyncio.sleep(0)
        assert "coro=<sock_recv()>" in repr(task)
        task.cancel()
        await asyncio.wait([task])


# Connecting and accepting ------------------------------------------------------------


async def test_connect_and_accept() -> None:
    with socket.create_server((LOCALHOST, 0)) as server:
        server.setblocking(False)
        with socket.socket() as ours:
            ours.setblocking(False)
            accepting = asyncio.create_task(running().sock_accept(server))
            await running().sock_connect(ours, server.getsockname())
            theirs, address = await accepting
            with theirs:
                assert address == ours.getsockname() and not theirs.getblocking() and not theirs.get_inheritable()
                await running().sock_sendall(ours, b"hello")
                assert await running().sock_recv(theirs, 10) == b"hello"


async def test_connect_resolves_names() -> None:
    with socket.create_server((LOCALHOST, 0)) as server, socket.socket() as ours:
        ours.setblocking(False)
        await running().sock_connect(ours, ("localhost", server.getsockname()[1]))
        assert ours.getpeername() == server.getsockname()


async def test_ipv6_and_unix(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    for family, address in ((socket.AF_INET6, ("::1", 0)), (socket.AF_UNIX, path), (socket.AF_UNIX, "\0uvworks-test")):
        with socket.socket(family) as server, socket.socket(family) as ours:
            server.bind(address)
            server.listen()
            server.setblocking(False)
            ours.setblocking(False)
            await running().sock_connect(ours, server.getsockname())
            theirs, _ = await running().sock_accept(server)
            theirs.close()


async def test_a_refused_connection() -> None:
    with socket.socket() as ours:
        ours.setblocking(False)
        with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
            await running().sock_connect(ours, (LOCALHOST, unused_port()))


async def test_a_missing_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as ours:
        ours.setblocking(False)
        with pytest.raises(FileNotFoundError):
            await running().sock_connect(ours, str(tmp_path / "nobody"))


async def test_a_peer_that_resets() -> None:
    with socket.create_server((LOCALHOST, 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs = server.accept()[0]
        ours.setblocking(False)
        task = asyncio.create_task(running().sock_recv(ours, 10))
        await asyncio.sleep(0.01)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        with pytest.raises(ConnectionResetError):
            await task
        with pytest.raises(BrokenPipeError):
            await running().sock_sendall(ours, b"x")


# Cancels --------------------------------------------------------------------------


async def test_a_cancelled_receive_loses_nothing(pair: Pair) -> None:
    for _ in range(20):
        task = asyncio.create_task(running().sock_recv(pair[0], 100))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    pair[1].send(b"kept")
    assert await running().sock_recv(pair[0], 100) == b"kept"
    assert not running().remove_reader(pair[0])


async def test_a_receive_that_is_cancelled_when_data_is_there(pair: Pair) -> None:
    task = asyncio.create_task(running().sock_recv(pair[0], 100))
    await asyncio.sleep(0.01)
    pair[1].send(b"data")
    task.cancel()
    try:
        got = await task
    except asyncio.CancelledError:
        got = b""
    assert got + (b"" if got else await running().sock_recv(pair[0], 100)) == b"data"


async def test_a_receive_with_a_time_out(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(running().sock_recv(pair[0], 10), 0.01)
    pair[1].send(b"late")
    assert await running().sock_recv(pair[0], 10) == b"late"


async def test_a_cancelled_send_and_connect(pair: Pair) -> None:
    task = asyncio.create_task(running().sock_sendall(pair[0], bytes(8 << 20)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running().remove_writer(pair[0])


async def test_a_cancelled_accept(pair: Pair) -> None:
    with socket.create_server((LOCALHOST, 0)) as server:
        server.setblocking(False)
        task = asyncio.create_task(running().sock_accept(server))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with socket.create_connection(server.getsockname()):
            theirs, _ = await running().sock_accept(server)
            theirs.close()


# Refused --------------------------------------------------------------------------


async def test_sockets_that_block_are_refused_in_debug_mode(pair: Pair) -> None:
    running().set_debug(True)
    pair[0].setblocking(True)
    for call in (
        running().sock_recv(pair[0], 1),
        running().sock_recv_into(pair[0], bytearray(1)),
        running().sock_sendall(pair[0], b"x"),
        running().sock_accept(pair[0]),
        running().sock_connect(pair[0], "x"),
        running().sock_recvfrom(pair[0], 1),
        running().sock_recvfrom_into(pair[0], bytearray(1)),
        running().sock_sendto(pair[0], b"x", "x"),
    ):
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await call


async def test_tls_sockets_are_refused() -> None:
    with socket.socket() as plain, ssl.create_default_context().wrap_socket(plain, server_hostname="x") as secure:
        for call in (running().sock_recv(secure, 1), running().sock_sendall(secure, b"x")):
            with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
                await call


async def test_closed_sockets_are_refused() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()
    for call in (running().sock_recv(ours, 1), running().sock_sendall(ours, b"x")):
        with pytest.raises(OSError):
            await call


@only_uvworks
@pytest.mark.parametrize("wrong", [-1, 1 << 62, "text", None])
async def test_wrong_sizes(pair: Pair, wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError, MemoryError)):
        await running().sock_recv(pair[0], wrong)


@pytest.mark.parametrize("wrong", ["text", None, 3])
async def test_what_is_no_bytes(pair: Pair, wrong: Any) -> None:
    with pytest.raises(TypeError):
        await running().sock_sendall(pair[0], wrong)
    with pytest.raises(TypeError):
        await running().sock_recv_into(pair[0], wrong)


async def test_a_read_only_buffer(pair: Pair) -> None:
    pair[1].send(b"x")
    with pytest.raises((TypeError, BufferError)):
        await running().sock_recv_into(pair[0], b"read only")


async def test_many_at_once() -> None:
    pairs = [socket.socketpair() for _ in range(100)]
    for one, other in pairs:
        one.setblocking(False)
        other.setblocking(False)

    async def talk(one: socket.socket, other: socket.socket) -> None:
        for number in range(20):
            await running().sock_sendall(one, b"%d" % number)
            assert await running().sock_recv(other, 10) == b"%d" % number

    await asyncio.gather(*(talk(*pair) for pair in pairs))
    for one, other in pairs:
        one.close()
        other.close()
