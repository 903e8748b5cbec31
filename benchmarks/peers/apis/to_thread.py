"""`asyncio.to_thread` around plain blocking code, on a default executor of four."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from benchmarks.harness.scenario import POOL_SIZE
from benchmarks.peers.apis import blocking


def versions() -> dict[str, str]:
    return {}


def start(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_default_executor(ThreadPoolExecutor(POOL_SIZE))


async def read_file(path: str) -> bytes:
    return await asyncio.to_thread(blocking.read, path)


async def write_file(path: str, data: bytes) -> None:
    await asyncio.to_thread(blocking.write, path, data)
