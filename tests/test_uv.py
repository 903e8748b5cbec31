"""uv.Loop: run modes, queue_work and its callbacks, cancels, what exceptions do, closing."""

import concurrent.futures
import contextvars
import gc
import os
import re
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Gate, eventually
from uvworks import PoolSaturated, pool, uv


@pytest.fixture
def loop() -> Iterator[uv.Loop]:
    with uv.Loop() as loop:
        yield loop


@pytest.fixture
def lane() -> pool.Lane:
    pool.configure(lanes={"uv-test": {"limit": 1, "max_queue": None}})
    return pool.lane("uv-test")


def test_an_idle_loop_runs_to_its_end_at_once(loop: uv.Loop) -> None:
    for mode in (uv.RUN_DEFAULT, uv.RUN_ONCE, uv.RUN_NOWAIT):
        assert loop.run(mode) is False
    assert loop.alive is False and loop.closed is False


def test_work_runs_on_a_worker_and_after_in_run(loop: uv.Loop) -> None:
    seen: list[Any] = []

    def after(error: BaseException | None, result: Any) -> None:
        seen.append((threading.get_native_id(), error, result))

    loop.queue_work(threading.get_native_id, after)
    assert loop.alive is True
    assert loop.run() is False
    ((thread, error, worker),) = seen
    assert thread == threading.get_native_id() != worker and error is None
    assert loop.alive is False


def test_after_is_never_called_outside_run(loop: uv.Loop) -> None:
    seen: list[Any] = []
    done = threading.Event()
    loop.queue_work(done.set, lambda error, result: seen.append(result))
    assert done.wait(10)
    time.sleep(0.01)
    assert seen == [] and loop.alive
    loop.run()
    assert seen == [None]


def test_many_come_back_each_to_its_own_callback(loop: uv.Loop) -> None:
    seen: list[tuple[int, int]] = []
    for number in range(3000):
        loop.queue_work(lambda number=number: number * 2, lambda error, result, n=number: seen.append((n, result)))
    assert loop.run() is False
    assert sorted(seen) == [(number, number * 2) for number in range(3000)]


def test_a_lane_of_one_keeps_the_order(loop: uv.Loop, lane: pool.Lane) -> None:
    worked: list[int] = []
    after: list[int] = []
    for number in range(200):
        work, told = (lambda n=number: worked.append(n)), (lambda error, result, n=number: after.append(n))
        loop.queue_work(work, told, lane="uv-test")
    loop.run()
    assert worked == after == list(range(200))


def test_after_may_queue_more(loop: uv.Loop) -> None:
    left = 100

    def after(error: BaseException | None, result: Any) -> None:
        nonlocal left
        left -= 1
        if left:
            loop.queue_work(int, after)

    loop.queue_work(int, after)
    assert loop.run() is False and left == 0


def test_after_may_be_left_out(loop: uv.Loop) -> None:
    ran = threading.Event()
    loop.queue_work(ran.set)
    assert loop.run() is False and ran.is_set()


@pytest.mark.parametrize("value", [None, (), (1, 2), [1], ValueError("a value")], ids=repr)
def test_the_result_is_the_very_object(loop: uv.Loop, value: Any) -> None:
    seen: list[Any] = []
    loop.queue_work(lambda: value, lambda error, result: seen.append((error, result)))
    loop.run()
    ((error, result),) = seen
    assert error is None and result is value


@pytest.mark.parametrize("kind", [LookupError, SystemExit, KeyboardInterrupt, StopIteration])
def test_what_work_raises_is_afters_error(loop: uv.Loop, kind: type[BaseException]) -> None:
    def work() -> None:
        raise kind("mine")

    seen: list[Any] = []
    loop.queue_work(work, lambda error, result: seen.append((type(error), str(error), result)))
    assert loop.run() is False
    assert seen == [(kind, "mine", None)]


def test_an_error_nobody_asked_for_is_not_lost(loop: uv.Loop) -> None:
    def work() -> None:
        raise LookupError("mine")

    loop.queue_work(work)
    with pytest.raises(LookupError, match="mine"):
        loop.run()
    assert loop.run() is False


def test_what_after_raises_ends_run_and_the_others_come_with_the_next(loop: uv.Loop) -> None:
    seen: list[int] = []

    def after(number: int) -> Any:
        def call(error: BaseException | None, result: Any) -> None:
            seen.append(number)
            if number % 10 == 3:
                raise LookupError(number)

        return call

    for number in range(50):
        loop.queue_work(int, after(number))
    raised = []
    while True:
        try:
            if not loop.run():
                break
        except LookupError as error:
            raised.append(error.args[0])
    assert sorted(seen) == list(range(50)) and sorted(raised) == [3, 13, 23, 33, 43]


