"""Names and addresses, from any asyncio loop.

getaddrinfo() and getnameinfo() have the standard library's arguments and results, lookup() and lookup_service() Node's.
They ask the system's resolver, as one job on the lane ``dns``, in C without the GIL. A numeric address is answered at
once. Equal lookups that are in flight on a loop share one job, which is cancelled with the last that waits for it. The
resolver itself cannot be interrupted: a lookup that is cancelled while it runs keeps its worker until the resolver
gives up, and is counted as orphaned; the lane's limit keeps the other workers out of its reach.

resolve(), reverse() and Resolver ask DNS servers for records, without a worker: by c-ares, with the extra "dns"
(``pip install uvworks[dns]``, which brings pycares).
"""

from ._lookup import (
    ADDRCONFIG,
    ALL,
    V4MAPPED,
    Address,
    Service,
    getaddrinfo,
    getnameinfo,
    lookup,
    lookup_service,
)
from ._resolve import CAA, MX, NAPTR, SOA, SRV, Resolver, resolve, reverse

__all__ = [
    "ADDRCONFIG",
    "ALL",
    "CAA",
    "MX",
    "NAPTR",
    "SOA",
    "SRV",
    "V4MAPPED",
    "Address",
    "Resolver",
    "Service",
    "getaddrinfo",
    "getnameinfo",
    "lookup",
    "lookup_service",
    "resolve",
    "reverse",
]
