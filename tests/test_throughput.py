"""Completions come back several times faster than through pure Python.

Both faces of the pool, the callbacks of uv.Loop.queue_work and the await of pool.submit, run the same no-op as the
baseline: asyncio's selector loop over a ThreadPoolExecutor of as many threads. Rounds are interleaved, the first is for
warming up, medians are compared. benchmarks/ has the true figures; here a ratio is asserted that noise cannot reach.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from uvworks import pool, uv

IN_FLIGHT = 64
JOBS = 2000
ROUNDS = 7
LEAST_RATIO = 2.0


def noop() -> None:
    pass


def queue_work() -> None:
    """Each callback queues the next job, until all are done."""
    with uv.Loop() as loop:
        left = JOBS - IN_FLIGHT

        def after(error: BaseException | None, result: Any) -> None:
            nonlocal left
            if left > 0:
                left -= 1
                loop.queue_work(noop, after)

        for _ in range(IN_FLIGHT):
            loop.queue_work(noop, after)
        loop.run()


def executor_callbacks(executor: ThreadPoolExecutor) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left = JOBS
        finished = loop.create_future()

        def after(future: Future[None]) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                finished.set_result(None)
            elif left >= IN_FLIGHT:
                loop.run_in_executor(executor, noop).add_done_callback(after)

        for _ in range(IN_FLIGHT):
            loop.run_in_executor(executor, noop).add_done_callback(after)
        await finished

    asyncio.run(main())


def awaited(call: Callable[[], Any]) -> None:
    """As many tasks as jobs in flight, each awaiting one job after the other."""

    async def one() -> None:
        for _ in range(JOBS // IN_FLIGHT):
            await call()

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))

    asyncio.run(main())


def test_completions_outrun_pure_python() -> None:
    with ThreadPoolExecutor(pool.statistics().size) as executor:
        runners: dict[str, Callable[[], None]] = {
            "callbacks": queue_work,
            "callbacks in Python": lambda: executor_callbacks(executor),
            "awaits": lambda: awaited(lambda: pool.submit(noop)),
            "awaits in Python": lambda: awaited(
                lambda: asyncio.get_running_loop().run_in_executor(executor, noop),
            ),
        }
        took: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(1 + ROUNDS):
            for name, run in runners.items():
                start = time.perf_counter()
                run()
                took[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times[1:]) for name, times in took.items()}
    for name in ("callbacks", "awaits"):
        ours, theirs = medians[name], medians[f"{name} in Python"]
        ratio = theirs / ours
        print(f"{name}: {JOBS / ours:,.0f}/s, in Python {JOBS / theirs:,.0f}/s, {ratio:.1f} times as many")
        assert ratio >= LEAST_RATIO, medians
