"""Runs a scenario: one long-lived process per peer, rounds interleaved with a rotating order, warm-up excluded,
results checked.

The protocol is one JSON line each way. A request is the cell's, plus `operations` (rate scenarios), `directory`,
`files`, `size`. A reply holds `seconds`, `operations` and `total`, or the scenario's metrics, or `error`. The first
line of a peer is its greeting: its versions, or `missing`. Peers take the time themselves, so neither the pipe nor
JSON is in it.

A server's greeting also has `services`: names and addresses. It is never asked anything; the load program is, with the
address. The servers have one core and the load program another, the same ones for all of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import others_seconds, own_seconds, two_cores
from benchmarks.harness.scenario import POOL_SIZE, Cell, Peer, Scenario

PEERS = Path(__file__).resolve().parent.parent / "peers"
Reply = dict[str, Any]


class PeerError(Exception):
    """A peer that answered wrong, not at all, or not in time."""


@dataclass
class Results:
    """What came out: per cell and peer the replies of the measured rounds, in the order of the rounds."""

    versions: dict[str, Reply] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    rounds: dict[str, dict[str, list[Reply]]] = field(default_factory=dict)
    repeated: int = 0  # rounds thrown away because other processes disturbed them
    disturbed: int = 0  # rounds kept all the same, when the patience was at its end


class PeerProcess:
    """A peer's process and its two pipes."""

    def __init__(self, peer: Peer, command: list[str], scratch: Path, core: int | None = None) -> None:
        self.peer = peer
        environment = dict(os.environ, UV_THREADPOOL_SIZE=str(POOL_SIZE), TMPDIR=str(scratch))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=PEERS.parent.parent
        )
        self.pid = self._process.pid
        if core is not None:
            os.sched_setaffinity(self.pid, {core})
        self.greeting: Reply = {}

    def greet(self) -> None:
        """Waits for the peer to be up: what it says then are its versions, or that it is `missing` and why."""
        self.greeting = self._read(30.0)

    def ask(self, request: Mapping[str, object], timeout: float) -> Reply:
        """One request, one reply."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(f"{self.peer.name} is gone, exit status {self._process.wait()}") from None
        reply = self._read(timeout)
        if "error" in reply:
            raise PeerError(f"{self.peer.name}: {reply['error']}")
        return reply

    def _read(self, timeout: float) -> Reply:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            self._process.kill()
            raise PeerError(f"{self.peer.name} said nothing for {timeout:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"{self.peer.name} ended with exit status {self._process.wait()}")
        reply: Reply = json.loads(line)
        return reply

    def close(self) -> None:
        """Ends the process: a peer ends by itself at the end of its input."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(10.0)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


def command_of(peer: Peer, build: Path) -> list[str] | str:
    """How to start a peer; a sentence when this machine cannot."""
    source = PEERS / peer.program
    if source.suffix == ".py":
        return [sys.executable, "-m", f"benchmarks.peers.{source.stem}", *peer.arguments]
    if source.suffix == ".mjs":
        node = shutil.which("node")
        return [node, str(source), *peer.arguments] if node else "node is not installed"
    program = build / source.stem
    if not program.exists():
        compiler = shutil.which("cc")
        flags: list[str] = []
        try:
            if "<uv.h>" in source.read_text():
                flags = subprocess.run(
                    ["pkg-config", "--cflags", "--libs", "libuv"], check=True, capture_output=True, text=True
                ).stdout.split()
        except (OSError, subprocess.CalledProcessError):
            return "libuv's development package or pkg-config is not installed"
        if compiler is None:
            return "no C compiler (cc) is installed"
        built = subprocess.run([compiler, "-O2", "-o", program, source, *flags], capture_output=True, text=True)
        if built.returncode:
            return f"cc failed: {built.stderr.strip().splitlines()[0]}"
    return [str(program), *peer.arguments]


