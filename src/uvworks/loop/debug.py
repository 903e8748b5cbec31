"""What debug mode checks and reports; C asks it only then."""

import asyncio
import inspect
import logging
from typing import Any

from .._engine import core

__all__ = ["Debugging"]

_logger = logging.getLogger("asyncio")


class Debugging(core.BaseLoop, asyncio.AbstractEventLoop):
    """The checks of callbacks, and the warning of slow ones."""

    def _check_callback(self, callback: Any, method: str) -> None:
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError(f"coroutines cannot be used with {method}()")
        if not callable(callback):
            raise TypeError(f"a callable object was expected by {method}(), got {callback!r}")

    def _note_time(self, what: Any, seconds: float) -> None:
        """A callback took longer than slow_callback_duration."""
        owner = getattr(getattr(what, "_callback", None), "__self__", None)
        if isinstance(owner, asyncio.Task):
            what = owner
        _logger.warning("Executing %r took %.3f seconds", what, seconds)
