"""Servers: where they listen, when they have ended, and what happens to their connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from contextvars import ContextVar
from typing import Any

import pytest

from tests.loop.support import LOCALHOST, Recorder, echo, echo_server, echoes, only_uvworks, serving, unused_port
from tests.support import python, until

# asyncio's own Server does not wait for connections before 3.12, and cannot close them before 3.13.
WAITS = sys.version_info >= (3, 12)


async def test_a_server_serves_until_it_is_closed() -> None:
    server = await asyncio.start_server(echo, LOCALHOST, 0)
    assert isinstance(server, asyncio.Server)
    assert server.is_serving()
    assert server.get_loop() is asyncio.get_running_loop()
    (sock,) = server.sockets
    assert repr(sock) in repr(server)
    port = sock.getsockname()[1]
    await echoes(*await asyncio.open_connection(LOCALHOST, port))
    server.close()
    assert not server.is_serving()
    assert server.sockets == ()
    server.close()
    await server.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(LOCALHOST, port)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "Neither host/port nor sock were specified"),
        ({"host": "h", "ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
        ({"host": "h", "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful with ssl"),
        ({"host": "h", "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with ssl"),
        ({"host": "h", "port": 1, "sock": socket.socket}, ValueError, "host/port and sock can not be specified"),
        ({"sock": lambda: socket.socket(type=socket.SOCK_DGRAM)}, ValueError, "A Stream Socket was expected"),
    ],
    ids=str,
)
async def test_arguments_that_do_not_fit(options: dict[str, Any], error: type[Exception], message: str) -> None:
    made = None
    if "sock" in options:
        made = options["sock"]()
        options = {**options, "sock": made}
    try:
        with pytest.raises(error, match=message):
            await asyncio.get_running_loop().create_server(asyncio.Protocol, **options)
    finally:
        if made is not None:
            assert made.fileno() >= 0, "the caller's socket was closed"
            made.close()


async def test_many_hosts_and_equal_ones() -> None:
    async with serving(await asyncio.start_server(echo, ["127.0.0.1", "127.0.0.2", "127.0.0.1"], 0)) as server:
        assert sorted(sock.getsockname()[0] for sock in server.sockets) == ["127.0.0.1", "127.0.0.2"]
        for sock in server.sockets:
            await echoes(*await asyncio.open_connection(*sock.getsockname()))


@pytest.mark.parametrize("host", ["", None])
async def test_every_interface(host: str | None) -> None:
    port = unused_port()
    async with serving(await asyncio.start_server(echo, host, port)) as server:
        families = {sock.family for sock in server.sockets}
        assert families == {socket.AF_INET, socket.AF_INET6}, "one port, for both families"
        await echoes(*await asyncio.open_connection("127.0.0.1", port))
        await echoes(*await asyncio.open_connection("::1", port))


async def test_an_address_in_use() -> None:
    async with echo_server() as port:
        with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
            await asyncio.start_server(echo, ["127.0.0.2", "127.0.0.1"], port)
        assert caught.value.errno == errno.EADDRINUSE


async def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(OSError):
        await asyncio.start_server(echo, "198.51.100.1", 0)


@only_uvworks
async def test_addresses_that_are_not_ours_are_left_out() -> None:
    async with serving(await asyncio.start_server(echo, ["198.51.100.1", LOCALHOST], 0)) as server:
        assert [sock.getsockname()[0] for sock in server.sockets] == [LOCALHOST]


async def test_reuse_port() -> None:
    async with echo_server(reuse_port=True) as port:
        async with serving(await asyncio.start_server(echo, LOCALHOST, port, reuse_port=True)):
            await echoes(*await asyncio.open_connection(LOCALHOST, port))


@pytest.mark.parametrize("reuse", [None, True, False])
async def test_reuse_address(reuse: bool | None) -> None:
    async with serving(await asyncio.start_server(echo, LOCALHOST, 0, reuse_address=reuse)) as server:
        found = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert bool(found) is (reuse is not False)


@only_uvworks
async def test_keep_alive() -> None:
    async with serving(await asyncio.start_server(echo, LOCALHOST, 0, keep_alive=True)) as server:
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_a_given_socket() -> None:
    sock = socket.socket()
    sock.bind((LOCALHOST, 0))
    async with serving(await asyncio.start_server(echo, sock=sock)) as server:
        assert sock.gettimeout() == 0
        await echoes(*await asyncio.open_connection(*server.sockets[0].getsockname()))
    assert sock.fileno() == -1


async def test_serving_starts_when_it_is_told_to() -> None:
    server = await asyncio.start_server(echo, LOCALHOST, 0, start_serving=False)
    async with serving(server):
        address = server.sockets[0].getsockname()
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        await echoes(*await asyncio.open_connection(*address))


async def test_serve_forever_ends_when_it_is_cancelled() -> None:
    async with serving(await asyncio.start_server(echo, LOCALHOST, 0, start_serving=False)) as server:
        task = asyncio.create_task(server.serve_forever())
        await until(server.is_serving)
        with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
            await server.serve_forever()
        await echoes(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.sockets == ()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()


async def test_serve_forever_ends_when_the_server_is_closed() -> None:
    server = await asyncio.start_server(echo, LOCALHOST, 0)
    task = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    server.close()
    with pytest.raises(asyncio.CancelledError):
        await task


@only_uvworks  # asyncio: AssertionError or TypeError
async def test_a_closed_server_does_not_start() -> None:
    server = await asyncio.start_server(echo, LOCALHOST, 0, start_serving=False)
    server.close()
    with pytest.raises(RuntimeError, match="is closed"):
        await server.start_serving()


async def test_async_with_closes() -> None:
    async with await asyncio.start_server(echo, LOCALHOST, 0) as server:
        assert server.is_serving()
    assert not server.is_serving()


async def connected(server: Any) -> tuple[Recorder, Recorder]:
    """A connection to a server of Recorders: the client's protocol and the server's."""
    address = server.sockets[0].getsockname()
    before = len(clients_of(server))
    _, client = await asyncio.get_running_loop().create_connection(Recorder, *address)
    await until(lambda: len(clients_of(server)) > before)
    return client, clients_of(server)[-1]


def clients_of(server: Any) -> list[Recorder]:
    return server.recorders  # type: ignore[no-any-return]


async def recorder_server(**options: Any) -> Any:
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    server = await asyncio.get_running_loop().create_server(factory, LOCALHOST, 0, **options)
    server.recorders = made
    return server


@pytest.mark.skipif(not WAITS, reason="Python 3.11 does not wait for connections")
async def test_wait_closed_waits_for_connections() -> None:
    server = await recorder_server()
    client, theirs = await connected(server)
    waiting = asyncio.create_task(server.wait_closed())
    await asyncio.sleep(0.02)
    server.close()
    await asyncio.sleep(0.02)
    assert not waiting.done()
    client.transport.write(b"still here")
    await until(lambda: theirs.data == b"still here")
    client.transport.close()
    await asyncio.wait_for(waiting, 10)
    await server.wait_closed()


@pytest.mark.skipif(WAITS, reason="Python 3.12 and later wait for connections")
async def test_wait_closed_does_not_wait_for_connections() -> None:
    server = await recorder_server()
    client, _ = await connected(server)
    server.close()
    await asyncio.wait_for(server.wait_closed(), 10)
    client.transport.close()
    await client.lost


@only_uvworks
async def test_close_clients_sends_what_is_to_be_sent() -> None:
    async with serving(await recorder_server()) as server:
        client, theirs = await connected(server)
        theirs.transport.write(b"x" * 1_000_000)
        server.close_clients()
        assert await asyncio.wait_for(client.lost, 10) is None
        assert len(client.data) == 1_000_000
        assert await asyncio.wait_for(theirs.lost, 10) is None


@only_uvworks
async def test_abort_clients_cuts() -> None:
    async with serving(await recorder_server()) as server:
        client, theirs = await connected(server)
        client.transport.pause_reading()
        theirs.transport.write(b"x" * 50_000_000)
        server.abort_clients()
        assert await asyncio.wait_for(theirs.lost, 10) is None
        client.transport.resume_reading()
        await asyncio.wait_for(client.lost, 10)
        assert len(client.data) < 50_000_000


@only_uvworks  # asyncio says so in debug mode only, and leaves the socket to the garbage collector
async def test_protocol_factories_that_fail_do_not_stop_the_server() -> None:
    heard: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: heard.append(context["exception"]))
    made = []

    def factory() -> asyncio.Protocol:
        made.append(None)
        if len(made) < 3:
            raise ZeroDivisionError
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), echo)

    async with serving(await loop.create_server(factory, LOCALHOST, 0)) as server:
        address = server.sockets[0].getsockname()
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*address)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
        await echoes(*await asyncio.open_connection(*address))
    assert [type(error) for error in heard] == [ZeroDivisionError] * 2


async def test_a_restarted_server_takes_its_port_again() -> None:
    port = unused_port()
    for _ in range(10):
        async with serving(await asyncio.start_server(echo, LOCALHOST, port)):
            await echoes(*await asyncio.open_connection(LOCALHOST, port))


async def test_many_connections_at_once() -> None:
    async with echo_server(backlog=512) as port:
        streams = await asyncio.gather(*(asyncio.open_connection(LOCALHOST, port) for _ in range(200)))
        await asyncio.gather(*(echoes(*stream) for stream in streams))


@only_uvworks
async def test_addresses_of_which_none_is_ours() -> None:
    with pytest.raises(OSError, match="could not bind on any address out of") as caught:
        await asyncio.start_server(echo, ["198.51.100.1", "203.0.113.1"], 0)
    assert caught.value.errno == errno.EADDRNOTAVAIL


WITHOUT_DESCRIPTORS = """
import asyncio, errno, os, resource, socket, sys
import uvworks

