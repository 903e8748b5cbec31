"""Compression of Python's own sources: gzip and brotli, both ways. Levels and inputs are the same for all."""

import os

from benchmarks.harness.scenario import Cell, Peer, Ratio, Scenario

OURS = Peer("uvworks on asyncio", "zlib_peer.py", ("uvworks", "asyncio"))
OURS_UVLOOP = Peer("uvworks on uvloop", "zlib_peer.py", ("uvworks", "uvloop"))
EXECUTOR = Peer("executor on asyncio", "zlib_peer.py", ("executor", "asyncio"))
EXECUTOR_UVLOOP = Peer("executor on uvloop", "zlib_peer.py", ("executor", "uvloop"))
NODE = Peer("node callbacks", "zlib_peer.mjs")

SIZES = {"1 KiB": 1 << 10, "64 KiB": 1 << 16, "1 MiB": 1 << 20}


def cells(operation: str, level: int, sizes: tuple[str, ...]) -> list[Cell]:
    """One for each size; the standard library is in the directory of `os`."""
    sources = os.path.dirname(os.__file__)
    request = {"operation": operation, "level": level, "in_flight": 16, "sources": sources}
    return [Cell(f"{operation} {size}", request, size=SIZES[size]) for size in sizes]


GZIP = {"gzip 1 KiB": 2.0, "gzip 64 KiB": 1.5, "gzip 1 MiB": 1.2}
GUNZIP = {f"gunzip {size}": 1.5 for size in SIZES}
BROTLI = {f"brotli_{what} {size}": 0.97 for what in ("compress", "decompress") for size in ("64 KiB", "1 MiB")}

SCENARIO = Scenario(
    about="gzip at level 6 and brotli at quality 5, 16 in flight; an output over 1.03 of zlib's is a failure",
    unit="thousand calls/s",
    cells=[
        *cells("gzip", 6, tuple(SIZES)),
        *cells("gunzip", 6, tuple(SIZES)),
        *cells("brotli_compress", 5, ("64 KiB", "1 MiB")),
        *cells("brotli_decompress", 5, ("64 KiB", "1 MiB")),
    ],
    peers=[OURS, OURS_UVLOOP, EXECUTOR, EXECUTOR_UVLOOP, NODE],
    ratios=[
        Ratio(OURS, NODE, {**GZIP, **GUNZIP, **BROTLI}),
        Ratio(OURS, EXECUTOR, {**GZIP, **GUNZIP, **BROTLI}),
        Ratio(OURS_UVLOOP, EXECUTOR_UVLOOP),
    ],
)
