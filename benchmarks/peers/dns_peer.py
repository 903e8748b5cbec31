"""Lookups on an asyncio loop: `python -m benchmarks.peers.dns_peer uvworks|loop LOOP`; "loop" is the loop's own."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from typing import Any

from benchmarks.peers import loops
from benchmarks.peers.protocol import say, serve

HOSTS = {"localhost": "localhost", "other ports": "localhost", "numeric": "127.0.0.1"}


async def rate(getaddrinfo: Any, request: dict[str, Any]) -> dict[str, Any]:
    """`operations` lookups with `in_flight` of them at any time; each of those has its own port, if asked for."""
    host = HOSTS[request["operation"]]
    others = request["operation"] == "other ports"
    left = operations = request["operations"]
    done = 0

    async def work(port: int | None) -> None:
        nonlocal left, done
        while left > 0:
            left -= 1
            found = await getaddrinfo(host, port, type=socket.SOCK_STREAM)
            done += bool(found[0][4][0])

    begin = time.perf_counter()
    await asyncio.gather(*[work(number if others else None) for number in range(request["in_flight"])])
    return {"seconds": time.perf_counter() - begin, "operations": operations, "total": done}


def main() -> None:
    """Greets with the versions, then serves."""
    api, loop_name = sys.argv[1:]
    try:
        loop, versions = loops.new(loop_name)
        if api == "uvworks":
            import uvworks

            versions["uvworks"] = uvworks.__version__
            getaddrinfo: Any = uvworks.dns.getaddrinfo
        else:
            getaddrinfo = loop.getaddrinfo
    except ImportError as error:
        say({"missing": f"{error}"})
        return
    say(versions)
    serve(lambda request: loop.run_until_complete(rate(getaddrinfo, request)))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


if __name__ == "__main__":
    main()
