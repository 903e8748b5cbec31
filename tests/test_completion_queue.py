"""The path between a coroutine and a job (src/uvworks/_engine.py): one completion queue per loop, made at first use
and gone with the loop, on any asyncio loop, in any number of threads."""

import asyncio
import gc
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.loops import LoopFactory
from tests.support import Gate, eventually, python, until
from uvworks import fs, pool


def eventfds() -> int:
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))  # lexists: the listing's own is gone by now
    return sum(os.path.lexists(link) and os.readlink(link) == "anon_inode:[eventfd]" for link in links)


def test_a_loop_gets_one_queue_at_first_use_and_it_goes_with_the_loop(loop_factory: LoopFactory) -> None:
    outside = eventfds()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(asyncio.sleep(0))
        before = eventfds()
        for _ in range(3):
            runner.run(fs.stat("/"))
            runner.run(pool.submit(int))
            assert eventfds() == before + 1
    gc.collect()
    assert eventfds() == outside


def test_no_running_loop_is_a_runtime_error() -> None:
    for call in (fs.stat("/"), pool.submit(int)):
        with pytest.raises(RuntimeError):
            call.send(None)
        call.close()


def test_a_coroutine_that_is_never_awaited_submits_nothing(tmp_path: Path) -> None:
    call = fs.write_file(tmp_path / "file", b"x")
    call.close()
    assert os.listdir(tmp_path) == []


