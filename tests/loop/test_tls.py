"""TLS: connections, servers and upgrades, and handshakes that fail on either side."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import pytest

from tests.loop.support import LOCALHOST, Recorder, echo, echo_server, echoes, only_uvworks, serving
from tests.support import until

Context = ssl.SSLContext


@pytest.fixture(autouse=True)
def _certificates(authority: object) -> None:
    """Made before the first test looks at its time."""


async def test_a_connection(server_tls: Context, client_tls: Context) -> None:
    async with echo_server(ssl=server_tls) as port:
        reader, writer = await asyncio.open_connection(LOCALHOST, port, ssl=client_tls)
        assert isinstance(writer.transport, asyncio.Transport)
        assert writer.get_extra_info("sslcontext") is client_tls
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert ("DNS", "localhost") in writer.get_extra_info("peercert")["subjectAltName"]
        assert writer.get_extra_info("peername") == (LOCALHOST, port)
        await echoes(reader, writer)


async def test_ten_mebibytes_both_ways(server_tls: Context, client_tls: Context) -> None:
    data = bytes(range(256)) * 4096 * 10
    async with echo_server(ssl=server_tls) as port:
        reader, writer = await asyncio.open_connection("localhost", port, ssl=client_tls, family=socket.AF_INET)
        reading = asyncio.create_task(reader.readexactly(len(data)))
        for start in range(0, len(data), 1 << 16):
            writer.write(data[start : start + (1 << 16)])
            await writer.drain()
        assert await asyncio.wait_for(reading, 60) == data
        writer.close()
        await writer.wait_closed()


async def test_buffered_protocols(server_tls: Context, client_tls: Context) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(1000)
            self.data = bytearray()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[:nbytes]

    async with echo_server(ssl=server_tls) as port:
        transport, protocol = await asyncio.get_running_loop().create_connection(
            Buffered, LOCALHOST, port, ssl=client_tls
        )
        transport.write(b"x" * 100_000)
        await until(lambda: len(protocol.data) == 100_000)
        transport.close()


async def test_a_host_of_another_name(server_tls: Context, client_tls: Context) -> None:
    async with echo_server(ssl=server_tls) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await asyncio.open_connection(LOCALHOST, port, ssl=client_tls, server_hostname="other.test")
        await echoes(*await asyncio.open_connection(LOCALHOST, port, ssl=client_tls))


async def test_a_host_that_nobody_vouches_for(server_tls: Context) -> None:
    async with echo_server(ssl=server_tls) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(LOCALHOST, port, ssl=True)


async def test_strangers_do_not_stop_the_server(server_tls: Context, client_tls: Context) -> None:
    async with echo_server(ssl=server_tls) as port:
        for greeting in (b"", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01", b"\0" * 70_000):
            reader, writer = await asyncio.open_connection(LOCALHOST, port)
            writer.write(greeting)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 10)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await echoes(*await asyncio.open_connection(LOCALHOST, port, ssl=client_tls))


async def test_debug_mode_tells_of_strangers(server_tls: Context) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    heard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: heard.append(context))
    async with echo_server(ssl=server_tls) as port:
        _, writer = await asyncio.open_connection(LOCALHOST, port)
        writer.write(b"no hello")
        await until(lambda: heard)
        writer.close()
    (context,) = heard
    assert context["message"] == "Error on transport creation for incoming connection"
    assert isinstance(context["exception"], ssl.SSLError)
    assert "protocol" in context and "transport" in context


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_a_server_that_says_nothing(client_tls: Context) -> None:
    async with serving(await asyncio.start_server(silent, LOCALHOST, 0)) as server:
        address = server.sockets[0].getsockname()
        with pytest.raises(ConnectionAbortedError, match=r"taking longer than 0\.05 seconds"):
            await asyncio.open_connection(*address, ssl=client_tls, ssl_handshake_timeout=0.05)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.open_connection(*address, ssl=client_tls), 0.05)


async def test_a_server_that_hangs_up(client_tls: Context) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(await asyncio.start_server(hang_up, LOCALHOST, 0)) as server:
        with pytest.raises(ConnectionResetError):
            await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=client_tls)


async def test_a_client_that_says_nothing(server_tls: Context) -> None:
    async with echo_server(ssl=server_tls, ssl_handshake_timeout=0.05) as port:
        reader, writer = await asyncio.open_connection(LOCALHOST, port)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_a_peer_that_never_says_goodbye(server_tls: Context, client_tls: Context) -> None:
    """The shutdown's time-out ends what the peer does not."""
    loop = asyncio.get_running_loop()
    protocols: list[Recorder] = []

    def factory() -> Recorder:
        protocols.append(Recorder())
        return protocols[-1]

    async with serving(await loop.create_server(factory, LOCALHOST, 0, ssl=server_tls)) as server:
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=client_tls, ssl_shutdown_timeout=0.05
        )
        await until(lambda: protocols and protocols[0].transport)
        protocols[0].transport.pause_reading()
        transport.close()
        error = await asyncio.wait_for(protocol.lost, 10)
        assert error is None or isinstance(error, TimeoutError)
        protocols[0].transport.abort()
        await asyncio.wait_for(protocols[0].lost, 10)


