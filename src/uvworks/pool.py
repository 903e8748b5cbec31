"""libuv's worker pool for Python callables, its lanes, and its figures.

Work waits in lanes in front of the pool: ``io`` (files), ``dns``, ``cpu`` (C
work), ``python`` (callables), and lanes of your own. Each may hold only so
many workers, and all but ``io`` together leave one worker free, so that no
kind of work stops the others.
"""

import asyncio
import atexit
import concurrent.futures
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import index
from threading import Lock
from typing import Any, ParamSpec, TypedDict, TypeVar
from weakref import WeakSet

from . import _engine
from ._engine import core
from ._native import ffi, lib, text

__all__ = [
    "Executor",
    "Lane",
    "LaneOptions",
    "LaneStatistics",
    "PoolStatistics",
    "Timing",
    "configure",
    "lane",
    "statistics",
    "submit",
]

_R = TypeVar("_R")
_T = TypeVar("_T")
_P = ParamSpec("_P")

_MAX_SIZE = 1024  # libuv's own bound


async def submit(
    func: Callable[..., _T],
    /,
    *args: Any,
    lane: str = "python",
    timeout: float | None = None,  # noqa: ASYNC109 - part of what is asked of the job, as in Executor.map
    **kwargs: Any,
) -> _T:
    """Run ``func(*args, **kwargs)`` on a worker and return what it returns.

    It runs in a copy of the caller's context; what it raises is raised here,
    with its traceback. Cancelling the awaiting task, or the end of `timeout`
    (seconds; TimeoutError), takes a waiting job out of its lane; a running
    callable cannot be interrupted and goes on unheard ("orphaned").

    Raises PoolSaturated at once when the lane is bounded and full, and
    RuntimeError when called on a worker for a lane that is full of waiters
    such as this one.
    """
    if timeout is None:
        result: _T = await core.call(lane, func, *args, **kwargs)
        return result
    async with asyncio.timeout(timeout):
        result = await core.call(lane, func, *args, **kwargs)
        return result


# Executor ----------------------------------------------------------------------


