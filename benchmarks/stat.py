"""One short system call: what is left is the cost of the way to the pool and back."""

from benchmarks.harness.scenario import Cell, Ratio, Scenario
from benchmarks.peers import (
    EXECUTOR_ASYNCIO,
    EXECUTOR_UVLOOP,
    LIBUV,
    NODE_CALLBACKS,
    NODE_PROMISES,
    UVWORKS_ASYNCIO,
    UVWORKS_UVLOOP,
    UVWORKS_UVWORKS,
)

SCENARIO = Scenario(
    about="stat of 64 files, over and over; stats in flight",
    unit="thousand stats/s",
    cells=[Cell(f"x {n}", {"operation": "stat", "in_flight": n}, files=64, size=1024) for n in (1, 16, 128)],
    peers=[
        UVWORKS_UVWORKS,
        UVWORKS_ASYNCIO,
        UVWORKS_UVLOOP,
        EXECUTOR_ASYNCIO,
        EXECUTOR_UVLOOP,
        NODE_PROMISES,
        NODE_CALLBACKS,
        LIBUV,
    ],
    ratios=[
        Ratio(UVWORKS_ASYNCIO, EXECUTOR_ASYNCIO, {"x 128": 4}),
        Ratio(UVWORKS_UVLOOP, EXECUTOR_UVLOOP, {"x 128": 4}),
        Ratio(UVWORKS_ASYNCIO, NODE_PROMISES, {"x 128": 2}),
        Ratio(UVWORKS_UVLOOP, NODE_PROMISES, {"x 128": 2}),
        Ratio(UVWORKS_ASYNCIO, NODE_CALLBACKS),
        Ratio(UVWORKS_UVLOOP, NODE_CALLBACKS),
        Ratio(UVWORKS_ASYNCIO, LIBUV),
        Ratio(UVWORKS_UVLOOP, LIBUV),
        Ratio(UVWORKS_UVWORKS, UVWORKS_UVLOOP),
    ],
)
