"""Echo over a UNIX socket with Protocol."""

from benchmarks.harness.scenario import MANY, SHORT, Cell, Ratio, Scenario
from benchmarks.peers import ECHO_C, ECHO_LOOPS, LOAD

OURS, UVLOOP, *OTHERS = ECHO_LOOPS

CELLS = [
    Cell(
        f"{kib} KiB x {connections}",
        {"operation": "echo", "service": "unix", "in_flight": connections},
        size=kib * 1024,
        modes=("full", "quick") if connections == 10 else ("full",),
    )
    for kib in (1, 10, 100)
    for connections in (1, 10)
]

SCENARIO = Scenario(
    about="UNIX echo with Protocol; size of a message x connections",
    unit="thousand requests/s",
    cells=CELLS,
    peers=[OURS, ECHO_C, UVLOOP, *OTHERS],
    ratios=[
        Ratio(OURS, UVLOOP, mean=1.05),
        Ratio(OURS, ECHO_C),
        *[Ratio(OURS, other) for other in OTHERS],
    ],
    load=LOAD,
    seconds=SHORT,
    rounds=MANY,
)
