"""Records from DNS servers, by c-ares (pycares), which has a thread of its own for its sockets.

A resolver belongs to no event loop. Its answers come on c-ares' thread and go to the loop of whoever asked; an answer
that nobody waits for any more is dropped there.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple, TypeAlias, overload

RecordType: TypeAlias = Literal["A", "AAAA", "CAA", "CNAME", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "TXT"]


class CAA(NamedTuple):
    """Who may issue certificates: flags, then a property ("issue", "issuewild", "iodef") and its value."""

    critical: int
    tag: str
    value: str


class MX(NamedTuple):
    """A mail exchange; the lowest priority is the first choice."""

    priority: int
    exchange: str


class NAPTR(NamedTuple):
    """A rule that rewrites a name."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str


class SOA(NamedTuple):
    """The start of a zone; times are seconds."""

    nsname: str
    hostmaster: str
    serial: int
    refresh: int
    retry: int
    expire: int
    minttl: int


class SRV(NamedTuple):
    """Where a service runs."""

    priority: int
    weight: int
    port: int
    name: str


#: What a type of record gives.
Records: TypeAlias = list[str] | list[bytes] | list[CAA] | list[MX] | list[NAPTR] | list[SRV] | SOA

_SHAPES: dict[str, Callable[[Any], Any]] = {
    "A": lambda data: data.addr,
    "AAAA": lambda data: data.addr,
    "CAA": lambda data: CAA(data.critical, data.tag, data.value),
    "CNAME": lambda data: data.cname,
    "MX": lambda data: MX(data.priority, data.exchange),
    "NAPTR": lambda data: NAPTR(data.order, data.preference, data.flags, data.service, data.regexp, data.replacement),
    "NS": lambda data: data.nsdname,
    "PTR": lambda data: data.dname,
    "SOA": lambda data: SOA(data.mname, data.rname, data.serial, data.refresh, data.retry, data.expire, data.minimum),
    "SRV": lambda data: SRV(data.priority, data.weight, data.port, data.target),
    "TXT": lambda data: data.data,
}


def _pycares() -> Any:
    try:
        import pycares
    except ImportError:
        raise ImportError("DNS records need pycares: pip install uvworks[dns]", name="pycares") from None
    return pycares


def _error(pycares: Any, code: int) -> OSError:
    """As the system's resolver would say it."""
    codes = pycares.errno
    known = {
        codes.ARES_ENODATA: getattr(socket, "EAI_NODATA", socket.EAI_NONAME),
        codes.ARES_ENOTFOUND: socket.EAI_NONAME,
        codes.ARES_ESERVFAIL: socket.EAI_AGAIN,
        codes.ARES_ETIMEOUT: socket.EAI_AGAIN,
        codes.ARES_ECONNREFUSED: socket.EAI_AGAIN,
        codes.ARES_ENOMEM: socket.EAI_MEMORY,
    }
    return socket.gaierror(known.get(code, socket.EAI_FAIL), codes.strerror(code))


