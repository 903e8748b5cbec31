"""Exceptions that nobody catches: handlers of the user's, and what is logged without one."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outer")


@pytest.fixture
def loop(loop_factory: Callable[[], Loop]) -> Any:
    """With the default handler, unlike the one of conftest."""
    loop = loop_factory()
    yield loop
    loop.close()


def turn(loop: Loop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def divide() -> None:
    1 / 0  # noqa: B018


def test_a_callback_that_raises_is_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.call_soon(divide)
    turn(loop)
    [record] = caplog.records
    assert record.name == "asyncio" and record.levelno == logging.ERROR
    assert "Exception in callback divide(" in record.message
    assert "handle: <Handle divide(" in record.message
    assert record.exc_info and record.exc_info[0] is ZeroDivisionError
    assert "ZeroDivisionError" in caplog.text


def test_the_loop_goes_on_after_a_callback_that_raises(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    order: list[int] = []
    loop.call_soon(divide)
    loop.call_soon(order.append, 1)
    loop.call_later(0, divide)
    turn(loop)
    turn(loop)
    assert order == [1] and len(caplog.records) == 2


def test_in_debug_mode_the_log_says_where_it_was_scheduled(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    loop.call_soon(divide)
    turn(loop)
    assert "Object created at (most recent call last):" in caplog.text
    assert "test_in_debug_mode_the_log_says_where_it_was_scheduled" in caplog.text


def test_a_tasks_exception_that_nobody_fetched_is_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        divide()

    loop.run_until_complete(asyncio.wait([loop.create_task(body())]))
    gc.collect()
    assert "Task exception was never retrieved" in caplog.text and "ZeroDivisionError" in caplog.text


def test_what_a_handler_is_given(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    contexts: list[tuple[Loop, dict[str, Any]]] = []

    def handler(loop: Loop, context: dict[str, Any]) -> None:
        contexts.append((loop, context))

    assert loop.get_exception_handler() is None
    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    handle = loop.call_soon(divide)
    turn(loop)
    [(where, context)] = contexts
    assert where is loop and context["handle"] is handle
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["message"].startswith("Exception in callback divide(")
    loop.set_exception_handler(None)
    loop.call_soon(divide)
    turn(loop)
    assert len(contexts) == 1 and len(caplog.records) == 1


def test_a_handler_must_be_callable(loop: Loop) -> None:
    with pytest.raises(TypeError, match="A callable object or None is expected, got 'handler'"):
        loop.set_exception_handler("handler")  # type: ignore[arg-type]


def test_a_handler_that_raises_is_logged_with_what_it_was_told(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    def handler(loop: Loop, context: dict[str, Any]) -> None:
        raise AttributeError("broken handler")

    loop.set_exception_handler(handler)
    loop.call_soon(divide)
    turn(loop)
    assert "Unhandled error in exception handler" in caplog.text
    assert "broken handler" in caplog.text and "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exits_pass_through_the_handlers(loop: Loop, kind: type[BaseException]) -> None:
    def handler(loop: Loop, context: dict[str, Any]) -> None:
        raise kind

    loop.set_exception_handler(handler)
    loop.call_soon(divide)
    with pytest.raises(kind):
        loop.run_forever()
    with pytest.raises(kind):
        loop.call_exception_handler({"message": "m"})


def test_a_subclass_may_log_otherwise(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[dict[str, Any]] = []

    class Quiet(type(loop)):  # type: ignore[misc]
        def default_exception_handler(self, context: dict[str, Any]) -> None:
            seen.append(context)
            raise AttributeError("broken default handler")

    quiet = Quiet()
    quiet.call_soon(divide)
    turn(quiet)
    quiet.close()
    assert len(seen) == 1
    assert "Exception in default exception handler" in caplog.text and "broken default handler" in caplog.text


def test_everything_in_the_context_is_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.call_exception_handler({"message": "what happened", "zebra": 1, "apple": "red"})
    loop.call_exception_handler({})
    assert [record.message for record in caplog.records] == [
        "what happened\napple: 'red'\nzebra: 1",
        "Unhandled exception in event loop",
    ]
    assert not any(record.exc_info for record in caplog.records if record.exc_info and record.exc_info[0])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="handlers run in the culprit's context from 3.12 on")
def test_a_handler_runs_in_the_context_of_the_culprit(loop: Loop) -> None:
    seen: list[str] = []
    loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))
    inner = contextvars.copy_context()
    inner.run(variable.set, "inner")
    loop.call_soon(divide, context=inner)
    turn(loop)

    async def body() -> None:
        divide()

    loop.run_until_complete(asyncio.wait([loop.create_task(body(), context=inner)]))
    gc.collect()
    loop.call_exception_handler({"message": "no culprit"})
    assert seen == ["inner", "inner", "outer"]
