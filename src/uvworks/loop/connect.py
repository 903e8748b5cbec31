"""Connections that this side opens, and those that somebody else has accepted.

Rules: a socket made here is closed by whatever stops the set-up, cancellation included, until a transport owns it; a
socket given by the caller stays the caller's until then.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain, zip_longest
from ssl import SSLContext
from typing import Any, NoReturn, TypeVar

from . import tls
from .resolve import AddressInfo, Resolver

__all__ = ["Connections"]

_logger = logging.getLogger("asyncio")

_P = TypeVar("_P", bound=asyncio.BaseProtocol)


class Connections(Resolver):
    """create_connection, connect_accepted_socket and sock_connect."""

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a non-blocking socket; a host's name is looked up first."""
        tls.refuse_tls_socket(sock)
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            infos = await self._resolve(address, family=sock.family, type=sock.type, proto=sock.proto)
            address = infos[0][4]
        await super().sock_connect(sock, address)

    async def create_connection(
        self,
        protocol_factory: Callable[[], _P],
        host: str | bytes | None = None,
        port: str | bytes | int | None = None,
        *,
        ssl: bool | SSLContext | None = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, _P]:
        """Open a TCP connection, or take a connected stream socket; see asyncio's method of the same name.

        `all_errors` raises an ExceptionGroup of every address's error, on all Pythons.
        """
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        if server_hostname is None and ssl:
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            server_hostname = host.decode() if isinstance(host, bytes) else host
        tls.check_options(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if sock is not None:
            tls.refuse_tls_socket(sock)

        ours = host is not None or port is not None
        if ours:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            if interleave is None and happy_eyeballs_delay is not None:
                interleave = 1
            infos = await self._resolve((host, port), family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags)
            local_infos = None
            if local_addr is not None:
                local_infos = await self._resolve(
                    local_addr, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags
                )
            if interleave:
                infos = interleaved(infos, interleave)
            attempt = _Attempt(self, infos, local_infos, all_errors)
            sock = await (attempt.in_turn() if happy_eyeballs_delay is None else attempt.race(happy_eyeballs_delay))
        elif sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        elif sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")

        transport, protocol = await self._start_stream(
            sock,
            protocol_factory,
            ssl,
            server_hostname,
            ours=ours,
            handshake_timeout=ssl_handshake_timeout,
            shutdown_timeout=ssl_shutdown_timeout,
        )
        if self.get_debug():
            sock = transport.get_extra_info("socket")
            _logger.debug("%r connected to %s:%r: (%r, %r)", sock, host, port, transport, protocol)
        return transport, protocol

    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], _P],
        sock: socket.socket,
        *,
        ssl: bool | SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _P]:
        """Serve a connection that was accepted outside of the loop."""
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        tls.check_options(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        tls.refuse_tls_socket(sock)
        transport, protocol = await self._start_stream(
            sock,
            protocol_factory,
            ssl,
            "",
            ours=False,
            server_side=True,
            handshake_timeout=ssl_handshake_timeout,
            shutdown_timeout=ssl_shutdown_timeout,
        )
        if self.get_debug():
            sock = transport.get_extra_info("socket")
            _logger.debug("%r handled: (%r, %r)", sock, transport, protocol)
        return transport, protocol

    async def _start_stream(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], _P],
        ssl: bool | SSLContext | None,
        server_hostname: str | None,
        *,
        ours: bool,
        server_side: bool = False,
        handshake_timeout: float | None = None,
        shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _P]:
        """Put a protocol, and TLS if asked for, on a connected socket; `ours` tells who closes it on failure."""
        transport: asyncio.Transport
        secure: asyncio.Transport | None = None
        try:
            sock.setblocking(False)
            protocol = protocol_factory()
            waiter = self.create_future()
            if ssl:
                below, secure = tls.layer(
                    self,
                    protocol,
                    ssl,
                    waiter,
                    server_side=server_side,
                    server_hostname=server_hostname,
                    handshake_timeout=handshake_timeout,
                    shutdown_timeout=shutdown_timeout,
                )
                self._stream(sock, below)
                transport = secure
            else:
                transport = self._stream(sock, protocol, waiter=waiter)
        except BaseException:
            if secure is not None:
                secure.abort()
            if ours:
                sock.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        finally:
            del waiter  # its exception holds this frame
        return transport, protocol


