"""pool.Executor keeps the contract of concurrent.futures.Executor, with and without an event loop around."""

import asyncio
import concurrent.futures
import threading
import time
import traceback
import weakref
from collections.abc import Iterator

import pytest

from tests.support import Gate, eventually
from uvworks import PoolSaturated, pool


@pytest.fixture
def executor() -> Iterator[pool.Executor]:
    with pool.Executor() as executor:
        yield executor


@pytest.fixture
def lane() -> Iterator[pool.Lane]:
    pool.configure(lanes={"executor-test": {"limit": 1, "max_queue": None}})
    yield pool.lane("executor-test")


def test_it_is_an_executor(executor: pool.Executor) -> None:
    assert isinstance(executor, concurrent.futures.Executor)
    future = executor.submit(divmod, 7, 3)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(10) == (2, 1) and future.done() and not future.cancelled() and future.exception() is None


@pytest.mark.parametrize("value", [None, (), (1,), (1, 2), [1], {"a": 1}, Ellipsis, ValueError("a value")], ids=repr)
def test_the_result_is_the_very_object(executor: pool.Executor, value: object) -> None:
    assert executor.submit(lambda: value).result(10) is value


def test_keywords_are_the_callables_own(executor: pool.Executor) -> None:
    result = executor.submit(dict, fn=1, lane=2, timeout=3, self=4).result(10)
    assert result == {"fn": 1, "lane": 2, "timeout": 3, "self": 4}


def test_an_exception_comes_back_with_its_traceback(executor: pool.Executor) -> None:
    def fail() -> None:
        raise LookupError("mine")

    future = executor.submit(fail)
    with pytest.raises(LookupError, match="mine"):
        future.result(10)
    error = future.exception()
    assert error is not None and traceback.extract_tb(error.__traceback__)[-1].name == "fail"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit])
def test_base_exceptions_come_back_too(executor: pool.Executor, kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind("mine")

    assert type(executor.submit(fail).exception(10)) is kind


def test_map_keeps_the_order_and_raises_where_it_happened(executor: pool.Executor) -> None:
    assert list(executor.map(pow, range(100), [2] * 100, timeout=30)) == [number**2 for number in range(100)]
    results = executor.map(int, ["1", "2", "x", "4"])
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError):
        next(results)


def test_map_times_out(executor: pool.Executor) -> None:
    gate = Gate()
    try:
        with pytest.raises(TimeoutError):
            list(executor.map(gate, [1, 2], timeout=0.05))
    finally:
        gate.open()


def test_states_callbacks_and_the_functions_of_concurrent_futures(lane: pool.Lane) -> None:
    gate, told = Gate(), []
    with pool.Executor(lane=lane.name) as executor:
        running = executor.submit(gate, "first")
        gate.wait_for_arrival()
        waiting = executor.submit(str, "second")
        waiting.add_done_callback(told.append)
        assert running.running() and not running.cancel()
        assert not waiting.running() and not waiting.done()
        done, pending = concurrent.futures.wait([running, waiting], timeout=0.02)
        assert not done and pending == {running, waiting}
        with pytest.raises(TimeoutError):
            running.result(0.02)
        gate.open()
        finished = list(concurrent.futures.as_completed([running, waiting], timeout=10))
        assert [future.result() for future in finished] == ["first", "second"]
        eventually(lambda: told == [waiting])


def test_a_waiting_future_can_be_cancelled_and_leaves_its_lane(lane: pool.Lane) -> None:
    gate, ran = Gate(), []
    with pool.Executor(lane=lane.name) as executor:
        running = executor.submit(gate)
        gate.wait_for_arrival()
        waiting = executor.submit(ran.append, 1)
        before = pool.statistics().lanes[lane.name].waiting
        assert waiting.cancel() and waiting.cancelled() and waiting.done()
        assert pool.statistics().lanes[lane.name].waiting == before - 1 == 0
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result()
        gate.open()
        running.result(10)
    assert ran == []


def test_shutdown_waits_for_all(lane: pool.Lane) -> None:
    ran = []
    executor = pool.Executor(lane=lane.name)
    for number in range(20):
        executor.submit(lambda number=number: (time.sleep(0.002), ran.append(number)))
    executor.shutdown()
    assert ran == list(range(20))
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(int)
    executor.shutdown()


