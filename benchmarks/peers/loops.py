"""The event loops under test, by the name of their package."""

from __future__ import annotations

import asyncio
import importlib
import platform
from importlib.metadata import version


def new(name: str) -> tuple[asyncio.AbstractEventLoop, dict[str, str]]:
    """A loop of that package, set as the current one, and the versions that its figures belong to.

    Raises ImportError with the reason when this interpreter has none.
    """
    versions = {"python": platform.python_version()}
    if name == "asyncio":
        loop: asyncio.AbstractEventLoop = asyncio.SelectorEventLoop()
    else:
        package = importlib.import_module(name)
        if not hasattr(package, "new_event_loop"):
            raise ImportError(f"{name} has no event loop")
        loop = package.new_event_loop()
        versions[name] = version(name)
    if name == "uvworks":
        from uvworks import uv

        versions["libuv"] = uv.version()
    asyncio.set_event_loop(loop)
    return loop, versions
