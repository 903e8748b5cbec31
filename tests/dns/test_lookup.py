"""dns: the standard library's functions answer the same, lookups in flight are shared, cancels leave nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import held, python, until
from uvworks import dns, pool

GETADDRINFO: list[tuple[Any, ...]] = [
    ("127.0.0.1", 80),
    ("127.0.0.1", "80", 0, socket.SOCK_STREAM),
    (b"127.0.0.1", b"80"),
    ("127.1", None),
    ("0x7f000001", 1),
    ("::1", 80),
    ("::1", 80, socket.AF_INET),
    ("127.0.0.1", 80, socket.AF_INET6),
    ("127.0.0.1", 80, socket.AF_INET6, 0, 0, socket.AI_V4MAPPED),
    ("fe80::1%lo", 80),
    ("fe80::1%1", 80, 0, socket.SOCK_DGRAM),
    ("fe80::1%nosuch", 80),
    ("localhost", 80),
    ("localhost", "http"),
    ("localhost", "nosuch"),
    ("localhost", 80, socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, socket.AI_CANONNAME),
    ("localhost", 80, 99),
    ("localhost", 80, 0, 99),
    ("localhost.", 80),
    (None, 80),
    (None, "http", 0, 0, 0, socket.AI_PASSIVE),
    (None, None),
    ("", 80),
    ("127.0.0.1", "nosuch"),
    ("example", 1, 0, 0, 0, socket.AI_NUMERICHOST),
    ("a..b", 1),
    (".", 1),
    ("a" * 64, 1),
    ("no such host", 1),
    ("\udc80", 1),
]
NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
GETNAMEINFO: list[tuple[Any, ...]] = [
    (("127.0.0.1", 80), 0),
    (("127.0.0.1", 80), NUMERIC),
    (("127.0.0.1", 53), socket.NI_DGRAM),
    (("127.0.0.1", 80), socket.NI_NUMERICHOST),
    (("::1", 22), NUMERIC),
    (("::1", 22, 7), NUMERIC),
    (("::1", 22, 0, 1), NUMERIC),
    (("localhost", 1), 0),
    (("127.0.0.1", 1, 2), 0),
    (("192.0.2.1", 1), socket.NI_NAMEREQD | socket.NI_NUMERICSERV),
]


def outcome(call: Any, *args: Any) -> Any:
    try:
        return call(*args)
    except (OSError, ValueError, OverflowError) as error:
        return type(error), error.args


async def async_outcome(call: Any, *args: Any) -> Any:
    try:
        return await call(*args)
    except (OSError, ValueError, OverflowError) as error:
        return type(error), error.args


@pytest.mark.parametrize("args", GETADDRINFO, ids=repr)
async def test_getaddrinfo_answers_as_the_standard_library(args: tuple[Any, ...]) -> None:
    expected = outcome(socket.getaddrinfo, *args)
    found = await async_outcome(dns.getaddrinfo, *args)
    assert repr(found) == repr(expected)  # repr tells an IntEnum from an int


@pytest.mark.parametrize("args", GETNAMEINFO, ids=repr)
async def test_getnameinfo_answers_as_the_standard_library(args: tuple[Any, ...]) -> None:
    assert await async_outcome(dns.getnameinfo, *args) == outcome(socket.getnameinfo, *args)


async def test_getnameinfo_keeps_a_zone_in_the_text() -> None:
    assert await dns.getnameinfo(("fe80::1%lo", 22), NUMERIC) == ("fe80::1%lo", "22")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("localhost\0.example", 1), ValueError),
        (("localhost", "80\0"), ValueError),
        ((b"local\0host", 1), ValueError),
        (("127.0.0.1", 65536), OverflowError),
        (("127.0.0.1", -1), OverflowError),
        (("127.0.0.1", 2**100), OverflowError),
        (("127.0.0.1", 1, 2**40), OverflowError),
        ((1, 1), TypeError),
        (("localhost", 1.5), TypeError),
        (("localhost", 1, "inet"), TypeError),
        ((["localhost"], 1), TypeError),
    ],
    ids=repr,
)
async def test_getaddrinfo_refuses(args: tuple[Any, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        await dns.getaddrinfo(*args)


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((["127.0.0.1", 1],), TypeError),
        ((("127.0.0.1",),), TypeError),
        ((("127.0.0.1", "1"),), TypeError),
        ((("127.0.0.1\0", 1),), ValueError),
        ((("127.0.0.1", 65536),), OverflowError),
        ((("127.0.0.1", 2**40),), OverflowError),
        ((("::1", 1, 2**20),), OverflowError),
        ((("::1", 1, -1),), OverflowError),
        ((("::1", 1, 2**32),), OverflowError),
        ((("::1", 1, 2**100),), OverflowError),
        ((("::1", 1, 0, -1),), OverflowError),
        ((("::1", 1, 0, 2**32),), OverflowError),
        ((("::1", 1, "0"),), TypeError),
        ((("::1", 1, 0, 0.5),), TypeError),
        ((("::1", 1, 0, 0, 0),), TypeError),
        (((b"::1", 1),), TypeError),
        ((("\udc80", 1),), UnicodeEncodeError),
        ((("127.0.0.1", 1), 2**40), OverflowError),
    ],
    ids=repr,
)
async def test_getnameinfo_refuses(args: tuple[Any, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        await dns.getnameinfo(*args)


def jobs() -> int:
    """How many lookups have come to the lane."""
    lane = pool.statistics().lanes["dns"]
    return lane.waiting + lane.running + lane.done + lane.failed + lane.cancelled


async def test_a_numeric_address_needs_no_job() -> None:
    before = jobs()
    await dns.getaddrinfo("192.0.2.1", 80)
    await dns.getaddrinfo("fe80::1%lo", "80")
    await dns.getaddrinfo(None, 0, flags=socket.AI_PASSIVE)
    await dns.getnameinfo(("192.0.2.1", 80), NUMERIC)
    assert await dns.lookup("192.0.2.1") == ("192.0.2.1", 4)
    assert jobs() == before
    await dns.getaddrinfo("localhost", 80)
    assert jobs() == before + 1


def lane() -> pool.LaneStatistics:
    return pool.statistics().lanes["dns"]


async def test_equal_lookups_share_a_job() -> None:
    before = jobs()
    async with held("dns", lane().limit):
        tasks = [asyncio.create_task(dns.getaddrinfo("localhost", 80)) for _ in range(50)]
        others = [asyncio.create_task(dns.getaddrinfo("localhost", port)) for port in (81, "80", b"80", "http", None)]
        await until(lambda: lane().waiting == 4)  # 80, "80" and b"80" are one to the resolver
    lists = await asyncio.gather(*tasks)
    await asyncio.gather(*others)
    assert all(found == socket.getaddrinfo("localhost", 80) for found in lists)
    assert len(set(map(id, lists))) == len(lists)  # each may do with it what it likes
    assert jobs() == before + 4 + lane().limit


async def test_a_shared_failure_reaches_everybody() -> None:
    async with held("dns", lane().limit):
        tasks = [asyncio.create_task(dns.getaddrinfo("no such host", 80)) for _ in range(3)]
        await until(lambda: lane().waiting == 1)
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [(type(error), error.errno) for error in errors] == [(socket.gaierror, socket.EAI_NONAME)] * 3
    assert len(set(map(id, errors))) == 3


async def test_a_shared_lookup_is_cancelled_with_its_last_waiter() -> None:
    async with held("dns", lane().limit):
        first, second, third = (asyncio.create_task(dns.getaddrinfo("localhost", 80)) for _ in range(3))
        await until(lambda: lane().waiting == 1)
        cancelled = lane().cancelled
        first.cancel()
        third.cancel()
        await asyncio.wait([first, third])
        assert first.cancelled() and third.cancelled() and not second.done()
        assert (lane().waiting, lane().cancelled) == (1, cancelled)
        second.cancel()
        await asyncio.wait([second])
        assert (lane().waiting, lane().cancelled) == (0, cancelled + 1)
        again = asyncio.create_task(dns.getaddrinfo("localhost", 80))
        await until(lambda: lane().waiting == 1)
    assert await again == socket.getaddrinfo("localhost", 80)


async def test_a_waiter_that_leaves_does_not_take_the_answer_along() -> None:
    async with held("dns", lane().limit):
        first, second = (asyncio.create_task(dns.getaddrinfo("localhost", 80)) for _ in range(2))
        await until(lambda: lane().waiting == 1)
        first.cancel()
    assert await second == socket.getaddrinfo("localhost", 80)
    assert first.cancelled()


async def test_one_that_wakes_may_cancel_the_others() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def one() -> None:
        await dns.getaddrinfo("localhost", 80)
        for task in tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async with held("dns", lane().limit):
        tasks += [asyncio.create_task(one()) for _ in range(5)]
        await until(lambda: lane().waiting == 1)
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert done.count(None) >= 1 and len(done) == 5


async def test_a_timeout_ends_the_wait() -> None:
    async with held("dns", lane().limit):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await dns.lookup("localhost")
        assert lane().waiting == 0


async def test_dns_does_not_take_the_pool() -> None:
    async with held("dns", 20):
        assert await asyncio.wait_for(pool.submit(int), 5) == 0


async def test_ten_thousand_at_once() -> None:
    calls = [dns.getaddrinfo("localhost", port % 5000) for port in range(10_000)]
    for port, found in enumerate(await asyncio.gather(*calls)):
        assert found[0][4][1] == port % 5000


async def test_lookup() -> None:
    found = await dns.lookup("localhost")
    assert isinstance(found, dns.Address) and found in (("127.0.0.1", 4), ("::1", 6))
    assert await dns.lookup("localhost", 4) == ("127.0.0.1", 4)
    assert await dns.lookup(b"127.0.0.1", all=True) == [("127.0.0.1", 4)]
    assert await dns.lookup("fe80::1%lo", all=True) == [("fe80::1%lo", 6)]
    assert await dns.lookup("127.0.0.1", 6, hints=dns.V4MAPPED) == ("::ffff:127.0.0.1", 6)
    with pytest.raises(socket.gaierror) as caught:
        await dns.lookup("no such host")
    assert caught.value.errno == socket.EAI_NONAME


async def test_the_order_of_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    def families(found: list[dns.Address]) -> list[int]:
        return [address.family for address in found]

    async def answer(*args: Any) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::2", 0, 0, 0)),
        ]

    monkeypatch.setattr("uvworks.dns._lookup.getaddrinfo", answer)
    assert families(await dns.lookup("name", all=True)) == [6, 4, 6]
    assert families(await dns.lookup("name", all=True, order="ipv4first")) == [4, 6, 6]
    assert families(await dns.lookup("name", all=True, order="ipv6first")) == [6, 6, 4]


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: dns.lookup(None), TypeError, "host"),  # type: ignore[call-overload]
        (lambda: dns.lookup("localhost", 5), ValueError, "family"),
        (lambda: dns.lookup("localhost", hints=1 << 20), ValueError, "hints"),
        (lambda: dns.lookup("localhost", order="random"), ValueError, "order"),  # type: ignore[call-overload]
        (lambda: dns.lookup_service("localhost", 80), ValueError, "localhost"),
        (lambda: dns.lookup_service(1, 80), TypeError, "address"),  # type: ignore[arg-type]
        (lambda: dns.lookup_service("127.0.0.1", 65536), OverflowError, "port"),
        (lambda: dns.lookup_service("127.0.0.1", -1), OverflowError, "port"),
    ],
)
async def test_lookup_refuses(call: Any, error: type[Exception], names: str) -> None:
    with pytest.raises(error, match=names):
        await call()


async def test_lookup_service() -> None:
    assert await dns.lookup_service("127.0.0.1", 22) == socket.getnameinfo(("127.0.0.1", 22), socket.NI_NAMEREQD)
    with pytest.raises(socket.gaierror):
        await dns.lookup_service("192.0.2.1", 80)


# Where the resolver takes its time --------------------------------------------

SLOW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  next = dlsym(RTLD_NEXT, "getaddrinfo");
  if (host != NULL && strcmp(host, "slow") == 0) {
    usleep(500000);
    host = "127.0.0.1";
  }
  return next(host, service, hints, found);
}
"""


