"""A peer on an asyncio loop: `python -m benchmarks.peers.python_peer API LOOP`.

API names a module of `apis/`, LOOP an event loop. The loop and its pool live as long as the process, as in a
server. All APIs go through the same driver below: coroutines that share one iterator of the work, so the only
difference is what they await.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import importlib
import itertools
import math
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.peers import loops
from benchmarks.peers.protocol import say, serve

BACKLOG = 64  # jobs waiting in each full lane of the fairness scenario
JOB_SECONDS = 0.02


def noop() -> int:
    """The Python callable that does nothing; the one is added up by the driver."""
    return 1


async def rate(api: ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    """`operations` of one kind with `in_flight` of them at any time."""
    paths = [f"{request['directory']}/{number}" for number in range(request["files"])]
    operation, operations = request["operation"], request["operations"]
    if request.get("verify") and operation == "read_file":
        digest = hashlib.sha256()
        for path in paths:
            digest.update(await api.read_file(path))
        if digest.hexdigest() != request["digest"]:
            raise ValueError("the files read differ from the files laid out")
    work = itertools.islice(itertools.cycle(paths or [""]), operations)
    data = bytes([request["fill"]]) * request["size"]
    done = total = 0  # never `total += await ...`: that reads the total before the wait

    async def read_files() -> None:
        nonlocal done, total
        read_file = api.read_file
        for path in work:
            content = await read_file(path)
            total += len(content)
            done += 1

    async def stat_files() -> None:
        nonlocal done, total
        stat = api.stat
        for path in work:
            found = await stat(path)
            total += found.st_size
            done += 1

    async def write_files() -> None:
        nonlocal done, total
        write_file = api.write_file
        for path in work:
            await write_file(path, data)
            total += len(data)
            done += 1

    async def run_noops() -> None:
        nonlocal done, total
        submit = api.submit
        for _ in work:
            result = await submit(noop)
            total += result
            done += 1

    kinds = {"read_file": read_files, "stat": stat_files, "write_file": write_files, "noop": run_noops}
    with busy_thread() if request.get("busy") else nullcontext():
        begin = time.perf_counter()
        await asyncio.gather(*[kinds[operation]() for _ in range(request["in_flight"])])
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "operations": done, "total": total}


@contextmanager
def busy_thread() -> Iterator[None]:
    """Another thread that computes in Python, and so wants the GIL all the time."""
    stop = False

    def spin() -> None:
        while not stop:
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop = True
        thread.join()


async def fairness(api: ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    """How long a `stat` takes, one every two milliseconds or so, while every lane but `io` has a full backlog."""
    iterations = pbkdf2_iterations()
    stop = False
    finished = 0

    def compute() -> None:
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", iterations)

    def wait() -> None:
        time.sleep(JOB_SECONDS)

    async def keep_full(fill: Callable[[Callable[[], None]], Awaitable[None]], job: Callable[[], None]) -> None:
        nonlocal finished
        while not stop:
            await fill(job)
            finished += job is compute

    fillers = [(fill, compute if lane == "cpu" else wait) for lane, fill in api.lanes(request["lanes"]).items()]
    backlog = [asyncio.create_task(keep_full(fill, job)) for fill, job in fillers for _ in range(BACKLOG)]
    await asyncio.sleep(5 * JOB_SECONDS)
    path = f"{request['directory']}/0"
    latencies = []
    begin = time.perf_counter()
    finished = 0
    while (started := time.perf_counter()) - begin < request["seconds"]:
        assert (await api.stat(path)).st_size == request["size"]
        latencies.append(time.perf_counter() - started)
        await asyncio.sleep(0.002)
    jobs = finished / (time.perf_counter() - begin)
    stop = True
    await asyncio.gather(*backlog)
    return {**percentiles(latencies), "stats": len(latencies), "pbkdf2/s": jobs}


def percentiles(latencies: list[float]) -> dict[str, float]:
    """Nearest-rank percentiles, in milliseconds."""
    latencies.sort()
    return {
        "p50 ms": latencies[math.ceil(0.50 * len(latencies)) - 1] * 1e3,
        "p99 ms": latencies[math.ceil(0.99 * len(latencies)) - 1] * 1e3,
        "max ms": latencies[-1] * 1e3,
    }


def pbkdf2_iterations(cached: list[int] = []) -> int:  # noqa: B006  (the one value is the cache)
    """How many iterations take JOB_SECONDS here, measured once on a quiet pool."""
    if not cached:
        taken = []
        for _ in range(5):
            begin = time.perf_counter()
            hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 20_000)
            taken.append(time.perf_counter() - begin)
        cached.append(int(20_000 * JOB_SECONDS / min(taken)))
    return cached[0]


async def soak(api: ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    """What a long run leaves behind: the process before and after, both times with everything warm and collected."""
    base = {**request, "verify": False}
    stats = {**base, "operation": "stat", "operations": request["stats"]}
    reads = {**base, "operation": "read_file", "operations": request["read_files"]}
    for kind in (stats, reads):
        await rate(api, {**kind, "operations": 20_000})
    before = usage()
    begin = time.perf_counter()
    for kind in (stats, reads):
        reply = await rate(api, kind)
        if reply["total"] != reply["operations"] * request["size"]:
            raise ValueError(f"{kind['operation']} gave {reply['total']} bytes in {reply['operations']} operations")
    seconds = time.perf_counter() - begin
    after = usage()
    growth = {f"{name} +": after[name] - before[name] for name in before}
    return {**growth, "RSS KiB": after["RSS KiB"], "fds": after["fds"], "threads": after["threads"], "seconds": seconds}


def usage() -> dict[str, int]:
    """Resident memory, open file descriptors and threads of this process."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "RSS KiB": int(status["VmRSS"].split()[0]),
        "fds": len(os.listdir("/proc/self/fd")),
        "threads": int(status["Threads"]),
    }


def main() -> None:
    """Greets with the versions, then serves."""
    api_name, loop_name = sys.argv[1:]
    try:
        loop, versions = loops.new(loop_name)
        api = importlib.import_module(f"benchmarks.peers.apis.{api_name}")
    except ImportError as error:
        say({"missing": f"{error}"})
        return
    versions.update(api.versions())
    api.start(loop)
    kinds = {"fairness": fairness, "soak": soak}
    say(versions)
    serve(lambda request: loop.run_until_complete(kinds.get(request["operation"], rate)(api, request)))
    loop.close()


if __name__ == "__main__":
    main()
