"""pool.submit: results, exceptions, contexts, timeouts, cancels, and what the workers keep and let go of."""

import asyncio
import contextvars
import gc
import os
import sys
import threading
import time
import traceback
import weakref
from functools import partial
from typing import Any

import pytest

from tests.support import Gate, held, python, until
from uvworks import fs, pool


async def test_a_callable_runs_on_a_worker_with_its_arguments() -> None:
    def call(*args: Any, **kwargs: Any) -> Any:
        return threading.get_native_id(), args, kwargs

    worker, args, kwargs = await pool.submit(call, 1, "two", three=3, func=4)
    assert worker != threading.get_native_id() and os.path.exists(f"/proc/self/task/{worker}")
    assert (args, kwargs) == ((1, "two"), {"three": 3, "func": 4})


VALUES = [None, 0, "text", (), (1, 2), [1, 2], object(), ValueError("a value"), asyncio.sleep]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_the_result_is_the_very_object(value: Any) -> None:
    assert await pool.submit(lambda: value) is value


async def test_many_results_come_back_to_their_callers() -> None:
    results = await asyncio.gather(*(pool.submit(pow, number, 2) for number in range(2000)))
    assert results == [number * number for number in range(2000)]


async def test_two_callables_run_at_the_same_time() -> None:
    if pool.statistics().size < 3:
        pytest.skip("needs two workers for Python")
    barrier = threading.Barrier(2, timeout=10)
    places = await asyncio.gather(pool.submit(barrier.wait), pool.submit(barrier.wait))
    assert sorted(places) == [0, 1]


async def test_the_loop_runs_while_a_callable_does() -> None:
    gate = Gate()
    task = asyncio.create_task(pool.submit(gate, "done"))
    await gate.arrival()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    gate.open()
    assert await task == "done"


def raise_it(error: BaseException) -> None:
    raise error


async def test_an_exception_comes_back_with_its_traceback() -> None:
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        await pool.submit(raise_it, error)
    assert caught.value is error
    frames = traceback.extract_tb(error.__traceback__)
    assert frames[-1].name == "raise_it" and frames[-1].filename == __file__
    assert "test_an_exception_comes_back_with_its_traceback" in [frame.name for frame in frames]


