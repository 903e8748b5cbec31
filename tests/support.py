"""What several test files share: comparing errors with the standard library's, waiting for a condition, scripts run in
a fresh interpreter, workers held busy."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from uvworks import pool

PATIENCE = 10.0  # seconds until something that should happen at once counts as never


def facts(error: BaseException) -> tuple[Any, ...]:
    """What a user can tell two OSErrors apart by."""
    assert isinstance(error, OSError), repr(error)
    return type(error), error.errno, error.strerror, error.filename, error.filename2


def error_of(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


async def async_error_of(awaitable: Awaitable[Any]) -> BaseException:
    with pytest.raises(Exception) as caught:
        await awaitable
    return caught.value


async def until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        await asyncio.sleep(0.002)


def eventually(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.002)


class Gate:
    """A callable that blocks its worker until opened, and counts who has arrived."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._arrived = threading.Semaphore(0)
        self._lock = threading.Lock()
        self.arrivals = 0

    def __call__(self, result: Any = None) -> Any:
        with self._lock:
            self.arrivals += 1
        self._arrived.release()
        assert self._open.wait(60), "nobody opened the gate"
        return result

    def open(self) -> None:
        self._open.set()

    def wait_for_arrival(self, patience: float = PATIENCE) -> None:
        assert self._arrived.acquire(timeout=patience), "no worker came"

    async def arrival(self, count: int = 1) -> None:
        await until(lambda: self.arrivals >= count)


@asynccontextmanager
async def held(lane: str, jobs: int) -> AsyncIterator[Gate]:
    """Puts `jobs` blocking callables on a lane; those without a worker wait. All are let go and awaited at the end."""
    gate = Gate()
    before = pool.statistics()
    room = min(pool.lane(lane).limit, max(1, before.size - 1) - before.busy)
    tasks = [asyncio.create_task(pool.submit(gate, lane=lane)) for _ in range(jobs)]
    try:
        await gate.arrival(min(jobs, room))
        yield gate
    finally:
        gate.open()
        await asyncio.gather(*tasks)


def python(
    script: str,
    *args: str,
    timeout: float = 30,
    env: dict[str, str] | None = None,
    check: bool = True,
    warnings: str = "error",
) -> subprocess.CompletedProcess[str]:
    """Runs a script in a fresh interpreter where warnings are errors, as they are in this suite."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", warnings, "-c", textwrap.dedent(script), *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
    )
    if check:
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@contextmanager
def start_python(script: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Like `python`, for a script to be talked to. SIGINT reaches it as from a terminal; it never outlives its test."""
    with subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", textwrap.dedent(script), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A runner in the background may have SIGINT ignored, and that would be inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process
        finally:
            process.kill()
