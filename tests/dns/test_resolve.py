"""DNS records, asked of a server that the test itself runs on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conftest import Run
from tests.support import python
from uvworks.dns import CAA, MX, NAPTR, SOA, SRV, Resolver

TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
    "NAPTR": 35,
    "CAA": 257,
}
NXDOMAIN, SERVFAIL, REFUSED = 3, 2, 5


def name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".") if label) + b"\0"


def string(text: bytes) -> bytes:
    return bytes([len(text)]) + text


ZONE: dict[tuple[str, str], list[tuple[str, bytes]]] = {
    ("example.test", "A"): [("A", socket.inet_aton("192.0.2.1")), ("A", socket.inet_aton("192.0.2.2"))],
    ("example.test", "AAAA"): [("AAAA", socket.inet_pton(socket.AF_INET6, "2001:db8::1"))],
    ("example.test", "CAA"): [("CAA", b"\x80" + string(b"issue") + b"ca.test")],
    ("example.test", "MX"): [
        ("MX", struct.pack("!H", 10) + name("mail.test")),
        ("MX", struct.pack("!H", 5) + name("first.test")),
    ],
    ("example.test", "NAPTR"): [
        (
            "NAPTR",
            struct.pack("!HH", 100, 50) + string(b"s") + string(b"http") + string(b"!^.*$!x!") + name("next.test"),
        )
    ],
    ("example.test", "NS"): [("NS", name("ns1.test")), ("NS", name("ns2.test"))],
    ("example.test", "SOA"): [("SOA", name("ns1.test") + name("admin.test") + struct.pack("!5I", 1, 2, 3, 4, 5))],
    ("example.test", "SRV"): [("SRV", struct.pack("!HHH", 1, 2, 8080) + name("host.test"))],
    ("example.test", "TXT"): [("TXT", string(b"one ") + string(b"text")), ("TXT", string(b"\xff\x00"))],
    ("www.test", "CNAME"): [("CNAME", name("example.test"))],
    ("www.test", "A"): [("CNAME", name("example.test")), ("A", socket.inet_aton("192.0.2.3"))],
    ("nowhere.test", "A"): [("CNAME", name("gone.test"))],
    ("1.2.0.192.in-addr.arpa", "PTR"): [("PTR", name("example.test"))],
    (ipaddress.ip_address("2001:db8::1").reverse_pointer, "PTR"): [("PTR", name("six.test"))],
}
ANSWERS: dict[str, Any] = {
    "A": ["192.0.2.1", "192.0.2.2"],
    "AAAA": ["2001:db8::1"],
    "CAA": [CAA(128, "issue", "ca.test")],
    "MX": [MX(10, "mail.test"), MX(5, "first.test")],
    "NAPTR": [NAPTR(100, 50, "s", "http", "!^.*$!x!", "next.test")],
    "NS": ["ns1.test", "ns2.test"],
    "SOA": SOA("ns1.test", "admin.test", 1, 2, 3, 4, 5),
    "SRV": [SRV(1, 2, 8080, "host.test")],
    "TXT": [b"one text", b"\xff\x00"],
}


class Server(asyncio.DatagramProtocol):
    """Answers from ZONE, and misbehaves for some names."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, query: bytes, peer: Any) -> None:
        number, end, labels = query[:2], 12, []
        while query[end]:
            labels.append(query[end + 1 : end + 1 + query[end]].decode())
            end += 1 + query[end]
        question = query[12 : end + 5]
        (code,) = struct.unpack("!H", query[end + 1 : end + 3])
        host = ".".join(labels).lower()
        self.asked.append(host)
        if host.startswith("silent"):
            return
        if host.startswith("garbage"):
            self.transport.sendto(b"\xff" * 40, peer)
            self.transport.sendto(query[:2] + b"\xff" * 60, peer)
            return
        [kind] = [text for text, value in TYPES.items() if value == code] or ["?"]
        records = ZONE.get((host, kind), [])
        known = any(host == other for other, _ in ZONE)
        status = SERVFAIL if host.startswith("broken") else 0 if known else NXDOMAIN
        answer = number + struct.pack("!HHHHH", 0x8180 | status, 1, len(records), 0, 0) + question
        for found, data in records:
            answer += b"\xc0\x0c" + struct.pack("!HHIH", TYPES[found], 1, 60, len(data)) + data
        self.transport.sendto(answer, peer)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[Resolver, Server]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Server, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    try:
        with Resolver([f"127.0.0.1:{port}"], **{"timeout": 0.3, "tries": 1, **options}) as resolver:
            yield resolver, server
    finally:
        transport.close()
        await asyncio.sleep(0)


@pytest.fixture(scope="module", autouse=True)
def cares_started() -> Iterator[None]:
    """What c-ares keeps for the whole process is there before threads are counted."""
    Resolver(["127.0.0.1:9"]).close()
    time.sleep(0.2)
    yield


