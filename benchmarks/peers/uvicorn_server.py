"""uvicorn with httptools and a hello as the app: `python -m benchmarks.peers.uvicorn_server LOOP`.

As echo_server.py: the address is in the greeting, the end of the input ends it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from importlib.metadata import version
from typing import Any

from benchmarks.peers import loops
from benchmarks.peers.protocol import say

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
}
BODY = {"type": "http.response.body", "body": b"Hello, world!"}


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


async def serve(loop: asyncio.AbstractEventLoop, versions: dict[str, str]) -> None:
    import uvicorn

    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", access_log=False, log_level="warning")
    server = uvicorn.Server(config)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]  # before rloop takes the descriptor away

    def end() -> None:
        if not os.read(0, 1024):
            server.should_exit = True
            loop.remove_reader(0)

    loop.add_reader(0, end)
    task = loop.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    say({**versions, "services": {"http": f"tcp:{port}"}})
    await task


def main() -> None:
    try:
        loop, versions = loops.new(sys.argv[1])
        versions |= {package: version(package) for package in ("uvicorn", "httptools")}
    except ImportError as error:
        say({"missing": f"{error}"})
        return
    loop.run_until_complete(serve(loop, versions))
    os._exit(0)  # the measuring is over; how a loop cleans up is a test's business


if __name__ == "__main__":
    main()
