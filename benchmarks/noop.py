"""A Python callable that does nothing, run on a worker. Node has no equal: no JavaScript runs on its pool."""

from benchmarks.harness.scenario import Cell, Ratio, Scenario
from benchmarks.peers import (
    EXECUTOR_ASYNCIO,
    EXECUTOR_UVLOOP,
    LIBUV,
    UVWORKS_ASYNCIO,
    UVWORKS_CALLBACKS,
    UVWORKS_UVLOOP,
    UVWORKS_UVWORKS,
)

TARGETS = {"x 1": 2, "x 16": 5, "x 128": 5}

SCENARIO = Scenario(
    about="a Python function that returns 1, run on the pool (plain C libuv: a C function); calls in flight",
    unit="thousand calls/s",
    cells=[Cell(f"x {n}", {"operation": "noop", "in_flight": n}) for n in (1, 16, 128)],
    peers=[
        UVWORKS_UVWORKS,
        UVWORKS_ASYNCIO,
        UVWORKS_UVLOOP,
        UVWORKS_CALLBACKS,
        EXECUTOR_ASYNCIO,
        EXECUTOR_UVLOOP,
        LIBUV,
    ],
    ratios=[
        Ratio(UVWORKS_ASYNCIO, EXECUTOR_ASYNCIO, TARGETS),
        Ratio(UVWORKS_UVLOOP, EXECUTOR_UVLOOP, TARGETS),
        Ratio(UVWORKS_UVWORKS, UVWORKS_UVLOOP),
        Ratio(UVWORKS_CALLBACKS, EXECUTOR_ASYNCIO),
        Ratio(UVWORKS_CALLBACKS, EXECUTOR_UVLOOP),
        Ratio(UVWORKS_CALLBACKS, LIBUV),
    ],
)
