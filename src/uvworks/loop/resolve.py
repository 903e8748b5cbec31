"""Names and addresses: what needs a look-up goes to the `dns` lane, everything else is answered at once.

A numeric host with a numeric port, zones of IPv6 included, and no host at all need nobody to be asked; the C library
parses them with AI_NUMERICHOST on the loop's own thread. So a connection to an address costs no thread.
"""

import asyncio
import socket
from typing import Any

from .._engine import core

__all__ = ["AddressInfo", "Resolver"]

AddressInfo = tuple[Any, Any, int, str, Any]  # family, type, proto, canonical name, socket address

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def without_lookup(
    host: str | bytes | None, port: str | bytes | int | None, family: int, type: int, proto: int, flags: int
) -> list[AddressInfo] | None:
    """What socket.getaddrinfo() would say, or None if somebody must be asked."""
    if host is not None and (0 if isinstance(host, bytes) else "\0") in host:
        raise ValueError("embedded null character in host")  # the C library would silently stop there
    if isinstance(port, int) and not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535.")  # and there it would wrap around
    try:
        return socket.getaddrinfo(host, port, family, type, proto, flags | _NUMERIC)
    except socket.gaierror:
        return None


class Resolver(core.BaseLoop, asyncio.AbstractEventLoop):
    """getaddrinfo, getnameinfo, and what the connecting parts of the loop need of them."""

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """socket.getaddrinfo() without blocking; on the `dns` lane unless the address is numeric."""
        infos = without_lookup(host, port, family, type, proto, flags)
        if infos is None:
            infos = await core.call("dns", socket.getaddrinfo, host, port, family, type, proto, flags)
        return infos

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        """socket.getnameinfo() without blocking, on the `dns` lane."""
        name: tuple[str, str] = await core.call("dns", socket.getnameinfo, sockaddr, flags)
        return name

    async def _resolve(
        self, address: tuple[Any, ...], *, family: int, type: int, proto: int = 0, flags: int = 0
    ) -> list[AddressInfo]:
        """The addresses that (host, port) stands for, at least one.

        The flow and the scope of a longer IPv6 address are kept.
        """
        if not isinstance(address, tuple | list) or len(address) < 2:
            raise TypeError(f"an address is a tuple (host, port), not {address!r}")
        host, port, *flow_and_scope = address
        infos = without_lookup(host, port, family, type, proto, flags)
        if infos is None:
            infos = await self.getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)
        if not infos:
            raise OSError(f"getaddrinfo({host!r}) returned empty list")
        if any(flow_and_scope):
            flow, scope = (*flow_and_scope, 0)[:2]
            infos = [
                (*info[:4], (*info[4][:2], flow, scope or info[4][3])) if info[0] == socket.AF_INET6 else info
                for info in infos
            ]
        return infos