def test_run_once_waits_and_run_nowait_does_not(loop: uv.Loop) -> None:
    gate = Gate()
    seen: list[Any] = []
    loop.queue_work(gate, lambda error, result: seen.append(result))
    gate.wait_for_arrival()
    start = time.monotonic()
    assert loop.run(uv.RUN_NOWAIT) is True
    assert time.monotonic() - start < 5 and seen == []
    timer = threading.Timer(0.05, gate.open)
    timer.start()
    while not seen:  # RUN_ONCE may return for other events of its own
        loop.run(uv.RUN_ONCE)
    assert time.monotonic() - start > 0.04
    assert loop.run(uv.RUN_NOWAIT) is False
    timer.join()


def test_stop_ends_run(loop: uv.Loop) -> None:
    gate = Gate()
    loop.queue_work(gate)
    loop.queue_work(int, lambda error, result: loop.stop(), lane="cpu")
    assert loop.run() is True  # the gate's work is left
    gate.open()
    assert loop.run() is False


def test_stop_from_another_thread_ends_run(loop: uv.Loop) -> None:
    gate = Gate()
    loop.queue_work(gate)
    thread = threading.Thread(target=lambda: (gate.wait_for_arrival(), time.sleep(0.05), loop.stop()))
    thread.start()
    assert loop.run() is True
    thread.join()
    gate.open()
    assert loop.run() is False


def test_only_stop_may_come_from_another_thread(loop: uv.Loop) -> None:
    gate, raised, inside = Gate(), [], threading.Event()

    def meddle() -> None:
        assert inside.wait(10)
        for call in (loop.run, loop.close, loop.now, lambda: loop.queue_work(int)):
            try:
                call()
            except RuntimeError as error:
                raised.append(str(error))
        gate.open()

    thread = threading.Thread(target=meddle)
    thread.start()
    loop.queue_work(gate)
    loop.queue_work(int, lambda error, result: inside.set(), lane="cpu")
    assert loop.run() is False
    thread.join()
    assert len(raised) == 4 and all(raised)


def test_run_does_not_nest(loop: uv.Loop) -> None:
    seen: list[str] = []

    def after(error: BaseException | None, result: Any) -> None:
        for call in (loop.run, loop.close):
            with pytest.raises(RuntimeError):
                call()
            seen.append(call.__name__)

    loop.queue_work(int, after)
    loop.run()
    assert seen == ["run", "close"]


def test_other_threads_run_while_the_loop_waits(loop: uv.Loop) -> None:
    """Waiting for events holds no GIL."""
    gate = Gate()
    counted = 0

    def count() -> None:
        nonlocal counted
        gate.wait_for_arrival()
        for _ in range(1000):
            counted += 1
        gate.open()

    thread = threading.Thread(target=count)
    thread.start()
    loop.queue_work(gate)
    assert loop.run() is False
    thread.join()
    assert counted == 1000


def test_now_is_in_milliseconds_and_does_not_go_back(loop: uv.Loop) -> None:
    first = loop.now()
    loop.queue_work(lambda: time.sleep(0.05))
    loop.run()
    assert type(first) is int and 40 <= loop.now() - first < 10_000


# Cancelling -----------------------------------------------------------------------


def test_waiting_work_can_be_cancelled_and_after_hears_of_it(loop: uv.Loop, lane: pool.Lane) -> None:
    gate, ran = Gate(), []
    seen: list[Any] = []
    loop.queue_work(gate, lane="uv-test")
    gate.wait_for_arrival()
    waiting = loop.queue_work(
        lambda: ran.append(1), lambda error, result: seen.append((type(error), result)), lane="uv-test"
    )
    before = pool.statistics().lanes["uv-test"]
    assert waiting.cancel() is True
    assert seen == []  # only run() calls back
    assert waiting.cancel() is False
    assert pool.statistics().lanes["uv-test"].waiting == before.waiting - 1
    gate.open()
    assert loop.run() is False
    assert seen == [(concurrent.futures.CancelledError, None)] and ran == []


def test_running_and_finished_work_cannot_be_cancelled(loop: uv.Loop) -> None:
    gate = Gate()
    seen: list[Any] = []
    work = loop.queue_work(gate, lambda error, result: seen.append(error))
    gate.wait_for_arrival()
    assert work.cancel() is False
    gate.open()
    loop.run()
    assert work.cancel() is False and seen == [None]


def test_a_cancel_inside_a_callback(loop: uv.Loop, lane: pool.Lane) -> None:
    seen: list[str] = []
    gate = Gate()
    works: list[uv.Work] = []
    loop.queue_work(int, lambda error, result: (works[0].cancel(), gate.open()), lane="cpu")
    loop.queue_work(gate, lane="uv-test")
    gate.wait_for_arrival()
    works.append(loop.queue_work(int, lambda error, result: seen.append(type(error).__name__), lane="uv-test"))
    assert loop.run() is False
    assert seen == ["CancelledError"]


