"""A million operations later: does anything stay behind?"""

from benchmarks.harness.scenario import Cell, Limit, Scenario
from benchmarks.peers import EXECUTOR_ASYNCIO, UVWORKS_ASYNCIO, UVWORKS_UVLOOP

# Two bytes an operation: far below the smallest leak there can be (one object of 16 bytes each), and above the noise
# of the allocator.
RSS_NOISE_KIB = 2048


def _cell(stats: int, read_files: int, mode: str) -> Cell:
    request = {"operation": "soak", "in_flight": 128, "stats": stats, "read_files": read_files}
    return Cell(f"{stats:,} stats, {read_files:,} read_files", request, files=64, size=1024, modes=(mode,))


SCENARIO = Scenario(
    about="memory, descriptors and threads before and after (both warm), 128 in flight; `+` is the growth",
    unit="KiB, descriptors, threads, seconds",
    cells=[_cell(1_000_000, 100_000, "full"), _cell(100_000, 10_000, "quick")],
    peers=[UVWORKS_ASYNCIO, UVWORKS_UVLOOP, EXECUTOR_ASYNCIO],
    metrics=["RSS KiB", "RSS KiB +", "fds", "fds +", "threads", "threads +", "seconds"],
    limits=[
        Limit(peer, metric, at_most)
        for peer in (UVWORKS_ASYNCIO, UVWORKS_UVLOOP)
        for metric, at_most in (("RSS KiB +", RSS_NOISE_KIB), ("fds +", 0), ("threads +", 0))
    ],
    rounds={"full": 1, "quick": 1},
    needs_quiet=False,
    timeout=900.0,
)
