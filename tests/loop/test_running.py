"""run_forever, run_until_complete, stop, close, asynchronous generators, debug mode's tracking of origins."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import uvworks
from tests.conftest import Run
from tests.support import python

Loop = asyncio.AbstractEventLoop
Factory = Callable[[], Loop]


async def answer(value: Any = 42) -> Any:
    await asyncio.sleep(0)
    return value


async def fail(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


# Running -----------------------------------------------------------------------


def test_run_until_complete_returns_the_result(loop: Loop) -> None:
    assert loop.run_until_complete(answer()) == 42
    assert loop.run_until_complete(loop.create_task(answer("task"))) == "task"
    future = loop.create_future()
    loop.call_soon(future.set_result, "future")
    assert loop.run_until_complete(future) == "future"
    assert loop.run_until_complete(future) == "future"  # done already


def test_run_until_complete_raises_the_exception(loop: Loop) -> None:
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(fail(ZeroDivisionError()))
    assert loop.run_until_complete(answer()) == 42


def test_what_cannot_be_awaited_is_a_type_error(loop: Loop) -> None:
    for wrong in (None, 42, print):
        with pytest.raises(TypeError, match=r"An asyncio.Future, a coroutine or an awaitable is required"):
            loop.run_until_complete(wrong)  # type: ignore[arg-type]


def test_a_future_of_another_loop_is_refused(loop: Loop, loop_factory: Factory) -> None:
    other = loop_factory()
    try:
        with pytest.raises(ValueError, match="different loop"):
            loop.run_until_complete(other.create_future())
    finally:
        other.close()


def test_an_awaitable_that_is_no_coroutine(loop: Loop) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            return answer().__await__()

    assert loop.run_until_complete(Awaitable()) == 42


def test_stop_ends_the_run_after_the_turn(loop: Loop) -> None:
    order: list[int] = []
    loop.call_soon(order.append, 1)
    loop.call_soon(loop.stop)
    loop.call_soon(order.append, 2)
    loop.run_forever()
    assert order == [1, 2]


def test_stop_before_the_run_gives_one_turn(loop: Loop) -> None:
    order: list[int] = []
    loop.call_soon(lambda: (order.append(1), loop.call_soon(order.append, 2)))
    loop.stop()
    loop.run_forever()
    assert order == [1]
    loop.stop()
    loop.run_forever()
    assert order == [1, 2]
    assert not loop.is_running()


def test_stopped_before_the_future_is_done(loop: Loop) -> None:
    loop.call_soon(loop.stop)
    task = loop.create_task(asyncio.sleep(0.01))
    with pytest.raises(RuntimeError, match=r"Event loop stopped before Future completed."):
        loop.run_until_complete(task)
    loop.run_until_complete(task)


def test_the_running_loop_is_known_inside_and_only_there(loop: Loop) -> None:
    async def body() -> None:
        assert asyncio.get_running_loop() is loop
        assert loop.is_running()

    loop.run_until_complete(body())
    assert not loop.is_running()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_a_loop_cannot_run_inside_itself_or_another(loop: Loop, loop_factory: Factory) -> None:
    if sys.version_info >= (3, 13) and isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("asyncio 3.13.0 forgets that it runs when it is asked to run again")
    other = loop_factory()

    async def body() -> None:
        for run in (loop.run_forever, lambda: loop.run_until_complete(loop.create_future())):
            with pytest.raises(RuntimeError, match="This event loop is already running"):
                run()
        for run in (other.run_forever, lambda: other.run_until_complete(other.create_future())):
            with pytest.raises(RuntimeError, match="Cannot run the event loop while another loop is running"):
                run()
        assert asyncio.get_running_loop() is loop

    loop.run_until_complete(body())
    other.close()


def test_a_loop_runs_in_another_thread(loop: Loop) -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(loop.run_until_complete(answer())))
    thread.start()
    thread.join(10)
    assert results == [42]
    assert loop.run_until_complete(answer("main")) == "main"


def test_two_threads_cannot_run_one_loop(loop: Loop) -> None:
    if sys.version_info >= (3, 13) and isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("asyncio 3.13.0 forgets that it runs when it is asked to run again")
    errors: list[BaseException] = []

    def run() -> None:
        try:
            loop.run_forever()
        except BaseException as error:
            errors.append(error)

    async def body() -> None:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(10)

    loop.run_until_complete(body())
    [error] = errors
    assert isinstance(error, RuntimeError) and "already running" in str(error)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exits_go_through_and_leave_a_loop_that_works(loop: Loop, kind: type[BaseException]) -> None:
    def callback() -> None:
        raise kind("now")

    loop.call_soon(callback)
    with pytest.raises(kind):
        loop.run_forever()
    assert not loop.is_running()
    with pytest.raises(kind):
        loop.run_until_complete(fail(kind("from a task")))
    assert loop.run_until_complete(answer()) == 42


def test_the_rest_of_the_turn_survives_an_exit(loop: Loop) -> None:
    order: list[int] = []

    def callback() -> None:
        raise SystemExit

    loop.call_soon(callback)
    loop.call_soon(order.append, 1)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert order == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert order == [1]


# Closing -----------------------------------------------------------------------


def test_a_closed_loop_says_so(loop: Loop) -> None:
    loop.close()
    assert loop.is_closed()
    loop.close()
    coroutine = answer()
    for call in (
        loop.run_forever,
        lambda: loop.run_until_complete(coroutine),
        lambda: loop.create_task(coroutine),
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        lambda: loop.run_in_executor(None, print),
        lambda: loop.add_signal_handler(10, print),
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()
    coroutine.close()


def test_a_running_loop_cannot_be_closed(loop: Loop) -> None:
    async def body() -> None:
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()

    loop.run_until_complete(body())
    assert not loop.is_closed()


def test_close_drops_what_is_scheduled(loop: Loop) -> None:
    class Argument:
        pass

    arguments = [Argument() for _ in range(3)]
    references = [weakref.ref(argument) for argument in arguments]
    loop.call_soon(print, arguments.pop())
    loop.call_later(3600, print, arguments.pop())
    loop.call_soon_threadsafe(print, arguments.pop())
    loop.close()
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


def test_a_loop_that_was_not_closed_is_told_of(loop_factory: Factory) -> None:
    loop = loop_factory()
    loop.call_soon(print)
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        gc.collect()


def test_a_loop_that_ran_is_collected(loop_factory: Factory) -> None:
    loop = loop_factory()
    loop.run_until_complete(answer())
    loop.run_until_complete(loop.run_in_executor(None, int))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    reference = weakref.ref(loop)
    del loop
    gc.collect()
    assert reference() is None


def test_what_a_loop_looks_like(loop: Loop) -> None:
    name = type(loop).__name__
    loop.set_debug(False)
    assert f"<{name} running=False closed=False debug=False>" == repr(loop)
    loop.close()
    assert f"<{name} running=False closed=True debug=False>" == repr(loop)


def test_an_instance_may_have_attributes_of_its_own(loop: Loop) -> None:
    loop.tag = "mine"  # type: ignore[attr-defined]
    assert isinstance(loop, asyncio.AbstractEventLoop) and loop.tag == "mine"  # type: ignore[attr-defined]


def test_a_subclass_outlives_the_collection_of_its_loops() -> None:
    class Mine(uvworks.Loop):
        me: Any

        def hello(self) -> str:
            return "hello"

    gc.collect()
    loop = Mine()
    loop.me = loop
    loop.close()
    del loop
    gc.collect()
    again = Mine()
    assert again.hello() == "hello"
    again.close()


# Asynchronous generators ---------------------------------------------------------


async def numbers(ended: list[str], error: Exception | None = None) -> AsyncIterator[int]:
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0)
        ended.append("ended")
        if error is not None:
            raise error


async def first(generator: AsyncIterator[int]) -> int:
    """In a coroutine, for the hooks are the running loop's."""
    return await anext(generator)


