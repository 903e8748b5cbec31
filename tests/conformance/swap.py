"""Puts another loop in the place of asyncio's selector loop, for the whole process.

Rule: a test must get the loop whichever way it asks: by class name, by policy, by `asyncio.new_event_loop()` or
`asyncio.run()`. So every name of the loop and of the policy is replaced, before a test module is imported.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

KNOWN = {
    "asyncio": "asyncio:SelectorEventLoop",
    "uvloop": "uvloop:Loop",
    "uvworks": "uvworks:Loop",
}
LOOP_NAMES = ("SelectorEventLoop", "_UnixSelectorEventLoop", "EventLoop")
POLICY_NAMES = ("DefaultEventLoopPolicy", "_UnixDefaultEventLoopPolicy")


def load(name: str) -> type:
    """The loop class called NAME: one of KNOWN or "module:Class"."""
    module, _, attribute = KNOWN.get(name, name).partition(":")
    return getattr(importlib.import_module(module), attribute)


class _NothingToShutDown:
    """Stands for an executor that its loop has shut down when it closed."""

    def shutdown(self, wait: bool = True) -> None: ...


class _NamesItsExecutor:
    """For loops that hide their executor: the suite's own helper reads `_default_executor` before it closes a loop."""

    _default_executor: Any = None

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        if executor is None:
            self._default_executor = _NothingToShutDown()
        return super().run_in_executor(executor, func, *args)  # type: ignore[misc]


def swap_in(name: str) -> type:
    """Make NAME the loop of this process; the class that comes back counts in `made` the loops made of it."""
    base: Any = load(name)
    standard = base is asyncio.SelectorEventLoop
    probe = base()
    bases = (base,) if hasattr(probe, "_default_executor") else (_NamesItsExecutor, base)
    probe.close()

    class Swapped(*bases):
        made = 0

        # Tests choose a selector for asyncio's own loop; any other polls as it likes, and the selector is closed.
        def __new__(cls, selector: Any = None) -> Any:
            Swapped.made += 1
            return super().__new__(cls)

        def __init__(self, selector: Any = None) -> None:
            if standard:
                super().__init__(selector)
            else:
                super().__init__()
                if selector is not None:
                    selector.close()

    Swapped.__name__ = Swapped.__qualname__ = base.__name__
    Swapped.__module__ = base.__module__

    class Policy(asyncio.DefaultEventLoopPolicy):  # type: ignore[misc]
        _loop_factory = Swapped

    for module in (asyncio, asyncio.unix_events):
        for names, replacement in ((LOOP_NAMES, Swapped), (POLICY_NAMES, Policy)):
            for each in names:
                if hasattr(module, each):
                    setattr(module, each, replacement)
    asyncio.set_event_loop_policy(None)
    return Swapped
