"""Whole files into memory: the most common thing a program does with files."""

from benchmarks.harness.scenario import Cell, Ratio, Scenario
from benchmarks.peers import (
    AIOFILES_ASYNCIO,
    AIOFILES_UVLOOP,
    EXECUTOR_ASYNCIO,
    EXECUTOR_UVLOOP,
    NODE_CALLBACKS,
    NODE_PROMISES,
    TO_THREAD_ASYNCIO,
    UVWORKS_ASYNCIO,
    UVWORKS_UVLOOP,
    UVWORKS_UVWORKS,
)

SIZES = {"1 KiB": 1024, "64 KiB": 64 * 1024, "1 MiB": 1024 * 1024}

CELLS = [
    Cell(
        f"{name} x {in_flight}",
        {"operation": "read_file", "in_flight": in_flight},
        files=64,
        size=size,
        modes=("full", "quick") if in_flight == 16 or name == "1 KiB" else ("full",),
    )
    for name, size in SIZES.items()
    for in_flight in (1, 16, 128)
]


def _targets(one: float, small: float, middle: float, large: float) -> dict[str, float]:
    """`one` is for one file at a time, of any size; the others for 16 and 128 in flight."""
    many = {"1 KiB": small, "64 KiB": middle, "1 MiB": large}
    return {f"{size} x {n}": one if n == 1 else target for size, target in many.items() for n in (1, 16, 128)}


AGAINST_AIOFILES = _targets(2, 15, 8, 1.5)
AGAINST_NODE = _targets(2, 5, 1.5, 1)

SCENARIO = Scenario(
    about="64 files read whole, over and over, warm in the page cache; size x files in flight",
    unit="thousand files/s",
    cells=CELLS,
    peers=[
        UVWORKS_UVWORKS,
        UVWORKS_ASYNCIO,
        UVWORKS_UVLOOP,
        AIOFILES_ASYNCIO,
        AIOFILES_UVLOOP,
        TO_THREAD_ASYNCIO,
        EXECUTOR_ASYNCIO,
        EXECUTOR_UVLOOP,
        NODE_PROMISES,
        NODE_CALLBACKS,
    ],
    ratios=[
        Ratio(UVWORKS_ASYNCIO, AIOFILES_ASYNCIO, AGAINST_AIOFILES),
        Ratio(UVWORKS_UVLOOP, AIOFILES_UVLOOP, AGAINST_AIOFILES),
        Ratio(UVWORKS_ASYNCIO, NODE_PROMISES, AGAINST_NODE),
        Ratio(UVWORKS_UVLOOP, NODE_PROMISES, AGAINST_NODE),
        Ratio(UVWORKS_ASYNCIO, NODE_CALLBACKS),
        Ratio(UVWORKS_UVLOOP, NODE_CALLBACKS),
        Ratio(UVWORKS_ASYNCIO, TO_THREAD_ASYNCIO),
        Ratio(UVWORKS_ASYNCIO, EXECUTOR_ASYNCIO),
        Ratio(UVWORKS_UVLOOP, EXECUTOR_UVLOOP),
        Ratio(UVWORKS_UVWORKS, UVWORKS_UVLOOP),
    ],
)
