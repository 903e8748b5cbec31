"""The harness of the suite: it runs the same test body on several event loops and fails whatever leaks.

Rules it keeps:
- `async def` tests need no plugin. Each runs once per loop in LOOPS; a plain test gets the same by asking for `run`.
- After every test the file descriptors and threads are those from before it, no task is left, nothing reached a loop's
  exception handler, and the pool is idle. Unraisable exceptions are warnings to pytest, and warnings are errors here.
- What the engine makes once per process is made before the first snapshot (`engine_started`).
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import hypothesis
import pytest

from tests.loops import LOOPS, LoopFactory
from uvworks import fs, pool

# The same examples on every run, and nothing written beside the sources.
hypothesis.settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> None:
    if inspect.iscoroutinefunction(obj) and collector.istestfunction(obj, name):
        pytest.mark.usefixtures("run")(obj)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    pyfuncitem.funcargs["run"](pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def loop_factory_fixture(*names: str) -> Any:
    """The fixture `loop_factory`, over the loops of these names. A folder's conftest.py may replace it by another."""
    chosen = {name: LOOPS[name] for name in names if name in LOOPS}

    @pytest.fixture(name="loop_factory", params=chosen.values(), ids=chosen.keys())
    def fixture(request: pytest.FixtureRequest) -> LoopFactory:
        return request.param

    return fixture


loop_factory = loop_factory_fixture(*LOOPS)


@pytest.fixture
def run(loop_factory: LoopFactory) -> Iterator[Run]:
    """Runs coroutines on one loop that lives as long as the test, and looks for what they left behind."""
    unhandled: list[dict[str, Any]] = []

    async def watched(body: Coroutine[Any, Any, Any]) -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
        result = await body
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left running: {left}"
        return result

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        yield lambda body: runner.run(watched(body))
    gc.collect()
    assert not unhandled, f"reached the loop's exception handler: {unhandled}"


async def resolved(host: str) -> Any:
    return await asyncio.get_running_loop().getaddrinfo(host, 1)


@pytest.fixture(scope="session", autouse=True)
def engine_started() -> None:
    for factory in LOOPS.values():  # uvloop keeps a pipe and a pool of its own for the whole process, too
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(fs.stat("/"))
            runner.run(pool.submit(int))
            runner.run(resolved("localhost"))


@pytest.fixture(scope="module", autouse=True)
def young_collector(engine_started: None) -> None:
    """What stands when a module begins, thousands of reports too, is looked at once and not after each test."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def open_files() -> set[tuple[str, str]]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add((fd, os.readlink(f"/proc/self/fd/{fd}")))
        except FileNotFoundError:  # the descriptor of this very listing
            pass
    return found


def threads() -> set[tuple[str, str]]:
    found = set()
    for tid in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{tid}/comm") as file:
                found.add((tid, file.read().strip()))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


@pytest.fixture(autouse=True)
def nothing_leaks(young_collector: None) -> Iterator[None]:
    files_before, threads_before = open_files(), {tid for tid, _ in threads()}
    yield
    gc.collect()
    deadline = time.monotonic() + 5
    while True:
        busy = pool.statistics().busy
        files = open_files() - files_before
        new_threads = {entry for entry in threads() if entry[0] not in threads_before}
        if not (busy or files or new_threads):
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {busy} busy workers, files {sorted(files)}, threads {sorted(new_threads)}")
        time.sleep(0.005)


@pytest.fixture
def lane() -> Iterator[pool.Lane]:
    """Lanes last as long as the process, so all tests share this one, made anew each time."""
    pool.configure(lanes={"test": {"limit": 1, "max_queue": None}})
    yield pool.lane("test")
