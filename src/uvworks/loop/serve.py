"""Servers: sockets that listen, and the connections they have accepted.

The accepting is C (`_listen`); here is what a server promises: who is connected, when it has ended, and that closing
it closes its sockets.
"""

import asyncio
import errno
import logging
import socket
import sys
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Iterable, Sequence
from ssl import SSLContext
from typing import Any
from weakref import WeakSet

from . import tls
from .resolve import AddressInfo, Resolver

__all__ = ["Server", "Servers", "set_option"]

_logger = logging.getLogger("asyncio")

# Python 3.11's wait_closed() does not wait for the connections of a closed server, and programs rely on either.
_WAITS_FOR_CLIENTS = sys.version_info >= (3, 12)


class Server(asyncio.Server):
    """What create_server() and create_unix_server() return, with 3.13's methods on all Pythons.

    A subclass only so that it is what annotations promise: nothing of asyncio's own server is used.
    """

    def __init__(
        self,
        loop: "Servers",
        sockets: Sequence[socket.socket],
        factory: tls.Factory,
        backlog: int,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._loop = loop
        self._sockets: Sequence[socket.socket] | None = sockets
        self._factory = factory
        self._backlog = backlog
        self._on_close = on_close
        self._listeners: list[Any] | None = None
        # Weak, so that a transport which everybody has forgotten can still say so.
        self._clients: WeakSet[asyncio.Transport] = WeakSet()
        self._waiters: list[asyncio.Future[None]] | None = []
        self._forever: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[TransportSocket, ...]:  # type: ignore[override]  # as asyncio's in fact are
        """The listening sockets; none once the server is closed."""
        return tuple(TransportSocket(sock) for sock in self._sockets or ())

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._listeners is not None

    async def start_serving(self) -> None:
        """Begin to accept; does nothing if the server already does."""
        self._start()
        await asyncio.sleep(0)

    def _start(self) -> None:
        if self._listeners is not None:
            return
        if self._sockets is None:
            raise RuntimeError(f"server {self!r} is closed")
        listeners: list[Any] = []
        try:
            for sock in self._sockets:
                sock.listen(self._backlog)
                # What is a queue's length to the kernel is to the listener how many to accept at a time.
                listeners.append(self._loop._listen(sock, max(self._backlog, 1), self._factory, self))
        except BaseException:
            for listener in listeners:
                listener.close()
            raise
        self._listeners = listeners

    async def serve_forever(self) -> None:
        """Accept until this is cancelled; then close and wait for the end."""
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        if self._sockets is None:
            raise RuntimeError(f"server {self!r} is closed")
        self._start()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise
        finally:
            self._forever = None

    def close(self) -> None:
        """Accept no more; connections that are there go on."""
        sockets, self._sockets = self._sockets, None
        if sockets is None:
            return
        listeners, self._listeners = self._listeners, None
        for listener in listeners or ():
            listener.close()
        if self._on_close is not None:
            self._on_close()
        for sock in sockets:
            sock.close()
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._wake_if_ended()

    def close_clients(self) -> None:
        """Close every connection, after what it has still to send."""
        for transport in list(self._clients):
            transport.close()

    def abort_clients(self) -> None:
        """Cut every connection."""
        for transport in list(self._clients):
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and, from Python 3.12 on, its last connection has ended."""
        if self._waiters is None or (self._sockets is None and not _WAITS_FOR_CLIENTS):
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _attach(self, transport: asyncio.Transport) -> None:
        self._clients.add(transport)

    def _detach(self, transport: asyncio.Transport) -> None:
        self._clients.discard(transport)
        self._wake_if_ended()

    def _wake_if_ended(self) -> None:
        if self._sockets is not None or self._clients or self._waiters is None:
            return
        waiters, self._waiters = self._waiters, None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Servers(Resolver):
    """create_server, and what it shares with create_unix_server."""

    async def create_server(
        self,
        protocol_factory: tls.Factory,
        host: str | bytes | Iterable[str | bytes | None] | None = None,
        port: str | bytes | int | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: bool | SSLContext | None = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Listen on every address of one or more hosts, or on a given stream socket; see asyncio's method.

        `keep_alive` sets SO_KEEPALIVE on the listening sockets, and so on what they accept, on all Pythons.
        """
        if sock is not None:
            tls.refuse_tls_socket(sock)
        tls.check_options(ssl, ssl_handshake_timeout, ssl_shutdown_timeout, default_context=False)
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            if host == "":
                hosts: list[str | bytes | None] = [None]
            elif host is None or isinstance(host, str | bytes) or not isinstance(host, Iterable):
                hosts = [host]
            else:
                hosts = list(host)
            found = await asyncio.gather(
                *(self._resolve((name, port), family=family, type=socket.SOCK_STREAM, flags=flags) for name in hosts)
            )
            infos = list(dict.fromkeys(info for infos in found for info in infos))
            options = [
                option
                for option, wanted in (
                    (socket.SO_REUSEADDR, reuse_address is None or reuse_address),
                    (socket.SO_REUSEPORT, reuse_port),
                    (socket.SO_KEEPALIVE, keep_alive),
                )
                if wanted
            ]
            sockets = self._bound(infos, options)
        elif sock is None:
            raise ValueError("Neither host/port nor sock were specified")
        elif sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        else:
            sockets = [sock]
        if ssl is not None:
            protocol_factory = tls.server_factory(
                self, protocol_factory, ssl, ssl_handshake_timeout, ssl_shutdown_timeout
            )
        return await self._serve(Server(self, sockets, protocol_factory, backlog), start_serving)

    async def _serve(self, server: Server, start: bool) -> Server:
        """Start a new server if it shall start; nothing of it is left if that fails."""
        try:
            for sock in server._sockets or ():
                sock.setblocking(False)
            if start:
                await server.start_serving()
        except BaseException:
            server.close()
            raise
        if self.get_debug():
            _logger.info("%r is serving", server)
        return server

    def _bound(self, infos: list[AddressInfo], options: list[int]) -> list[socket.socket]:
        """A socket for every address that this machine has; none stays open if one can not be bound."""
        sockets: list[socket.socket] = []
        code: int | None = errno.EADDRNOTAVAIL
        try:
            for family, type_, proto, _, address in infos:
                try:
                    sock = socket.socket(family, type_, proto)
                except OSError as exception:  # a family that this machine has not
                    code = exception.errno
                    if self.get_debug():
                        _logger.warning(
                            "create_server() failed to create socket.socket(%r, %r, %r)",
                            family,
                            type_,
                            proto,
                            exc_info=True,
                        )
                    continue
                sockets.append(sock)
                for option in options:
                    set_option(sock, option)
                if family == socket.AF_INET6:  # or it would take the IPv4 port as well
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                try:
                    sock.bind(address)
                except OSError as exception:
                    message = f"error while attempting to bind on address {address!r}: {str(exception).lower()}"
                    if exception.errno != errno.EADDRNOTAVAIL:
                        raise OSError(exception.errno, message) from None
                    sockets.pop().close()
                    if self.get_debug():
                        _logger.warning(message)
            if not sockets:
                raise OSError(code, f"could not bind on any address out of {[info[4] for info in infos]!r}")
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return sockets


def set_option(sock: socket.socket, option: int) -> None:
    """Switch an option of the socket's own level on."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    except OSError:
        if option != socket.SO_REUSEPORT:
            raise
        raise ValueError(
            "reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented."
        ) from None