def test_generators_are_closed_on_demand(loop: Loop) -> None:
    ended: list[str] = []
    generator = numbers(ended)
    assert loop.run_until_complete(first(generator)) == 1
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert ended == ["ended"]


def test_dropped_generators_are_closed_by_the_loop(run: Run) -> None:
    ended: list[str] = []

    async def body() -> None:
        async for _ in numbers(ended):
            break
        gc.collect()
        await asyncio.sleep(0.01)
        assert ended == ["ended"]

    run(body())


def test_a_generator_dropped_in_another_thread(run: Run) -> None:
    ended: list[str] = []

    async def body() -> None:
        generators = [numbers(ended)]
        await anext(generators[0])
        await asyncio.to_thread(generators.clear)
        await asyncio.sleep(0.05)
        assert ended == ["ended"]

    run(body())


def test_a_generator_that_fails_to_close_is_reported(loop_factory: Factory) -> None:
    loop = loop_factory()
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    error = ZeroDivisionError()
    generator = numbers([], error)
    loop.run_until_complete(first(generator))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    [context] = contexts
    assert context["exception"] is error and context["asyncgen"] is generator
    assert "an error occurred during closing of asynchronous generator" in context["message"]


def test_a_generator_begun_too_late_draws_a_warning(loop: Loop) -> None:
    async def body() -> None:
        await loop.shutdown_asyncgens()
        generator = numbers([])
        with pytest.warns(ResourceWarning, match=r"was scheduled after loop.shutdown_asyncgens\(\) call"):
            await anext(generator)
        await generator.aclose()  # type: ignore[attr-defined]

    loop.run_until_complete(body())


