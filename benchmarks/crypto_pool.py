"""What jobs of the pool owe to each other and to the loop: two cores for two, no GIL, and a loop that still answers."""

from benchmarks.crypto import EXECUTOR, OURS, OURS_OWN
from benchmarks.harness.scenario import Cell, Limit, Scenario

SCENARIO = Scenario(
    about=(
        "pbkdf2 of ~20 ms: the time of two at once over that of one; the time of four, one after the other, beside a "
        "loop that computes in Python over that beside one that sleeps; how late a 1 ms timer is while 64 wait"
    ),
    unit="ratios, and milliseconds",
    cells=[Cell("pbkdf2", {"operation": "pool"})],
    peers=[OURS, OURS_OWN, EXECUTOR],
    metrics=["two/one", "busy/quiet", "delay p50 ms", "delay p99 ms", "delay max ms"],
    limits=[
        Limit(peer, metric, at_most)
        for peer in (OURS, OURS_OWN)
        for metric, at_most in (("two/one", 2 / 1.85), ("busy/quiet", 1.1), ("delay p99 ms", 5.0))
    ],
    seconds={"full": 2.0, "quick": 0.5},
    rounds={"full": 5, "quick": 1},
)
