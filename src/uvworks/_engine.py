"""The one path between a coroutine and a job of the engine.

`core.fs.stat(...)`, `core.call(...)` and their kin submit to the lanes and return a Job, which is awaited; when it has
come back, the loop's CompletionQueue resumes the task. All of it is C (csrc/core) and keeps the GIL. What is left for
Python is here: how a queue is attached to an event loop, how the pool starts and ends, and how a job waits for a
descriptor that is not ready.

Only this module, _native, pool and uv see `lib`. `core` is for all that submit jobs or are part of the
loop (fs, dns, crypto, zlib, pool, uv, loop); they take it from here.
"""

import asyncio
import atexit
import os
import shutil
from collections.abc import Callable
from contextvars import Context
from math import ceil
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakSet

from ._native import core, lib
from .errors import PoolSaturated

__all__ = ["configured_size", "core", "pool_size", "start", "usable_cpus"]

#: The size asked for by pool.configure(), if any.
configured_size: int | None = None

_RETRY_DELAY = 0.01  # seconds between two tries to open a FIFO that nobody reads

# Completion queues of loops that may have closed without letting go of their handles (rloop).
_queues: WeakSet[Any] = WeakSet()
_queues_lock = Lock()


def _after_fork_in_child() -> None:
    """Another thread may have held the lock; what the parent's completion queues are is no business of the child."""
    global _queues_lock
    _queues_lock = Lock()
    _queues.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _attach(loop: asyncio.AbstractEventLoop) -> Any:
    """The loop's completion queue, asked for once. Of a foreign loop only its reader handle owns it from here on."""
    if isinstance(loop, core.BaseLoop):
        return loop._completion_queue()
    queue = core.CompletionQueue(loop)
    # In an empty context: the handle would keep the first caller's for ever.
    Context().run(loop.add_reader, queue.fileno(), queue.dispatch)
    with _queues_lock:
        old = list(_queues)
        _queues.add(queue)
    for other in old:
        if other.loop.is_closed():
            other.close()
    return queue


def _park(loop: asyncio.AbstractEventLoop, job: Any, fd: int, what: str) -> Callable[[], object]:
    """Resume the job when its descriptor is ready; returns what ends the wait."""
    if what == "later":
        return loop.call_later(_RETRY_DELAY, job.resume).cancel
    add, remove = (loop.add_reader, loop.remove_reader) if what == "readable" else (loop.add_writer, loop.remove_writer)

    def ready() -> None:
        remove(fd)
        job.resume()

    add(fd, ready)
    return lambda: remove(fd)


def usable_cpus() -> int:
    """CPUs this process may use: its affinity, and the quota of its cgroups, rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, ceil(min(cpus, _cgroup_quota())))


def _cgroup_quota() -> float:
    """The smallest CPU quota of the process's cgroup and those above it; infinity without any."""
    quota = float("inf")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return quota
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup") if not controllers else Path("/sys/fs/cgroup/cpu")
        here = root / group.lstrip("/")
        for directory in (here, *here.parents):
            if not directory.is_relative_to(root):
                break
            quota = min(quota, _quota_of(directory))
    return quota


def _quota_of(directory: Path) -> float:
    try:
        if (v2 := directory / "cpu.max").exists():
            limit, period = v2.read_text().split()
        else:
            limit = (directory / "cpu.cfs_quota_us").read_text()
            period = (directory / "cpu.cfs_period_us").read_text()
        return float("inf") if limit.strip() in ("max", "-1") else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return float("inf")


def pool_size() -> int:
    """The size the pool has or will have."""
    if lib.uvw_pool_started():
        return int(lib.uvw_pool_size())
    if configured_size is not None:
        return configured_size
    try:
        size = int(os.environ["UV_THREADPOOL_SIZE"])
    except (KeyError, ValueError):
        return max(4, usable_cpus())
    return min(max(size, 1), 1024)


def start() -> None:
    """Start the pool if it is not running."""
    core.start(pool_size())


core.setup(
    attach=_attach,
    start=start,
    park=_park,
    saturated=PoolSaturated,
    same_file=shutil.SameFileError,
    special_file=shutil.SpecialFileError,
    get_running_loop=asyncio.get_running_loop,
    cancelled_error=asyncio.CancelledError,
    invalid_state=asyncio.InvalidStateError,
)


@atexit.register
def _shutdown() -> None:
    """Before finalization: later a running callable would vanish in the middle, or hang the exit."""
    lib.uvw_pool_shutdown()
    while lib.uvw_pool_drain(50):  # in slices, so that Ctrl-C still works
        pass
