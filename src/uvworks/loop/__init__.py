"""The asyncio event loop on libuv: C turns (csrc/asyncio), readable Python around them."""

import asyncio

from .._engine import core
from .datagrams import Datagrams
from .debug import Debugging
from .exceptions import Exceptions
from .pipes import Pipes
from .running import Running
from .sendfile import Sendfile
from .tasks import Tasks
from .tls import StartTLS
from .unix import UnixSockets

__all__ = ["Loop", "new_event_loop"]


class Loop(
    Running,
    Tasks,
    Exceptions,
    Debugging,
    Pipes,
    UnixSockets,
    Datagrams,
    StartTLS,
    Sendfile,
    core.BaseLoop,
    asyncio.AbstractEventLoop,
):
    """asyncio's event loop, whole, on libuv. It may be subclassed."""


def new_event_loop() -> Loop:
    """A new loop, not yet running; what asyncio.Runner(loop_factory=...) wants."""
    return Loop()
