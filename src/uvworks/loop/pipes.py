"""Pipes, FIFOs, sockets and character devices that somebody else has opened."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from .._engine import core

__all__ = ["Pipes"]

_P = TypeVar("_P", bound=asyncio.BaseProtocol)

_logger = logging.getLogger("asyncio")


class Pipes(core.BaseLoop, asyncio.AbstractEventLoop):
    """connect_read_pipe, connect_write_pipe."""

    async def connect_read_pipe(
        self, protocol_factory: Callable[[], _P], pipe: Any
    ) -> tuple[asyncio.ReadTransport, _P]:
        """Read from a file object; the transport owns it from now on, and makes it non-blocking."""
        return await self._connect_pipe(self._read_pipe, "Read", protocol_factory, pipe)

    async def connect_write_pipe(
        self, protocol_factory: Callable[[], _P], pipe: Any
    ) -> tuple[asyncio.WriteTransport, _P]:
        """Write to a file object; the transport owns it from now on, and makes it non-blocking."""
        return await self._connect_pipe(self._write_pipe, "Write", protocol_factory, pipe)

    async def _connect_pipe(
        self, make: Callable[..., Any], direction: str, protocol_factory: Callable[[], _P], pipe: Any
    ) -> tuple[Any, _P]:
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = make(pipe, protocol, waiter=waiter)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        if self.get_debug():
            _logger.debug("%s pipe %r connected: (%r, %r)", direction, pipe.fileno(), transport, protocol)
        return transport, protocol
