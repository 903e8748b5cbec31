"""The asyncio event loop on libuv: C turns (csrc/asyncio), readable Python around them."""

import asyncio

from .exceptions import Exceptions
from .pipes import Pipes
from .running import Running
from .tasks import Tasks

__all__ = ["Loop", "new_event_loop"]


class Loop(Running, Tasks, Exceptions, Pipes, asyncio.AbstractEventLoop):
    """asyncio's event loop, whole, on libuv. It may be subclassed."""


def new_event_loop() -> Loop:
    """A new loop, not yet running; what asyncio.Runner(loop_factory=...) wants."""
    return Loop()
