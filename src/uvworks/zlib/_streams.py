"""Streams: a codec that keeps its state between calls. Each call is one job on the lane cpu."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .._engine import core
from ._options import (
    MAX_OUTPUT_LENGTH,
    BrotliOptions,
    DeflateOptions,
    Format,
    InflateOptions,
    Settings,
    ZstdOptions,
    ranged,
)

if TYPE_CHECKING:
    from typing import Self, Unpack

    from typing_extensions import Buffer

    from .._core import Job

    #: What a stream can be iterated over: pieces of input.
    Source: TypeAlias = AsyncIterable[Buffer] | Iterable[Buffer]

_WRITE: Final = core.zlib_numbers.WRITE
_PARAMS: Final = core.zlib_numbers.PARAMS
_RESET: Final = core.zlib_numbers.RESET


class Stream:
    """A compressor or decompressor fed in pieces; made by the create_... functions.

    Every operation returns the output that it brought, which may be empty.
    They raise DataError, OutputTooLarge, OptionError and MemoryError, TypeError
    and ValueError for wrong arguments and for a stream that is closed or
    finished, and RuntimeError on another event loop.
    Operations of several tasks take their turns. One that is cancelled or
    fails leaves the codec in the middle of its work, and so closes the stream.
    A stream belongs to the event loop of its first operation.

    Without `max_output_length` there is no limit on the output of all
    operations, but one of a decompressor gives MAX_OUTPUT_LENGTH bytes at most.
    """

    def __init__(self, format: Format, source: Source | None, options: Any) -> None:
        given = Settings(format, options)
        if source is not None and not (hasattr(source, "__aiter__") or hasattr(source, "__iter__")):
            raise TypeError(f"source: expected an iterable of bytes-like objects, got {source!r}")
        if isinstance(source, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"source: expected an iterable of bytes-like objects, got one {type(source).__name__}")
        self._format = format
        self._given = given
        self._limit = given.limit if "max_output_length" in options else None
        self._limit_each = None if format.encodes or "max_output_length" in options else MAX_OUTPUT_LENGTH
        self._source = source
        self._codec: object = core.zlib_stream(format, given.config, given.pledged)
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._finished = False
        self._ended = False
        self._bytes_written = 0
        self._put_out = 0

    @property
    def bytes_written(self) -> int:
        """How many bytes of input the codec has used."""
        return self._bytes_written

    @property
    def ended(self) -> bool:
        """Whether the compressed data has come to its end."""
        return self._ended

    @property
    def closed(self) -> bool:
        """Whether close() was called, or an operation failed or was cancelled."""
        return self._codec is None

    async def write(self, chunk: Buffer) -> bytes:
        """Put input in. What follows the end of compressed data is ignored. Node's stream.write."""
        async with self._turn():
            self._check_open()
            return (await self._step(chunk, self._given.flush))[0]

    async def flush(self, mode: int | None = None) -> bytes:
        """Put out all that the input so far gives; `mode` is one of the codec's flush operations.

        Z_FULL_FLUSH, BROTLI_OPERATION_FLUSH or ZSTD_e_flush if not given. A
        decompressor always puts out what it can. Node's zlib.flush.
        """
        if mode is None:
            mode = self._format.flush
        mode = ranged("mode", mode, 0, self._format.last_flush)
        async with self._turn():
            self._check_open()
            if not self._format.encodes:
                return b""
            self._finished = mode == self._format.finish
            return (await self._step(b"", mode))[0]

    async def params(self, level: int, strategy: int) -> bytes:
        """Go on with another compression level and strategy. Only deflate, gzip and deflate_raw. Node's zlib.params."""
        if not (self._format.library == "zlib" and self._format.encodes):
            raise ValueError(f"{self._format.name.lower()} has no level and strategy to change")
        level = ranged("level", level, -1, 9)
        strategy = ranged("strategy", strategy, 0, 4)
        async with self._turn():
            self._check_open()
            return (await self._job(core.zlib_write(self._codec, _PARAMS, b"", 0, None, None, level, strategy)))[0]

    async def reset(self) -> None:
        """Begin anew, with the options and the dictionary of the beginning. Node's zlib.reset."""
        async with self._turn():
            self._check_closed()
            await self._job(core.zlib_write(self._codec, _RESET, b"", 0, None, None, 0, 0))
            self._finished = self._ended = False
            self._put_out = 0

    async def finish(self) -> bytes:
        """End the input, and put out the rest; compressed data that has not ended is a TruncatedError."""
        async with self._turn():
            self._check_open()
            self._finished = True
            if self._ended and not self._format.encodes:
                return b""
            return (await self._step(b"", self._given.finish_flush))[0]

    def close(self) -> None:
        """Drop the codec's state. Node's zlib.close."""
        self._codec = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The output of the whole source, in pieces of chunk_size at most.

        Between two pieces other operations have their turn, such as flush().
        """
        if self._source is None:
            raise TypeError("the stream has no source to iterate over")
        source, self._source = self._source, None
        async for chunk in _pieces(source):
            async for piece in self._steps(chunk, self._given.flush, self._check_open):
                yield piece
        self._check_open()
        self._finished = True
        if self._format.encodes or not self._ended:
            async for piece in self._steps(b"", self._given.finish_flush, self._check_closed):
                yield piece

    def _turn(self) -> asyncio.Lock:
        """To be held during an operation. The first one binds the stream to its loop."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("the stream belongs to another event loop")
        return self._lock

    def _check_closed(self) -> None:
        if self._codec is None:
            raise ValueError("the stream is closed")

    def _check_open(self) -> None:
        self._check_closed()
        if self._finished:
            raise ValueError("the stream is finished")

    async def _job(self, job: Job) -> tuple[bytes, int, bool]:
        try:
            result: tuple[bytes, int, bool] = await job
        except BaseException:
            self._codec = None
            raise
        return result

    async def _step(self, chunk: Buffer, flush: int, most: int | None = None) -> tuple[bytes, int, bool]:
        """Gives input to the codec until it has taken all, or has put out as much as `most`."""
        room = self._limit_each if most is None else None
        if self._limit is not None:
            room = self._limit - self._put_out
        step = await self._job(core.zlib_write(self._codec, _WRITE, chunk, flush, room, most, 0, 0))
        self._put_out += len(step[0])
        self._bytes_written += step[1]
        self._ended = step[2]
        return step

    async def _steps(self, chunk: Buffer, flush: int, check: Callable[[], None]) -> AsyncIterator[bytes]:
        """The same in pieces of chunk_size."""
        most = self._given.chunk_size
        while True:
            async with self._turn():
                check()
                output, used, ended = await self._step(chunk, flush, most)
            if output:
                yield output
            if len(output) < most or (ended and self._format.encodes):
                return
            chunk = memoryview(chunk).cast("B")[used:]


