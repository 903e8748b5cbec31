"""Names and addresses by the system's resolver."""

import socket
from ipaddress import ip_address
from operator import index
from typing import Any, Literal, NamedTuple, TypeAlias, overload

from .._engine import core

#: Hints of lookup(): only families that this machine has an address of; IPv6 addresses that stand for IPv4 ones when
#: there are no others; with V4MAPPED, those beside the others.
ADDRCONFIG = int(socket.AI_ADDRCONFIG)
V4MAPPED = int(socket.AI_V4MAPPED)
ALL = int(socket.AI_ALL)

#: One entry of getaddrinfo(): family, type, proto, canonical name, socket address.
AddressInfo: TypeAlias = tuple[
    socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]
Order: TypeAlias = Literal["verbatim", "ipv4first", "ipv6first"]

_FAMILIES = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
_ORDERS = {"verbatim": None, "ipv4first": socket.AF_INET, "ipv6first": socket.AF_INET6}


class Address(NamedTuple):
    """What lookup() finds: the address in text, and its family, 4 or 6."""

    address: str
    family: int


class Service(NamedTuple):
    """What lookup_service() finds: the names of a host and of a service."""

    hostname: str
    service: str


async def getaddrinfo(
    host: str | bytes | None,
    port: int | str | bytes | None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[AddressInfo]:
    """What socket.getaddrinfo() returns for these arguments, without blocking the loop.

    Raises socket.gaierror with the resolver's code, UnicodeError for what
    cannot be a name, and OverflowError for a port that is not one.
    getaddrinfo(3), lane ``dns``.
    """
    found: Any = core.getaddrinfo(host, port, family, type, proto, flags)
    if found.__class__ is not list:  # not answered at once
        found = await found
    result: list[AddressInfo] = found
    return result


async def getnameinfo(sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0) -> tuple[str, str]:
    """The names of a socket address's host and service, as socket.getnameinfo() returns them.

    The host in `sockaddr` is numeric. With NI_NUMERICHOST and NI_NUMERICSERV
    it is answered at once. getnameinfo(3), lane ``dns``.
    """
    found: Any = core.getnameinfo(sockaddr, flags)
    if found.__class__ is not tuple:
        found = await found
    result: tuple[str, str] = found
    return result


def _address(info: AddressInfo) -> Address:
    family, sockaddr = info[0], info[4]
    address = str(sockaddr[0])
    if family == socket.AF_INET:
        return Address(address, 4)
    zone = sockaddr[3] if len(sockaddr) == 4 else 0
    if zone:
        try:
            address = f"{address}%{socket.if_indextoname(zone)}"
        except OSError:
            address = f"{address}%{zone}"
    return Address(address, 6)


@overload
async def lookup(
    host: str | bytes, family: int = 0, *, all: Literal[False] = False, hints: int = 0, order: Order = "verbatim"
) -> Address: ...
@overload
async def lookup(
    host: str | bytes, family: int = 0, *, all: Literal[True], hints: int = 0, order: Order = "verbatim"
) -> list[Address]: ...
@overload
async def lookup(
    host: str | bytes, family: int = 0, *, all: bool, hints: int = 0, order: Order = "verbatim"
) -> Address | list[Address]: ...
async def lookup(
    host: str | bytes, family: int = 0, *, all: bool = False, hints: int = 0, order: Order = "verbatim"
) -> Address | list[Address]:
    """The first address of a host, or with `all` every one.

    `family` is 4, 6 or 0 for both; `hints` combines ADDRCONFIG, V4MAPPED and
    ALL by ``|``; `order` is the resolver's ("verbatim"), or one family before
    the other. Raises socket.gaierror. Node's dns.lookup, lane ``dns``.
    """
    if not isinstance(host, str | bytes):
        raise TypeError(f"host: expected str or bytes, got {host!r}")
    if family not in _FAMILIES:
        raise ValueError(f"family must be 0, 4 or 6, got {family!r}")
    if index(hints) & ~(ADDRCONFIG | V4MAPPED | ALL):
        raise ValueError(f"hints must combine ADDRCONFIG, V4MAPPED and ALL, got {hints}")
    if order not in _ORDERS:
        raise ValueError(f"order must be 'verbatim', 'ipv4first' or 'ipv6first', got {order!r}")
    found = await getaddrinfo(host, None, _FAMILIES[family], socket.SOCK_STREAM, 0, hints)
    first = _ORDERS[order]
    if first is not None:
        found.sort(key=lambda info: info[0] != first)
    return [_address(info) for info in found] if all else _address(found[0])


async def lookup_service(address: str, port: int) -> Service:
    """The names of the host with this numeric address and of the service on this port.

    Raises ValueError when the address is not numeric, socket.gaierror when it
    has no name. Node's dns.lookupService, lane ``dns``.
    """
    if not isinstance(address, str):
        raise TypeError(f"address: expected str, got {address!r}")
    if not 0 <= index(port) <= 65535:
        raise OverflowError(f"port must be 0-65535, got {port}")
    ip_address(address)
    return Service(*await getnameinfo((address, port), socket.NI_NAMEREQD))
