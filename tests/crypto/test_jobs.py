"""Crypto as jobs: many at once, cancelled, orphaned, without the GIL, at the end of a loop and of the process."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import sys
import time
from typing import Any

import pytest

from tests.support import python, until
from uvworks import crypto, fs, pool


def lane() -> pool.LaneStatistics:
    return pool.statistics().lanes["cpu"]


async def test_ten_thousand_at_once() -> None:
    calls = [crypto.pbkdf2(b"password", str(n), 1, 20, "sha1") for n in range(10_000)]
    found = await asyncio.gather(*calls)
    assert found[1234] == hashlib.pbkdf2_hmac("sha1", b"password", b"1234", 1, 20)
    assert len(set(found)) == 10_000


async def test_ten_thousand_of_all_kinds_and_half_of_them_cancelled() -> None:
    pair: Any = await crypto.generate_key_pair("ed25519")
    signature = await crypto.sign(None, "data", pair.private_key)
    text = await pair.private_key.export()
    made = [
        lambda n: crypto.hkdf("sha256", str(n), "", "", 32),
        lambda n: crypto.hash(b"x" * 20_000, "sha1"),
        lambda n: crypto.sign(None, str(n), pair.private_key),
        lambda n: crypto.verify(None, "data", pair.public_key, signature),
        lambda n: crypto.generate_key_pair("x25519", public_key_encoding={"format": "der"}),
        lambda n: crypto.random_bytes(5000),
        lambda n: crypto.create_private_key(text),
        lambda n: crypto.check_prime(2**61 - 1),
    ]
    tasks = [asyncio.create_task(made[n % len(made)](n)) for n in range(10_000)]  # type: ignore[no-untyped-call]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks[::2])
    assert all(task.result() for task in tasks[1::2])


async def test_what_runs_is_orphaned_and_what_waits_is_taken_out() -> None:
    limit = lane().limit
    before = lane()
    large = bytes(1 << 28)
    tasks = [asyncio.create_task(crypto.hkdf("sha512", large, "", "", 32)) for _ in range(limit + 3)]
    await until(lambda: lane().running == limit)
    for task in tasks:
        task.cancel()
    begin = time.monotonic()
    await asyncio.wait(tasks)
    assert time.monotonic() - begin < 0.1 and all(task.cancelled() for task in tasks)
    assert lane().orphaned - before.orphaned == limit and lane().waiting == 0
    assert lane().cancelled - before.cancelled == 3
    await fs.stat("/")
    await until(lambda: lane().running == 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: crypto.pbkdf2("a", "b", 2**31 - 1, 32, "sha256"),
        lambda: crypto.pbkdf2("a", "b", 1, 2**31 - 1, "sha512"),
        lambda: crypto.pbkdf2("a", "b", 2**31 - 1, 32, "blake2b"),
        lambda: crypto.pbkdf2(bytes(1 << 30), "b", 2, 32, "sha384"),
        lambda: crypto.pbkdf2("a", bytes(1 << 30), 2, 32, "sha224"),
        lambda: crypto.scrypt("a", "b", 32, n=1 << 18, p=1000, maxmem=1 << 30),
        lambda: crypto.scrypt("a", "b", 32, n=4, r=1 << 19, maxmem=1 << 30),
        lambda: crypto.scrypt("a", "b", 2**31 - 1, n=4, r=1, p=100_000),
        lambda: crypto.scrypt("a", bytes(1 << 30), 32),
    ],
)
async def test_a_cancel_frees_the_worker(call: Any) -> None:
    task = asyncio.create_task(call())
    await until(lambda: lane().running + lane().waiting == 1)
    await asyncio.sleep(0.1)
    task.cancel()
    begin = time.monotonic()
    await asyncio.wait([task])
    await until(lambda: lane().running == 0)
    assert task.cancelled() and time.monotonic() - begin < 2  # some milliseconds, on a quiet machine


async def test_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await crypto.scrypt("password", "salt", 32, n=1 << 17, maxmem=1 << 28)


async def test_it_needs_no_gil() -> None:
    """A callback that does not let go of the GIL holds up nobody's key."""
    done = lane().done
    tasks = [asyncio.create_task(crypto.pbkdf2("a", str(n), 100_000, 32, "sha256")) for n in range(lane().limit)]
    await asyncio.sleep(0)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            pass
        ended = lane().done
    finally:
        sys.setswitchinterval(interval)
    assert not any(task.done() for task in tasks)
    assert ended == done + len(tasks)
    await asyncio.gather(*tasks)


async def test_a_buffer_is_locked_until_its_job_ends() -> None:
    salt = bytearray(b"salt")
    task = asyncio.create_task(crypto.hkdf("sha512", bytes(1 << 28), salt, "", 32))
    await until(lambda: lane().running == 1)
    with pytest.raises(BufferError):
        salt.clear()
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(BufferError):
        salt.clear()
    await until(lambda: lane().running == 0)
    await crypto.pbkdf2("a", "b", 1, 20, "sha1")  # lets go of what orphans held
    salt.clear()


def test_a_loop_may_end_while_jobs_run(loop_factory: Any) -> None:
    before = lane().orphaned
    loop = loop_factory()

    async def derive() -> None:
        await crypto.pbkdf2("password", "salt", 300_000, 32, "sha256")

    task = loop.create_task(derive())
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    task._log_destroy_pending = False
    loop.close()
    del task, loop
    gc.collect()
    assert lane().orphaned - before <= 1
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(crypto.pbkdf2("a", "b", 1, 20, "sha1")) == hashlib.pbkdf2_hmac("sha1", b"a", b"b", 1)


def test_the_exit_waits_for_openssl() -> None:
    """OpenSSL takes itself down at exit(), and no job may be in it then."""
    begin = time.monotonic()
    python(
        """
        import asyncio
        from uvworks import crypto
        async def main():
            for n in range(6):
                asyncio.ensure_future(crypto.scrypt("a", str(n), 32, n=1 << 16, maxmem=1 << 27))
                asyncio.ensure_future(crypto.generate_key_pair("rsa", modulus_length=8192))
            await asyncio.sleep(0.1)
        asyncio.run(main())
        """
    )
    assert time.monotonic() - begin < 20


def test_a_forked_child_has_its_own_randomness() -> None:
    said = python(
        """
        import asyncio, os
        from uvworks import crypto
        async def main():
            return (await crypto.random_bytes(16)).hex(), (await crypto.random_bytes(5000)).hex()[:32]
        asyncio.run(main())
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, " ".join(asyncio.run(main())).encode())
            os._exit(0)
        os.wait()
        print(os.read(read, 1000).decode(), *asyncio.run(main()))
        """,
        warnings="default",
    ).stdout.split()
    assert len(set(said)) == 4