def test_a_loop_closed_with_jobs_pending(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """A closed loop's waiting jobs are dropped, its running ones end unheard, nothing is left behind."""
    pool.configure(lanes={"closing": {"limit": 1, "max_queue": None}})
    gate, ran = Gate(), []
    os.mkfifo(tmp_path / "fifo")
    loop = loop_factory()
    calls = [pool.submit(gate, lane="closing")]
    calls += [pool.submit(ran.append, number, lane="closing") for number in range(10)]
    calls += [fs.read_file(tmp_path / "fifo") for _ in range(5)] + [fs.write_file(tmp_path / "fifo", b"x")]
    tasks = [loop.create_task(call) for call in calls]
    loop.run_until_complete(until(lambda: gate.arrivals))
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False  # we know
    del tasks, task, calls
    gc.collect()
    assert pool.statistics().lanes["closing"].waiting == 0
    gate.open()
    eventually(lambda: pool.statistics().busy == 0)
    assert ran == []
    # The process goes on as if nothing had been.
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(fs.stat(tmp_path)) == os.stat(tmp_path)


def test_a_loop_closed_while_its_completions_wait(loop_factory: LoopFactory) -> None:
    loop = loop_factory()

    async def start() -> list[asyncio.Task[Any]]:
        tasks = [asyncio.create_task(fs.stat("/")) for _ in range(200)]
        await asyncio.sleep(0)
        return tasks

    tasks = loop.run_until_complete(start())
    eventually(lambda: pool.statistics().lanes["io"].running == pool.statistics().lanes["io"].waiting == 0)
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False
    del tasks, task
    gc.collect()


@pytest.mark.parametrize("close", [True, False], ids=["closed", "unclosed"])
def test_a_thread_that_dies_with_its_loop(loop_factory: LoopFactory, close: bool) -> None:
    gate = Gate()

    def use() -> None:
        loop = loop_factory()
        task = loop.create_task(pool.submit(gate))
        loop.run_until_complete(fs.stat("/"))
        loop.run_until_complete(until(lambda: gate.arrivals))
        task._log_destroy_pending = False
        if close:
            loop.close()
        else:
            loops.append(loop)

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    gc.collect()
    gate.open()
    eventually(lambda: pool.statistics().busy == 0)
    while loops:
        loops.pop().close()  # by another thread, later
    gc.collect()


def test_three_loops_in_three_threads(loop_factory: LoopFactory, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    failures: list[BaseException] = []

    async def body(number: int) -> None:
        for _ in range(10):
            calls: list[Any] = [fs.read_file(tmp_path / "file") for _ in range(20)]
            calls += [fs.stat(tmp_path / "file") for _ in range(20)]
            calls += [pool.submit(pow, number, 2) for _ in range(20)]
            results = await asyncio.gather(*calls)
            assert results[:20] == [b"x" * 10_000] * 20
            assert all(result.st_size == 10_000 for result in results[20:40])
            assert results[40:] == [number**2] * 20

    def use(number: int) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(body(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_loops_that_come_and_go_in_many_threads(loop_factory: LoopFactory) -> None:
    """Completion queues are made and dropped in several threads at once; a short switch interval makes them meet."""
    failures: list[BaseException] = []

    def use() -> None:
        try:
            for _ in range(40):
                with asyncio.Runner(loop_factory=loop_factory) as runner:
                    runner.run(fs.stat("/"))
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []


def test_two_loops_of_one_thread_in_turn(loop_factory: LoopFactory) -> None:
    first, second = loop_factory(), loop_factory()
    try:
        for _ in range(3):
            for loop in (first, second):
                assert loop.run_until_complete(pool.submit(int, "3")) == 3
        task = first.create_task(pool.submit(int, "4"))
        first.run_until_complete(asyncio.sleep(0))
        assert second.run_until_complete(pool.submit(int, "5")) == 5
        assert first.run_until_complete(task) == 4
    finally:
        first.close()
        second.close()


def test_run_coroutine_threadsafe(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        futures = [asyncio.run_coroutine_threadsafe(fs.stat("/"), loop) for _ in range(50)]
        assert {future.result(10).st_ino for future in futures} == {os.stat("/").st_ino}
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_cancelling_resolves_in_the_same_turns_whatever_the_job_does(tmp_path: Path) -> None:
    gate = Gate()
    os.mkfifo(tmp_path / "fifo")
    tasks = [asyncio.create_task(call) for call in (pool.submit(gate), fs.read_file(tmp_path / "fifo"))]
    await gate.arrival()
    for task in tasks:
        task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert all(task.cancelled() for task in tasks)
    gate.open()


async def test_a_cancel_that_loses_the_race_is_no_harm() -> None:
    for delay in range(50):
        tasks = [asyncio.create_task(fs.stat("/")) for _ in range(20)]
        for _ in range(delay % 10):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, (os.stat_result, asyncio.CancelledError)) for result in results)
        assert all(isinstance(result, os.stat_result) for result in results[1::2])


async def test_uncancel_goes_on_with_the_next_call() -> None:
    async def body() -> str:
        try:
            await pool.submit(gate)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
        return (await fs.realpath("/"), "went on")[1]

    gate = Gate()
    task = asyncio.create_task(body())
    await gate.arrival()
    task.cancel()
    assert await task == "went on"
    gate.open()


async def test_gather_shield_wait_and_as_completed_take_the_calls() -> None:
    assert len(await asyncio.gather(fs.stat("/"), fs.lstat("/"))) == 2
    assert (await asyncio.shield(fs.stat("/"))).st_ino == os.stat("/").st_ino
    done, pending = await asyncio.wait([asyncio.create_task(fs.stat("/")) for _ in range(5)])
    assert len(done) == 5 and not pending
    for call in asyncio.as_completed([fs.stat("/") for _ in range(5)]):
        await call
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(fs.stat("/")) for _ in range(5)]
    assert all(task.result() for task in tasks)


async def test_a_task_in_the_middle_of_a_job_shows_where_it_is() -> None:
    gate = Gate()
    task = asyncio.create_task(pool.submit(gate), name="shown")
    await gate.arrival()
    assert "shown" in repr(task) and "pending" in repr(task)
    assert task.get_stack()
    gate.open()
    await task


def test_debug_mode(loop_factory: LoopFactory) -> None:
    with asyncio.Runner(loop_factory=loop_factory, debug=True) as runner:
        assert runner.run(fs.stat("/")).st_ino == os.stat("/").st_ino
        assert runner.run(pool.submit(int, "3")) == 3


async def test_a_recursion_of_calls_in_callbacks() -> None:
    """Tasks that start tasks when their job is back, as a crawler does."""
    count = 0

    async def one(depth: int) -> None:
        nonlocal count
        await fs.stat("/")
        count += 1
        if depth:
            await asyncio.gather(one(depth - 1), one(depth - 1))

    await one(9)
    assert count == 2**10 - 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_eager_tasks() -> None:  # on asyncio's loop: uvloop's create_task does not get on with 3.13's factory
    async def body() -> list[Any]:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        return await asyncio.gather(*(asyncio.create_task(pool.submit(pow, n, 2)) for n in range(100)))

    assert asyncio.run(body()) == [n**2 for n in range(100)]


def test_a_loop_that_keeps_its_readers_after_closing_is_swept() -> None:
    """rloop does, so its ports go when the next loop makes its own. In a process apart: rloop leaves sockets unclosed
    and one eventfd per loop, which is counted first."""
    pytest.importorskip("rloop")
    script = """
    import asyncio, gc, os, rloop
    from uvworks import fs, pool

    def eventfds():
        links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        return sum(os.path.lexists(link) and os.readlink(link) == "anon_inode:[eventfd]" for link in links)

    async def body():
        calls = [call for _ in range(100) for call in (fs.stat("/"), pool.submit(int, "3"))]
        results = await asyncio.gather(*calls)
        assert results[1] == 3 and results[0].st_ino == os.stat("/").st_ino
        task = asyncio.create_task(pool.submit(int))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def left_by(body):
        before = eventfds()
        for _ in range(20):
            with asyncio.Runner(loop_factory=rloop.new_event_loop) as runner:
                runner.run(body())
        gc.collect()
        asyncio.run(fs.stat("/"))
        return eventfds() - before

    async def nothing():
        pass

    asyncio.run(fs.stat("/"))
    its_own, ours = left_by(nothing), left_by(body)
    assert ours < its_own + 10, (ours, its_own)   # if queues stayed it would be twenty more
    print("well")
    """
    done = python(script, warnings="ignore")
    assert done.stdout == "well\n"
