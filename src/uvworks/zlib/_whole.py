"""Whole inputs in one call: one job on the lane cpu each, or none for a small input.

Every function takes a contiguous bytes-like object and returns bytes, or Info with info=True. Options are those of the
classes in _options.py. All raise TypeError and ValueError for arguments before anything is submitted, OutputTooLarge
beyond max_output_length, MemoryError, and uvworks.PoolSaturated where the lane is bounded and full.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from .._engine import core
from ._options import BrotliOptions, DeflateOptions, Format, InflateOptions, ZstdOptions, settings

if TYPE_CHECKING:
    from typing import Unpack

    from typing_extensions import Buffer

_zlib = core.zlib


class Info(NamedTuple):
    """What a call with info=True returns."""

    #: The output.
    buffer: bytes
    #: How many bytes of the input were used; less than all when something follows compressed data.
    bytes_written: int


async def _whole(format: Format, data: Buffer, options: Mapping[str, Any], info: bool) -> Any:
    given = settings(format, options)
    result = _zlib(
        format, data, given.config, given.finish_flush, given.limit, given.inline_size, True if info else False
    )
    if type(result) is core.Job:
        result = await result
    return Info(result[0], result[1]) if info else result


@overload
async def deflate(data: Buffer, *, info: Literal[False] = False, **options: Unpack[DeflateOptions]) -> bytes: ...
@overload
async def deflate(data: Buffer, *, info: Literal[True], **options: Unpack[DeflateOptions]) -> Info: ...
async def deflate(data: Buffer, *, info: bool = False, **options: Unpack[DeflateOptions]) -> bytes | Info:
    """Compress to the zlib format (RFC 1950). Node's zlib.deflate."""
    result: bytes | Info = await _whole(Format.DEFLATE, data, options, info)
    return result


@overload
async def deflate_raw(data: Buffer, *, info: Literal[False] = False, **options: Unpack[DeflateOptions]) -> bytes: ...
@overload
async def deflate_raw(data: Buffer, *, info: Literal[True], **options: Unpack[DeflateOptions]) -> Info: ...
async def deflate_raw(data: Buffer, *, info: bool = False, **options: Unpack[DeflateOptions]) -> bytes | Info:
    """Compress to raw deflate data (RFC 1951), without header and checksum. Node's zlib.deflateRaw."""
    result: bytes | Info = await _whole(Format.DEFLATE_RAW, data, options, info)
    return result


@overload
async def gzip(data: Buffer, *, info: Literal[False] = False, **options: Unpack[DeflateOptions]) -> bytes: ...
@overload
async def gzip(data: Buffer, *, info: Literal[True], **options: Unpack[DeflateOptions]) -> Info: ...
async def gzip(data: Buffer, *, info: bool = False, **options: Unpack[DeflateOptions]) -> bytes | Info:
    """Compress to the gzip format (RFC 1952), without a file name or time. Node's zlib.gzip."""
    result: bytes | Info = await _whole(Format.GZIP, data, options, info)
    return result


@overload
async def inflate(data: Buffer, *, info: Literal[False] = False, **options: Unpack[InflateOptions]) -> bytes: ...
@overload
async def inflate(data: Buffer, *, info: Literal[True], **options: Unpack[InflateOptions]) -> Info: ...
async def inflate(data: Buffer, *, info: bool = False, **options: Unpack[InflateOptions]) -> bytes | Info:
    """Decompress the zlib format; what follows the data is ignored. Node's zlib.inflate.

    Raises DataError, and TruncatedError for data without its end.
    """
    result: bytes | Info = await _whole(Format.INFLATE, data, options, info)
    return result


@overload
async def inflate_raw(data: Buffer, *, info: Literal[False] = False, **options: Unpack[InflateOptions]) -> bytes: ...
@overload
async def inflate_raw(data: Buffer, *, info: Literal[True], **options: Unpack[InflateOptions]) -> Info: ...
async def inflate_raw(data: Buffer, *, info: bool = False, **options: Unpack[InflateOptions]) -> bytes | Info:
    """Decompress raw deflate data; what follows it is ignored. Node's zlib.inflateRaw.

    Raises DataError, and TruncatedError for data without its end.
    """
    result: bytes | Info = await _whole(Format.INFLATE_RAW, data, options, info)
    return result


