"""TCP echo with `asyncio.start_server`, readers and writers: the style that most programs use."""

from benchmarks.harness.scenario import MANY, SHORT, Cell, Ratio, Scenario
from benchmarks.peers import ECHO_LOOPS, LOAD

OURS, UVLOOP, *OTHERS = ECHO_LOOPS

CELLS = [
    Cell(
        f"{kib} KiB x {connections}",
        {"operation": "echo", "service": "streams", "in_flight": connections},
        size=kib * 1024,
        modes=("full", "quick") if connections == 10 else ("full",),
    )
    for kib in (1, 10, 100)
    for connections in (1, 10, 100)
]

SCENARIO = Scenario(
    about="TCP echo with streams: read(65536), write, drain; size of a message x connections",
    unit="thousand requests/s",
    cells=CELLS,
    peers=[OURS, UVLOOP, *OTHERS],
    ratios=[Ratio(OURS, UVLOOP, mean=1.05), *[Ratio(OURS, other) for other in OTHERS]],
    load=LOAD,
    seconds=SHORT,
    rounds=MANY,
)
