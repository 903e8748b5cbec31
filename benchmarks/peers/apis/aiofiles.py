"""aiofiles as its README uses it, on an executor of four."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import aiofiles

from benchmarks.harness.scenario import POOL_SIZE

_pool = ThreadPoolExecutor(POOL_SIZE)


def versions() -> dict[str, str]:
    return {"aiofiles": version("aiofiles")}


def start(loop: asyncio.AbstractEventLoop) -> None:
    """The executor goes with each call."""


async def read_file(path: str) -> bytes:
    async with aiofiles.open(path, "rb", executor=_pool) as file:
        return await file.read()


async def write_file(path: str, data: bytes) -> None:
    async with aiofiles.open(path, "wb", executor=_pool) as file:
        await file.write(data)
