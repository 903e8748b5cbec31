"""Connections that do nothing: what each costs in memory, and whether ten thousand hold and still answer."""

from benchmarks.harness.scenario import Cell, Limit, Scenario
from benchmarks.peers import IDLE

OURS, UVLOOP, *OTHERS = IDLE


def _cell(service: str, connections: int, *modes: str) -> Cell:
    request = {"operation": "idle", "service": service, "in_flight": connections}
    return Cell(f"{service} x {connections:,}", request, size=1024, modes=modes)


SCENARIO = Scenario(
    about="connections that have echoed 1 KiB once and stay open, then all echo once more; memory is the server's RSS",
    unit="KiB",
    cells=[
        _cell("protocol", 1000, "quick"),
        _cell("protocol", 10_000, "full"),
    ],
    peers=[OURS, UVLOOP, *OTHERS],
    metrics=["KiB/connection", "RSS MiB", "connected k/s", "answered k/s"],
    limits=[Limit(OURS, "KiB/connection", 1.0, times=UVLOOP)],
    rounds={"full": 3, "quick": 1},
    needs_quiet=False,
)