class Resolver:
    """Asks DNS servers: the system's, or `servers`, each an address, perhaps with a port ("127.0.0.1:53", "[::1]:53").

    `timeout` is what a server has for a first try, in seconds; there are
    `tries` of them, each waiting longer. Any number of loops and threads may
    share a resolver. Node's dns.Resolver. Needs the extra "dns".
    """

    def __init__(self, servers: Iterable[str] | None = None, *, timeout: float = 2.0, tries: int = 3) -> None:
        if not 0 < timeout < 2**31 / 1000:
            raise ValueError(f"timeout must be positive, got {timeout}")
        if not 0 < tries < 2**31:
            raise ValueError(f"tries must be positive, got {tries}")
        self._pycares = _pycares()
        self._process = os.getpid()
        try:
            self._channel = self._pycares.Channel(
                servers=None if servers is None else list(servers), timeout=timeout, tries=tries
            )
        except self._pycares.AresError as error:
            raise ValueError(f"servers: {error.args[-1]}") from None

    @overload
    async def resolve(self, name: str, rrtype: Literal["A", "AAAA", "CNAME", "NS", "PTR"] = "A") -> list[str]: ...
    @overload
    async def resolve(self, name: str, rrtype: Literal["TXT"]) -> list[bytes]: ...
    @overload
    async def resolve(self, name: str, rrtype: Literal["CAA"]) -> list[CAA]: ...
    @overload
    async def resolve(self, name: str, rrtype: Literal["MX"]) -> list[MX]: ...
    @overload
    async def resolve(self, name: str, rrtype: Literal["NAPTR"]) -> list[NAPTR]: ...
    @overload
    async def resolve(self, name: str, rrtype: Literal["SRV"]) -> list[SRV]: ...
    @overload
    async def resolve(self, name: str, rrtype: Literal["SOA"]) -> SOA: ...
    @overload
    async def resolve(self, name: str, rrtype: RecordType) -> Records: ...
    async def resolve(self, name: str, rrtype: RecordType = "A") -> Records:
        """The records of a name, in the order of the answer.

        A list: of addresses (A, AAAA), of names (CNAME, NS, PTR), of bytes
        (TXT), or of CAA, MX, NAPTR and SRV tuples; for SOA one tuple. Raises
        socket.gaierror: EAI_NONAME when there is no such name, EAI_NODATA
        when it has no such records, EAI_AGAIN when no server answers, and
        ValueError for what cannot be a name. A cancel only drops the answer.
        Node's dns.resolve; it takes no worker.
        """
        if rrtype not in _SHAPES:
            raise ValueError(f"rrtype must be one of {', '.join(_SHAPES)}, got {rrtype!r}")
        if not isinstance(name, str):
            raise TypeError(f"name: expected str, got {name!r}")
        if "\0" in name:
            raise ValueError("name: embedded null character")
        if self._process != os.getpid():
            raise RuntimeError("this resolver was made before fork(); the child needs a new one")
        if self._channel is None:
            raise RuntimeError("the resolver is closed")
        number = getattr(self._pycares, f"QUERY_TYPE_{rrtype}")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, code: int | None) -> None:
            if future.done():
                return
            if code is None:
                future.set_result(result)
            elif code == self._pycares.errno.ARES_EBADNAME:
                future.set_exception(ValueError(f"name: {name!r} cannot be a name"))
            else:
                future.set_exception(_error(self._pycares, code))

        def answered(result: Any, code: int | None) -> None:  # on c-ares' thread
            try:
                loop.call_soon_threadsafe(settle, result, code)
            except RuntimeError:  # the loop has closed
                pass

        try:
            self._channel.query(name, number, callback=answered)
        except UnicodeError:
            raise ValueError(f"name: {name!r} cannot be a name") from None
        except self._pycares.AresError as error:
            settle(None, error.args[0])
        answer = (await future).answer
        records = [_SHAPES[rrtype](record.data) for record in answer if record.type == number]
        if not records:  # a chain of CNAMEs that leads nowhere
            raise _error(self._pycares, self._pycares.errno.ARES_ENODATA)
        found: Records = records[0] if rrtype == "SOA" else records
        return found

    async def reverse(self, address: str) -> list[str]:
        """The names that stand for a numeric address in DNS. Node's dns.reverse."""
        if not isinstance(address, str):
            raise TypeError(f"address: expected str, got {address!r}")
        return await self.resolve(ip_address(address).reverse_pointer, "PTR")

    def close(self) -> None:
        """End it: who still waits gets socket.gaierror."""
        channel, self._channel = self._channel, None
        if channel is not None and self._process == os.getpid():
            channel.cancel()
            channel.close()

    def __enter__(self) -> "Resolver":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_default: Resolver | None = None


def _resolver() -> Resolver:
    """The one that resolve() and reverse() share; a forked child makes its own."""
    global _default
    if _default is None or _default._process != os.getpid():
        _default = Resolver()
    return _default


@overload
async def resolve(name: str, rrtype: Literal["A", "AAAA", "CNAME", "NS", "PTR"] = "A") -> list[str]: ...
@overload
async def resolve(name: str, rrtype: Literal["TXT"]) -> list[bytes]: ...
@overload
async def resolve(name: str, rrtype: Literal["CAA"]) -> list[CAA]: ...
@overload
async def resolve(name: str, rrtype: Literal["MX"]) -> list[MX]: ...
@overload
async def resolve(name: str, rrtype: Literal["NAPTR"]) -> list[NAPTR]: ...
@overload
async def resolve(name: str, rrtype: Literal["SRV"]) -> list[SRV]: ...
@overload
async def resolve(name: str, rrtype: Literal["SOA"]) -> SOA: ...
@overload
async def resolve(name: str, rrtype: RecordType) -> Records: ...
async def resolve(name: str, rrtype: RecordType = "A") -> Records:
    """Resolver.resolve(), with the system's servers."""
    return await _resolver().resolve(name, rrtype)


async def reverse(address: str) -> list[str]:
    """Resolver.reverse(), with the system's servers."""
    return await _resolver().reverse(address)
