"""The websockets library, both ends: small and large messages, fragments, pings, many clients, compressed and not."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedOK

DATA = os.urandom(1 << 20)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async with serve(echo, "127.0.0.1", 0, ssl=tls, max_size=1 << 24) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"{'wss' if tls else 'ws'}://127.0.0.1:{port}"


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_messages_of_all_sizes(compression: str | None) -> None:
    async with serving() as url, connect(url, max_size=1 << 24, compression=compression) as client:
        for message in ("", "text", "ä" * 1000, b"", b"bytes", DATA, DATA * 8):
            await client.send(message)
            assert await client.recv() == message
        await (await client.ping())


async def test_over_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with serving(server_tls) as url, connect(url, ssl=client_tls, max_size=1 << 24) as client:
        await client.send(DATA)
        assert await client.recv() == DATA


async def test_a_fragmented_message() -> None:
    async with serving() as url, connect(url) as client:
        await client.send([DATA[:1000]] * 50)
        assert await client.recv() == DATA[:1000] * 50


async def test_many_clients_at_once() -> None:
    async with serving() as url:

        async def chat(number: int) -> None:
            async with connect(url) as client:
                for turn in range(10):
                    await client.send(f"{number}.{turn}")
                    assert await client.recv() == f"{number}.{turn}"

        await asyncio.gather(*(chat(number) for number in range(50)))


async def test_the_server_closes_and_the_client_sees_it() -> None:
    async def bye(connection: ServerConnection) -> None:
        await connection.close(1001, "bye")

    async with serve(bye, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}") as client:
            with pytest.raises(ConnectionClosedOK):
                await client.recv()