@pytest.fixture(scope="session")
def slow_resolver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes getaddrinfo("slow") take half a second, to be loaded before the interpreter's."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "the build needs a C compiler, too"
    folder = tmp_path_factory.mktemp("resolver")
    (folder / "slow.c").write_text(SLOW)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", "slow.so", "slow.c", "-ldl"], cwd=folder, check=True, timeout=60
    )
    return folder / "slow.so"


def slow_python(library: Path, script: str) -> str:
    preload = f"{os.environ.get('LD_PRELOAD', '')}:{library}".strip(":")  # a sanitizer comes first
    return python(script, env={"LD_PRELOAD": preload, "UV_THREADPOOL_SIZE": "4"}).stdout


def test_a_running_lookup_is_orphaned(slow_resolver: Path) -> None:
    said = slow_python(
        slow_resolver,
        """
        import asyncio, time
        from uvworks import dns, fs, pool
        async def main():
            begin = time.monotonic()
            tasks = [asyncio.create_task(dns.lookup("slow")) for _ in range(3)]
            await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            print(all(task.cancelled() for task in tasks), time.monotonic() - begin < 0.4)
            lane = pool.statistics().lanes["dns"]
            print(lane.running, lane.orphaned)
            await fs.stat("/")
            print((await dns.lookup("slow")).address, pool.statistics().lanes["dns"].done)
        asyncio.run(main())
        """,
    )
    assert said.split("\n")[:3] == ["True True", "1 1", "127.0.0.1 2"]


