"""Debug mode: threads, callbacks that are none, slow callbacks, where handles were made."""

import asyncio
import logging
import socket
import threading
import time
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop


@pytest.fixture
def debug_loop(loop: Loop) -> Loop:
    loop.set_debug(True)
    return loop


def outcome(call: Any) -> str:
    """What a call says in another thread."""
    said: list[str] = []

    def attempt() -> None:
        try:
            call()
            said.append("done")
        except BaseException as error:
            said.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return said[0]


def test_calls_from_the_wrong_thread(debug_loop: Loop) -> None:
    loop = debug_loop
    wrong = "RuntimeError: Non-thread-safe operation invoked on an event loop other than the current one"

    async def main() -> None:
        for call in (
            lambda: loop.call_soon(print),
            lambda: loop.call_later(1, print),
            lambda: loop.call_at(1, print),
        ):
            assert await asyncio.to_thread(outcome, call) == wrong
        assert await asyncio.to_thread(outcome, lambda: loop.call_soon_threadsafe(int)) == "done"

    loop.run_until_complete(main())


def test_a_loop_that_does_not_run_belongs_to_nobody(debug_loop: Loop) -> None:
    assert outcome(lambda: debug_loop.call_soon(int)) == "done"
    debug_loop.run_until_complete(asyncio.sleep(0))


def test_without_debug_nobody_checks(loop: Loop) -> None:
    async def main() -> None:
        assert await asyncio.to_thread(outcome, lambda: loop.call_soon(int)) == "done"

    loop.run_until_complete(main())


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def test_what_is_no_callback(debug_loop: Loop, method: str) -> None:
    async def coroutine_function() -> None: ...

    coroutine = coroutine_function()
    times = (0.1,) if method in ("call_later", "call_at") else ()
    call = getattr(debug_loop, method)
    # asyncio's timers are call_at's, whatever made them.
    name = "call_at" if times else method
    for wrong in (coroutine, coroutine_function):
        with pytest.raises(TypeError, match=r"coroutines cannot be used with call_"):
            call(*times, wrong)
    with pytest.raises(TypeError, match=rf"a callable object was expected by {name}|call_later"):
        call(*times, 42)
    coroutine.close()


def test_slow_callbacks_are_named(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    debug_loop.slow_callback_duration = 0.01

    def slow() -> None:
        time.sleep(0.02)

    async def slow_task() -> None:
        time.sleep(0.02)

    debug_loop.call_soon(slow)
    debug_loop.run_until_complete(asyncio.sleep(0))
    assert "Executing <Handle" in caplog.text and "slow" in caplog.text and "took 0.0" in caplog.text
    caplog.clear()
    debug_loop.run_until_complete(slow_task())
    assert "Executing <Task" in caplog.text and "slow_task" in caplog.text
    caplog.clear()
    debug_loop.slow_callback_duration = 10
    debug_loop.call_soon(slow)
    debug_loop.run_until_complete(asyncio.sleep(0))
    assert "Executing" not in caplog.text


def test_slow_readers_are_named(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    debug_loop.slow_callback_duration = 0.01
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def slow_reader() -> None:
            time.sleep(0.02)
            debug_loop.stop()

        debug_loop.add_reader(ours, slow_reader)
        theirs.send(b"x")
        debug_loop.run_forever()
        debug_loop.remove_reader(ours)
    assert "slow_reader" in caplog.text and "took 0.0" in caplog.text


def test_handles_know_where_they_were_made(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    debug_loop.set_exception_handler(None)

    def fails() -> None:
        raise ZeroDivisionError

    debug_loop.call_soon(fails)
    debug_loop.run_until_complete(asyncio.sleep(0))
    assert "created at" in caplog.text and "test_handles_know_where_they_were_made" in caplog.text


def test_debug_can_be_changed_while_it_runs(loop: Loop) -> None:
    async def main() -> None:
        assert not loop.get_debug()
        loop.set_debug(True)
        assert loop.get_debug()
        with pytest.raises(TypeError):
            loop.call_soon(42)  # type: ignore[arg-type]
        loop.set_debug(False)
        assert not loop.get_debug()

    loop.run_until_complete(main())


def test_the_selector_is_silent(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    debug_loop.run_until_complete(asyncio.sleep(0.01))
    assert not caplog.records