async def _pieces(source: Source) -> AsyncIterator[Buffer]:
    if isinstance(source, AsyncIterable):
        async for chunk in source:
            yield chunk
    else:
        for chunk in source:
            yield chunk


def create_deflate(source: Source | None = None, **options: Unpack[DeflateOptions]) -> Stream:
    """A stream that does what deflate() does. Node's zlib.createDeflate."""
    return Stream(Format.DEFLATE, source, options)


def create_deflate_raw(source: Source | None = None, **options: Unpack[DeflateOptions]) -> Stream:
    """A stream that does what deflate_raw() does. Node's zlib.createDeflateRaw."""
    return Stream(Format.DEFLATE_RAW, source, options)


def create_gzip(source: Source | None = None, **options: Unpack[DeflateOptions]) -> Stream:
    """A stream that does what gzip() does. Node's zlib.createGzip."""
    return Stream(Format.GZIP, source, options)


def create_inflate(source: Source | None = None, **options: Unpack[InflateOptions]) -> Stream:
    """A stream that does what inflate() does. Node's zlib.createInflate."""
    return Stream(Format.INFLATE, source, options)


def create_inflate_raw(source: Source | None = None, **options: Unpack[InflateOptions]) -> Stream:
    """A stream that does what inflate_raw() does. Node's zlib.createInflateRaw."""
    return Stream(Format.INFLATE_RAW, source, options)


def create_gunzip(source: Source | None = None, **options: Unpack[InflateOptions]) -> Stream:
    """A stream that does what gunzip() does. Node's zlib.createGunzip."""
    return Stream(Format.GUNZIP, source, options)


def create_unzip(source: Source | None = None, **options: Unpack[InflateOptions]) -> Stream:
    """A stream that does what unzip() does. Node's zlib.createUnzip."""
    return Stream(Format.UNZIP, source, options)


def create_brotli_compress(source: Source | None = None, **options: Unpack[BrotliOptions]) -> Stream:
    """A stream that does what brotli_compress() does. Node's zlib.createBrotliCompress."""
    return Stream(Format.BROTLI_ENCODE, source, options)


def create_brotli_decompress(source: Source | None = None, **options: Unpack[BrotliOptions]) -> Stream:
    """A stream that does what brotli_decompress() does. Node's zlib.createBrotliDecompress."""
    return Stream(Format.BROTLI_DECODE, source, options)


def create_zstd_compress(source: Source | None = None, **options: Unpack[ZstdOptions]) -> Stream:
    """A stream that does what zstd_compress() does. Node's zlib.createZstdCompress."""
    return Stream(Format.ZSTD_COMPRESS, source, options)


def create_zstd_decompress(source: Source | None = None, **options: Unpack[ZstdOptions]) -> Stream:
    """A stream that does what zstd_decompress() does. Node's zlib.createZstdDecompress."""
    return Stream(Format.ZSTD_DECOMPRESS, source, options)
