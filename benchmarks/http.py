"""An ASGI hello under uvicorn with httptools: what of the loop is left to see under a real server."""

from benchmarks.harness.scenario import MANY, SHORT, Cell, Ratio, Scenario
from benchmarks.peers import LOAD, UVICORN_LOOPS

OURS, UVLOOP, *OTHERS = UVICORN_LOOPS

NAMES = [f"x {connections}" for connections in (1, 10, 64)]

SCENARIO = Scenario(
    about="uvicorn + httptools, keep-alive GET of a short text; connections, one request each on its way",
    unit="thousand requests/s",
    cells=[Cell(name, {"operation": "http", "service": "http", "in_flight": int(name[2:])}) for name in NAMES],
    peers=[OURS, UVLOOP, *OTHERS],
    ratios=[Ratio(OURS, UVLOOP, mean=1.0), *[Ratio(OURS, other) for other in OTHERS]],
    load=LOAD,
    seconds=SHORT,
    rounds=MANY,
)