def test_slow_lookups_leave_the_pool_to_others(slow_resolver: Path) -> None:
    said = slow_python(
        slow_resolver,
        """
        import asyncio, time
        from uvworks import dns, fs, pool
        async def main():
            tasks = [asyncio.create_task(dns.getaddrinfo("slow", port)) for port in range(6)]
            await asyncio.sleep(0.1)
            begin = time.monotonic()
            await fs.stat("/")
            await pool.submit(int)
            print(time.monotonic() - begin < 0.2, pool.statistics().lanes["dns"].running)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        asyncio.run(main())
        """,
    )
    assert said.split() == ["True", "2"]


def test_a_loop_may_end_while_a_lookup_runs(slow_resolver: Path) -> None:
    said = slow_python(
        slow_resolver,
        """
        import asyncio
        from uvworks import dns, pool
        loop = asyncio.new_event_loop()
        async def ask():
            await dns.lookup("slow")
        tasks = [loop.create_task(ask()) for _ in range(2)]
        loop.call_later(0.1, loop.stop)
        loop.run_forever()
        for task in tasks:
            task._log_destroy_pending = False
        loop.close()
        print(pool.statistics().lanes["dns"].orphaned)
        print(asyncio.run(dns.lookup("slow")).address)
        """,
    )
    assert said.split() == ["1", "127.0.0.1"]