class Run:
    """One run of one scenario. `patience` is how many seconds it may spend on repeating disturbed rounds."""

    def __init__(self, scenario: Scenario, rounds: int, seconds: float, patience: float, scratch: Path) -> None:
        self.results = Results()
        self._scenario = scenario
        self._rounds = rounds
        self._seconds = seconds
        self._patience = patience if scenario.needs_quiet else 0.0
        self._scratch = scratch
        self._processes: list[PeerProcess] = []
        self._load: PeerProcess | None = None

    def run(self, cells: list[Cell], peers: list[Peer], progress: Callable[[str], None]) -> Results:
        """Runs the cells one after another; within a cell, the peers take turns."""
        try:
            cores = two_cores() if self._scenario.load or self._scenario.one_core else None
            for peer in peers:
                self._start(peer, cores and cores[0])
            if self._scenario.load:
                self._load = self._start(self._scenario.load, cores and cores[1])
            able = [process for process in self._processes if process.peer.name in self.results.versions]
            if self._scenario.load:
                if self._load not in able:
                    return self.results
                able.remove(self._load)
            for cell in cells:
                progress(cell.name)
                self._cell(cell, able)
        finally:
            for process in self._processes:
                process.close()
        return self.results

    def _start(self, peer: Peer, core: int | None) -> PeerProcess | None:
        command = command_of(peer, self._scratch)
        if isinstance(command, str):
            self.results.missing[peer.name] = command
            return None
        process = PeerProcess(peer, command, self._scratch, core)
        self._processes.append(process)
        try:
            process.greet()
        except PeerError as error:
            self.results.failures.append(f"{error}")
        if "missing" in process.greeting:
            self.results.missing[peer.name] = process.greeting["missing"]
        elif process.greeting:
            told = {name: fact for name, fact in process.greeting.items() if name != "services"}
            self.results.versions[peer.name] = told
        return process

    def _ask(self, process: PeerProcess, request: Mapping[str, object]) -> Reply:
        """A request to a peer. A server gets it as load."""
        if self._load is None:
            return process.ask(request, self._scenario.timeout)
        services = process.greeting["services"]
        address = services[str(request["service"])]
        return self._load.ask({**request, "address": address, "server": process.pid}, self._scenario.timeout)

    def _offers(self, process: PeerProcess, service: object) -> bool:
        """Whether a server has what a cell is about; every peer that is none has."""
        if self._load is None or service in process.greeting["services"]:
            return True
        self.results.missing[f"{process.peer.name}, {service}"] = "it does not offer that"
        return False

    def _cell(self, cell: Cell, processes: list[PeerProcess]) -> None:
        directory = self._scratch / f"{cell.files}x{cell.size}"
        digest = _lay_out(directory, cell)
        layout = {"directory": str(directory), "files": cell.files, "size": cell.size, "digest": digest}
        processes = [process for process in processes if self._offers(process, cell.request.get("service"))]
        replies: dict[str, list[Reply]] = {process.peer.name: [] for process in processes}
        self.results.rounds[cell.name] = replies
        requests: dict[str, dict[str, object]] = {}
        for number, process in enumerate(processes):
            # A byte of its own for each peer, so that a writer's files show who wrote them.
            request = {**layout, "seconds": self._seconds, **cell.request, "fill": 65 + number}
            try:
                if not self._scenario.metrics:
                    request["operations"] = self._warm_up(process, request, cell)
                requests[process.peer.name] = request
            except PeerError as error:
                self.results.failures.append(f"{cell.name}: {error}")
        able = [process for process in processes if process.peer.name in requests]
        for number in range(self._rounds):
            turn = number % max(1, len(able))
            order = able[turn:] + able[:turn]
            if number % 2:
                order.reverse()  # so that nobody always comes after the same one
            for process in order:
                try:
                    replies[process.peer.name].append(self._round(process, cell, requests[process.peer.name]))
                except PeerError as error:
                    self.results.failures.append(f"{cell.name}: {error}")

    def _warm_up(self, process: PeerProcess, request: dict[str, object], cell: Cell) -> int:
        """Checks the content the peer reads, lets it get warm, and finds how many operations fill a round."""
        in_flight = int(str(request["in_flight"]))
        least = max(64, cell.files, 2 * in_flight)
        operations = least
        first = True
        while True:
            reply = self._ask(process, {**request, "operations": operations, "verify": first})
            first = False
            _check(process.peer, cell, {**request, "operations": operations}, reply)
            rate = operations / reply["seconds"]
            if reply["seconds"] >= self._seconds / 2:
                return max(least, int(rate * self._seconds))
            # Never trust one short try with more than eight times its work: the first operations pay for everything.
            operations = min(8 * operations, max(operations + 1, int(rate * self._seconds)))

    def _round(self, process: PeerProcess, cell: Cell, request: Mapping[str, object]) -> Reply:
        """One measured round, repeated while others disturb it: whether it counts does not depend on what came out."""
        mine = {os.getpid(), process.pid} | ({self._load.pid} if self._load else set())
        while True:
            begin, others, own = time.monotonic(), others_seconds(mine), own_seconds(process.pid)
            reply = self._ask(process, request)
            own = own_seconds(process.pid) - own
            disturbed = _disturbed(begin, others, mine)
            if not self._scenario.metrics:
                _check(process.peer, cell, request, reply)
                reply["rate"] = reply["operations"] / reply["seconds"]
                reply.setdefault("processor", own)
            if not disturbed:
                return reply
            if self._patience <= 0:
                self.results.disturbed += 1
                return reply
            self.results.repeated += 1
            waiting = True
            while waiting and time.monotonic() - begin < self._patience:
                moment, others = time.monotonic(), others_seconds(mine)
                time.sleep(0.3)
                waiting = _disturbed(moment, others, mine)
            self._patience -= time.monotonic() - begin


def _disturbed(begin: float, others: float, mine: set[int]) -> bool:
    """Whether others took over a tenth of a core since `begin`; the constant is the kernel's clock's grain, twice."""
    return others_seconds(mine) - others > 0.1 * (time.monotonic() - begin) + 0.02


def _check(peer: Peer, cell: Cell, request: Mapping[str, object], reply: Reply) -> None:
    """Every operation gave what it should: `total` adds up the bytes (or the sizes, or ones) that came back."""
    expected = int(str(request["operations"]))
    if reply["operations"] != expected or reply["total"] != expected * (cell.size or 1):
        raise PeerError(f"{peer.name} did {reply['operations']} of {expected} operations, total {reply['total']}")
    if request["operation"] == "write_file":
        wanted = bytes([int(str(request["fill"]))]) * cell.size
        for path in Path(str(request["directory"])).iterdir():
            if path.read_bytes() != wanted:
                raise PeerError(f"{peer.name} did not write what it was told to {path.name}")


def _lay_out(directory: Path, cell: Cell) -> str:
    """Makes the cell's files once: named 0, 1, 2, ..., all different. Gives the digest of their contents in order."""
    digest = hashlib.sha256()
    directory.mkdir(exist_ok=True)
    for number in range(cell.files):
        content = hashlib.shake_128(str(number).encode()).digest(cell.size)
        digest.update(content)
        path = directory / str(number)
        if not path.exists():
            path.write_bytes(content)
    return digest.hexdigest()
