"""How the loop is run, stopped and closed, and what becomes of asynchronous generators.

A turn is C (BaseLoop._run); around it stands what asyncio does around its own:
the running loop of the thread, the generator hooks, the tracking of coroutine
origins, the wake-up by signals. All of it is put back when the run ends.
"""

import asyncio
import logging
import os
import sys
import warnings
from collections.abc import AsyncGenerator, Awaitable, Generator
from typing import Any, TypeVar
from weakref import WeakSet

from .executor import Executors
from .signals import Signals
from .subprocesses import Subprocesses

__all__ = ["Running"]

_T = TypeVar("_T")

_logger = logging.getLogger("asyncio")

_ORIGIN_DEPTH = 10  # frames kept of where a coroutine was made, as asyncio.constants.DEBUG_STACK_DEPTH


def _stop_when_done(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and isinstance(future.exception(), (SystemExit, KeyboardInterrupt)):
        return  # it is on its way out of run_forever() already
    future.get_loop().stop()


class Running(Executors, Signals, Subprocesses):
    """run_forever, run_until_complete, close, shutdown_asyncgens."""

    def __init__(self) -> None:
        super().__init__()
        self._asyncgens: WeakSet[AsyncGenerator[Any, Any]] = WeakSet()
        self._asyncgens_closed = False
        self._origin_depth_before: int | None = None  # None: origins are not tracked by this loop
        self.set_debug(
            sys.flags.dev_mode or (not sys.flags.ignore_environment and bool(os.environ.get("PYTHONASYNCIODEBUG")))
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} running={self.is_running()} closed={self.is_closed()} debug={self.get_debug()}>"

    # Running -------------------------------------------------------------------

    def _check_not_running(self) -> None:
        if self.is_running():
            raise RuntimeError("This event loop is already running")
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("Cannot run the event loop while another loop is running")

    def _give_way(self) -> None:
        """The start of any Python function is where the interpreter switches threads (run.c)."""

    def run_forever(self) -> None:
        """Run until stop() is called. In the main thread Ctrl-C raises KeyboardInterrupt from here."""
        self._check_closed()
        self._check_not_running()
        self._track_origins(self.get_debug())
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_begins, finalizer=self._asyncgen_dropped)
        try:
            self._hear_signals()
            asyncio._set_running_loop(self)
            self._run()
        finally:
            asyncio._set_running_loop(None)
            self._unhear_signals()
            sys.set_asyncgen_hooks(*hooks)
            self._track_origins(False)

    def run_until_complete(self, future: Generator[Any, None, _T] | Awaitable[_T]) -> _T:
        """Run until the future, or the task made of the coroutine, is done; its result or exception."""
        self._check_closed()
        self._check_not_running()
        ours = not asyncio.isfuture(future)
        task: asyncio.Future[_T] = asyncio.ensure_future(future, loop=self)  # type: ignore[arg-type]
        if ours:
            # Whoever called sees an exception if the task is left pending, so its destructor need not complain.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.add_done_callback(_stop_when_done)
        try:
            self.run_forever()
        except BaseException:
            if ours and task.done() and not task.cancelled():
                task.exception()  # seen: the caller has no way to reach the task
            raise
        finally:
            task.remove_done_callback(_stop_when_done)
        if not task.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return task.result()

    def set_debug(self, enabled: bool) -> None:
        """Turn debug mode on or off; at once also for a loop that runs."""
        super().set_debug(enabled)
        if self.is_running():
            self.call_soon_threadsafe(self._track_origins, enabled)

    def _track_origins(self, enabled: bool) -> None:
        if enabled and self._origin_depth_before is None:
            self._origin_depth_before = sys.get_coroutine_origin_tracking_depth()
            sys.set_coroutine_origin_tracking_depth(_ORIGIN_DEPTH)
        elif not enabled and self._origin_depth_before is not None:
            sys.set_coroutine_origin_tracking_depth(self._origin_depth_before)
            self._origin_depth_before = None

    # Closing -------------------------------------------------------------------

    def close(self) -> None:
        """Drop what is scheduled and close what is open. The default executor is told to end, not waited for."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self.get_debug():
            _logger.debug("Close %r", self)
        try:
            self._close_executor()
            self._leave_children()
            self._close_signals()
        finally:
            self._close()

    def __del__(self, warn: Any = warnings.warn) -> None:
        if not self.is_closed():
            warn(f"unclosed event loop {self!r}", ResourceWarning, source=self)
            if not self.is_running():
                self.close()

    # Asynchronous generators ---------------------------------------------------

    def _asyncgen_begins(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._asyncgens_closed:
            warnings.warn(
                f"asynchronous generator {generator!r} was scheduled after loop.shutdown_asyncgens() call",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )
        self._asyncgens.add(generator)

    def _asyncgen_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Called from the garbage collector, so in any thread."""
        self._asyncgens.discard(generator)
        if not self.is_closed():
            self.call_soon_threadsafe(self.create_task, generator.aclose())

    async def shutdown_asyncgens(self) -> None:
        """Close all asynchronous generators that were begun and not ended; later ones draw a warning."""
        self._asyncgens_closed = True
        open_ones = list(self._asyncgens)
        self._asyncgens.clear()
        results = await asyncio.gather(*(one.aclose() for one in open_ones), return_exceptions=True)
        for generator, result in zip(open_ones, results, strict=True):
            if isinstance(result, Exception):
                self.call_exception_handler(
                    {
                        "message": f"an error occurred during closing of asynchronous generator {generator!r}",
                        "exception": result,
                        "asyncgen": generator,
                    }
                )
