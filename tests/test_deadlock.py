"""Waiting on a worker for another worker: what could never end is refused. (test_door.py asks every function.)"""

import asyncio
import gzip
import threading
import time
from typing import Any

import pytest

from tests.support import held, python, until
from uvworks import crypto, fs, pool, zlib


def test_a_coroutine_on_a_worker_waiting_for_its_own_full_lane_is_a_runtime_error(run: Any, lane: pool.Lane) -> None:
    def outer() -> int:
        return asyncio.run(asyncio.wait_for(pool.submit(int, "5", lane="test"), 10))

    with pytest.raises(RuntimeError):
        run(pool.submit(outer, lane="test"))
    assert run(pool.submit(int, "5", lane="test")) == 5


async def test_a_coroutine_on_a_worker_waiting_for_another_lane_is_fine(lane: pool.Lane) -> None:
    if pool.statistics().size < 3:
        pytest.skip("needs two workers for Python")

    def outer() -> int:
        return asyncio.run(pool.submit(int, "5", lane="cpu"))

    assert await pool.submit(outer, lane="test") == 5


async def test_a_ring_of_lanes_is_a_runtime_error(lane: pool.Lane) -> None:
    """The only worker of `test` waits for a job of `cpu`, which would wait for `test`."""

    def inner() -> int:
        return asyncio.run(asyncio.wait_for(pool.submit(int, "5", lane="test"), 10))

    def outer() -> int:
        return asyncio.run(asyncio.wait_for(pool.submit(inner, lane="cpu"), 10))

    if pool.statistics().size < 3:
        pytest.skip("needs two workers for Python")
    with pytest.raises(RuntimeError, match=r"deadlock: a job of lane 'cpu' waits .* 'test'"):
        await pool.submit(outer, lane="test")
    assert await pool.submit(inner, lane="cpu") == 5


async def test_a_lane_is_not_refused_for_those_who_do_not_wait(lane: pool.Lane) -> None:
    if pool.statistics().size < 3:
        pytest.skip("needs two workers for Python")

    def outer() -> int:
        return asyncio.run(asyncio.wait_for(pool.submit(int, "5", lane="test"), 10))

    async with held("test", 1) as gate:
        task = asyncio.create_task(pool.submit(outer, lane="cpu"))
        await until(lambda: pool.statistics().lanes["test"].waiting == 1)
        gate.open()
        assert await task == 5


@pytest.mark.parametrize("size", [1, 2])
def test_in_a_small_pool_a_callable_waits_for_no_other_worker(size: int) -> None:
    """One worker is for io: on the other one nobody can wait for the rest."""
    python(
        f"""
        import asyncio
        from uvworks import crypto, fs, pool, zlib

        pool.configure(size={size})

        def outer(lane):
            return asyncio.run(asyncio.wait_for(pool.submit(int, "5", lane=lane), 10))

        def refused(where, lane):
            try:
                return asyncio.run(pool.submit(outer, lane, lane=where)) == -1
            except RuntimeError as error:
                assert f"deadlock: a job of lane '{{where}}' waits" in str(error), error
                return True

        for where in ("cpu", "python"):
            for lane in ("cpu", "dns", "python"):
                assert refused(where, lane), (where, lane)
            assert refused(where, "io") is ({size} == 1)
        """
    )


async def test_those_who_have_waited_are_not_counted_any_more() -> None:
    """Three workers for all but io: two callables have had a job and now compute, so the third may wait."""
    if pool.statistics().size != 4:
        pytest.skip("counts the workers of a pool of four")
    had, go_on = threading.Barrier(3), threading.Event()

    def first() -> None:
        asyncio.run(fs.stat("/"))
        had.wait(10)
        go_on.wait(10)

    async def digest() -> bytes:
        task = asyncio.create_task(crypto.hash(bytes(9000), "sha256"))
        await asyncio.sleep(0)  # it is submitted: from here on it may have a worker
        go_on.set()
        return await task

    def last() -> bytes:
        had.wait(10)
        try:
            return asyncio.run(digest())
        finally:
            go_on.set()

    jobs = [pool.submit(first), pool.submit(first), pool.submit(last)]
    assert len((await asyncio.wait_for(asyncio.gather(*jobs), 20))[2]) == 32


async def test_what_is_answered_at_once_is_no_wait() -> None:
    together = threading.Barrier(3)

    def compress() -> bytes:
        try:
            return asyncio.run(zlib.gzip(b"x"))
        finally:
            together.wait(10)

    results = await asyncio.gather(*(pool.submit(compress) for _ in range(3)))
    assert [gzip.decompress(result) for result in results] == [b"x"] * 3


def test_a_ring_through_executors_is_a_runtime_error(lane: pool.Lane) -> None:
    """The only worker of `test` waits for a call of `cpu` that runs already, and that one for the lane `test`."""
    if pool.statistics().size < 3:
        pytest.skip("needs two workers for Python")
    running, asks = threading.Event(), threading.Event()
    one, two = pool.Executor("test"), pool.Executor("cpu")

    def inner() -> int:
        running.set()
        asks.wait(10)
        while not future._condition._waiters:  # type: ignore[attr-defined]
            time.sleep(0.001)
        return one.submit(int, "5").result(10)

    def outer(future: Any) -> int:
        asks.set()
        return int(future.result(10))

    future = two.submit(inner)
    assert running.wait(10)
    with pytest.raises(RuntimeError, match="deadlock: a job of lane 'cpu' waits"):
        one.submit(outer, future).result(20)
    one.shutdown()
    two.shutdown()


def test_a_ring_whose_last_waits_for_a_running_call_is_a_runtime_error() -> None:
    python(
        """
        import threading
        from uvworks import pool

        pool.configure(size=3)  # two callables at a time
        executor, waits = pool.Executor(), threading.Event()

        def inner():
            future = executor.submit(int)
            waits.set()
            return future.result()

        def outer():
            future = executor.submit(inner)
            waits.wait(10)
            while pool.statistics().lanes["python"].waiting != 1:
                pass
            return future.result()

        try:
            executor.submit(outer).result(30)
        except RuntimeError as error:
            assert "deadlock" in str(error)
        else:
            raise AssertionError("one of the two is refused")
        """
    )


def test_a_refused_lookup_is_nobodys_lead() -> None:
    """Equal lookups share one job: the next one must not join a job that was never submitted."""
    python(
        """
        import asyncio
        from uvworks import dns, pool

        pool.configure(size=2)

        async def twice():
            said = []
            for _ in range(2):
                try:
                    await asyncio.wait_for(dns.getaddrinfo("localhost", 80), 10)
                except RuntimeError as error:
                    said.append(str(error)[:8])
            return said

        assert asyncio.run(pool.submit(lambda: asyncio.run(twice()))) == ["deadlock"] * 2
        """
    )


def test_the_wait_for_a_callable_on_io_counts() -> None:
    python(
        """
        import asyncio
        from uvworks import pool

        pool.configure(size=8, lanes={"one": {"limit": 1}})

        async def submit(function, lane):
            return await pool.submit(function, lane=lane)

        def inner():  # on io
            return asyncio.run(submit(int, "one"))

        def outer():
            return asyncio.run(submit(inner, "io"))

        try:
            pool.Executor("one").submit(outer).result(30)
        except RuntimeError as error:
            assert "deadlock" in str(error)
        else:
            raise AssertionError("the ring is refused")
        """
    )
