"""lookup('localhost') and a numeric address. Equal lookups in flight share a job here, and nowhere else; so there is
a cell in which each asks for another port."""

from benchmarks.harness.scenario import Cell, Peer, Ratio, Scenario

OURS = Peer("uvworks on asyncio", "dns_peer.py", ("uvworks", "asyncio"))
OURS_UVLOOP = Peer("uvworks on uvloop", "dns_peer.py", ("uvworks", "uvloop"))
OURS_OWN = Peer("uvworks on uvworks", "dns_peer.py", ("uvworks", "uvworks"))
ASYNCIO = Peer("asyncio's own", "dns_peer.py", ("loop", "asyncio"))
UVLOOP = Peer("uvloop's own", "dns_peer.py", ("loop", "uvloop"))
NODE = Peer("node callbacks", "dns_peer.mjs")

TARGETS = {
    "localhost x 1": 1.0,
    "localhost x 16": 1.0,
    "localhost x 128": 1.0,
    "other ports x 16": 1.0,
}
CELLS = {**{name: int(name.split()[-1]) for name in TARGETS}, "numeric x 16": 16}

SCENARIO = Scenario(
    about="getaddrinfo of localhost and of 127.0.0.1, one kind of socket (Node: dns.lookup); lookups in flight",
    unit="thousand lookups/s",
    cells=[
        Cell(name, {"operation": name.rpartition(" x ")[0], "in_flight": in_flight})
        for name, in_flight in CELLS.items()
    ],
    peers=[OURS, OURS_UVLOOP, OURS_OWN, ASYNCIO, UVLOOP, NODE],
    ratios=[
        Ratio(OURS, NODE, TARGETS),
        Ratio(OURS, UVLOOP, TARGETS),
        Ratio(OURS_UVLOOP, UVLOOP, TARGETS),
        Ratio(OURS_OWN, NODE),
        Ratio(OURS_OWN, UVLOOP),
        Ratio(OURS, ASYNCIO),
    ],
)
