"""libuv's own loop, bare: callbacks, no coroutines.

What there is so far runs callables on the pool and their callbacks on the
loop. A loop belongs to the thread that runs it; only stop() may be called from
other threads.
"""

import concurrent.futures
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from weakref import ref

from ._native import core, ffi, lib, text

__all__ = ["RUN_DEFAULT", "RUN_NOWAIT", "RUN_ONCE", "Loop", "Work", "version"]

RUN_DEFAULT = 0
RUN_ONCE = 1
RUN_NOWAIT = 2


def version() -> str:
    """The version of the libuv that is linked in, such as "1.44.2"."""
    return text(lib.uv_version_string())


_here = threading.local()  # .loop: the loop that this thread runs


def _raised(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What a turn raises, Ctrl-C included, goes to run() through libuv's frames."""
    _here.loop._fail(error)


@ffi.def_extern(onerror=_raised)  # type: ignore[untyped-decorator]
def uvw_on_turn(data: Any) -> None:
    """The one hook: the engine calls it between the phases of a loop."""
    ffi.from_handle(data)._turn()


class Work:
    """A piece of work that was queued; see Loop.queue_work()."""

    __slots__ = ("_after", "_job", "_loop")

    def __init__(self, loop: "Loop", after: Callable[[BaseException | None, Any], object] | None) -> None:
        # Weak: the engine holds this object as long as the work runs, and
        # shall not hold a loop that its owner has dropped.
        self._loop = ref(loop)
        self._after = after
        self._job: Any = None

    def _finished(self, error: BaseException | None, result: Any) -> None:
        if self._after is not None:
            self._after(error, result)
        elif error is not None:
            raise error

    def cancel(self) -> bool:
        """Take the work out of its lane; false if it has begun or ended.

        `after` is called in the loop's next turn with a
        concurrent.futures.CancelledError. uv_cancel.
        """
        if not self._job.withdraw():
            return False
        loop = self._loop()
        if loop is not None and self._after is not None:
            loop._cancelled.append(self)
        return True


class Loop:
    """A libuv loop. uv_loop_t."""

    def __init__(self) -> None:
        self._loop: Any = None
        self._handle = ffi.new_handle(self)
        self._stop_lock = threading.Lock()
        out = ffi.new("uvw_loop **")
        error = lib.uvw_loop_new(out, lib.uvw_on_turn, self._handle)
        if error:
            raise OSError(-error, text(lib.uv_strerror(error)))
        self._queue = core.CompletionQueue(completions=int(ffi.cast("uintptr_t", lib.uvw_loop_completions(out[0]))))
        self._cancelled: list[Work] = []
        self._error: BaseException | None = None
        self._thread: int | None = None
        self._loop = out[0]

    def _check(self) -> Any:
        if self._loop is None:
            raise RuntimeError("the loop is closed")
        if lib.uvw_loop_stale(self._loop):
            raise RuntimeError("this loop was made before fork(); the child needs a new one")
        if self._thread not in (None, threading.get_ident()):
            raise RuntimeError("the loop runs in another thread, only stop() may be called from here")
        return self._loop

    def queue_work(
        self,
        work: Callable[[], Any],
        after: Callable[[BaseException | None, Any], object] | None = None,
        *,
        lane: str = "python",
    ) -> Work:
        """Run ``work()`` on a worker, then ``after(error, result)`` in the loop's thread, inside run().

        `error` is None or what `work` raised; without `after` that is raised
        by run(). PoolSaturated if the lane is bounded and full. uv_queue_work.
        """
        self._check()
        if after is not None and not callable(after):
            raise TypeError(f"after: expected a callable or None, got {after!r}")
        item = Work(self, after)
        item._job = core.call_queue(self._queue, item._finished, lane, work)
        lib.uvw_loop_pending(self._check(), True)
        return item

    def run(self, mode: int = RUN_DEFAULT) -> bool:
        """Run the loop until nothing is left or stop() is called; true if something is left.

        RUN_ONCE waits for one turn's events, RUN_NOWAIT does not wait. What a
        callback raises ends the run and is raised here; the rest comes with
        the next one. uv_run.
        """
        if self._thread is not None:
            raise RuntimeError("the loop is running already")
        loop = self._check()
        if mode not in (RUN_DEFAULT, RUN_ONCE, RUN_NOWAIT):
            raise ValueError(f"mode must be RUN_DEFAULT, RUN_ONCE or RUN_NOWAIT, got {mode!r}")
        self._thread = threading.get_ident()
        # Ctrl-C must end the wait for events; the byte that the interpreter's
        # handler writes does, and Python code that then runs raises.
        signals = threading.current_thread() is threading.main_thread()
        if signals:
            previous = signal.set_wakeup_fd(lib.uvw_loop_signal_fd(loop), warn_on_full_buffer=False)
        outer, _here.loop = getattr(_here, "loop", None), self
        try:
            self._settle_cancelled()
            self._hold()
            alive = lib.uvw_loop_run(loop, mode)
        finally:
            if signals:
                signal.set_wakeup_fd(previous)
            _here.loop = outer
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        return bool(alive or self._cancelled)

    def _hold(self) -> None:
        lib.uvw_loop_pending(self._loop, self._queue.pending)

    def _settle_cancelled(self) -> None:
        while self._cancelled:
            self._cancelled.pop(0)._finished(concurrent.futures.CancelledError(), None)

    def _turn(self) -> None:
        try:
            self._queue.dispatch()
            self._settle_cancelled()
        finally:
            self._hold()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        lib.uvw_loop_stop(self._loop)

    def stop(self) -> None:
        """End run() soon. May be called from any thread. uv_stop."""
        with self._stop_lock:
            if self._loop is None:
                raise RuntimeError("the loop is closed")
            lib.uvw_loop_stop(self._loop)

    def now(self) -> int:
        """The loop's time in milliseconds, from an arbitrary start, as of this turn. uv_now."""
        time: int = lib.uvw_loop_now(self._check())
        return time

    @property
    def alive(self) -> bool:
        """Whether run() would have something to wait for. uv_loop_alive."""
        return self._loop is not None and bool(lib.uvw_loop_alive(self._loop) or self._cancelled)

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._loop is None

    def close(self) -> None:
        """Free the loop. Waiting work is dropped, running work ends unheard; no callback is called any more."""
        if self._thread is not None:
            raise RuntimeError("cannot close a running loop")
        if self._loop is not None:
            with self._stop_lock:
                loop, self._loop = self._loop, None
            self._queue.close()
            self._cancelled.clear()
            lib.uvw_loop_close(loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_loop", None) is not None:
            self._thread = None
            self.close()
