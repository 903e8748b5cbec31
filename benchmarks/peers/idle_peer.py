"""Holds many connections to a fresh echo server and looks at its memory: `python -m benchmarks.peers.idle_peer SERVER`.

A fresh one each time, because a process keeps for the next connections what the last ones needed.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.harness.runner import PeerProcess, command_of
from benchmarks.harness.scenario import Peer
from benchmarks.peers import ECHO_C, ECHO_LOOPS, LOAD
from benchmarks.peers.protocol import say, serve

WARM = 100  # connections before the first look: the code and the first blocks of every allocator are there then
TIMEOUT = 60.0


def start(peer: Peer) -> PeerProcess:
    """A peer's program, greeted; ImportError when this machine cannot run it."""
    scratch = Path(os.environ["TMPDIR"])
    command = command_of(peer, scratch)
    if isinstance(command, str):
        raise ImportError(command)
    process = PeerProcess(peer, command, scratch)
    process.greet()
    if "missing" in process.greeting:
        raise ImportError(process.greeting["missing"])
    return process


def resident(process: PeerProcess) -> int:
    """Resident memory of a process in KiB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0])


def measure(peer: Peer, request: dict[str, Any]) -> dict[str, Any]:
    """One server, `in_flight` connections to it, each used once before and once while all are there."""
    count = request["in_flight"]
    with closing(start(peer)) as server, closing(start(LOAD)) as load:
        address = server.greeting["services"][request["service"]]
        hold = {"operation": "hold", "address": address, "size": request["size"], "verify": True}
        load.ask({**hold, "in_flight": WARM}, TIMEOUT)
        load.ask({"operation": "drop"}, TIMEOUT)
        before = resident(server)
        opened = load.ask({**hold, "in_flight": count}, TIMEOUT)
        after = resident(server)
        touched = load.ask({"operation": "touch", "verify": True}, TIMEOUT)
        load.ask({"operation": "drop"}, TIMEOUT)
    if touched["operations"] != count:
        raise ValueError(f"{touched['operations']} of {count} connections answered")
    return {
        "KiB/connection": (after - before) / count,
        "RSS MiB": after / 1024,
        "connected k/s": count / opened["seconds"] / 1000,
        "answered k/s": count / touched["seconds"] / 1000,
    }


def main() -> None:
    peer = next(peer for peer in [*ECHO_LOOPS, ECHO_C] if peer.name == sys.argv[1])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        with closing(start(peer)) as server, closing(start(LOAD)):
            versions = {name: fact for name, fact in server.greeting.items() if name != "services"}
    except ImportError as error:
        say({"missing": f"{error}"})
        return
    say(versions)
    serve(lambda request: measure(peer, request))


if __name__ == "__main__":
    main()
