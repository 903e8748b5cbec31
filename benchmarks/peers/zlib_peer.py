"""Compression on an asyncio loop: `python -m benchmarks.peers.zlib_peer uvworks|executor LOOP`.

A request names the operation, the level and the size; the data are pieces of Python's own sources. What is to be
decompressed was made by the gzip, brotli and zstd commands, so it is the same for all peers.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import platform
import subprocess
import sys
import time
import zlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.harness.scenario import POOL_SIZE
from benchmarks.peers.protocol import say, serve

COMMANDS = {
    "gunzip": ["gzip", "-nc", "-{level}"],
    "brotli_decompress": ["brotli", "-c", "-q", "{level}"],
    "zstd_decompress": ["zstd", "-qc", "-{level}", "--stream-size={size}"],
}
LARGER = 1.03  # an output may be this much of the executor's


def pieces_of(request: dict[str, Any]) -> list[bytes]:
    """Sixteen pieces, or as many as there are, spread over the sources."""
    data = b"".join(path.read_bytes() for path in sorted(Path(request["sources"]).glob("*.py")))
    size = request["size"]
    count = min(16, len(data) // size)
    return [
        data[at : at + size]
        for at in (number * (len(data) // count) for number in range(count))
        if at + size <= len(data)
    ]


def packed(pieces: list[bytes], request: dict[str, Any]) -> list[bytes]:
    command = [part.format(level=request["level"], size=request["size"]) for part in COMMANDS[request["operation"]]]
    return [subprocess.run(command, input=piece, stdout=subprocess.PIPE, check=True).stdout for piece in pieces]


def gzip(data: bytes, level: int) -> bytes:
    engine = zlib.compressobj(level, zlib.DEFLATED, 31)
    return engine.compress(data) + engine.flush()


def blocking(operation: str, level: int) -> Callable[[bytes], bytes]:
    """What the executor's threads do."""
    if operation == "gzip":
        return lambda data: gzip(data, level)
    if operation == "gunzip":
        return lambda data: zlib.decompress(data, 31)
    if operation.startswith("brotli"):
        import brotli

        return (
            brotli.decompress if operation.endswith("decompress") else lambda data: brotli.compress(data, quality=level)
        )
    import zstandard

    if operation.endswith("decompress"):
        return lambda data: zstandard.ZstdDecompressor().decompress(data)
    return lambda data: zstandard.ZstdCompressor(level).compress(data)


def ours(operation: str, level: int) -> Callable[[bytes], Awaitable[bytes]]:
    """The library's own call."""
    from uvworks import zlib as module

    call: Any = getattr(module, operation)
    if operation == "gzip":
        return lambda data: call(data, level=level)
    if operation.endswith("_compress"):
        name = (
            module.constants.BROTLI_PARAM_QUALITY if operation[0] == "b" else module.constants.ZSTD_c_compressionLevel
        )
        return lambda data: call(data, params={name: level})
    return call  # type: ignore[no-any-return]


class Peer:
    def __init__(self, api: str, loop: asyncio.AbstractEventLoop) -> None:
        self._api = api
        self._loop = loop
        self._threads = ThreadPoolExecutor(POOL_SIZE)
        self._inputs: dict[tuple[Any, ...], tuple[list[bytes], list[bytes]]] = {}

    def call(self, operation: str, level: int) -> Callable[[bytes], Awaitable[bytes]]:
        if self._api == "uvworks":
            return ours(operation, level)
        work = blocking(operation, level)
        return lambda data: self._loop.run_in_executor(self._threads, work, data)

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operation, operations, size = request["operation"], request["operations"], request["size"]
        encodes = operation not in COMMANDS
        key = (operation, request["level"], size)
        if key not in self._inputs:
            pieces = pieces_of(request)
            self._inputs[key] = pieces, pieces if encodes else packed(pieces, request)
        pieces, inputs = self._inputs[key]
        call = self.call(operation, request["level"])
        if request.get("verify"):
            await self.verify(request, pieces, inputs, call)
        work = itertools.islice(itertools.cycle(inputs), operations)
        done = total = 0

        async def run() -> None:
            nonlocal done, total
            for data in work:
                output = await call(data)
                total += len(data) if encodes else len(output)
                done += 1

        begin = time.perf_counter()
        await asyncio.gather(*[run() for _ in range(request["in_flight"])])
        return {"seconds": time.perf_counter() - begin, "operations": done, "total": total}

    async def verify(self, request: dict[str, Any], pieces: list[bytes], inputs: list[bytes], call: Any) -> None:
        operation = request["operation"]
        outputs = [await call(data) for data in inputs]
        if operation in COMMANDS:
            if outputs != pieces:
                raise ValueError(f"{operation} gave something else")
            return
        back = blocking({"gzip": "gunzip"}.get(operation, operation.replace("_compress", "_decompress")), 0)
        if [back(output) for output in outputs] != pieces:
            raise ValueError(f"what {operation} gave is something else")
        reference = blocking(operation, request["level"])
        sizes = sum(map(len, outputs)), sum(len(reference(piece)) for piece in pieces)
        if sizes[0] > LARGER * sizes[1]:
            raise ValueError(f"{operation} gave {sizes[0]} bytes, the reference {sizes[1]}")


def main() -> None:
    """Greets with the versions, then serves."""
    api, loop_name = sys.argv[1:]
    versions = {"python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION}
    try:
        new_loop = asyncio.new_event_loop
        if loop_name != "asyncio":
            new_loop = importlib.import_module(loop_name).new_event_loop
        if api == "uvworks":
            importlib.import_module("uvworks.zlib")
        else:
            versions |= {name: version(name) for name in ("brotli", "zstandard")}
    except ImportError as error:
        say({"missing": f"{error}"})
        return
    loop = new_loop()
    asyncio.set_event_loop(loop)
    peer = Peer(api, loop)
    say(versions)
    serve(lambda request: loop.run_until_complete(peer.answer(request)))
    loop.close()


if __name__ == "__main__":
    main()
