"""The shape of a scenario: plain data, so that a new scenario, peer or report needs no change in the runner.

Two kinds exist. A *rate* scenario (no `metrics`) asks each peer for a number of operations and compares operations
per second by ratio. A *metrics* scenario asks for one request per round and holds the named numbers of the reply
against limits. A rate scenario with a `load` is about servers: the peers only listen, and the load program is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

POOL_SIZE = 4  # workers of every side; libuv's own default

# Where one core does all of a peer's work and the targets are near 1: the shorter a pair of rounds, the more alike.
SHORT = {"full": 0.2, "quick": 0.06}
MANY = {"full": 15, "quick": 3}


@dataclass(frozen=True)
class Peer:
    """One way to do the work: a program in `peers/` and its arguments."""

    name: str
    program: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One set of parameters.

    `request` goes to the peers as it is; `files` of `size` bytes are laid out for them before. Where the peers are
    servers, `size` is a message's, and the request's `service` picks the address among those of the greeting.
    """

    name: str
    request: Mapping[str, object]
    files: int = 0
    size: int = 0
    modes: tuple[str, ...] = ("full", "quick")


@dataclass(frozen=True)
class Ratio:
    """`subject` over `against`, shown for every cell; a target where one is set.

    `at_least` maps a cell's name to a number. `keeps` maps a cell's name to that of another cell, whose ratio it
    must not fall below. `mean` is the least that the geometric mean over all cells may be.
    """

    subject: Peer
    against: Peer
    at_least: Mapping[str, float] = field(default_factory=dict)
    keeps: Mapping[str, str] = field(default_factory=dict)
    mean: float | None = None


@dataclass(frozen=True)
class Limit:
    """The most that a metric of a subject may be: the median over the rounds.

    With `times`, so many times what that peer has in the same round.
    """

    subject: Peer
    metric: str
    at_most: float
    times: Peer | None = None


@dataclass(frozen=True)
class Scenario:
    """Cells x peers, and what is expected of them."""

    about: str
    unit: str
    cells: Sequence[Cell]
    peers: Sequence[Peer]
    ratios: Sequence[Ratio] = ()
    metrics: Sequence[str] = ()
    limits: Sequence[Limit] = ()
    load: Peer | None = None
    one_core: bool = False  # keep a peer on one core: whether its threads share one decides more than the peer does
    on_tmpfs: bool = False
    seconds: Mapping[str, float] = field(default_factory=lambda: {"full": 0.4, "quick": 0.06})  # length of one round
    rounds: Mapping[str, int] = field(default_factory=lambda: {"full": 5, "quick": 3})  # odd: a median is then a round
    needs_quiet: bool = True  # repeat a round that other processes disturbed
    timeout: float = 120.0  # seconds a peer may take for one request
