"""Zstandard beside the zstandard package in an executor. (Node has it from 22.15 on.)"""

from benchmarks.harness.scenario import Ratio, Scenario
from benchmarks.zlib import EXECUTOR, OURS, cells

SIZES = ("1 KiB", "64 KiB", "1 MiB")

SCENARIO = Scenario(
    about="zstd at level 3, both ways, 16 in flight",
    unit="thousand calls/s",
    cells=[*cells("zstd_compress", 3, SIZES), *cells("zstd_decompress", 3, SIZES)],
    peers=[OURS, EXECUTOR],
    ratios=[
        Ratio(OURS, EXECUTOR, {f"zstd_{way} {size}": 0.97 for way in ("compress", "decompress") for size in SIZES})
    ],
)
