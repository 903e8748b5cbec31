"""The same work while another Python thread wants the GIL all the time: what that does to the gain."""

from benchmarks.harness.scenario import Cell, Ratio, Scenario
from benchmarks.peers import EXECUTOR_ASYNCIO, EXECUTOR_UVLOOP, UVWORKS_ASYNCIO, UVWORKS_UVLOOP

OPERATIONS = ("read_file", "stat", "noop")
IN_FLIGHT = (16, 128)

CELLS = [
    Cell(
        f"{operation} x {in_flight}{state}",
        {"operation": operation, "in_flight": in_flight, "busy": bool(state)},
        files=0 if operation == "noop" else 64,
        size=0 if operation == "noop" else 1024,
        modes=("full", "quick") if in_flight == 16 else ("full",),
    )
    for operation in OPERATIONS
    for in_flight in IN_FLIGHT
    for state in ("", " busy")
]

KEEPS = {f"{operation} x {n} busy": f"{operation} x {n}" for operation in OPERATIONS for n in IN_FLIGHT}

SCENARIO = Scenario(
    about="read_file of 1 KiB, stat and a Python no-op, with and without a thread that spins in Python; in flight",
    unit="thousand operations/s",
    cells=CELLS,
    peers=[UVWORKS_ASYNCIO, UVWORKS_UVLOOP, EXECUTOR_ASYNCIO, EXECUTOR_UVLOOP],
    seconds={"full": 1.0, "quick": 0.1},  # a GIL that goes to and fro every 5 ms makes short rounds a lottery
    ratios=[
        Ratio(UVWORKS_ASYNCIO, EXECUTOR_ASYNCIO, keeps=KEEPS),
        Ratio(UVWORKS_UVLOOP, EXECUTOR_UVLOOP, keeps=KEEPS),
    ],
)
