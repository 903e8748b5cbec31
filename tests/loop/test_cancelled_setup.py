"""Set-ups cancelled after each number of steps: whatever they had opened by then is closed, and nobody hears of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.loop.support import LOCALHOST, Recorder, echo, echo_server, only_uvworks, serving, unused_port

pytestmark = only_uvworks  # asyncio leaves some of it to the garbage collector

STEPS = range(30)

Close = Callable[[], object]


async def at_step(steps: int, start: Callable[[], Awaitable[Close]]) -> bool:
    """Runs `start`, cancels it after so many turns of the loop, and undoes what it has done if it was faster."""
    task = asyncio.ensure_future(start())
    for _ in range(steps):
        await asyncio.sleep(0 if steps < 20 else 0.001)
    task.cancel()
    try:
        undo = await asyncio.wait_for(task, 10)
    except asyncio.CancelledError:
        return True
    undo()
    return False


async def at_every_step(start: Callable[[], Awaitable[Close]]) -> None:
    cancelled = [await at_step(steps, start) for steps in STEPS]
    assert True in cancelled
    await asyncio.sleep(0)


@pytest.mark.parametrize("delay", [None, 0.001])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_connections(host: str, delay: float | None) -> None:
    loop = asyncio.get_running_loop()

    async def start() -> Close:
        transport, _ = await loop.create_connection(Recorder, host, port, happy_eyeballs_delay=delay)
        return transport.close

    async with echo_server() as port:
        await at_every_step(start)


async def test_tls_connections(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()

    async def start() -> Close:
        transport, _ = await loop.create_connection(Recorder, LOCALHOST, port, ssl=client_tls)
        return transport.abort

    async with echo_server(ssl=server_tls) as port:
        await at_every_step(start)


async def test_upgrades(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()

    async def start() -> Close:
        transport, protocol = connection
        return (await loop.start_tls(transport, protocol, client_tls, server_hostname="localhost")).abort

    async with echo_server(ssl=server_tls) as port:
        for steps in STEPS:
            connection = await loop.create_connection(Recorder, LOCALHOST, port)
            cancelled = await at_step(steps, start)
            assert connection[0].is_closing() or (cancelled and steps == 0), f"after {steps} steps"
            connection[0].abort()


async def test_servers() -> None:
    async def start() -> Close:
        return (await asyncio.start_server(echo, ["127.0.0.1", "localhost", "127.0.0.2"], unused_port())).close

    await at_every_step(start)


async def test_unix_sockets(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()

    async def serve() -> Close:
        return (await asyncio.start_unix_server(echo, tmp_path / "other")).close

    async def connect() -> Close:
        return (await loop.create_unix_connection(Recorder, tmp_path / "socket"))[0].close

    async with serving(await asyncio.start_unix_server(echo, tmp_path / "socket")):
        await at_every_step(connect)
        await at_every_step(serve)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_datagram_endpoints(host: str) -> None:
    loop = asyncio.get_running_loop()

    async def start() -> Close:
        return (await loop.create_datagram_endpoint(Recorder, (host, 0), (host, 9)))[0].close

    await at_every_step(start)
