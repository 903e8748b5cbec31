"""The bare loop as a peer: `uvworks.uv.Loop.queue_work` with completion callbacks, no asyncio and no coroutine."""

from __future__ import annotations

import platform
import time
from typing import Any

from benchmarks.peers.protocol import say, serve


def noop() -> int:
    """The callable that does nothing; the one is added up by the callback."""
    return 1


def main() -> None:
    """Greets with the versions, then serves."""
    try:
        import uvworks
        from uvworks import uv
    except ImportError as error:
        say({"missing": f"{error}"})
        return
    loop = uv.Loop()

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        operations = request["operations"]
        started = done = total = 0

        def start() -> None:
            nonlocal started
            if started < operations:
                started += 1
                loop.queue_work(noop, after)

        def after(error: BaseException | None, result: int) -> None:
            nonlocal done, total
            if error is not None:
                raise error
            done += 1
            total += result
            start()

        begin = time.perf_counter()
        for _ in range(request["in_flight"]):
            start()
        loop.run()
        return {"seconds": time.perf_counter() - begin, "operations": done, "total": total}

    say({"python": platform.python_version(), "uvworks": uvworks.__version__, "libuv": uv.version()})
    serve(answer)
    loop.close()


if __name__ == "__main__":
    main()
