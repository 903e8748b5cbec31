"""How a program comes to this loop: run(), install(), the policy.

Policies go away with Python 3.16; run() and asyncio.Runner(loop_factory=...)
stay.
"""

import asyncio
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from . import Loop, new_event_loop

__all__ = ["EventLoopPolicy", "install", "run"]

_T = TypeVar("_T")

_GONE = "Python 3.16 has no event loop policies any more: use uvworks.run(), or asyncio.Runner(loop_factory=...)"

with warnings.catch_warnings():  # deprecated from 3.14 on, and that is the business of whoever installs it
    warnings.simplefilter("ignore", DeprecationWarning)
    _Policy: Any = getattr(asyncio, "DefaultEventLoopPolicy", object)


class EventLoopPolicy(_Policy):  # type: ignore[misc]
    """asyncio's default policy, but its loops are ours."""

    def __init__(self) -> None:
        if _Policy is object:
            raise RuntimeError(_GONE)
        super().__init__()

    def new_event_loop(self) -> Loop:
        """A new uvworks.Loop."""
        return new_event_loop()


def install() -> None:
    """Have asyncio make our loops from now on: asyncio.run(), asyncio.new_event_loop() and so on."""
    policy = EventLoopPolicy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(policy)


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = new_event_loop,
) -> _T:
    """asyncio.run() on a uvworks.Loop: run the coroutine to its end, return its result.

    Tasks that are left are cancelled, generators closed and the default
    executor's threads awaited before the loop is closed. RuntimeError in a
    running loop, ValueError for what is no coroutine.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("uvworks.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
