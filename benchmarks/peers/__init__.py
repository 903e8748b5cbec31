"""The peers, as data: who does the work in which program. A scenario picks from these names.

Fairness rules that every program keeps: a pool of four workers; the same files in the same order, shared by all in
flight (whoever is free takes the next one); the same check of what came back; the clock starts before the first
operation and stops after the last.
"""

from benchmarks.harness.scenario import Peer


def _python(api: str, loop: str) -> Peer:
    return Peer(f"{api} on {loop}", "python_peer.py", (api, loop))


UVWORKS_ASYNCIO = _python("uvworks", "asyncio")
UVWORKS_UVLOOP = _python("uvworks", "uvloop")
UVWORKS_CALLBACKS = Peer("uvworks.uv callbacks", "uv_loop_peer.py")
UVWORKS_UVWORKS = _python("uvworks", "uvworks")
EXECUTOR_ASYNCIO = _python("executor", "asyncio")
EXECUTOR_UVLOOP = _python("executor", "uvloop")
TO_THREAD_ASYNCIO = _python("to_thread", "asyncio")
AIOFILES_ASYNCIO = _python("aiofiles", "asyncio")
AIOFILES_UVLOOP = _python("aiofiles", "uvloop")
NODE_PROMISES = Peer("node promises", "node_peer.mjs", ("promises",))
NODE_CALLBACKS = Peer("node callbacks", "node_peer.mjs", ("callbacks",))
LIBUV = Peer("plain C libuv", "libuv_peer.c")

# The event loops, each in a program of its own for the topic: ours first, then those it is held against.
LOOPS = ("uvworks", "uvloop", "rloop", "asyncio")
LOAD = Peer("load generator", "load.c")
ECHO_LOOPS = [Peer(loop, "echo_server.py", (loop,)) for loop in LOOPS]
ECHO_C = Peer("plain C libuv", "echo_server.c")
IDLE = [Peer(peer.name, "idle_peer.py", (peer.name,)) for peer in [*ECHO_LOOPS, ECHO_C]]
UVICORN_LOOPS = [Peer(loop, "uvicorn_server.py", (loop,)) for loop in LOOPS]
CALLBACKS = [Peer(loop, "callbacks_peer.py", (loop,)) for loop in LOOPS]
