"""An echo server in every style that asyncio has: `python -m benchmarks.peers.echo_server LOOP`.

It listens on loopback, tells the addresses in its greeting, and ends with its input. What one read gives is written
back at once, as in echo_server.c. A style that the loop cannot do is not among the services.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from typing import Any

from benchmarks.peers import loops
from benchmarks.peers.protocol import say

READ = 64 * 1024  # bytes asked for at once where the program has to say a number
BUFFER = 128 * 1024  # what a BufferedProtocol offers: more than the longest message
BACKLOG = 4096


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]
        transport.set_write_buffer_limits(high=0)  # type: ignore[attr-defined]
        self.sending = False
        self.buffer = memoryview(bytearray(BUFFER))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.write(self.buffer[:nbytes])
        if self.sending:  # from this buffer
            self.buffer = memoryview(bytearray(BUFFER))

    def pause_writing(self) -> None:
        self.sending = True

    def resume_writing(self) -> None:
        self.sending = False


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.sendto = transport.sendto  # type: ignore[attr-defined]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.sendto(data, addr)


async def stream_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(READ):
        writer.write(data)
        await writer.drain()
    writer.close()


async def sock_echo(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    with sock:
        while data := await loop.sock_recv(sock, READ):
            await loop.sock_sendall(sock, data)


async def sock_server(loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    tasks = set()
    while True:
        sock, _ = await loop.sock_accept(listener)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(sock_echo(loop, sock))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def serve(loop: asyncio.AbstractEventLoop, versions: dict[str, str], directory: str) -> None:
    """Starts everything, greets, and waits for the end of the input."""
    kept: list[object] = []  # servers, transports and tasks that must not be collected
    services = {}

    async def offer(service: str, server: Any) -> None:
        try:
            kept.append(await server)
        except NotImplementedError:
            return
        services[service] = address

    for service, factory in (("protocol", Echo), ("buffered", BufferedEcho)):
        listener, address = listen()
        await offer(service, loop.create_server(factory, sock=listener, backlog=BACKLOG))
    listener, address = listen()
    await offer("streams", asyncio.start_server(stream_echo, sock=listener, backlog=BACKLOG))
    listener, services["sock"] = listen()
    listener.listen(BACKLOG)
    kept.append(loop.create_task(sock_server(loop, listener)))
    address = f"unix:{directory}/echo"
    await offer("unix", loop.create_unix_server(Echo, f"{directory}/echo", backlog=BACKLOG))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setblocking(False)
    udp.bind(("127.0.0.1", 0))
    address = f"udp:{udp.getsockname()[1]}"
    await offer("udp", loop.create_datagram_endpoint(DatagramEcho, sock=udp))
    say({**versions, "services": services})

    ended = loop.create_future()
    loop.add_reader(0, lambda: os.read(0, 1024) or ended.done() or ended.set_result(None))
    await ended


def listen() -> tuple[socket.socket, str]:
    """A bound socket on loopback, and how the load generator finds it.

    It says that it is TCP: asyncio sets TCP_NODELAY by that only.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    listener.bind(("127.0.0.1", 0))
    return listener, f"tcp:{listener.getsockname()[1]}"


def main() -> None:
    try:
        loop, versions = loops.new(sys.argv[1])
    except ImportError as error:
        say({"missing": f"{error}"})
        return
    with tempfile.TemporaryDirectory(prefix="echo-") as directory:
        loop.run_until_complete(serve(loop, versions, directory))
    os._exit(0)  # the measuring is over; how a loop cleans up is a test's business


if __name__ == "__main__":
    main()
