"""TCP echo: what a transport costs, beside a server that has no Python in it."""

from benchmarks.harness.scenario import MANY, SHORT, Cell, Ratio, Scenario
from benchmarks.peers import ECHO_C, ECHO_LOOPS, LOAD

OURS, UVLOOP, *OTHERS = ECHO_LOOPS

CELLS = [
    Cell(
        f"{style} {kib} KiB x {connections}",
        {"operation": "echo", "service": style, "in_flight": connections},
        size=kib * 1024,
        modes=("full", "quick") if connections == 10 else ("full",),
    )
    for style in ("protocol", "buffered")
    for kib in (1, 10, 100)
    for connections in (1, 10, 100)
]
NAMES = [cell.name for cell in CELLS]

SCENARIO = Scenario(
    about="TCP echo with Protocol and BufferedProtocol; size of a message x connections, one message each on its way",
    unit="thousand requests/s",
    cells=CELLS,
    peers=[OURS, ECHO_C, UVLOOP, *OTHERS],
    ratios=[
        Ratio(OURS, ECHO_C, dict.fromkeys(NAMES, 0.90), mean=0.95),
        Ratio(OURS, UVLOOP, dict.fromkeys(NAMES, 0.97), mean=1.05),
        *[Ratio(OURS, other) for other in OTHERS],
    ],
    load=LOAD,
    seconds=SHORT,
    rounds=MANY,
)
