"""What happens to an exception that nobody is there to catch: the loop's handler, or a log record."""

import asyncio
import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

from .._engine import core

__all__ = ["Exceptions"]

_logger = logging.getLogger("asyncio")

# Where something was made, when debug mode noted that: shown as a stack instead of a list of frames.
_STACKS = {"source_traceback": "Object", "handle_traceback": "Handle"}


class Exceptions(core.BaseLoop, asyncio.AbstractEventLoop):
    """call_exception_handler, default_exception_handler, set_exception_handler."""

    _exception_handler: Callable[[Any, dict[str, Any]], object] | None = None

    def get_exception_handler(self) -> Callable[[Any, dict[str, Any]], object] | None:
        """The handler that was set, or None."""
        return self._exception_handler

    def set_exception_handler(self, handler: Callable[[Any, dict[str, Any]], object] | None) -> None:
        """Have ``handler(loop, context)`` called instead of default_exception_handler(); None: that one again."""
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log the exception with all that the context says, to the logger "asyncio"."""
        exception = context.get("exception")
        lines = [context.get("message") or "Unhandled exception in event loop"]
        for key in sorted(context.keys() - {"message", "exception"}):
            value = context[key]
            if key in _STACKS:
                stack = "".join(traceback.format_list(value)).rstrip()
                lines.append(f"{key}: {_STACKS[key]} created at (most recent call last):\n{stack}")
            else:
                lines.append(f"{key}: {value!r}")
        _logger.error("\n".join(lines), exc_info=exception or False)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell the exception handler. Whatever it raises itself is logged, SystemExit and KeyboardInterrupt go on."""
        handler = self._exception_handler
        if handler is None:
            self._default_guarded(context, "Exception in default exception handler")
            return
        try:
            culprit = next(filter(None, map(context.get, ("task", "future", "handle"))), None)
            get_context = getattr(culprit, "get_context", None)
            where = get_context() if get_context is not None and sys.version_info >= (3, 12) else None
            if where is not None:  # a handle that has run has none
                where.run(handler, self, context)
            else:
                handler(self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._default_guarded(
                {"message": "Unhandled error in exception handler", "exception": error, "context": context},
                "Exception in default exception handler while handling an unexpected error in custom exception handler",
            )

    def _default_guarded(self, context: dict[str, Any], message: str) -> None:
        """default_exception_handler() may be a subclass's."""
        try:
            self.default_exception_handler(context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            _logger.error(message, exc_info=True)
