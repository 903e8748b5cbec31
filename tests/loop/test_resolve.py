"""Names and addresses: the standard library's answers, no thread for what is numeric, names only for a replacement."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from tests.loop.support import LOCALHOST, echo_server, echoes, only_uvworks, serving
from tests.support import async_error_of, error_of, facts
from uvworks import pool

STREAM = socket.SOCK_STREAM


@pytest.mark.parametrize(
    "arguments",
    [
        ("127.0.0.1", 80, {"type": STREAM}),
        ("::1", "80", {"type": STREAM}),
        (b"127.0.0.1", b"http", {"type": STREAM}),
        ("fe80::1%lo", 80, {"type": STREAM}),
        (None, 80, {"type": STREAM, "flags": socket.AI_PASSIVE}),
        ("localhost", 80, {"type": socket.SOCK_DGRAM, "family": socket.AF_INET}),
    ],
    ids=str,
)
async def test_getaddrinfo_answers_as_the_standard_library(arguments: tuple[Any, Any, dict[str, int]]) -> None:
    host, port, options = arguments
    expected = socket.getaddrinfo(host, port, **options)
    assert await asyncio.get_running_loop().getaddrinfo(host, port, **options) == expected


async def test_getaddrinfo_fails_as_the_standard_library() -> None:
    loop = asyncio.get_running_loop()
    for host, port, family in (("::1", 1, socket.AF_INET), ("localhost", "nosuch", 0), ("", 1, 0)):
        expected = error_of(lambda host=host, port=port, family=family: socket.getaddrinfo(host, port, family))
        assert facts(await async_error_of(loop.getaddrinfo(host, port, family=family))) == facts(expected)


async def test_getnameinfo_answers_as_the_standard_library() -> None:
    loop = asyncio.get_running_loop()
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert await loop.getnameinfo(("127.0.0.1", 80), numeric) == ("127.0.0.1", "80")
    assert await loop.getnameinfo(("127.0.0.1", 80)) == socket.getnameinfo(("127.0.0.1", 80), 0)


@only_uvworks
async def test_numeric_addresses_take_no_worker() -> None:
    loop = asyncio.get_running_loop()
    async with echo_server() as port:
        before = pool.statistics().lanes["dns"].run.count
        await loop.getaddrinfo(LOCALHOST, port)
        await echoes(*await asyncio.open_connection(LOCALHOST, port))
        assert pool.statistics().lanes["dns"].run.count == before


async def test_a_replaced_getaddrinfo_is_asked_for_names_only() -> None:
    asked = []

    async def getaddrinfo(host: str, port: int, **options: Any) -> Any:
        asked.append((host, port, options["type"]))
        return [(socket.AF_INET, STREAM, 0, "", (LOCALHOST, port))]

    asyncio.get_running_loop().getaddrinfo = getaddrinfo  # type: ignore[method-assign]
    async with echo_server() as port:
        await echoes(*await asyncio.open_connection(LOCALHOST, port))
        assert asked == []
        await echoes(*await asyncio.open_connection("name.test", port))
        assert asked == [("name.test", port, STREAM)]


async def test_a_name_without_addresses() -> None:
    async def getaddrinfo(*args: Any, **options: Any) -> Any:
        return []

    loop = asyncio.get_running_loop()
    loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
    for connecting in (
        loop.create_connection(asyncio.Protocol, "name.test", 1),
        loop.create_connection(asyncio.Protocol, LOCALHOST, 1, local_addr=("name.test", 1)),
        loop.create_server(asyncio.Protocol, "name.test", 1),
        loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("name.test", 1)),
    ):
        with pytest.raises(OSError, match="returned empty list"):
            await connecting


@pytest.mark.parametrize("port", [-1, 65536, 1 << 70])
async def test_ports_that_are_none(port: int) -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises((OverflowError, OSError)):
        await loop.create_connection(asyncio.Protocol, LOCALHOST, port)
    with pytest.raises((OverflowError, OSError)):
        await loop.create_server(asyncio.Protocol, LOCALHOST, port)


async def test_a_host_with_a_nul_reaches_nobody() -> None:
    async with echo_server() as port:
        with pytest.raises(ValueError):
            await asyncio.open_connection(f"{LOCALHOST}\0.example", port)


async def test_sock_connect_takes_long_addresses() -> None:
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "::1", 0)
    async with serving(server):
        port = server.sockets[0].getsockname()[1]
        for address in (("::1", port), ("::1", port, 0, 0)):
            with socket.socket(socket.AF_INET6) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                assert sock.getpeername()[:2] == ("::1", port)


async def test_sock_connect_takes_names() -> None:
    async with echo_server() as port:
        with socket.socket() as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("localhost", port))
            assert sock.getpeername() == (LOCALHOST, port)


@only_uvworks
@pytest.mark.parametrize("address", [None, 7, "127.0.0.1", (LOCALHOST,), b"xy"])
async def test_addresses_that_are_none(address: Any) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(TypeError):
            await asyncio.get_running_loop().sock_connect(sock, address)
