"""Datagram endpoints: every option and refusal, over UDP and UNIX sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.loop.support import LOCALHOST, Recorder, only_uvworks, unused_port
from tests.support import until


@asynccontextmanager
async def endpoint(*args: Any, **options: Any) -> AsyncIterator[tuple[Any, Recorder]]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Recorder, *args, **options)
    try:
        yield transport, protocol
    finally:
        transport.close()
        assert await asyncio.wait_for(protocol.lost, 10) is None


def name(transport: Any) -> Any:
    return transport.get_extra_info("sockname")


async def test_to_and_fro() -> None:
    async with endpoint((LOCALHOST, 0)) as (server, heard), endpoint(remote_addr=name(server)) as (client, answers):
        assert client.get_extra_info("peername") == name(server)
        client.sendto(b"question")
        await until(lambda: heard.datagrams)
        assert heard.datagrams == [(b"question", name(client))]
        server.sendto(b"answer", name(client))
        await until(lambda: answers.datagrams)
        assert answers.datagrams == [(b"answer", name(server))]


@only_uvworks  # asyncio from 3.13 on
async def test_the_transport_is_a_datagram_transport() -> None:
    async with endpoint((LOCALHOST, 0)) as (transport, _):
        assert isinstance(transport, asyncio.DatagramTransport)


async def test_both_addresses() -> None:
    port = unused_port()
    async with endpoint((LOCALHOST, 0)) as (server, heard):
        async with endpoint(("127.0.0.2", port), name(server)) as (client, _):
            assert name(client) == ("127.0.0.2", port)
            client.sendto(b"x")
            await until(lambda: heard.datagrams)
            assert heard.datagrams == [(b"x", ("127.0.0.2", port))]


@only_uvworks
async def test_empty_datagrams() -> None:
    async with endpoint((LOCALHOST, 0)) as (server, heard), endpoint(remote_addr=name(server)) as (client, _):
        for data in (b"", b"full", b""):
            client.sendto(data)
        await until(lambda: len(heard.datagrams) == 3)
        assert [data for data, _ in heard.datagrams] == [b"", b"full", b""]


async def test_nobody_hears() -> None:
    async with endpoint(remote_addr=(LOCALHOST, unused_port())) as (transport, protocol):
        transport.sendto(b"x")
        await until(lambda: protocol.errors)
        assert isinstance(protocol.errors[0], ConnectionRefusedError)
        assert not transport.is_closing()


async def test_the_family_alone() -> None:
    async with endpoint(family=socket.AF_INET) as (transport, _):
        sock = transport.get_extra_info("socket")
        assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_DGRAM)


async def test_ipv6() -> None:
    async with endpoint(("::1", 0)) as (server, heard), endpoint(remote_addr=name(server)[:2]) as (client, _):
        client.sendto(b"six")
        await until(lambda: heard.datagrams)
        assert heard.datagrams[0][0] == b"six"


async def test_reuse_port() -> None:
    async with endpoint((LOCALHOST, 0), reuse_port=True) as (first, _):
        async with endpoint(name(first), reuse_port=True) as (second, _):
            assert name(first) == name(second)
        with pytest.raises(OSError):
            async with endpoint(name(first)):
                pass


@pytest.mark.parametrize("broadcast", [None, True, False])
async def test_broadcast(broadcast: bool | None) -> None:
    async with endpoint((LOCALHOST, 0), allow_broadcast=broadcast) as (transport, _):
        sock = transport.get_extra_info("socket")
        assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)) is bool(broadcast)


async def test_broadcasters_hear_everybody() -> None:
    """Their socket is not connected, or it would drop what comes from others than its remote address."""
    async with endpoint((LOCALHOST, 0)) as (server, heard):
        async with endpoint(remote_addr=name(server), allow_broadcast=True) as (client, answers):
            client.sendto(b"anybody?")
            await until(lambda: heard.datagrams)
            with socket.socket(type=socket.SOCK_DGRAM) as other:
                other.sendto(b"me", (LOCALHOST, client.get_extra_info("socket").getsockname()[1]))
            await until(lambda: answers.datagrams)
            assert answers.datagrams[0][0] == b"me"


async def test_a_given_socket() -> None:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind((LOCALHOST, 0))
    async with endpoint(sock=sock) as (transport, protocol):
        assert sock.gettimeout() == 0
        transport.sendto(b"to myself", name(transport))
        await until(lambda: protocol.datagrams)
    assert sock.fileno() == -1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "unexpected address family"),
        ({"local_addr": LOCALHOST}, TypeError, "2-tuple is expected"),
        ({"local_addr": (LOCALHOST, 0, 0)}, TypeError, "2-tuple is expected"),
        ({"local_addr": (LOCALHOST, 1), "remote_addr": ("::1", 1)}, ValueError, "can not get address information"),
        ({"local_addr": (LOCALHOST, 1), "family": socket.AF_UNIX}, TypeError, "string is expected"),
    ],
    ids=str,
)
async def test_arguments_that_do_not_fit(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        await asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, **options)


async def test_options_beside_a_socket() -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        for options in (
            {"local_addr": (LOCALHOST, 0)},
            {"remote_addr": (LOCALHOST, 1)},
            {"family": socket.AF_INET},
            {"proto": 1},
            {"flags": 1},
            {"reuse_port": True},
            {"allow_broadcast": True},
        ):
            with pytest.raises(ValueError, match="can not be used when sock is specified"):
                await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock, **options)
        assert sock.fileno() >= 0
    with socket.socket() as stream:
        expected = "A datagram socket was expected" if sys.version_info >= (3, 13) else "A UDP Socket was expected"
        with pytest.raises(ValueError, match=expected):
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=stream)


async def test_an_address_in_use() -> None:
    async with endpoint((LOCALHOST, 0)) as (transport, _):
        with pytest.raises(OSError, match="Address already in use"):
            await asyncio.get_running_loop().create_datagram_endpoint(Recorder, name(transport))


@only_uvworks  # asyncio leaves the socket to the garbage collector
async def test_a_factory_that_fails() -> None:
    def fail() -> asyncio.DatagramProtocol:
        raise ZeroDivisionError

    loop = asyncio.get_running_loop()
    with pytest.raises(ZeroDivisionError):
        await loop.create_datagram_endpoint(fail, (LOCALHOST, 0))
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(ZeroDivisionError):
            await loop.create_datagram_endpoint(fail, sock=sock)
        assert sock.fileno() >= 0


async def test_unix_sockets(tmp_path: Path) -> None:
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    async with endpoint(here, family=socket.AF_UNIX) as (server, heard):
        async with endpoint(there, here, family=socket.AF_UNIX) as (client, answers):
            client.sendto(b"question")
            await until(lambda: heard.datagrams)
            assert heard.datagrams == [(b"question", there)]
            server.sendto(b"answer", there)
            await until(lambda: answers.datagrams)
            assert answers.datagrams[0][0] == b"answer"


async def test_a_stale_unix_socket_makes_room(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    for _ in range(2):
        async with endpoint(path, family=socket.AF_UNIX):
            pass
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OSError):
        await asyncio.get_running_loop().create_datagram_endpoint(
            Recorder, str(tmp_path / "file"), family=socket.AF_UNIX
        )
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
async def test_abstract_unix_sockets() -> None:
    path = f"\0uvworks-test-{os.getpid()}"
    async with endpoint(path, family=socket.AF_UNIX) as (_, heard):
        async with endpoint(remote_addr=path, family=socket.AF_UNIX) as (client, _):
            client.sendto(b"x")
            await until(lambda: heard.datagrams)


async def test_many_datagrams() -> None:
    """More than fit into any buffer: those that arrive are whole and in order, and the sender is not stopped."""
    async with endpoint((LOCALHOST, 0)) as (server, heard), endpoint(remote_addr=name(server)) as (client, _):
        for number in range(2000):
            client.sendto(number.to_bytes(4, "big") * 100)
            if number % 50 == 0:
                await asyncio.sleep(0)
        client.sendto(b"end")
        await until(lambda: (heard.datagrams and heard.datagrams[-1][0] == b"end") or client.sendto(b"end"))
        numbers = [int.from_bytes(data[:4], "big") for data, _ in heard.datagrams if data != b"end"]
        assert all(data[:4] * 100 == data for data, _ in heard.datagrams if data != b"end")
        assert numbers == sorted(numbers)
        assert len(numbers) > 100


async def test_the_sender_of_a_datagram_has_the_full_address() -> None:
    loop = asyncio.get_running_loop()
    got = loop.create_future()

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            got.set_result(addr)

    transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("::1", 0))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        name = peer.getsockname()
        transport.sendto(b"x", ("0:0::1", name[1]))
        peer.sendto(b"y", transport.get_extra_info("sockname"))
        assert await got == name
    transport.close()


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="needs AF_NETLINK")
async def test_datagrams_of_a_rarer_family() -> None:
    loop = asyncio.get_running_loop()
    got = loop.create_future()

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            if not got.done():
                got.set_result(addr)

    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)  # NETLINK_ROUTE
    sock.bind((0, 0))
    transport, _ = await loop.create_datagram_endpoint(Protocol, sock=sock)
    assert transport.get_extra_info("sockname") == sock.getsockname()
    dump_links = struct.pack("=IHHIIB3x", 20, 18, 0x301, 1, 0, 0)
    transport.sendto(dump_links, (0, 0))
    assert await asyncio.wait_for(got, 10) == (0, 0)
    transport.close()
