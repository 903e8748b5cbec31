"""libuv's event loop and worker pool for Python."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import dns, errors, fs, pool, uv, zlib
from .errors import PoolSaturated

if TYPE_CHECKING:
    from . import crypto, loop
    from .loop import Loop, new_event_loop
    from .loop.heap import keep_heap
    from .loop.policy import EventLoopPolicy, install, run

__version__ = "0.1.0"

__all__ = [
    "EventLoopPolicy",
    "Loop",
    "PoolSaturated",
    "crypto",
    "dns",
    "errors",
    "fs",
    "install",
    "keep_heap",
    "loop",
    "new_event_loop",
    "pool",
    "run",
    "uv",
    "zlib",
]

# Programs that only use files shall not pay for the loop.
_LAZY = {
    "EventLoopPolicy": "loop.policy",
    "Loop": "loop",
    "install": "loop.policy",
    "keep_heap": "loop.heap",
    "new_event_loop": "loop",
    "run": "loop.policy",
}


def __getattr__(name: str) -> Any:
    if name in ("crypto", "loop"):
        return import_module("." + name, __name__)
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module("." + _LAZY[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
