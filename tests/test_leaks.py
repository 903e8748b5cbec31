"""After very many calls memory, descriptors and threads are where they were.

The short form runs with the suite; UVWORKS_LEAKS=full makes it the million of stats and hundred thousand of reads that
the project promises.
"""

import asyncio
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from uvworks import fs, pool

FULL = os.environ.get("UVWORKS_LEAKS") == "full"
MIB = 1 << 20


def resident() -> int:
    """Bytes of memory this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counts() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


async def cancelled(call: Any) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def refused(call: Any) -> None:
    try:
        await call
    except (OSError, ValueError):
        pass


def raise_it() -> None:
    raise ValueError


# name: (the call, how many in the short form, how many in the full one)
CALLS: dict[str, tuple[Callable[[Path], Any], int, int]] = {
    "stat": (lambda path: fs.stat(path / "small"), 30_000, 1_000_000),
    "stat failed": (lambda path: refused(fs.stat(path / "no")), 10_000, 200_000),
    "stat cancelled": (lambda path: cancelled(fs.stat(path / "small")), 5_000, 200_000),
    "read": (lambda path: fs.read_file(path / "small"), 10_000, 100_000),
    "read of 64 KiB": (lambda path: fs.read_file(path / "64k"), 3_000, 100_000),
    "read of 1 MiB": (lambda path: fs.read_file(path / "1m"), 300, 10_000),
    "read cancelled": (lambda path: cancelled(fs.read_file(path / "1m")), 1_000, 50_000),
    "read of a FIFO cancelled": (lambda path: cancelled(fs.read_file(path / "fifo")), 1_000, 50_000),
    "read as text": (lambda path: fs.read_file(path / "small", encoding="utf-8"), 5_000, 100_000),
    "readdir": (lambda path: fs.readdir(path, with_file_types=True), 3_000, 100_000),
    "realpath": (lambda path: fs.realpath(path / "small"), 3_000, 100_000),
    "write": (lambda path: fs.write_file(path / "new", b"x" * 1000), 2_000, 50_000),
    "atomic write": (lambda path: fs.write_file(path / "new", "x" * 1000, atomic=True), 1_000, 50_000),
    "copy": (lambda path: fs.copy_file(path / "small", path / "copy"), 1_000, 50_000),
    "submit": (lambda path: pool.submit(bytes, 1000), 10_000, 500_000),
    "submit failed": (lambda path: refused(pool.submit(raise_it)), 5_000, 200_000),
    "submit cancelled": (lambda path: cancelled(pool.submit(int)), 5_000, 200_000),
}


@pytest.mark.timeout(3600 if FULL else 60)
@pytest.mark.parametrize("name", CALLS)
def test_many_calls_leave_nothing(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "small").write_bytes(b"x" * 1024)
    (tmp_path / "64k").write_bytes(b"x" * 65536)
    (tmp_path / "1m").write_bytes(b"x" * MIB)
    os.mkfifo(tmp_path / "fifo")
    call, short, full = CALLS[name]
    total = full if FULL else short

    async def many(count: int) -> None:
        async def one() -> None:
            for _ in range(count // 32):
                await call(tmp_path)

        await asyncio.gather(*(one() for _ in range(32)))

    run(many(total // 3))  # every cache and free list has what it wants after this
    gc.collect()
    before, files = resident(), counts()
    run(many(total))
    gc.collect()
    assert counts() == files
    # What is left of a leak of 100 bytes a call in the full form, and room for an allocator's mood.
    assert resident() - before < (20 if FULL else 6) * MIB


def test_loops_leave_nothing(loop_factory: Any) -> None:
    def once() -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(fs.stat("/"))
            runner.run(pool.submit(int))

    for _ in range(50):
        once()
    gc.collect()
    before, files = resident(), counts()
    for _ in range(1000 if FULL else 150):
        once()
    gc.collect()
    assert counts() == files
    assert resident() - before < 4 * MIB
