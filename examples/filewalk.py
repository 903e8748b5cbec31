"""Walk Python's standard library, read every file through uvworks, and see what that gains. `make demo` runs this.

First every file is read, its status taken and its content hashed through uvworks on a plain asyncio loop, and each
byte is compared with what plain open() gives. Then the same tree is read again in four ways, all of which take the
status and read the whole content of each file:

  uvworks.fs          fs.stat and fs.read_file
  asyncio.to_thread   the plain calls, each in a thread
  aiofiles            aiofiles.os.stat and aiofiles.open
  plain sync          os.stat and open().read() right on the loop, which then does nothing else

Rules of the comparison: rounds are interleaved, a first round warms up and is not counted, medians are shown, and
"loop held up" is the longest time that the event loop was late for a timer while that way was reading.
"""

import argparse
import asyncio
import hashlib
import itertools
import os
import statistics
import sys
import sysconfig
import time
from collections.abc import Awaitable, Callable, Iterator

import aiofiles
import aiofiles.os

from uvworks import fs, pool

ReadOne = Callable[[str], Awaitable[tuple[os.stat_result, bytes]]]


async def walk(top: str, skip: tuple[str, ...] = ("site-packages", "__pycache__")) -> list[str]:
    """The regular files below top: not the installed packages, nor what Python rewrites as it goes."""
    found: list[str] = []
    folders = [top]
    while folders:
        listings = await asyncio.gather(*(fs.readdir(folder, with_file_types=True) for folder in folders))
        entries = list(itertools.chain.from_iterable(listings))
        found += [entry.path for entry in entries if entry.is_file()]
        folders = [entry.path for entry in entries if entry.is_dir() and entry.name not in skip]
    return sorted(found)


async def for_each(paths: list[str], in_flight: int, work: Callable[[str], Awaitable[None]]) -> None:
    """Await work(path) for all paths, in_flight at a time."""

    async def take(shared: Iterator[str]) -> None:
        for path in shared:
            await work(path)

    shared = iter(paths)
    await asyncio.gather(*(take(shared) for _ in range(in_flight)))


class Progress:
    """A live bar on a terminal, one line for each tenth elsewhere."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.shown = total, 0, 0

    def step(self) -> None:
        self.done += 1
        share = 100 * self.done // self.total
        if sys.stdout.isatty() and share != self.shown:
            bar = "#" * (share * 40 // 100)
            print(f"\r  [{bar:40}] {share:3}%  {self.done} of {self.total} files", end="", flush=True)
            if self.done == self.total:
                print()
        elif share // 10 != self.shown // 10:
            print(f"  {self.done} of {self.total} files", flush=True)
        self.shown = share


def read_plain(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def identity(status: os.stat_result) -> tuple[int, ...]:
    """What must be the same in two answers about one file; the access time moves as we read."""
    return status.st_dev, status.st_ino, status.st_mode, status.st_nlink, status.st_size, status.st_mtime_ns


async def verify(paths: list[str], in_flight: int) -> tuple[int, str]:
    """Read, stat and hash every file through uvworks, compare with plain open(); the bytes seen and a digest of all."""
    progress = Progress(len(paths))
    digests: dict[str, str] = {}
    wrong: list[str] = []
    seen = 0

    async def check(path: str) -> None:
        nonlocal seen
        status, content = await asyncio.gather(fs.stat(path), fs.read_file(path))
        digests[path] = await pool.submit(lambda: hashlib.sha256(content).hexdigest())
        if content != read_plain(path) or identity(status) != identity(os.stat(path)):
            wrong.append(path)
        seen += len(content)
        progress.step()

    await for_each(paths, in_flight, check)
    if wrong:
        raise SystemExit(f"uvworks and the plain calls disagree about {', '.join(wrong)}")
    return seen, hashlib.sha256("".join(digests[path] for path in paths).encode()).hexdigest()


async def by_uvworks(path: str) -> tuple[os.stat_result, bytes]:
    return await fs.stat(path), await fs.read_file(path)


async def by_to_thread(path: str) -> tuple[os.stat_result, bytes]:
    return await asyncio.to_thread(os.stat, path), await asyncio.to_thread(read_plain, path)


async def by_aiofiles(path: str) -> tuple[os.stat_result, bytes]:
    status = await aiofiles.os.stat(path)
    async with aiofiles.open(path, "rb") as file:
        return status, await file.read()


async def by_sync(path: str) -> tuple[os.stat_result, bytes]:
    return os.stat(path), read_plain(path)


WAYS: dict[str, ReadOne] = {
    "uvworks.fs": by_uvworks,
    "asyncio.to_thread": by_to_thread,
    "aiofiles": by_aiofiles,
    "plain sync": by_sync,
}


async def measure(read_one: ReadOne, paths: list[str], in_flight: int, expected: int) -> tuple[float, float]:
    """(seconds, longest delay of a 1 ms timer in seconds) of reading all paths."""
    held_up = 0.0

    async def tick() -> None:
        nonlocal held_up
        while True:
            before = time.perf_counter()
            try:
                await asyncio.sleep(0.001)
            finally:  # also when cancelled: the last delay counts too
                held_up = max(held_up, time.perf_counter() - before - 0.001)

    seen = 0

    async def count(path: str) -> None:
        nonlocal seen
        status, content = await read_one(path)
        seen += min(status.st_size, len(content))

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    start = time.perf_counter()
    await for_each(paths, in_flight, count)
    seconds = time.perf_counter() - start
    ticker.cancel()
    await asyncio.wait([ticker])
    if seen != expected:
        raise SystemExit(f"a comparison read {seen} bytes and not {expected}")
    return seconds, held_up


async def compare(paths: list[str], in_flight: int, rounds: int, expected: int) -> None:
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for round_number in range(rounds + 1):
        for name, read_one in WAYS.items():
            result = await measure(read_one, paths, in_flight, expected)
            if round_number > 0:
                results[name].append(result)
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in results.items()
    }
    ours = medians["uvworks.fs"][0]
    print(f"  {'':18} {'files/s':>9} {'MiB/s':>7} {'our gain':>12} {'loop held up':>14}")
    for name, (seconds, held_up) in medians.items():
        ratio = "" if name == "uvworks.fs" else f"{seconds / ours:.2f} x"
        rate = expected / 2**20 / seconds
        print(f"  {name:18} {len(paths) / seconds:9.0f} {rate:7.0f} {ratio:>12} {held_up * 1000:11.1f} ms")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("top", nargs="?", default=sysconfig.get_path("stdlib"), help="the tree to read")
    parser.add_argument("--files", type=int, help="stop after this many files")
    parser.add_argument("--in-flight", type=int, default=64, help="files at a time (default 64)")
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds of the comparison (default 9)")
    arguments = parser.parse_args()

    paths = (await walk(arguments.top))[: arguments.files]
    print(f"Reading {len(paths)} files below {arguments.top} through uvworks, each checked against open():")
    expected, digest = await verify(paths, arguments.in_flight)
    print(f"  {expected / 2**20:.1f} MiB, every byte equal; sha256 over all digests {digest[:16]}")
    print(
        f"Reading them again, {arguments.in_flight} at a time, median of {arguments.rounds} interleaved rounds, "
        f"files in the page cache:"
    )
    await compare(paths, arguments.in_flight, arguments.rounds, expected)


if __name__ == "__main__":
    asyncio.run(main())