async def test_start_tls(server_tls: Context, client_tls: Context) -> None:
    loop = asyncio.get_running_loop()

    upgrades: list[asyncio.Task[None]] = []

    class Upgrader(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            if data == b"STARTTLS":
                self.transport.write(b"go")
                upgrades.append(loop.create_task(self._upgrade()))
            else:
                self.transport.write(data.upper())

        async def _upgrade(self) -> None:
            self.transport = await loop.start_tls(self.transport, self, server_tls, server_side=True)

    async with serving(await loop.create_server(Upgrader, LOCALHOST, 0)) as server:
        transport, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        transport.write(b"STARTTLS")
        await until(lambda: protocol.data == b"go")
        secure = await loop.start_tls(transport, protocol, client_tls, server_hostname="localhost")
        assert isinstance(secure, asyncio.Transport)
        assert secure is not transport
        await upgrades[0]
        secure.write(b"quiet")
        await until(lambda: protocol.data == b"goQUIET")
        secure.close()
        assert await asyncio.wait_for(protocol.lost, 10) is None


async def test_start_tls_refuses(client_tls: Context) -> None:
    loop = asyncio.get_running_loop()
    async with echo_server() as port:
        transport, protocol = await loop.create_connection(Recorder, LOCALHOST, port)
        with pytest.raises(TypeError, match="sslcontext is expected to be an instance of"):
            await loop.start_tls(transport, protocol, True)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(object(), protocol, client_tls)  # type: ignore[arg-type]
        with pytest.raises(ssl.SSLError):
            await loop.start_tls(transport, protocol, client_tls, server_hostname="localhost")  # echoes our hello
        assert transport.is_closing()
        await asyncio.wait_for(protocol.lost, 10)


async def test_start_tls_is_cancelled(client_tls: Context) -> None:
    loop = asyncio.get_running_loop()
    async with serving(await asyncio.start_server(silent, LOCALHOST, 0)) as server:
        transport, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        task = asyncio.create_task(loop.start_tls(transport, protocol, client_tls, server_hostname="localhost"))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.is_closing()


async def test_tls_within_tls(server_tls: Context, client_tls: Context) -> None:
    loop = asyncio.get_running_loop()

    async def inner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"go ")  # or the client's hello might come while this still reads plain data
        await writer.start_tls(server_tls)
        await echo(reader, writer)

    async with serving(await asyncio.start_server(inner, LOCALHOST, 0, ssl=server_tls)) as server:
        transport, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname(), ssl=client_tls)
        await until(lambda: protocol.data == b"go ")
        secure = await loop.start_tls(transport, protocol, client_tls, server_hostname="localhost")
        secure.write(b"twice")
        await until(lambda: protocol.data == b"go twice")
        secure.close()
        await asyncio.wait_for(protocol.lost, 10)


async def test_accepted_sockets(server_tls: Context, client_tls: Context) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    accepting = loop.create_task(loop.connect_accepted_socket(Recorder, theirs, ssl=server_tls))
    transport, protocol = await loop.create_connection(Recorder, sock=ours, ssl=client_tls, server_hostname="localhost")
    accepted, server = await accepting
    transport.write(b"hello")
    await until(lambda: server.data == b"hello")
    accepted.close()
    await asyncio.wait_for(protocol.lost, 10)


async def test_sockets_with_their_own_tls(client_tls: Context) -> None:
    loop = asyncio.get_running_loop()
    plain, other = socket.socketpair()
    with other, client_tls.wrap_socket(plain, do_handshake_on_connect=False, server_hostname="localhost") as secure:
        secure.setblocking(False)
        for refused in (
            loop.create_connection(asyncio.Protocol, sock=secure),
            loop.create_server(asyncio.Protocol, sock=secure),
            loop.connect_accepted_socket(asyncio.Protocol, secure),
            loop.sock_connect(secure, (LOCALHOST, 1)),
            loop.sock_recv(secure, 1),
            loop.sock_sendall(secure, b"x"),
        ):
            with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
                await refused


@only_uvworks  # asyncio: when the first client comes, or never
@pytest.mark.parametrize("timeout", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
async def test_mistakes_are_found_at_once(server_tls: Context, timeout: str) -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(ValueError, match=f"{timeout} should be a positive number"):
        await loop.create_server(asyncio.Protocol, LOCALHOST, 0, ssl=server_tls, **{timeout: 0})
    with pytest.raises(TypeError, match="must be an SSLContext"):
        await loop.create_server(asyncio.Protocol, LOCALHOST, 0, ssl="context")
    async with echo_server() as port:
        with pytest.raises(ValueError, match=r"label empty|server_hostname"):
            await loop.create_connection(asyncio.Protocol, LOCALHOST, port, ssl=True, server_hostname=".bad")


async def test_close_clients_of_a_tls_server(server_tls: Context, client_tls: Context) -> None:
    loop = asyncio.get_running_loop()
    async with serving(await loop.create_server(Recorder, LOCALHOST, 0, ssl=server_tls)) as server:
        if not hasattr(server, "close_clients"):
            pytest.skip("asyncio before 3.13")
        _, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname(), ssl=client_tls)
        server.close_clients()
        await asyncio.wait_for(protocol.lost, 10)
