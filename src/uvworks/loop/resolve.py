"""Names and addresses for the loop: uvworks.dns under asyncio's names.

What is numeric, zones of IPv6 included, is answered at once; the rest waits on the lane `dns`, so that slow names
neither stop the loop nor take the default executor's threads.
"""

import asyncio
import logging
import socket
from typing import Any

from .. import dns
from .._engine import core

__all__ = ["AddressInfo", "Resolver"]

AddressInfo = tuple[Any, Any, int, str, Any]  # family, type, proto, canonical name, socket address

_logger = logging.getLogger("asyncio")


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
    ) -> Any:
        """What socket.getaddrinfo() returns, without blocking; see uvworks.dns.getaddrinfo()."""
        start = self.time()
        infos = await dns.getaddrinfo(host, port, family, type, proto, flags)
        if self.get_debug():
            taken = self.time() - start
            level = logging.INFO if taken >= self.slow_callback_duration else logging.DEBUG
            _logger.log(level, "Getting address info %s:%r took %.3fms: %r", host, port, taken * 1e3, infos)
        return infos

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """What socket.getnameinfo() returns, without blocking; see uvworks.dns.getnameinfo()."""
        return await dns.getnameinfo(sockaddr, flags)

    async def _resolve(
        self, address: Any, *, family: int, type: int, proto: int = 0, flags: int = 0
    ) -> list[AddressInfo]:
        """The addresses that (host, port) stands for, at least one.

        The flow and the scope of a longer IPv6 address are kept.
        """
        if not isinstance(address, tuple | list) or len(address) < 2:
            raise TypeError(f"an address is a tuple (host, port), not {address!r}")
        host, port, *rest = address
        infos: list[Any]
        if _is_numeric(host):  # whoever replaces getaddrinfo() is asked for names only, as in asyncio
            infos = list(await dns.getaddrinfo(host, port, family, type, proto, flags))
        else:
            infos = await self.getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)
        if not infos:
            raise OSError(f"getaddrinfo({host!r}) returned empty list")
        if any(rest):
            flow, scope = (*rest, 0)[:2]
            infos = [
                (*info[:4], (*info[4][:2], flow, scope or info[4][3])) if info[0] == socket.AF_INET6 else info
                for info in infos
            ]
        return infos


def _is_numeric(host: Any) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, TypeError):
        return False
    return True