def test_cancelling_all_that_is_left_lets_run_end(loop: uv.Loop, lane: pool.Lane) -> None:
    async_gate = Gate()
    with uv.Loop() as other:
        other.queue_work(async_gate, lane="uv-test")
        async_gate.wait_for_arrival()
        seen: list[int] = []
        works = [loop.queue_work(int, lambda e, r, n=n: seen.append(n), lane="uv-test") for n in range(10)]
        assert all(work.cancel() for work in works)
        assert loop.run() is False and seen == list(range(10))
        async_gate.open()
        assert other.run() is False


# Lanes, contexts, arguments -------------------------------------------------------------


def test_a_full_lane_rejects(loop: uv.Loop, lane: pool.Lane) -> None:
    lane.max_queue = 1
    gate = Gate()
    loop.queue_work(gate, lane="uv-test")
    gate.wait_for_arrival()
    loop.queue_work(int, lane="uv-test")
    with pytest.raises(PoolSaturated):
        loop.queue_work(int, lane="uv-test")
    gate.open()
    assert loop.run() is False


def test_work_runs_in_the_context_of_the_call(loop: uv.Loop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("early")
    seen: list[str] = []
    loop.queue_work(variable.get, lambda error, result: seen.append(result))
    variable.set("late")
    loop.run()
    assert seen == ["early"]


def test_wrong_arguments(loop: uv.Loop) -> None:
    for work in (None, 3, "text"):
        with pytest.raises(TypeError):
            loop.queue_work(work)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        loop.queue_work(int, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no-such-lane"):
        loop.queue_work(int, lane="no-such-lane")
    for mode in (3, -1, "default", None):
        with pytest.raises((TypeError, ValueError)):
            loop.run(mode)  # type: ignore[arg-type]
    assert loop.alive is False and loop.run() is False


def test_version() -> None:
    assert re.fullmatch(r"1\.\d+\.\d+(-dev)?", uv.version())


# Closing ------------------------------------------------------------------------------


def test_a_closed_loop_says_so_and_holds_nothing() -> None:
    before = len(os.listdir("/proc/self/fd"))
    loop = uv.Loop()
    loop.queue_work(int)
    loop.run()
    loop.close()
    loop.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert loop.closed and not loop.alive
    for call in (loop.run, loop.stop, loop.now, lambda: loop.queue_work(int)):
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_closing_drops_what_waits_and_does_not_wait_for_what_runs(lane: pool.Lane) -> None:
    gate, ran, told = Gate(), [], []
    loop = uv.Loop()
    loop.queue_work(gate, lambda error, result: told.append(1), lane="uv-test")
    gate.wait_for_arrival()
    for _ in range(5):
        loop.queue_work(lambda: ran.append(1), lambda error, result: told.append(2), lane="uv-test")
    start = time.monotonic()
    loop.close()
    assert time.monotonic() - start < 5
    assert pool.statistics().lanes["uv-test"].waiting == 0
    gate.open()
    eventually(lambda: pool.statistics().busy == 0)
    assert ran == told == []


def test_what_a_closed_loop_held_is_let_go(lane: pool.Lane) -> None:
    class Thing:
        def work(self) -> None:
            pass

    gate = Gate()
    loop = uv.Loop()
    loop.queue_work(gate, lane="uv-test")
    gate.wait_for_arrival()
    thing = Thing()
    reference = weakref.ref(thing)
    loop.queue_work(thing.work, lambda error, result, thing=thing: None, lane="uv-test")
    del thing
    loop.close()
    gc.collect()
    eventually(lambda: reference() is None)
    gate.open()
    eventually(lambda: pool.statistics().busy == 0)


def test_a_forgotten_loop_gives_back_its_descriptors() -> None:
    before = len(os.listdir("/proc/self/fd"))
    loops = [uv.Loop() for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) > before
    loops.clear()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_unclosed_loop_goes_with_its_work(lane: pool.Lane) -> None:
    gate = Gate()
    loop = uv.Loop()
    loop.queue_work(gate, lane="uv-test")
    gate.wait_for_arrival()
    loop.queue_work(int, lambda error, result: None, lane="uv-test")
    del loop
    gc.collect()
    gate.open()
    eventually(lambda: pool.statistics().busy == 0 and pool.statistics().lanes["uv-test"].waiting == 0)


def test_three_loops_in_three_threads() -> None:
    results: dict[int, list[int]] = {}

    def use(number: int) -> None:
        seen: list[int] = []
        with uv.Loop() as loop:

            def after(error: BaseException | None, result: Any) -> None:
                assert threading.get_ident() == me
                seen.append(result)
                if len(seen) < 500:
                    loop.queue_work(lambda: number, after)

            me = threading.get_ident()
            for _ in range(10):
                loop.queue_work(lambda: number, after)
            loop.run()
        results[number] = seen

    threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: set(seen) for number, seen in results.items()} == {0: {0}, 1: {1}, 2: {2}}
    assert all(len(seen) >= 500 for seen in results.values())
