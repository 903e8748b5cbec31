"""Futures and tasks, and the factories that may make tasks in asyncio's place."""

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

from .._engine import core

__all__ = ["Tasks"]

_T = TypeVar("_T")


def _takes_name(factory: Callable[..., Any]) -> bool:
    """Whether the name goes to the factory itself; others have it set on what they return.

    From 3.14 on asyncio hands over all it was given. Before, a name was never
    passed, so a factory must declare it: one with a bare **kwargs may forward
    them to something that knows no name.
    """
    if sys.version_info >= (3, 14):
        return True
    try:
        return "name" in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False


class Tasks(core.BaseLoop, asyncio.AbstractEventLoop):
    """create_task where it is more than asyncio's Task, set_task_factory. The common case is C (tasks.c)."""

    _task_factory_takes_name = False

    def _create_task(
        self,
        coro: Generator[Any, None, _T] | Coroutine[Any, Any, _T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[_T]:
        """create_task with options, with a factory, or in debug mode.

        Further options, such as ``eager_start=True`` from 3.12 on, are those of
        the running Python's asyncio.Task, or of the factory.
        """
        self._check_closed()
        factory = self._task_factory
        task: asyncio.Task[_T]
        if factory is None:
            task = asyncio.Task(coro, loop=self, name=name, context=context, **options)
            if task._source_traceback:  # type: ignore[attr-defined]
                del task._source_traceback[-1]  # type: ignore[attr-defined]
            return task
        if context is not None:
            options["context"] = context
        if name is None:
            return factory(self, coro, **options)  # type: ignore[no-any-return]
        if self._task_factory_takes_name:
            return factory(self, coro, name=name, **options)  # type: ignore[no-any-return]
        task = factory(self, coro, **options)
        task.set_name(name)
        return task

    def set_task_factory(self, factory: Callable[..., Any] | None) -> None:
        """Have tasks made by ``factory(loop, coro, **options)``; None: by asyncio.

        A factory of two arguments does. It is given `context`, `eager_start` and
        so on when the caller of create_task() gave them, and `name` if it has
        such a parameter.
        """
        if factory is not None and not callable(factory):
            raise TypeError("task factory must be a callable or None")
        if factory is not None:
            self._task_factory = factory
        elif self._task_factory is not None:
            del self._task_factory
        self._task_factory_takes_name = factory is not None and _takes_name(factory)

    def get_task_factory(self) -> Any:
        """The factory that was set, or None."""
        return self._task_factory
