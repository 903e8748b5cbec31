"""run_in_executor, the default executor and its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import time
from typing import Any

import pytest

from tests.conftest import Run
from uvworks import pool

Loop = asyncio.AbstractEventLoop


def raise_it(error: BaseException) -> None:
    raise error


async def test_calls_run_in_threads() -> None:
    loop = asyncio.get_running_loop()
    here = threading.get_ident()
    there, name = await loop.run_in_executor(None, lambda: (threading.get_ident(), threading.current_thread().name))
    assert there != here
    assert name.startswith("asyncio_")
    assert await loop.run_in_executor(None, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(None, divmod, 7, 0)


async def test_many_blocking_calls_do_not_wait_for_libuvs_pool() -> None:
    """Blocked default-executor threads leave the io lane free."""
    from uvworks import fs

    loop = asyncio.get_running_loop()
    gate = threading.Event()
    calls = [loop.run_in_executor(None, gate.wait, 30) for _ in range(12)]
    assert (await asyncio.wait_for(fs.stat("/"), 10)).st_mode
    gate.set()
    assert all(await asyncio.gather(*calls))


async def test_an_executor_of_the_users_own() -> None:
    loop = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="own") as executor:
        name = await loop.run_in_executor(executor, lambda: threading.current_thread().name)
        assert name.startswith("own")
    assert await loop.run_in_executor(pool.Executor(), divmod, 7, 2) == (3, 1)


async def test_a_cancelled_call_that_has_not_begun_never_runs() -> None:
    loop = asyncio.get_running_loop()
    gate, ran = threading.Event(), []
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        first = loop.run_in_executor(executor, gate.wait, 30)
        second = loop.run_in_executor(executor, ran.append, 1)
        second.cancel()
        await asyncio.sleep(0.01)  # the executor hears of it in the next turn
        gate.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
    assert not ran


async def test_the_default_can_be_set() -> None:
    loop = asyncio.get_running_loop()
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="chosen")
    loop.set_default_executor(executor)
    name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
    assert name.startswith("chosen")
    await loop.shutdown_default_executor()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)


async def test_the_default_must_be_threads() -> None:
    for wrong in (None, 1, concurrent.futures.Executor()):
        with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
            asyncio.get_running_loop().set_default_executor(wrong)  # type: ignore[arg-type]


def test_debug_mode_refuses_what_is_no_function(run: Run) -> None:
    async def body() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_debug(True)
        with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
            loop.run_in_executor(None, body)
        coroutine = asyncio.sleep(0)
        with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
            loop.run_in_executor(None, coroutine)
        coroutine.close()
        with pytest.raises(TypeError, match="a callable object was expected by run_in_executor"):
            loop.run_in_executor(None, "print")
        loop.set_debug(False)

    run(body())


def test_shutdown_waits_and_is_final(loop: Loop) -> None:
    finished: list[int] = []

    def work() -> None:
        time.sleep(0.05)
        finished.append(1)

    async def body() -> None:
        call = loop.run_in_executor(None, work)
        await loop.shutdown_default_executor()
        assert finished == [1]
        await call
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, work)

    loop.run_until_complete(body())


def test_shutdown_without_an_executor(loop: Loop) -> None:
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_shutdown_gives_up_after_its_time(loop: Loop) -> None:
    if sys.version_info < (3, 13) and isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("asyncio lacked the argument in 3.11, and waited all the same in 3.12.1")
    gate = threading.Event()

    async def body() -> None:
        call = loop.run_in_executor(None, gate.wait, 30)
        begin = loop.time()
        with pytest.warns(RuntimeWarning, match="did not finishing joining its threads within 0.1 seconds"):
            await loop.shutdown_default_executor(timeout=0.1)  # type: ignore[call-arg]
        assert 0.1 <= loop.time() - begin < 5
        gate.set()
        assert await call

    loop.run_until_complete(body())


def test_closing_does_not_wait(loop: Loop) -> None:
    gate = threading.Event()
    loop.run_in_executor(None, gate.wait, 30)
    begin = time.monotonic()
    loop.close()
    assert time.monotonic() - begin < 5
    gate.set()


def test_a_result_after_the_close_is_dropped(loop: Loop) -> None:
    gate = threading.Event()
    executor = concurrent.futures.ThreadPoolExecutor(1)
    future = loop.run_in_executor(executor, gate.wait, 30)
    loop.close()
    gate.set()
    executor.shutdown()
    assert not future.done()


async def test_stop_iteration_does_not_hang_the_waiter() -> None:
    """A future cannot hold it; asyncio turns it into a RuntimeError from 3.12 on and says so in 3.11."""
    loop = asyncio.get_running_loop()
    unhandled: list[Any] = []
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda loop, context: unhandled.append(context))
    try:
        with pytest.raises((RuntimeError, TimeoutError)):
            await asyncio.wait_for(loop.run_in_executor(None, raise_it, StopIteration()), 0.5)
    finally:
        loop.set_exception_handler(handler)