class _Future(concurrent.futures.Future[_T]):
    """A future that can take its job out of the lane, and knows when waiting for it would never end."""

    _lane: str
    _job: Any = None

    def _wait(self, outcome: Callable[[float | None], _R], timeout: float | None) -> _R:
        """A worker that waits says so, and is refused if that could never end."""
        if self._job is None or self.done():
            return outcome(timeout)
        wait = core.begin_wait(self._lane)
        try:
            return outcome(timeout)
        finally:
            core.end_wait(wait)

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if cancelled and self._job is not None and self._job.withdraw():
            self.set_running_or_notify_cancel()  # as the worker would have: it tells those in wait()
        return cancelled

    def result(self, timeout: float | None = None) -> _T:
        return self._wait(super().result, timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return self._wait(super().exception, timeout)


class Executor(concurrent.futures.Executor):
    """A concurrent.futures.Executor over a lane of the pool.

    The pool is the process's, so executors make no threads and are cheap;
    shutdown() waits for the calls of this executor only.
    """

    def __init__(self, lane: str = "python") -> None:
        _lane_index(lane)
        self._lane = lane
        self._pending: set[concurrent.futures.Future[Any]] = set()
        self._closed = False
        self._lock = Lock()
        _executors.add(self)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> concurrent.futures.Future[_T]:
        """Run ``fn(*args, **kwargs)`` on a worker; PoolSaturated if the lane is bounded and full."""
        future: _Future[_T] = _Future()
        future._lane = self._lane
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        try:
            future._job = core.call_executor(future, self._lane, fn, *args, **kwargs)
        except BaseException:
            self._pending.discard(future)
            raise
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait for those submitted, or cancel the ones that have not begun."""
        with self._lock:
            self._closed = True
            pending = list(self._pending)
        if cancel_futures:
            for future in pending:
                future.cancel()
        if wait:
            concurrent.futures.wait(pending)


# Executors promise to run what they took, also at exit. This hook was
# registered after the engine's, so it runs before that.
_executors: WeakSet[Executor] = WeakSet()


@atexit.register
def _shutdown_executors() -> None:
    for executor in list(_executors):
        executor.shutdown()


def _after_fork_in_child() -> None:
    """What the parent's executors have taken, the parent runs."""
    for executor in list(_executors):
        executor._lock = Lock()
        executor._pending.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


# Lanes and settings ------------------------------------------------------------


class LaneOptions(TypedDict, total=False):
    """What configure() takes for a lane."""

    limit: int
    max_queue: int | None


def _lane_index(name: str) -> int:
    if not isinstance(name, str):
        raise TypeError(f"lane: expected a str, got {name!r}")
    found: int = lib.uvw_lane_find(name.encode())
    if found < 0:
        raise ValueError(f"lane: unknown lane {name!r}")
    return found


def _checked_limit(limit: int) -> int:
    number = index(limit)
    if not 1 <= number <= _MAX_SIZE:
        raise ValueError(f"limit must be between 1 and {_MAX_SIZE}, got {number}")
    return number


def _checked_max_queue(max_queue: int | None) -> int:
    if max_queue is None:
        return -1
    number = index(max_queue)
    if not 0 <= number < 2**53:
        raise ValueError(f"max_queue must be a count of jobs or None, got {number}")
    return number


class Lane:
    """A lane of the pool. Both attributes may be set at any time."""

    __slots__ = ("_index", "name")

    def __init__(self, name: str, index: int) -> None:
        self.name = name
        self._index = index

    def __repr__(self) -> str:
        return f"<Lane {self.name!r} limit={self.limit} max_queue={self.max_queue}>"

    @property
    def limit(self) -> int:
        """The workers it may hold at once. Setting it larger than the pool allows means as many as possible."""
        return _lane_statistics(self._index).limit

    @limit.setter
    def limit(self, limit: int) -> None:
        lib.uvw_lane_set_limit(self._index, _checked_limit(limit))

    @property
    def max_queue(self) -> int | None:
        """The jobs that may wait; one more raises PoolSaturated. None is no bound."""
        return _lane_statistics(self._index).max_queue

    @max_queue.setter
    def max_queue(self, max_queue: int | None) -> None:
        lib.uvw_lane_set_max_queue(self._index, _checked_max_queue(max_queue))


def lane(name: str) -> Lane:
    """The lane of that name; ValueError if there is none."""
    return Lane(name, _lane_index(name))


def configure(*, size: int | None = None, lanes: Mapping[str, LaneOptions] | None = None) -> None:
    """Set the pool's size, and make or adjust lanes.

    `size` (1 to 1024 workers) only before the first use of the pool, else
    RuntimeError; without it UV_THREADPOOL_SIZE counts, and then the usable
    CPUs, at least 4. `lanes` maps a name to its options, at any time:
    ``{"thumbnails": {"limit": 2, "max_queue": 100}}``. All arguments are
    checked before anything is changed.
    """
    wanted: list[tuple[str, int | None, int | None]] = []
    for name, options in (lanes or {}).items():
        if not isinstance(name, str) or not 0 < len(name.encode()) < 64 or "\0" in name:
            raise ValueError(f"lanes: a lane's name has 1 to 63 bytes, got {name!r}")
        if unknown := options.keys() - {"limit", "max_queue"}:
            raise ValueError(f"lanes: unknown option {sorted(unknown)[0]!r} for lane {name!r}")
        limit = _checked_limit(options["limit"]) if "limit" in options else None
        bound = _checked_max_queue(options["max_queue"]) if "max_queue" in options else None
        wanted.append((name, limit, bound))
    if size is not None:
        size = index(size)
        if not 1 <= size <= _MAX_SIZE:
            raise ValueError(f"size must be between 1 and {_MAX_SIZE}, got {size}")
        if lib.uvw_pool_started():
            raise RuntimeError(f"the pool is running with {lib.uvw_pool_size()} workers: set its size before first use")
        _engine.configured_size = size
    for name, limit, bound in wanted:
        number = lib.uvw_lane_open(name.encode(), limit or 0, -1)
        if number < 0:
            raise RuntimeError(f"cannot make lane {name!r}: there are {lib.UVW_LANE_MAX} lanes, which is the most")
        if limit is not None:
            lib.uvw_lane_set_limit(number, limit)
        if bound is not None:
            lib.uvw_lane_set_max_queue(number, bound)


# Figures -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timing:
    """A distribution, in seconds. The quantiles are exact to about six per cent."""

    count: int
    min: float
    mean: float
    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """Figures of one lane since the process began.

    `waiting` and `running` are now; of the jobs that have left, `done` is well,
    `failed` with an error, `cancelled` before or while running; `rejected` were
    never taken; `orphaned` were running when their waiter went away.
    """

    limit: int
    max_queue: int | None
    waiting: int
    running: int
    done: int
    failed: int
    cancelled: int
    rejected: int
    orphaned: int
    wait: Timing
    run: Timing


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Figures of the pool. `size_known` is false if another user of a shared libuv had started its pool before."""

    size: int
    size_known: bool
    busy: int
    lanes: dict[str, LaneStatistics]


def _lane_statistics(number: int) -> LaneStatistics:
    values = ffi.new("double[]", lib.UVW_STAT_COUNT)
    lib.uvw_lane_statistics(number, values)

    def count(position: int) -> int:
        return int(values[position])

    def timing(first: int) -> Timing:
        return Timing(count(first), *values[first + 1 : first + 6])

    max_queue = count(lib.UVW_STAT_MAX_QUEUE)
    return LaneStatistics(
        limit=lib.uvw_lane_limit(number, _engine.pool_size()),
        max_queue=None if max_queue < 0 else max_queue,
        waiting=count(lib.UVW_STAT_WAITING),
        running=count(lib.UVW_STAT_RUNNING),
        done=count(lib.UVW_STAT_DONE),
        failed=count(lib.UVW_STAT_FAILED),
        cancelled=count(lib.UVW_STAT_CANCELLED),
        rejected=count(lib.UVW_STAT_REJECTED),
        orphaned=count(lib.UVW_STAT_ORPHANED),
        wait=timing(lib.UVW_STAT_WAIT_COUNT),
        run=timing(lib.UVW_STAT_RUN_COUNT),
    )


def statistics() -> PoolStatistics:
    """What the pool and each of its lanes are doing and have done."""
    names = [text(lib.uvw_lane_name(number)) for number in range(lib.uvw_lane_count())]
    return PoolStatistics(
        size=_engine.pool_size(),
        size_known=bool(lib.uvw_pool_size_known()) or not lib.uvw_pool_started(),
        busy=lib.uvw_pool_busy(),
        lanes={name: _lane_statistics(number) for number, name in enumerate(names)},
    )
