"""Drives fileserver.py with real requests, on uvworks and on asyncio with aiofiles. `make demo` runs this.

First every file is fetched once from the server on uvworks and compared with what plain open() gives. Then both
servers, each a process of its own, are asked for the same files over kept-alive connections.

Rules of the comparison: the same application, the same HTTP parser (httptools), the same client; rounds are
interleaved, a first round warms up and is not counted, medians are shown. CPU is the server's, per request.
"""

import argparse
import asyncio
import itertools
import os
import socket
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from filewalk import walk

import uvworks

Answered = Callable[[str, bytes, bytes], None]  # path, status, body

SERVER = Path(__file__).with_name("fileserver.py")
NAMES = {"uvworks": "uvworks.fs on uvworks.Loop", "aiofiles": "aiofiles on asyncio"}


@contextmanager
def server(way: str, top: str) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server, ended at the end."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        command = [sys.executable, str(SERVER), top, "--with", way, "--fd", str(listening.fileno())]
        process = subprocess.Popen(command, pass_fds=[listening.fileno()])
        try:
            yield listening.getsockname()[1], process.pid
        finally:
            process.terminate()
            process.wait(10)


class Client(asyncio.Protocol):
    """One kept-alive connection: asks for one path after the other, hands over each status and body."""

    def __init__(self, paths: Iterator[str], answered: Answered) -> None:
        self.paths, self.answered = paths, answered
        self.received = bytearray()
        self.body = -1  # where it begins; -1: the head is not complete
        self.end = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        try:
            self.path = next(self.paths)
        except StopIteration:
            self.transport.close()
            return
        self.transport.write(b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n" % quote(self.path).encode())

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.body < 0:
            head = self.received.find(b"\r\n\r\n")
            if head < 0:
                return
            self.body = head + 4
            length = self.received.index(b"content-length: ") + 16
            self.end = self.body + int(self.received[length : self.received.index(b"\r", length)])
        if len(self.received) >= self.end:
            status, body = bytes(self.received[9:12]), bytes(self.received[self.body : self.end])
            del self.received[: self.end]
            self.body = -1
            self.answered(self.path, status, body)
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(exc)


async def fetch(
    port: int, paths: Iterator[str], connections: int, answered: Callable[[str, bytes, bytes], None]
) -> None:
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(paths, answered), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    for error in await asyncio.gather(*(client.done for client in clients)):
        if error is not None:
            raise error


async def verify(port: int, top: str, paths: list[str]) -> int:
    """Fetch every file once; the bytes that came. Ends the program if one differs."""
    seen = 0

    def check(path: str, status: bytes, body: bytes) -> None:
        nonlocal seen
        with open(top + path, "rb") as file:
            if status != b"200" or body != file.read():
                raise SystemExit(f"{path}: status {status.decode()}, and not what the file holds")
        seen += len(body)

    await fetch(port, iter(paths), 16, check)
    return seen


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(port: int, pid: int, paths: list[str], connections: int, seconds: float) -> tuple[float, float]:
    """(requests per second, server's CPU seconds per request)."""
    count = 0

    def answered(path: str, status: bytes, body: bytes) -> None:
        nonlocal count
        count += 1

    def until_the_end() -> Iterator[str]:
        for path in itertools.cycle(paths):
            if time.perf_counter() > end:
                return
            yield path

    cpu, begin = cpu_seconds(pid), time.perf_counter()
    end = begin + seconds
    await fetch(port, until_the_end(), connections, answered)
    elapsed = time.perf_counter() - begin
    return count / elapsed, (cpu_seconds(pid) - cpu) / count


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("top", nargs="?", default=sysconfig.get_path("stdlib"), help="the directory to serve")
    parser.add_argument("--files", type=int, default=500, help="ask for so many files (default 500)")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round (default 1)")
    arguments = parser.parse_args()
    top = os.path.realpath(arguments.top)
    paths = [path.removeprefix(top) for path in (await walk(top))[: arguments.files]]

    with server("uvworks", top) as ours, server("aiofiles", top) as theirs:
        print(f"Fetching {len(paths)} files below {top} over HTTP from the server on uvworks, each checked:")
        seen = await verify(ours[0], top, paths)
        print(f"  {seen / 2**20:.1f} MiB, every byte equal")
        print(
            f"The same server on uvworks and on asyncio with aiofiles, {arguments.connections} connections, "
            f"median of {arguments.rounds} interleaved rounds:"
        )
        results: dict[str, list[tuple[float, float]]] = {way: [] for way in NAMES}
        for number in range(arguments.rounds + 1):
            for way, (port, pid) in zip(NAMES, (ours, theirs), strict=True):
                result = await measure(port, pid, paths, arguments.connections, arguments.seconds)
                if number > 0:
                    results[way].append(result)
    medians = {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in results.items()}
    print(f"  {'':28} {'requests/s':>11} {'CPU ms/request':>15} {'our gain':>10}")
    for way, (rate, cpu) in medians.items():
        gain = "" if way == "uvworks" else f"{medians['uvworks'][0] / rate:.2f} x"
        print(f"  {NAMES[way]:28} {rate:11.0f} {cpu * 1000:15.3f} {gain:>10}")


if __name__ == "__main__":
    uvworks.run(main())
