"""Whole small files written, on a file system that costs nothing, so that the way there is what is measured."""

from benchmarks.harness.scenario import Cell, Ratio, Scenario
from benchmarks.peers import (
    AIOFILES_ASYNCIO,
    AIOFILES_UVLOOP,
    EXECUTOR_ASYNCIO,
    EXECUTOR_UVLOOP,
    NODE_CALLBACKS,
    NODE_PROMISES,
    UVWORKS_ASYNCIO,
    UVWORKS_UVLOOP,
)

SCENARIO = Scenario(
    about="256 files of 1 KiB on tmpfs overwritten, over and over; files in flight",
    unit="thousand files/s",
    cells=[
        Cell(f"1 KiB x {n}", {"operation": "write_file", "in_flight": n}, files=256, size=1024) for n in (1, 16, 128)
    ],
    peers=[
        UVWORKS_ASYNCIO,
        UVWORKS_UVLOOP,
        AIOFILES_ASYNCIO,
        AIOFILES_UVLOOP,
        EXECUTOR_ASYNCIO,
        EXECUTOR_UVLOOP,
        NODE_PROMISES,
        NODE_CALLBACKS,
    ],
    ratios=[
        Ratio(UVWORKS_ASYNCIO, AIOFILES_ASYNCIO),
        Ratio(UVWORKS_UVLOOP, AIOFILES_UVLOOP),
        Ratio(UVWORKS_ASYNCIO, NODE_PROMISES),
        Ratio(UVWORKS_UVLOOP, NODE_PROMISES),
        Ratio(UVWORKS_ASYNCIO, NODE_CALLBACKS),
        Ratio(UVWORKS_UVLOOP, NODE_CALLBACKS),
        Ratio(UVWORKS_ASYNCIO, EXECUTOR_ASYNCIO),
        Ratio(UVWORKS_UVLOOP, EXECUTOR_UVLOOP),
    ],
    on_tmpfs=True,
)