class Special(BaseException):
    """Neither Exception nor one of asyncio's own."""


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt("k"), GeneratorExit(), Special("s"), asyncio.CancelledError("c"), TimeoutError()],
    ids=repr,
)
async def test_base_exceptions_come_back_too(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        await pool.submit(raise_it, error)
    # A task closes its coroutines with a GeneratorExit of their own, and a cancel is raised anew.
    assert caught.value is error or isinstance(error, (GeneratorExit, asyncio.CancelledError))
    assert await pool.submit(int, "7") == 7


async def test_stop_iteration_is_a_runtime_error_as_in_a_coroutine() -> None:
    with pytest.raises(RuntimeError) as caught:
        await pool.submit(next, iter(()))
    assert isinstance(caught.value.__cause__, StopIteration)


async def test_an_exception_that_refuses_to_be_made_does_no_harm() -> None:
    class Awkward(Exception):
        def __init__(self, needed: int) -> None:
            raise LookupError("no such exception")

    def call() -> None:
        raise Awkward(1)

    with pytest.raises(LookupError):
        await pool.submit(call)


async def test_an_exception_is_chained_as_it_was() -> None:
    def call() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    with pytest.raises(ValueError) as caught:
        await pool.submit(call)
    assert isinstance(caught.value.__cause__, KeyError)


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_the_context_is_that_of_the_call_and_changes_stay_in_it() -> None:
    def call() -> str:
        before = variable.get()
        variable.set("set on the worker")
        return before

    variable.set("set by the caller")
    task = asyncio.create_task(pool.submit(call))
    variable.set("set later")
    assert await task == "set by the caller"
    assert variable.get() == "set later"
    assert await asyncio.gather(*(pool.submit(call) for _ in range(20))) == ["set later"] * 20


async def test_each_concurrent_call_has_a_context_of_its_own() -> None:
    async def one(number: int) -> str:
        variable.set(str(number))
        return await pool.submit(variable.get)

    assert await asyncio.gather(*map(one, range(100))) == [str(number) for number in range(100)]


async def test_thread_locals_last_as_long_as_the_worker() -> None:
    local = threading.local()

    def call() -> tuple[int, int]:
        local.calls = getattr(local, "calls", 0) + 1
        return threading.get_native_id(), local.calls

    seen: dict[int, list[int]] = {}
    for _ in range(10):  # several batches, so that a worker's thread state would be made anew between them
        for worker, calls in await asyncio.gather(*(pool.submit(call) for _ in range(50))):
            seen.setdefault(worker, []).append(calls)
        await fs.stat("/")
    for calls_seen in seen.values():
        assert sorted(calls_seen) == list(range(1, len(calls_seen) + 1))


async def test_workers_have_a_telling_name() -> None:
    def call() -> str:
        with open(f"/proc/self/task/{threading.get_native_id()}/comm") as file:
            return file.read().strip()

    assert "uvw" in await pool.submit(call)


async def test_threading_works_on_a_worker() -> None:
    def call() -> str:
        lock = threading.RLock()
        with lock:
            thread = threading.Thread(target=lock.acquire, kwargs={"blocking": False})
            thread.start()
            thread.join()
        assert threading.current_thread() is threading.current_thread()
        return threading.current_thread().name

    assert isinstance(await pool.submit(call), str)


async def test_a_worker_may_run_a_loop_of_its_own() -> None:
    async def inner() -> int:
        return (await fs.stat("/")).st_ino

    assert await pool.submit(lambda: asyncio.run(inner())) == os.stat("/").st_ino


# Cancelling ---------------------------------------------------------------------


async def test_cancelling_a_waiting_job_takes_it_out_of_its_lane() -> None:
    ran = []
    async with held("python", pool.statistics().size + 2):
        before = pool.statistics().lanes["python"]
        task = asyncio.create_task(pool.submit(ran.append, 1))
        await asyncio.sleep(0.01)
        assert pool.statistics().lanes["python"].waiting == before.waiting + 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        after = pool.statistics().lanes["python"]
        assert after.waiting == before.waiting and after.cancelled == before.cancelled + 1
    assert ran == []


async def test_cancelling_a_running_job_resolves_at_once_and_it_runs_on_unheard() -> None:
    gate = Gate()
    ended = threading.Event()

    def call() -> None:
        gate()
        ended.set()
        raise LookupError("nobody hears this")

    task = asyncio.create_task(pool.submit(call))
    await gate.arrival()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended.is_set() and pool.statistics().busy == 1
    gate.open()
    assert await asyncio.to_thread(ended.wait, 10)


async def test_a_task_cancelled_before_it_began_submits_nothing() -> None:
    ran = []
    task = asyncio.create_task(pool.submit(ran.append, 1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await pool.submit(int) == 0 and ran == []


async def test_wait_for_and_task_groups_cancel_their_jobs() -> None:
    gate = Gate()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.submit(gate), 0.05)
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(pool.submit(gate))
            group.create_task(pool.submit(raise_it, LookupError()))
    gate.open()


async def test_shield_keeps_a_job() -> None:
    gate = Gate()
    job = asyncio.ensure_future(pool.submit(gate, "kept"))
    outer = asyncio.ensure_future(asyncio.shield(job))
    await gate.arrival()
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    gate.open()
    assert await job == "kept"


# Timeouts -----------------------------------------------------------------------


async def test_a_timeout_of_a_running_job() -> None:
    gate = Gate()
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        await pool.submit(gate, timeout=0.1)
    assert 0.09 < time.monotonic() - start < 5
    gate.open()


async def test_a_timeout_of_a_waiting_job_means_it_never_runs() -> None:
    ran = []
    async with held("python", pool.statistics().size + 2):
        with pytest.raises(TimeoutError):
            await pool.submit(ran.append, 1, timeout=0.05)
    await pool.submit(int)
    assert ran == []


async def test_a_timeout_not_reached_and_a_timeout_error_of_the_callable() -> None:
    assert await pool.submit(int, "3", timeout=30) == 3
    error = TimeoutError("mine")
    with pytest.raises(TimeoutError) as caught:
        await pool.submit(raise_it, error, timeout=30)
    assert caught.value is error


@pytest.mark.parametrize("timeout", [0, 0.0, -1])
async def test_no_time_at_all_is_a_timeout(timeout: float) -> None:
    gate = Gate()
    with pytest.raises(TimeoutError):
        await pool.submit(gate, timeout=timeout)
    gate.open()


# Wrong arguments ----------------------------------------------------------------


async def test_wrong_arguments() -> None:
    with pytest.raises(TypeError):
        await pool.submit()  # type: ignore[call-arg]
    for not_callable in (None, 3, "text"):
        with pytest.raises(TypeError):
            await pool.submit(not_callable)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no-such-lane"):
        await pool.submit(int, lane="no-such-lane")
    for lane in (None, 3, b"python"):
        with pytest.raises(TypeError):
            await pool.submit(int, lane=lane)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await pool.submit(int, timeout="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes"):
        await pool.submit(lambda: None, 1, 2)


async def test_a_coroutine_function_gives_its_coroutine_unawaited() -> None:
    """As in run_in_executor: the worker calls it, nobody runs it."""

    async def never() -> None:
        raise AssertionError

    coroutine = await pool.submit(never)
    coroutine.close()


# What is let go of --------------------------------------------------------------


class Thing:
    def method(self) -> None:
        pass


async def gone(reference: weakref.ref[Any]) -> None:
    await until(lambda: reference() is None)


async def test_arguments_results_and_callables_are_let_go_after_the_call() -> None:
    gc.collect()
    gc.disable()  # reference counts alone must do
    try:
        for submit in (
            lambda thing: pool.submit(id, thing),
            lambda thing: pool.submit(dict, key=thing),
            lambda thing: pool.submit(thing.method),
            lambda thing: pool.submit(partial(list, (thing,))),
            lambda thing: pool.submit(lambda: thing),
        ):
            thing = Thing()
            reference = weakref.ref(thing)
            result = await submit(thing)
            del thing, result
            await gone(reference)
    finally:
        gc.enable()


async def test_arguments_of_failed_cancelled_and_rejected_calls_are_let_go() -> None:
    thing = Thing()
    reference = weakref.ref(thing)
    with pytest.raises(TypeError):
        await pool.submit(int, thing)  # type: ignore[call-overload]
    with pytest.raises(ValueError):
        await pool.submit(id, thing, lane="no-such-lane")
    gate = Gate()
    running = asyncio.create_task(pool.submit(gate, thing))
    await gate.arrival()
    running.cancel()
    async with held("cpu", pool.statistics().size + 2):
        waiting = asyncio.create_task(pool.submit(id, thing, lane="cpu"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        gate.open()
        del thing, running, waiting
        await asyncio.sleep(0)
        gc.collect()  # exceptions hold their frames in cycles
        await gone(reference)


async def test_an_exception_is_let_go_by_the_worker() -> None:
    thing = Thing()
    reference = weakref.ref(thing)

    def call(thing: Thing) -> None:
        raise LookupError(thing)

    try:
        await pool.submit(call, thing)
    except LookupError:
        pass
    del thing
    gc.collect()
    await gone(reference)


async def test_reference_counts_of_shared_objects_do_not_drift() -> None:
    marker = object()
    await asyncio.gather(*(pool.submit(id, marker) for _ in range(100)))
    before = sys.getrefcount(marker)
    await asyncio.gather(*(pool.submit(id, marker) for _ in range(1000)))
    await until(lambda: sys.getrefcount(marker) == before)


@pytest.mark.parametrize("size", [None, 1, 2, 3, 9])
def test_limits_are_the_same_before_the_start_and_after(size: int | None) -> None:
    python(
        f"""
        import asyncio
        from uvworks import pool

        pool.configure(size={size}, lanes={{"mine": {{}}, "of three": {{"limit": 3}}}})

        def limits():
            figures = {{name: lane.limit for name, lane in pool.statistics().lanes.items()}}
            assert figures == {{name: pool.lane(name).limit for name in figures}}
            return figures

        before, size = limits(), pool.statistics().size
        assert asyncio.run(pool.submit(int, "3")) == 3
        assert limits() == before and pool.statistics().size == size, (before, limits())
        others = max(size - 1, 1)
        assert (before["io"], before["python"], before["mine"]) == (size, others, others)
        assert (before["dns"], before["of three"]) == (min((size + 1) // 2, others), min(3, others))
        assert before["cpu"] <= others
        """
    )
