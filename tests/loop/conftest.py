"""Here each test runs on asyncio's own loop, which says what is right, and on uvworks.Loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import loop_factory_fixture
from tests.loops import LoopFactory
from tests.programs.conftest import authority, client_tls, server_tls

__all__ = ["authority", "client_tls", "server_tls"]

# uvloop is left out: here asyncio's own loop says what is right.
loop_factory = loop_factory_fixture("asyncio", "uvworks")


@pytest.fixture
def loop(loop_factory: LoopFactory) -> Iterator[asyncio.AbstractEventLoop]:
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
