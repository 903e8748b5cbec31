"""The ready queue, the timers and the wake-up: what every coroutine pays, before any I/O."""

from benchmarks.harness.scenario import MANY, SHORT, Cell, Ratio, Scenario
from benchmarks.peers import CALLBACKS

OURS, *OTHERS = CALLBACKS

# The better of uvloop and rloop counts, so both are held against the same number.
TARGETS = {
    "chain": 1.1,
    "fan-out": 1.0,
    "sleep(0)": 1.1,
    "gather": 1.1,
    "timers fire": 1.1,
    "timers cancel": 1.1,
    "threadsafe": 1.1,
    "foreign thread": 1.1,
}

SCENARIO = Scenario(
    about=(
        "call_soon one after another and 1000 at once, sleep(0), gather of 100 tasks, timers of 1 to 2 ms set and "
        "fired, timers of 10 s set and cancelled, call_soon_threadsafe from the loop's thread and from another"
    ),
    unit="thousand/s",
    cells=[Cell(name, {"operation": name, "in_flight": 1}) for name in TARGETS],
    peers=[OURS, *OTHERS],
    ratios=[Ratio(OURS, other, {} if other.name == "asyncio" else TARGETS) for other in OTHERS],
    one_core=True,
    seconds=SHORT,
    rounds=MANY,
)
