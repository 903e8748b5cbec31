"""TLS on streams: 10 MiB both ways at once in each version, start_tls in mid-stream, bad certificates, abrupt ends."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

DATA = os.urandom(1 << 20) * 10
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


async def transfer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends DATA and takes as much in, at the same time."""

    async def send() -> None:
        for start in range(0, len(DATA), 100_000):
            writer.write(DATA[start : start + 100_000])
            await writer.drain()

    sending = asyncio.create_task(send())
    assert await reader.readexactly(len(DATA)) == DATA
    await sending


@asynccontextmanager
async def serving(handler, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    """A server that fails the test if one of its handlers does."""
    tasks: list[asyncio.Task[None]] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(accepted(reader, writer)))

    async with await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_10_mib_both_ways(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    server_tls.maximum_version = version
    try:
        async with serving(transfer, server_tls) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_tls)
            assert writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
            assert writer.get_extra_info("cipher") and writer.get_extra_info("peercert")
            await transfer(reader, writer)
            writer.close()
            await writer.wait_closed()
    finally:
        server_tls.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED


async def test_many_connections_at_once(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def talk(port: int, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_tls)
        writer.write(b"%d" % number * 1000)
        assert await reader.readexactly(len(b"%d" % number) * 1000) == b"%d" % number * 1000
        writer.close()
        await writer.wait_closed()

    async with serving(echo, server_tls) as port:
        await asyncio.gather(*(talk(port, number) for number in range(40)))


async def test_start_tls_in_mid_stream(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.start_tls(server_tls)
        await transfer(reader, writer)

    async with serving(handler, None) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client_tls, server_hostname="localhost")
        await transfer(reader, writer)
        writer.close()
        await writer.wait_closed()


async def test_an_unknown_authority_is_refused(server_tls: ssl.SSLContext) -> None:
    contexts = []
    async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=server_tls) as server:
        # The server hears of it, too, and that is not a fault of the loop's.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
        with pytest.raises(ssl.SSLCertVerificationError):
            port = server.sockets[0].getsockname()[1]
            await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
        await asyncio.sleep(0.05)
    assert all(isinstance(context.get("exception"), OSError) for context in contexts)


async def test_the_peer_goes_without_a_word(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.transport.abort()

    async with serving(handler, server_tls) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_tls)
        writer.write(b"bye\n")
        try:
            assert await reader.read() == b""
        except (ConnectionError, ssl.SSLError):
            pass
        writer.close()
        try:
            await writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            pass
