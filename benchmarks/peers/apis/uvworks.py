"""uvworks on its own loop, or as a guest on somebody else's.

The functions are the library's own: nothing stands between the driver and them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import uvworks
from uvworks import fs, pool, uv

read_file = fs.read_file
write_file = fs.write_file
stat = fs.stat
submit = pool.submit


def versions() -> dict[str, str]:
    return {"uvworks": uvworks.__version__, "libuv": uv.version()}


def start(loop: asyncio.AbstractEventLoop) -> None:
    """The size of the pool comes from UV_THREADPOOL_SIZE, as for every libuv program."""


def lanes(names: list[str]) -> dict[str, Callable[[Callable[[], None]], Awaitable[None]]]:
    pool.configure(lanes={"thumbs": {"limit": 2}})  # the user's own
    return {name: partial(pool.submit, lane=name) for name in names}
