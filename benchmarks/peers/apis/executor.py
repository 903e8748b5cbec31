"""`loop.run_in_executor` on a ThreadPoolExecutor of four: what asyncio itself offers for blocking work."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from benchmarks.harness.scenario import POOL_SIZE
from benchmarks.peers.apis import blocking

_T = TypeVar("_T")
_pool = ThreadPoolExecutor(POOL_SIZE)
_loop: asyncio.AbstractEventLoop


def versions() -> dict[str, str]:
    return {}


def start(loop: asyncio.AbstractEventLoop) -> None:
    global _loop
    _loop = loop


def read_file(path: str) -> Awaitable[bytes]:
    return _loop.run_in_executor(_pool, blocking.read, path)


def write_file(path: str, data: bytes) -> Awaitable[None]:
    return _loop.run_in_executor(_pool, blocking.write, path, data)


def stat(path: str) -> Awaitable[os.stat_result]:
    return _loop.run_in_executor(_pool, os.stat, path)


def submit(function: Callable[[], _T]) -> Awaitable[_T]:
    return _loop.run_in_executor(_pool, function)


def lanes(names: list[str]) -> dict[str, Callable[[Callable[[], None]], Awaitable[Any]]]:
    """One queue for all, so one backlog: filling it three times over would only be unkind."""
    return {"cpu": submit}
