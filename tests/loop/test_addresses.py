"""Addresses: what transports and dns say is what the standard library's sockets say, of every family."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loop.support import LOCALHOST
from uvworks import dns

IPV6_FREEBIND = 78  # Linux's; the socket module does not name it
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def zoned() -> socket.socket:
    """Bound to a link-local address, which need not be there."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    sock.bind(("fe80::1", 0, 0, socket.if_nametoindex("lo")))
    return sock


def bound(family: int, address: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(address)  # type: ignore[arg-type]
    return sock


@pytest.fixture(
    params=[
        "ipv4",
        "ipv6",
        pytest.param("zone", marks=linux),
        "unix",
        "unnamed",
        pytest.param("abstract", marks=linux),
    ]
)
def sock(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    makers = {
        "ipv4": lambda: bound(socket.AF_INET, (LOCALHOST, 0)),
        "ipv6": lambda: bound(socket.AF_INET6, ("::1", 0)),
        "zone": zoned,
        "unix": lambda: bound(socket.AF_UNIX, os.fsencode(tmp_path) + b"/\xff"),
        "unnamed": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        "abstract": lambda: bound(socket.AF_UNIX, b"\0uvworks-%d\0x" % os.getpid()),
    }
    try:
        sock = makers[request.param]()
    except OSError as error:
        pytest.skip(f"not on this machine: {error}")
    sock.setblocking(False)
    yield sock
    sock.close()


async def test_sockname(sock: socket.socket) -> None:
    expected = sock.getsockname()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock)
    assert transport.get_extra_info("sockname") == expected
    transport.close()


async def test_a_sender(sock: socket.socket) -> None:
    """Where a datagram came from, and where a connected socket is connected to."""
    loop = asyncio.get_running_loop()
    peer = socket.socket(sock.family, socket.SOCK_DGRAM)
    peer.setblocking(False)
    try:
        if not (name := sock.getsockname()):
            pytest.skip("nobody can send to it")
        try:
            if isinstance(name, tuple):
                peer.bind((name[0], 0, *name[2:]))
            peer.connect(name)
        except OSError as error:
            pytest.skip(f"no way there: {error}")
        seen: asyncio.Future[object] = loop.create_future()

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                seen.set_result(addr)

        transport, _ = await loop.create_datagram_endpoint(Receiver, sock=sock)
        connected, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=peer)
        connected.sendto(b"x")
        # An unnamed sender's address is None, and no name at all is ''.
        assert await asyncio.wait_for(seen, 10) == (peer.getsockname() or None)
        assert connected.get_extra_info("peername") == name
        connected.close()
        transport.close()
    finally:
        peer.close()


@linux
@pytest.mark.parametrize("host", [LOCALHOST, "::1", "fe80::1%lo", "fe80::1%1", "::ffff:1.2.3.4"])
async def test_getaddrinfo(host: str) -> None:
    expected = socket.getaddrinfo(host, 80)
    assert await dns.getaddrinfo(host, 80) == expected
    assert await asyncio.get_running_loop().getaddrinfo(host, 80) == expected
