"""libuv's event loop and worker pool for Python."""

from . import errors, fs, pool, uv
from .errors import PoolSaturated

__version__ = "0.1.0"

__all__ = ["PoolSaturated", "errors", "fs", "pool", "uv"]
