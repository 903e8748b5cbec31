"""UDP echo with DatagramProtocol."""

from benchmarks.harness.scenario import MANY, SHORT, Cell, Ratio, Scenario
from benchmarks.peers import ECHO_C, ECHO_LOOPS, LOAD

OURS, UVLOOP, *OTHERS = ECHO_LOOPS

# The server's one socket must have room for what all clients send at once, or the kernel drops some.
CELLS = [
    Cell(f"{name} x {clients}", {"operation": "echo", "service": "udp", "in_flight": clients}, size=size)
    for name, size, clients in (
        ("100 B", 100, 1),
        ("100 B", 100, 10),
        ("1 KiB", 1024, 1),
        ("1 KiB", 1024, 10),
        ("8 KiB", 8192, 1),
    )
]

SCENARIO = Scenario(
    about="UDP echo with DatagramProtocol; size of a datagram x clients, one datagram each on its way",
    unit="thousand datagrams/s",
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