def test_shutdown_without_waiting_keeps_its_promises(lane: pool.Lane) -> None:
    gate = Gate()
    executor = pool.Executor(lane=lane.name)
    futures = [executor.submit(gate, number) for number in range(3)]
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        executor.submit(int)
    gate.open()
    assert [future.result(10) for future in futures] == [0, 1, 2]


def test_shutdown_may_cancel_what_waits(lane: pool.Lane) -> None:
    gate = Gate()
    executor = pool.Executor(lane=lane.name)
    running = executor.submit(gate, "done")
    gate.wait_for_arrival()
    waiting = [executor.submit(int) for _ in range(5)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting) and not running.done()
    gate.open()
    assert running.result(10) == "done"
    executor.shutdown(wait=True)


def test_a_shutdown_is_for_one_executor_only(executor: pool.Executor) -> None:
    other = pool.Executor()
    other.shutdown()
    assert executor.submit(int, "3").result(10) == 3


def test_a_bounded_lane_rejects(lane: pool.Lane) -> None:
    lane.max_queue = 2
    gate = Gate()
    with pool.Executor(lane=lane.name) as executor:
        running = executor.submit(gate)
        gate.wait_for_arrival()
        waiting = [executor.submit(int), executor.submit(int)]
        before = pool.statistics().lanes[lane.name].rejected
        with pytest.raises(PoolSaturated):
            executor.submit(int)
        assert pool.statistics().lanes[lane.name].rejected == before + 1
        gate.open()
        assert [future.result(10) for future in (running, *waiting)] == [None, 0, 0]


def test_wrong_arguments(executor: pool.Executor) -> None:
    with pytest.raises(ValueError, match="no-such-lane"):
        pool.Executor("no-such-lane")
    with pytest.raises(TypeError):
        executor.submit()  # type: ignore[call-arg]
    for not_callable in (None, 3):
        with pytest.raises(TypeError):
            executor.submit(not_callable).result(10)  # type: ignore[arg-type]


async def test_run_in_executor() -> None:
    loop = asyncio.get_running_loop()
    with pool.Executor() as executor:
        assert await loop.run_in_executor(executor, pow, 2, 5) == 32
        gate = Gate()
        future = loop.run_in_executor(executor, gate)
        await gate.arrival()
        gate.open()
        await future


def test_many_threads_may_share_one(executor: pool.Executor) -> None:
    results: list[list[int]] = []

    def use() -> None:
        results.append([future.result(30) for future in [executor.submit(pow, n, 2) for n in range(200)]])

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[n * n for n in range(200)]] * 4


def test_arguments_and_results_are_let_go(executor: pool.Executor) -> None:
    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing)
    future = executor.submit(lambda thing: thing, thing)
    assert future.result(10) is thing
    del thing, future
    eventually(lambda: reference() is None)


def test_waiting_inside_a_worker_for_its_own_full_lane_is_a_runtime_error(lane: pool.Lane) -> None:
    """The only worker of the lane would wait for itself for ever."""

    def outer() -> int:
        return executor.submit(int, "5").result(10)

    with pool.Executor(lane=lane.name) as executor:
        with pytest.raises(RuntimeError):
            executor.submit(outer).result(10)
        assert executor.submit(int, "5").result(10) == 5


def test_waiting_inside_a_worker_is_fine_where_there_is_room(lane: pool.Lane) -> None:
    if pool.statistics().size < 3:
        pytest.skip("needs two workers for Python")
    lane.limit = 2

    def outer(where: pool.Executor) -> int:
        return where.submit(int, "5").result(10)

    with pool.Executor(lane=lane.name) as executor:
        assert executor.submit(outer, executor).result(10) == 5
    lane.limit = 1
    with pool.Executor(lane=lane.name) as executor, pool.Executor(lane="cpu") as other:
        assert executor.submit(outer, other).result(10) == 5


def test_a_result_already_there_may_be_asked_for_on_a_worker(lane: pool.Lane) -> None:
    with pool.Executor(lane=lane.name) as executor:
        first = executor.submit(int, "5")
        assert first.result(10) == 5
        assert executor.submit(first.result, 10).result(10) == 5
