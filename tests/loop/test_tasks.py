"""create_future, create_task, and task factories of every signature."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Run

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outer")


async def answer() -> int:
    return 42


async def name_of_task() -> str:
    task = asyncio.current_task()
    assert task is not None
    return task.get_name()


async def value_of_variable() -> str:
    return variable.get()


class Task(asyncio.Task[Any]):
    """As a factory would make."""


async def test_futures_belong_to_the_loop() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    assert isinstance(future, asyncio.Future) and future.get_loop() is loop
    loop.call_soon(future.set_result, 1)
    assert await future == 1


async def test_tasks_without_a_factory() -> None:
    loop = asyncio.get_running_loop()
    assert loop.get_task_factory() is None
    task = loop.create_task(answer())
    assert type(task) is asyncio.Task and task.get_loop() is loop
    assert await task == 42
    assert await loop.create_task(name_of_task(), name="mine") == "mine"
    assert (await loop.create_task(name_of_task())).startswith("Task-")
    context = contextvars.copy_context()
    context.run(variable.set, "inner")
    assert await loop.create_task(value_of_variable(), context=context) == "inner"
    assert await loop.create_task(value_of_variable()) == "outer"


async def test_what_is_no_coroutine_is_refused() -> None:
    with pytest.raises(TypeError, match="a coroutine was expected"):
        asyncio.get_running_loop().create_task(print)  # type: ignore[arg-type]


async def test_in_debug_mode_the_trace_ends_with_the_caller() -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    try:
        task = loop.create_task(answer())
        assert task._source_traceback[-1].name == "test_in_debug_mode_the_trace_ends_with_the_caller"  # type: ignore[attr-defined]
        await task
    finally:
        loop.set_debug(False)


# Factories -----------------------------------------------------------------------


def two_arguments(loop: Any, coro: Any) -> Any:
    return Task(coro, loop=loop)


def with_context(loop: Any, coro: Any, context: Any = None) -> Any:
    return Task(coro, loop=loop, context=context)


def with_any(loop: Any, coro: Any, **options: Any) -> Any:
    return Task(coro, loop=loop, **options)


def with_name(loop: Any, coro: Any, *, name: Any = None, context: Any = None) -> Any:
    return Task(coro, loop=loop, name=name, context=context)


if sys.version_info < (3, 14):
    FACTORIES = [two_arguments, with_context, with_any, with_name]
else:  # asyncio hands the name and whatever else was given to the factory
    FACTORIES = [with_any, with_name]


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.__name__)
def test_factories(run: Run, factory: Callable[..., Any]) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        assert loop.get_task_factory() is factory
        for task in (asyncio.create_task(answer()), loop.create_task(answer())):
            assert type(task) is Task
            assert await task == 42
        for task in (asyncio.create_task(name_of_task(), name="mine"), loop.create_task(name_of_task(), name="mine")):
            assert task.get_name() == "mine"
            assert await task == "mine"
        if factory is not two_arguments:
            context = contextvars.copy_context()
            context.run(variable.set, "inner")
            assert await asyncio.create_task(value_of_variable(), context=context) == "inner"
        loop.set_task_factory(None)
        assert loop.get_task_factory() is None
        task = loop.create_task(answer())
        assert type(task) is asyncio.Task
        await task

    run(body())


async def test_a_factory_of_two_arguments_cannot_take_a_context() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(two_arguments)
    coroutine = answer()
    with pytest.raises(TypeError):
        await loop.create_task(coroutine, context=contextvars.copy_context())
    coroutine.close()
    loop.set_task_factory(None)


async def test_a_class_or_a_builtin_as_factory() -> None:
    """Neither need have a signature that can be read."""
    loop = asyncio.get_running_loop()

    class Factory:
        __signature__ = "nonsense"

        def __call__(self, loop: Any, coro: Any, **options: Any) -> Any:
            return Task(coro, loop=loop, **options)

    loop.set_task_factory(Factory())  # type: ignore[arg-type]
    task = asyncio.create_task(name_of_task(), name="mine")
    assert task.get_name() == "mine" and await task == "mine"
    loop.set_task_factory(None)


async def test_an_exception_of_the_factory_goes_to_the_caller() -> None:
    loop = asyncio.get_running_loop()

    def factory(loop: Any, coro: Any, **options: Any) -> Any:
        coro.close()
        raise ZeroDivisionError

    loop.set_task_factory(factory)
    try:
        with pytest.raises(ZeroDivisionError):
            await loop.create_task(answer())
    finally:
        loop.set_task_factory(None)


async def test_a_factory_must_be_callable() -> None:
    loop = asyncio.get_running_loop()
    for wrong in (1, "factory"):
        with pytest.raises(TypeError, match="task factory must be a callable or None"):
            loop.set_task_factory(wrong)  # type: ignore[arg-type]
    assert loop.get_task_factory() is None


# Eager tasks -----------------------------------------------------------------------

eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")


@eager
async def test_the_eager_factory_runs_at_once() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    try:
        order: list[int] = []

        async def body() -> None:
            order.append(1)
            await asyncio.sleep(0)
            order.append(3)

        task = asyncio.create_task(body())
        order.append(2)
        await task
        assert order == [1, 2, 3]
        done = asyncio.create_task(answer(), name="quick")
        assert done.done() and done.result() == 42 and done.get_name() == "quick"
        context = contextvars.copy_context()
        context.run(variable.set, "inner")
        assert asyncio.create_task(value_of_variable(), context=context).result() == "inner"
        failed = asyncio.create_task(fails())
        with pytest.raises(ZeroDivisionError):
            await failed
    finally:
        loop.set_task_factory(None)


async def fails() -> None:
    raise ZeroDivisionError


@eager
async def test_a_custom_eager_factory() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.create_eager_task_factory(Task))  # type: ignore[attr-defined]
    try:
        task = asyncio.create_task(answer())
        assert type(task) is Task and task.done()
    finally:
        loop.set_task_factory(None)


@eager
async def test_a_task_group_with_the_eager_factory() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001 * (number % 2), number)) for number in range(10)]
        assert [task.result() for task in tasks] == list(range(10))
    finally:
        loop.set_task_factory(None)


@eager
async def test_eager_start_for_one_task() -> None:
    """asyncio's own loop has it from 3.13.3 on; ours wherever asyncio.Task has."""
    loop = asyncio.get_running_loop()
    if sys.version_info < (3, 13, 3) and isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("asyncio's loop came to it later")
    task = loop.create_task(answer(), eager_start=True)  # type: ignore[call-arg]
    assert task.done() and task.result() == 42
    task = loop.create_task(answer(), eager_start=False)  # type: ignore[call-arg]
    assert not task.done() and await task == 42


@eager
async def test_options_reach_the_factory() -> None:
    loop = asyncio.get_running_loop()
    if sys.version_info < (3, 13, 3) and isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("asyncio's loop came to it later")
    given: list[dict[str, Any]] = []

    def factory(loop: Any, coro: Any, **options: Any) -> Any:
        given.append(options)
        return Task(coro, loop=loop, **options)

    loop.set_task_factory(factory)
    try:
        task = loop.create_task(answer(), eager_start=True)  # type: ignore[call-arg]
        assert task.done()
        assert given[0]["eager_start"] is True
    finally:
        loop.set_task_factory(None)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="eager tasks came with Python 3.12")
async def test_without_eager_tasks_the_option_is_refused() -> None:
    coroutine = answer()
    with pytest.raises(TypeError):
        asyncio.get_running_loop().create_task(coroutine, eager_start=True)  # type: ignore[call-arg]
    coroutine.close()