@pytest.mark.parametrize("rrtype", ANSWERS)
async def test_records(rrtype: Any) -> None:
    async with serving() as (resolver, _):
        found = await resolver.resolve("example.test", rrtype)
        assert found == ANSWERS[rrtype]
        assert type(found) is type(ANSWERS[rrtype])


async def test_aliases() -> None:
    async with serving() as (resolver, _):
        assert await resolver.resolve("www.test", "CNAME") == ["example.test"]
        assert await resolver.resolve("www.test") == ["192.0.2.3"]
        with pytest.raises(socket.gaierror) as caught:
            await resolver.resolve("nowhere.test")
        assert caught.value.errno == socket.EAI_NODATA


async def test_reverse() -> None:
    async with serving() as (resolver, _):
        assert await resolver.reverse("192.0.2.1") == ["example.test"]
        assert await resolver.reverse("2001:db8::1") == ["six.test"]
        with pytest.raises(socket.gaierror):
            await resolver.reverse("192.0.2.99")
        with pytest.raises(ValueError, match="example"):
            await resolver.reverse("example.test")


@pytest.mark.parametrize(
    ("host", "rrtype", "code"),
    [
        ("missing.test", "A", socket.EAI_NONAME),
        ("example.test", "PTR", socket.EAI_NODATA),
        ("broken.test", "A", socket.EAI_AGAIN),
        ("silent.test", "A", socket.EAI_AGAIN),
        ("garbage.test", "A", socket.EAI_FAIL),
    ],
)
async def test_failures(host: str, rrtype: Any, code: int) -> None:
    async with serving() as (resolver, _):
        with pytest.raises(socket.gaierror) as caught:
            await asyncio.wait_for(resolver.resolve(host, rrtype), 20)
        assert caught.value.errno == code and caught.value.strerror


async def test_refused() -> None:
    async with serving() as (resolver, server):
        for bad in ("a" * 64 + ".test", "a..test", ".".join(["a" * 60] * 5)):
            with pytest.raises(ValueError, match="name"):
                await resolver.resolve(bad)
        with pytest.raises(ValueError, match="null"):
            await resolver.resolve("example.test\0")
        with pytest.raises(ValueError, match="rrtype"):
            await resolver.resolve("example.test", "AXFR")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="name"):
            await resolver.resolve(b"example.test")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="address"):
            await resolver.reverse(1)  # type: ignore[arg-type]
        with pytest.raises(ValueError):
            await resolver.reverse("fe80::1%lo")
        assert server.asked == []
    with pytest.raises(RuntimeError, match="closed"):
        await resolver.resolve("example.test")
    resolver.close()
    for options in ({"timeout": 0}, {"tries": 0}):
        with pytest.raises(ValueError):
            Resolver(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="servers"):
        Resolver(["not an address"])


async def test_a_cancel_and_a_timeout() -> None:
    async with serving(timeout=5.0) as (resolver, _):
        task = asyncio.create_task(resolver.resolve("silent.test"))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await resolver.resolve("silent.test")
        assert await resolver.resolve("example.test") == ANSWERS["A"]


async def test_closing_ends_the_wait() -> None:
    async with serving(timeout=20.0) as (resolver, _):
        task = asyncio.create_task(resolver.resolve("silent.test"))
        await asyncio.sleep(0.02)
        resolver.close()
        with pytest.raises(socket.gaierror):
            await asyncio.wait_for(task, 5)


async def test_many_at_once() -> None:
    async with serving(timeout=0.5, tries=6) as (resolver, _):
        calls = [resolver.resolve("example.test", ("A", "AAAA", "MX")[n % 3]) for n in range(300)]  # type: ignore[arg-type]
        for n, found in enumerate(await asyncio.gather(*calls)):
            assert found == ANSWERS[("A", "AAAA", "MX")[n % 3]]


def test_a_loop_may_end_before_the_answer(run: Run) -> None:
    with Resolver(["127.0.0.1:9"], timeout=0.2, tries=1) as resolver:
        loop = asyncio.new_event_loop()
        task = loop.create_task(resolver.resolve("silent.test"))
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        del task
        time.sleep(0.4)


def test_without_pycares() -> None:
    said = python(
        """
        import asyncio, sys
        sys.modules["pycares"] = None
        from uvworks import dns
        try:
            asyncio.run(dns.resolve("example.test"))
        except ImportError as error:
            print(error)
        """
    ).stdout
    assert "pip install uvworks[dns]" in said


def test_the_default_resolver_and_fork() -> None:
    said = python(
        """
        import asyncio, os
        from uvworks import dns
        from uvworks.dns import _resolve
        first = _resolve._resolver()
        assert first is _resolve._resolver()
        if os.fork() == 0:
            assert _resolve._resolver() is not first
            try:
                asyncio.run(first.resolve("example.test"))
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
        os.wait()
        """,
        warnings="default",
    ).stdout
    assert "fork" in said
