"""The event loops that the suite runs on, defined once: for fixtures (tests/conftest.py) and for scripts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import uvloop

import uvworks

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

LOOPS: dict[str, LoopFactory] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
    "uvworks": uvworks.new_event_loop,
}
if chosen := os.environ.get("UVWORKS_TEST_LOOPS"):  # some of them, where time is short: "asyncio,uvworks"
    LOOPS = {name: LOOPS[name] for name in chosen.split(",")}
