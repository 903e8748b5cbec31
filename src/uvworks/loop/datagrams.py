"""Datagram endpoints, over UDP and over UNIX sockets."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from .resolve import Resolver
from .serve import set_option
from .unix import remove_stale_socket

__all__ = ["Datagrams"]

_logger = logging.getLogger("asyncio")

_P = TypeVar("_P", bound=asyncio.BaseProtocol)

_Route = tuple[int, int, Any, Any]  # family, protocol, local address, remote address


class Datagrams(Resolver):
    """create_datagram_endpoint."""

    async def create_datagram_endpoint(  # type: ignore[override]  # any protocol, as asyncio in fact does
        self,
        protocol_factory: Callable[[], _P],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[asyncio.DatagramTransport, _P]:
        """Open a datagram socket, bound and connected as asked, or take one; see asyncio's method."""
        ours = sock is None
        remote: Any = None
        if sock is not None:
            _check_datagram(sock)
            options: dict[str, Any] = {
                "local_addr": local_addr,
                "remote_addr": remote_addr,
                "family": family,
                "proto": proto,
                "flags": flags,
                "reuse_port": reuse_port,
                "allow_broadcast": allow_broadcast,
            }
            if any(options.values()):
                problems = ", ".join(f"{name}={value}" for name, value in options.items() if value)
                raise ValueError(
                    f"socket modifier keyword arguments can not be used when sock is specified. ({problems})"
                )
        else:
            routes = await self._routes(local_addr, remote_addr, family, proto, flags)
            sock, remote = await self._first_open(routes, reuse_port, allow_broadcast)
        try:
            sock.setblocking(False)
            protocol = protocol_factory()
            waiter = self.create_future()
            transport = self._datagram(sock, protocol, address=remote, waiter=waiter)
        except BaseException:
            if ours:
                sock.close()
            raise
        if self.get_debug():
            if local_addr:
                _logger.info(
                    "Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)",
                    local_addr,
                    remote_addr,
                    transport,
                    protocol,
                )
            else:
                _logger.debug("Datagram endpoint remote_addr=%r created: (%r, %r)", remote_addr, transport, protocol)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        finally:
            del waiter  # its exception holds this frame
        return transport, protocol

    async def _routes(self, local_addr: Any, remote_addr: Any, family: int, proto: int, flags: int) -> list[_Route]:
        """The ways to try: every family and protocol that has each of the addresses given."""
        if not (local_addr or remote_addr):
            if family == 0:
                raise ValueError("unexpected address family")
            return [(family, proto, None, None)]
        if family == socket.AF_UNIX:
            for address in (local_addr, remote_addr):
                if address is not None and not isinstance(address, str):
                    raise TypeError("string is expected")
            if local_addr:
                remove_stale_socket(local_addr)
            return [(family, proto, local_addr, remote_addr)]
        ways: dict[tuple[int, int], list[Any]] = {}
        for end, address in enumerate((local_addr, remote_addr)):
            if address is None:
                continue
            if not (isinstance(address, tuple) and len(address) == 2):
                raise TypeError("2-tuple is expected")
            infos = await self._resolve(address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags)
            for found_family, _, found_proto, _, found in infos:
                ways.setdefault((found_family, found_proto), [None, None])[end] = found
        routes = [
            (*key, local, remote)
            for key, (local, remote) in ways.items()
            if not (local_addr and local is None) and not (remote_addr and remote is None)
        ]
        if not routes:
            raise ValueError("can not get address information")
        return routes

    async def _first_open(
        self, routes: list[_Route], reuse_port: bool | None, allow_broadcast: bool | None
    ) -> tuple[socket.socket, Any]:
        """The first way that works: its socket and the address to send to. Raises the first one's error."""
        failure: OSError | None = None
        for family, proto, local, remote in routes:
            try:
                sock = socket.socket(family, socket.SOCK_DGRAM, proto)
                try:
                    sock.setblocking(False)
                    if reuse_port:
                        set_option(sock, socket.SO_REUSEPORT)
                    if allow_broadcast:
                        set_option(sock, socket.SO_BROADCAST)
                    if local:
                        sock.bind(local)
                    # A connected socket would drop the answers of all but one of those who heard the broadcast.
                    if remote and not allow_broadcast:
                        await self.sock_connect(sock, remote)
                except BaseException:
                    sock.close()
                    raise
                return sock, remote
            except OSError as exception:
                failure = failure or exception
        assert failure is not None
        try:
            raise failure
        finally:
            del failure  # or it would hold itself through this frame


def _check_datagram(sock: socket.socket) -> None:
    if sys.version_info >= (3, 13):
        if sock.type == socket.SOCK_STREAM:
            raise ValueError(f"A datagram socket was expected, got {sock!r}")
    elif sock.type != socket.SOCK_DGRAM:
        raise ValueError(f"A UDP Socket was expected, got {sock!r}")
