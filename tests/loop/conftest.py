"""Here each test runs on asyncio's own loop, which says what is right, and on uvworks.Loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uvworks
from tests.programs.conftest import authority, client_tls, server_tls

__all__ = ["authority", "client_tls", "server_tls"]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvworks": uvworks.new_event_loop,
}


@pytest.fixture(params=LOOPS.values(), ids=LOOPS.keys())
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return request.param


@pytest.fixture
def loop(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that does not run yet, and is closed at the end. What reaches its exception handler fails the test."""
    unhandled: list[dict[str, Any]] = []
    loop = loop_factory()
    loop.set_exception_handler(lambda loop, context: unhandled.append(context))
    yield loop
    if not loop.is_closed():
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    gc.collect()
    assert not unhandled, f"reached the loop's exception handler: {unhandled}"
