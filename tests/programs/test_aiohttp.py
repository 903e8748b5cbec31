"""aiohttp, client and server: plain and TLS requests, streamed bodies both ways, websockets, many at a time."""

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

PIECE = os.urandom(64 * 1024)


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"path": request.path, "method": request.method})


async def digest(request: web.Request) -> web.Response:
    """Reads a streamed body piece by piece."""
    state, size = hashlib.sha256(), 0
    async for piece in request.content.iter_chunked(16 * 1024):
        state.update(piece)
        size += len(piece)
    return web.json_response({"size": size, "sha256": state.hexdigest()})


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(int(request.query["pieces"])):
        await response.write(PIECE)
    await response.write_eof()
    return response


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=1 << 24)
    await socket.prepare(request)
    async for message in socket:
        if message.type == aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None, directory: Path | None = None) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 30)
    app.add_routes([web.get("/", hello), web.put("/", digest), web.get("/stream", stream), web.get("/ws", echo)])
    if directory:
        app.router.add_static("/files", directory)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture(params=["plain", "tls"])
def tls(
    request: pytest.FixtureRequest, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    return (server_tls, client_tls) if request.param == "tls" else (None, None)


@asynccontextmanager
async def both(tls, **options) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(tls[0], **options) as url:
        connector = aiohttp.TCPConnector(ssl=tls[1] or True, limit=50)
        async with aiohttp.ClientSession(url, connector=connector) as session:
            yield session
        await asyncio.sleep(0.05)  # TLS connections end a moment after the session does


async def test_many_requests_on_few_connections(tls) -> None:
    async with both(tls) as session:

        async def ask(number: int) -> None:
            async with session.get("/", params={"n": number}) as response:
                assert response.status == 200 and await response.json() == {"path": "/", "method": "GET"}

        await asyncio.gather(*(ask(number) for number in range(300)))


async def test_a_body_is_streamed_up(tls) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield PIECE

    async with both(tls) as session, session.put("/", data=body()) as response:
        assert await response.json() == {"size": 160 << 16, "sha256": hashlib.sha256(PIECE * 160).hexdigest()}


async def test_a_body_is_streamed_down(tls) -> None:
    async with both(tls) as session, session.get("/stream", params={"pieces": 160}) as response:
        state = hashlib.sha256()
        async for piece in response.content.iter_any():
            state.update(piece)
        assert state.digest() == hashlib.sha256(PIECE * 160).digest()


async def test_a_websocket_echoes_small_and_large(tls) -> None:
    async with both(tls) as session, session.ws_connect("/ws", max_msg_size=1 << 24) as socket:
        for number in range(100):
            await socket.send_str(f"message {number}")
            assert (await socket.receive_str()) == f"message {number}"
        await socket.send_bytes(PIECE * 32)
        assert (await socket.receive_bytes()) == PIECE * 32


async def test_a_file_is_sent(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(PIECE * 50)
    async with both((None, None), directory=tmp_path) as session, session.get("/files/big") as response:
        assert await response.read() == PIECE * 50


async def test_a_client_that_leaves_early_harms_nobody() -> None:
    async with both((None, None)) as session:
        for _ in range(20):
            response = await session.get("/stream", params={"pieces": 1000})
            await response.content.readany()
            response.close()
        async with session.get("/") as response:
            assert response.status == 200
