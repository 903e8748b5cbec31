"""Blocking calls in threads.

The default executor is a ThreadPoolExecutor of this loop, not libuv's pool:
drop-in means that thirty blocking calls must not stand in front of file work.
For that pool there are uvworks.pool.submit() and uvworks.pool.Executor.
"""

import asyncio
import concurrent.futures
import threading
import warnings
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from .debug import Debugging

__all__ = ["Executors"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Executors(Debugging):
    """run_in_executor, set_default_executor, shutdown_default_executor."""

    _default_executor: concurrent.futures.ThreadPoolExecutor | None = None
    _default_executor_ended = False

    def run_in_executor(
        self, executor: concurrent.futures.Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Call ``func(*args)`` on the executor, by default this loop's threads; a future of its result."""
        self._check_closed()
        if self.get_debug():
            self._check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._threads()
        return asyncio.wrap_future(executor.submit(func, *args), loop=self)

    def _threads(self) -> concurrent.futures.ThreadPoolExecutor:
        if self._default_executor_ended:
            raise RuntimeError("Executor shutdown has been called")
        if self._default_executor is None:
            self._default_executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
        return self._default_executor

    def set_default_executor(self, executor: concurrent.futures.ThreadPoolExecutor) -> None:  # type: ignore[override]  # as asyncio refuses others
        """Use this executor where run_in_executor() is given None."""
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's name
        """Wait until the default executor's threads have ended; a warning if they have not after `timeout` seconds."""
        self._default_executor_ended = True
        executor = self._default_executor
        if executor is None:
            return
        ended = self.create_future()
        thread = threading.Thread(target=self._end_threads, args=(executor, ended))
        thread.start()
        try:
            async with asyncio.timeout(timeout):
                await ended
        except TimeoutError:
            warnings.warn(
                f"The executor did not finishing joining its threads within {timeout} seconds.",
                RuntimeWarning,
                stacklevel=2,
            )
            executor.shutdown(wait=False)
        else:
            thread.join()

    def _end_threads(self, executor: concurrent.futures.Executor, ended: asyncio.Future[None]) -> None:
        """In a thread of its own."""
        error: Exception | None = None
        try:
            executor.shutdown(wait=True)
        except Exception as caught:
            error = caught
        if not self.is_closed():
            self.call_soon_threadsafe(_settle, ended, error)

    def _close_executor(self) -> None:
        self._default_executor_ended = True
        executor, self._default_executor = self._default_executor, None
        if executor is not None:
            executor.shutdown(wait=False)


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