def test_the_hooks_of_before_are_put_back(loop: Loop) -> None:
    seen: list[Any] = []
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=seen.append, finalizer=seen.append)
    try:
        loop.run_until_complete(answer())
        assert sys.get_asyncgen_hooks() == (seen.append, seen.append)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(fail(KeyboardInterrupt()))
        assert sys.get_asyncgen_hooks() == (seen.append, seen.append)
    finally:
        sys.set_asyncgen_hooks(*before)


# Debug mode ------------------------------------------------------------------------


def test_debug_tracks_where_coroutines_were_made(loop: Loop) -> None:
    depths: list[int] = []

    async def body() -> None:
        depths.append(sys.get_coroutine_origin_tracking_depth())
        loop.set_debug(False)
        await asyncio.sleep(0.01)
        depths.append(sys.get_coroutine_origin_tracking_depth())
        loop.set_debug(True)
        await asyncio.sleep(0.01)
        depths.append(sys.get_coroutine_origin_tracking_depth())

    before = sys.get_coroutine_origin_tracking_depth()
    loop.set_debug(True)
    loop.run_until_complete(body())
    assert depths == [10, before, 10]
    assert sys.get_coroutine_origin_tracking_depth() == before


def test_debug_logs_the_close(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "asyncio")
    loop.set_debug(True)
    loop.close()
    assert [record.message for record in caplog.records if "Close" in record.message]


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ([], {}, "False"),
        ([], {"PYTHONASYNCIODEBUG": "1"}, "True"),
        (["-E"], {"PYTHONASYNCIODEBUG": "1"}, "False"),
        (["-X", "dev"], {}, "True"),
        (["-X", "dev"], {"PYTHONASYNCIODEBUG": "0"}, "True"),
    ],
)
def test_what_turns_debug_on(options: list[str], environment: dict[str, str], expected: str) -> None:
    script = f"""
        import subprocess, sys
        code = "import uvworks; loop = uvworks.new_event_loop(); print(loop.get_debug()); loop.close()"
        sys.exit(subprocess.run([sys.executable, *{options!r}, "-c", code]).returncode)
    """
    assert python(script, env=environment).stdout.strip() == expected
