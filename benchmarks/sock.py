"""TCP echo with `loop.sock_recv` and `loop.sock_sendall` on plain sockets."""

from benchmarks.harness.scenario import MANY, SHORT, Cell, Ratio, Scenario
from benchmarks.peers import ECHO_LOOPS, LOAD

OURS, UVLOOP, RLOOP, ASYNCIO = ECHO_LOOPS

CELLS = [
    Cell(
        f"{kib} KiB x {connections}",
        {"operation": "echo", "service": "sock", "in_flight": connections},
        size=kib * 1024,
        modes=("full", "quick") if connections == 10 else ("full",),
    )
    for kib in (1, 10, 100)
    for connections in (1, 10, 100)
]

SCENARIO = Scenario(
    about="TCP echo with sock_recv(65536) and sock_sendall; size of a message x connections",
    unit="thousand requests/s",
    cells=CELLS,
    peers=[OURS, UVLOOP, RLOOP, ASYNCIO],
    ratios=[Ratio(OURS, RLOOP, mean=1.0), Ratio(OURS, UVLOOP, mean=1.5), Ratio(OURS, ASYNCIO)],
    load=LOAD,
    seconds=SHORT,
    rounds=MANY,
)