@overload
async def gunzip(data: Buffer, *, info: Literal[False] = False, **options: Unpack[InflateOptions]) -> bytes: ...
@overload
async def gunzip(data: Buffer, *, info: Literal[True], **options: Unpack[InflateOptions]) -> Info: ...
async def gunzip(data: Buffer, *, info: bool = False, **options: Unpack[InflateOptions]) -> bytes | Info:
    """Decompress gzip data, of all its members; zeros after the last one are padding. Node's zlib.gunzip.

    Raises DataError, also for anything else that follows a member, and TruncatedError for data without its end.
    """
    result: bytes | Info = await _whole(Format.GUNZIP, data, options, info)
    return result


@overload
async def unzip(data: Buffer, *, info: Literal[False] = False, **options: Unpack[InflateOptions]) -> bytes: ...
@overload
async def unzip(data: Buffer, *, info: Literal[True], **options: Unpack[InflateOptions]) -> Info: ...
async def unzip(data: Buffer, *, info: bool = False, **options: Unpack[InflateOptions]) -> bytes | Info:
    """Decompress gzip or zlib data, whichever it is. Node's zlib.unzip.

    Raises what gunzip() and inflate() do.
    """
    result: bytes | Info = await _whole(Format.UNZIP, data, options, info)
    return result


@overload
async def brotli_compress(data: Buffer, *, info: Literal[False] = False, **options: Unpack[BrotliOptions]) -> bytes: ...
@overload
async def brotli_compress(data: Buffer, *, info: Literal[True], **options: Unpack[BrotliOptions]) -> Info: ...
async def brotli_compress(data: Buffer, *, info: bool = False, **options: Unpack[BrotliOptions]) -> bytes | Info:
    """Compress to the brotli format (RFC 7932), at quality 11 unless told otherwise. Node's zlib.brotliCompress.

    Raises OptionError for a parameter that the codec refuses.
    """
    result: bytes | Info = await _whole(Format.BROTLI_ENCODE, data, options, info)
    return result


@overload
async def brotli_decompress(
    data: Buffer, *, info: Literal[False] = False, **options: Unpack[BrotliOptions]
) -> bytes: ...
@overload
async def brotli_decompress(data: Buffer, *, info: Literal[True], **options: Unpack[BrotliOptions]) -> Info: ...
async def brotli_decompress(data: Buffer, *, info: bool = False, **options: Unpack[BrotliOptions]) -> bytes | Info:
    """Decompress the brotli format; what follows the data is ignored. Node's zlib.brotliDecompress.

    Raises DataError, TruncatedError for data without its end, and OptionError.
    """
    result: bytes | Info = await _whole(Format.BROTLI_DECODE, data, options, info)
    return result


@overload
async def zstd_compress(data: Buffer, *, info: Literal[False] = False, **options: Unpack[ZstdOptions]) -> bytes: ...
@overload
async def zstd_compress(data: Buffer, *, info: Literal[True], **options: Unpack[ZstdOptions]) -> Info: ...
async def zstd_compress(data: Buffer, *, info: bool = False, **options: Unpack[ZstdOptions]) -> bytes | Info:
    """Compress to the Zstandard format (RFC 8878), at level 3 unless told otherwise. Node's zlib.zstdCompress.

    Raises OptionError for a parameter that the codec refuses.
    """
    result: bytes | Info = await _whole(Format.ZSTD_COMPRESS, data, options, info)
    return result


@overload
async def zstd_decompress(data: Buffer, *, info: Literal[False] = False, **options: Unpack[ZstdOptions]) -> bytes: ...
@overload
async def zstd_decompress(data: Buffer, *, info: Literal[True], **options: Unpack[ZstdOptions]) -> Info: ...
async def zstd_decompress(data: Buffer, *, info: bool = False, **options: Unpack[ZstdOptions]) -> bytes | Info:
    """Decompress Zstandard frames, one or several; what follows them is ignored. Node's zlib.zstdDecompress.

    Raises DataError, TruncatedError for data without its end, and OptionError.
    """
    result: bytes | Info = await _whole(Format.ZSTD_DECOMPRESS, data, options, info)
    return result


def crc32(data: Buffer | str, value: int = 0) -> int:
    """The CRC-32 of the data, going on from `value`, at once and without the pool. Node's zlib.crc32.

    A str counts in UTF-8; of `value` the lowest 32 bits count. Raises TypeError.
    """
    return core.crc32(data.encode() if isinstance(data, str) else data, value)