def interleaved(infos: Iterable[AddressInfo], first_family_count: int) -> list[AddressInfo]:
    """Addresses with the families taking turns, after `first_family_count` of the first one (RFC 8305)."""
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    first, *others = families.values()
    head = max(first_family_count - 1, 0)
    turns = chain.from_iterable(zip_longest(first[head:], *others))
    return first[:head] + [info for info in turns if info is not None]


class _Attempt:
    """One search for an address that answers. The errors on the way are kept for the one who must hear them."""

    def __init__(
        self, loop: Connections, infos: list[AddressInfo], local: list[AddressInfo] | None, all_errors: bool
    ) -> None:
        self._loop = loop
        self._infos = infos
        self._local = local
        self._all_errors = all_errors
        self._errors: list[OSError] = []

    async def in_turn(self) -> socket.socket:
        """The first address that answers."""
        for info in self._infos:
            with suppress(OSError):
                return await self._connect(info)
        self._fail()

    async def race(self, delay: float) -> socket.socket:
        """Happy eyeballs: the next address starts when the latest one has failed or has had `delay` seconds."""
        tasks: list[asyncio.Task[socket.socket]] = []
        try:
            winner = await self._search(tasks, delay)
        except BaseException:
            await self._end(tasks, None)
            raise
        await self._end(tasks, winner)
        return winner

    async def _search(self, tasks: list[asyncio.Task[socket.socket]], delay: float) -> socket.socket:
        loop = self._loop
        for info in self._infos:
            latest = loop.create_task(self._connect(info))
            tasks.append(latest)
            deadline = loop.time() + delay
            while (winner := _connected(tasks)) is None and not latest.done() and (left := deadline - loop.time()) > 0:
                await _one_more(tasks, left)
            if winner is not None:
                return winner
        while (winner := _connected(tasks)) is None:
            if all(task.done() for task in tasks):
                self._fail()
            await _one_more(tasks, None)
        return winner

    async def _end(self, tasks: list[asyncio.Task[socket.socket]], winner: socket.socket | None) -> None:
        """Stop every attempt and close all sockets but the winner's; nobody leaves before that, cancelled or not."""
        for task in tasks:
            task.cancel()
        interruption = None
        while pending := [task for task in tasks if not task.done()]:
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError as exception:
                interruption, winner = exception, None
        for task in tasks:
            if not task.cancelled() and task.exception() is None and task.result() is not winner:
                task.result().close()
        tasks.clear()  # they hold the errors, whose tracebacks hold this list
        if interruption is not None:
            try:
                raise interruption
            finally:
                del interruption

    async def _connect(self, info: AddressInfo) -> socket.socket:
        """Make, bind and connect one socket."""
        family, type_, proto, _, address = info
        try:
            sock = socket.socket(family, type_, proto)
            try:
                sock.setblocking(False)
                if self._local is not None:
                    self._bind(sock, self._local)
                await self._loop.sock_connect(sock, address)
            except BaseException:
                sock.close()
                raise
        except OSError as exception:
            self._errors.append(exception)
            raise
        return sock

    def _bind(self, sock: socket.socket, local: list[AddressInfo]) -> None:
        failures: list[OSError] = []
        try:
            for family, _, _, _, address in local:
                if family != sock.family:
                    continue
                try:
                    return sock.bind(address)
                except OSError as exception:
                    message = f"error while attempting to bind on address {address!r}: {str(exception).lower()}"
                    failures.append(OSError(exception.errno, message))
            raise (
                failures.pop() if failures else OSError(f"no matching local address with family={sock.family!r} found")
            )
        finally:
            self._errors += failures

    def _fail(self) -> NoReturn:
        errors, self._errors = self._errors, []
        try:
            if self._all_errors:
                raise ExceptionGroup("create_connection failed", errors)
            if len({str(error) for error in errors}) == 1:
                raise errors[0]
            raise OSError(f"Multiple exceptions: {', '.join(map(str, errors))}")
        finally:
            del errors  # or each error would hold itself through this frame


async def _one_more(tasks: list[asyncio.Task[socket.socket]], limit: float | None) -> None:
    """Wait until one more is done, or `limit` seconds."""
    await asyncio.wait([task for task in tasks if not task.done()], timeout=limit, return_when="FIRST_COMPLETED")


def _connected(tasks: list[asyncio.Task[socket.socket]]) -> socket.socket | None:
    """The socket of the first that has one; raises what is not the network's fault."""
    for task in tasks:
        if task.done() and not isinstance(task.exception(), OSError):
            return task.result()
    return None
