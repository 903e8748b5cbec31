"""A peer that does what an event loop does all day without any I/O: `python -m benchmarks.peers.callbacks_peer LOOP`.

Every callback is a plain Python function, as a user's would be, and counts itself: `total` is what really ran.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.peers import loops
from benchmarks.peers.protocol import say, serve

FAN = 1000  # callbacks or timers that are scheduled at once
TASKS = 100  # in one gather
FIRING = 20_000  # timers set at once; setting them takes longer than the latest of them waits

Loop = asyncio.AbstractEventLoop


async def chain(loop: Loop, operations: int) -> int:
    """A callback that schedules itself again."""
    ended = loop.create_future()
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if done < operations:
            loop.call_soon(step)
        else:
            ended.set_result(None)

    loop.call_soon(step)
    await ended
    return done


async def fan_out(loop: Loop, operations: int) -> int:
    """FAN callbacks scheduled at once, then as many again when they have run."""
    done = 0

    def count(_: int) -> None:
        nonlocal done
        done += 1

    for size in batches(operations, FAN):
        for number in range(size):
            loop.call_soon(count, number)
        await asyncio.sleep(0)
    return done


async def sleep0(loop: Loop, operations: int) -> int:
    """One task that gives way to others, of which there are none."""
    done = 0
    for _ in range(operations):
        await asyncio.sleep(0)
        done += 1
    return done


async def gather(loop: Loop, operations: int) -> int:
    """TASKS tasks that run once, and their results."""

    async def one() -> int:
        return 1

    done = 0
    for size in batches(operations, TASKS):
        done += sum(await asyncio.gather(*[one() for _ in range(size)]))
    return done


async def timers_fire(loop: Loop, operations: int) -> int:
    """FIRING timers between one and two milliseconds, in no order.

    Setting them takes longer than that, so nobody waits for a clock, however coarse it is.
    """
    done = 0
    for size in batches(operations, FIRING):
        ended = loop.create_future()
        target = done + size

        def fire(target: int = target, ended: asyncio.Future[None] = ended) -> None:
            nonlocal done
            done += 1
            if done == target:
                ended.set_result(None)

        for number in range(size):
            loop.call_later(0.001 + number * 7919 % 1000 * 1e-6, fire)
        await ended
    return done


async def timers_cancel(loop: Loop, operations: int) -> int:
    """FAN timers set far ahead and cancelled: the time-outs of requests that were answered in time."""
    done = 0

    def fire() -> None:
        raise AssertionError("a cancelled timer fired")

    for size in batches(operations, FAN):
        handles = [loop.call_later(10 + number * 7919 % 1000 * 1e-3, fire) for number in range(size)]
        for handle in handles:
            handle.cancel()
        await asyncio.sleep(0)
        done += size
    return done


async def threadsafe(loop: Loop, operations: int) -> int:
    """Callbacks scheduled from the loop's own thread by the call that may be used from any."""
    ended = loop.create_future()
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if done < operations:
            loop.call_soon_threadsafe(step)
        else:
            ended.set_result(None)

    loop.call_soon_threadsafe(step)
    await ended
    return done


async def threadsafe_foreign(loop: Loop, operations: int) -> int:
    """Another thread schedules FAN callbacks, waits for the last of them, and does it again."""
    ended = loop.create_future()
    turn = threading.Semaphore(0)
    done = 0

    def count(last: bool) -> None:
        nonlocal done
        done += 1
        if last:
            turn.release()

    def schedule() -> None:
        for size in batches(operations, FAN):
            for number in range(size):
                loop.call_soon_threadsafe(count, number == size - 1)
            turn.acquire()
        loop.call_soon_threadsafe(ended.set_result, None)

    thread = threading.Thread(target=schedule)
    thread.start()
    await ended
    thread.join()
    return done


def batches(operations: int, size: int) -> list[int]:
    """The operations in parts of `size`, the rest last."""
    whole, rest = divmod(operations, size)
    return [size] * whole + [rest] * bool(rest)


KINDS: dict[str, Callable[[Loop, int], Awaitable[int]]] = {
    "chain": chain,
    "fan-out": fan_out,
    "sleep(0)": sleep0,
    "gather": gather,
    "timers fire": timers_fire,
    "timers cancel": timers_cancel,
    "threadsafe": threadsafe,
    "foreign thread": threadsafe_foreign,
}


async def measure(loop: Loop, request: dict[str, Any]) -> dict[str, Any]:
    """One request: the clock stands while the loop starts and ends."""
    kind, operations = KINDS[request["operation"]], request["operations"]
    begin = time.perf_counter()
    total = await kind(loop, operations)
    return {"seconds": time.perf_counter() - begin, "operations": operations, "total": total}


def main() -> None:
    """Greets with the versions, then serves."""
    try:
        loop, versions = loops.new(sys.argv[1])
    except ImportError as error:
        say({"missing": f"{error}"})
        return
    say(versions)
    serve(lambda request: loop.run_until_complete(measure(loop, request)))
    loop.close()


if __name__ == "__main__":
    main()
