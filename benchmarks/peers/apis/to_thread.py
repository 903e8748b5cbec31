"""`asyncio.to_thread` around plain blocking code, on a default executor of four."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from benchmarks.harness.scenario import POOL_SIZE


def versions() -> dict[str, str]:
    return {}


def start(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_default_executor(ThreadPoolExecutor(POOL_SIZE))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


async def read_file(path: str) -> bytes:
    return await asyncio.to_thread(_read, path)


async def write_file(path: str, data: bytes) -> None:
    await asyncio.to_thread(_write, path, data)
