"""One short job behind many long ones: does the pool still answer?"""

from benchmarks.harness.scenario import Cell, Limit, Scenario
from benchmarks.peers import EXECUTOR_ASYNCIO, NODE_CALLBACKS, NODE_PROMISES, UVWORKS_ASYNCIO, UVWORKS_UVLOOP

SCENARIO = Scenario(
    about=(
        "one stat every ~2 ms while 64 pbkdf2 of ~20 ms wait; in the second cell uvworks has 64 sleeps of 20 ms in the "
        "dns lane and 64 in a user's lane on top, which the others are spared"
    ),
    unit="milliseconds that one stat takes",
    cells=[
        Cell("64 pbkdf2 waiting", {"operation": "fairness", "lanes": ["cpu"]}, files=1, size=1024),
        Cell("all lanes full", {"operation": "fairness", "lanes": ["cpu", "dns", "thumbs"]}, files=1, size=1024),
    ],
    peers=[UVWORKS_ASYNCIO, UVWORKS_UVLOOP, EXECUTOR_ASYNCIO, NODE_PROMISES, NODE_CALLBACKS],
    metrics=["p50 ms", "p99 ms", "max ms", "stats", "pbkdf2/s"],
    limits=[
        Limit(peer, metric, at_most)
        for peer in (UVWORKS_ASYNCIO, UVWORKS_UVLOOP)
        for metric, at_most in (("p50 ms", 1.0), ("p99 ms", 5.0))
    ],
    seconds={"full": 2.0, "quick": 0.5},
    rounds={"full": 5, "quick": 1},
)