async def greet(reader, writer):
    writer.write(b"hello")
    writer.close()

async def main():
    loop = asyncio.get_running_loop()
    heard = []
    loop.set_exception_handler(lambda loop, context: heard.append((context["message"], context["exception"].errno)))
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    clients = [socket.socket() for _ in range(3)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass
    for attempt in (
        loop.create_connection(asyncio.Protocol, *address),
        loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
        loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0)),
        loop.create_unix_connection(asyncio.Protocol, "/nothing"),
        loop.create_unix_server(asyncio.Protocol, "/nothing"),
    ):
        try:
            await attempt
        except OSError as error:
            assert error.errno == errno.EMFILE, error
        else:
            raise AssertionError("connected without a descriptor")
    for client in clients:
        client.setblocking(False)
        client.connect_ex(address)
    await asyncio.sleep(0.2)
    assert heard == [("socket.accept() out of system resource", errno.EMFILE)], heard
    for fd in taken:
        os.close(fd)
    for client in clients:
        assert await asyncio.wait_for(loop.sock_recv(client, 10), 10) == b"hello"
        client.close()
    server.close()
    await server.wait_closed()

uvworks.run(main())
"""


def test_a_server_outlives_a_lack_of_descriptors() -> None:
    """It says so once, rests, and serves those who have waited."""
    python(WITHOUT_DESCRIPTORS)


@only_uvworks  # asyncio's accepts nothing then
@pytest.mark.parametrize("backlog", [-1, 0, 1])
async def test_short_queues(backlog: int) -> None:
    async with echo_server(backlog=backlog) as port:
        for _ in range(3):
            await echoes(*await asyncio.open_connection(LOCALHOST, port))


async def test_a_server_that_cannot_start() -> None:
    """Two sockets may be bound to one address, but not both listen."""
    first, second = socket.socket(), socket.socket()
    for sock in (first, second):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    first.bind((LOCALHOST, 0))
    second.bind(first.getsockname())
    async with serving(await asyncio.start_server(echo, sock=first)):
        server = await asyncio.start_server(echo, sock=second, start_serving=False)
        with pytest.raises(OSError, match="Address already in use"):
            await server.start_serving()
        server.close()
        assert second.fileno() == -1


async def test_a_server_is_restarted_under_load() -> None:
    port = unused_port()
    served = 0
    stop = False

    async def client() -> None:
        nonlocal served
        while not stop:
            try:
                reader, writer = await asyncio.open_connection(LOCALHOST, port)
            except ConnectionError:
                await asyncio.sleep(0.001)
                continue
            try:
                writer.write(b"x" * 1000)
                await asyncio.wait_for(reader.readexactly(1000), 10)
                served += 1
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    clients = [asyncio.create_task(client()) for _ in range(10)]
    for _ in range(10):
        async with serving(await asyncio.start_server(echo, LOCALHOST, port)):
            before = served
            await until(lambda before=before: served >= before + 20)
    stop = True
    await asyncio.wait_for(asyncio.gather(*clients), 10)


async def test_each_connection_has_a_context_of_its_own() -> None:
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
    assert seen == [0, 0, 0]
