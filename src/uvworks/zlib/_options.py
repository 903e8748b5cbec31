"""Node's options: their types, their ranges, and how they go to the engine."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from enum import IntEnum
from operator import index
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict

from .._engine import core
from . import constants

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "MAX_OUTPUT_LENGTH",
    "BrotliOptions",
    "DeflateOptions",
    "Format",
    "InflateOptions",
    "Settings",
    "ZstdOptions",
    "ranged",
    "settings",
]

#: What decompression puts out at most unless told otherwise, in bytes: 64 MiB.
MAX_OUTPUT_LENGTH: Final = 64 << 20

#: What a stream puts out at a time when it is iterated over, in bytes.
CHUNK_SIZE: Final = 64 << 10

# Inputs up to so many bytes are compressed or decompressed at once by the loop's thread: a trip to a worker would take
# longer. (Measured by benchmarks/zlib.py.)
_INLINE: Final = 1 << 10
_INLINE_MOST: Final = 64 << 10


_formats = core.zlib_formats


class Format(IntEnum):
    """The engine's and Node's numbers, and what the engine says about each."""

    #: Whose options it has: "zlib", "brotli" or "zstd".
    library: str
    encodes: bool
    #: The operation that puts out all so far, the one that ends the data, and the greatest number of any.
    flush: int
    finish: int
    last_flush: int

    def __new__(cls, number: int, library: str, encodes: bool, flush: int, finish: int, last_flush: int) -> Self:
        self = int.__new__(cls, number)
        self._value_ = number
        self.library, self.encodes = library, encodes
        self.flush, self.finish, self.last_flush = flush, finish, last_flush
        return self

    DEFLATE = _formats["DEFLATE"]
    INFLATE = _formats["INFLATE"]
    GZIP = _formats["GZIP"]
    GUNZIP = _formats["GUNZIP"]
    DEFLATE_RAW = _formats["DEFLATE_RAW"]
    INFLATE_RAW = _formats["INFLATE_RAW"]
    UNZIP = _formats["UNZIP"]
    BROTLI_DECODE = _formats["BROTLI_DECODE"]
    BROTLI_ENCODE = _formats["BROTLI_ENCODE"]
    ZSTD_COMPRESS = _formats["ZSTD_COMPRESS"]
    ZSTD_DECOMPRESS = _formats["ZSTD_DECOMPRESS"]


class _CommonOptions(TypedDict, total=False):
    """For all: `chunk_size`, `max_output_length` and `inline_size` in bytes, see docs/api.md."""

    flush: int
    finish_flush: int
    chunk_size: int
    max_output_length: int | None
    inline_size: int | None


class InflateOptions(_CommonOptions, total=False):
    """For inflate, gunzip, unzip and inflate_raw; see docs/api.md."""

    window_bits: int
    dictionary: Buffer | None


class DeflateOptions(InflateOptions, total=False):
    """For deflate, gzip and deflate_raw; see docs/api.md."""

    level: int
    mem_level: int
    strategy: int


class BrotliOptions(_CommonOptions, total=False):
    """For brotli; `params` maps constants.BROTLI_PARAM_... or BROTLI_DECODER_PARAM_... to numbers."""

    params: Mapping[int, int] | None


class ZstdOptions(BrotliOptions, total=False):
    """For zstd; `params` maps constants.ZSTD_c_... or ZSTD_d_... to numbers."""

    dictionary: Buffer | None
    pledged_src_size: int | None


class Settings:
    """Options that have been checked."""

    __slots__ = ("chunk_size", "config", "finish_flush", "flush", "inline_size", "limit", "pledged")

    config: tuple[int, int, int, int, bytes | None, bytes | None]

    def __init__(self, format: Format, options: Mapping[str, Any]) -> None:
        given = dict(options)
        self.flush = ranged("flush", given.pop("flush", 0), 0, format.last_flush)
        self.finish_flush = ranged("finish_flush", given.pop("finish_flush", format.finish), 0, format.last_flush)
        self.chunk_size = ranged("chunk_size", given.pop("chunk_size", CHUNK_SIZE), 64, None)
        limit = given.pop("max_output_length", None if format.encodes else MAX_OUTPUT_LENGTH)
        self.limit: int | None = None if limit is None else ranged("max_output_length", limit, 1, None)
        inline = given.pop("inline_size", None)
        self.inline_size = min(ranged("inline_size", _INLINE if inline is None else inline, 0, None), _INLINE_MOST)
        level = window_bits = mem_level = strategy = 0
        dictionary: bytes | None = None
        params: bytes | None = None
        if format.library == "zlib":
            window_bits = _window_bits(format, given.pop("window_bits", constants.Z_DEFAULT_WINDOWBITS))
            dictionary = _dictionary(given.pop("dictionary", None))
            if format.encodes:
                level = ranged("level", given.pop("level", -1), -1, 9)
                mem_level = ranged("mem_level", given.pop("mem_level", 8), 1, 9)
                strategy = ranged("strategy", given.pop("strategy", 0), 0, 4)
        else:
            params = _params(format, given.pop("params", None))
            if format.library == "zstd":
                dictionary = _dictionary(given.pop("dictionary", None))
        pledged = given.pop("pledged_src_size", None) if format is Format.ZSTD_COMPRESS else None
        self.pledged: int | None = None if pledged is None else ranged("pledged_src_size", pledged, 0, None)
        if given:
            raise TypeError(f"{format.name.lower()} has no option {next(iter(given))!r}")
        self.config = (level, window_bits, mem_level, strategy, dictionary, params)


_cached: dict[tuple[Any, ...], Settings] = {}

# What is equal to itself later on.
_CONSTANT = frozenset((int, bool, bytes, type(None)))


def settings(format: Format, options: Mapping[str, Any]) -> Settings:
    """The checked options. Most calls give the same ones as others before them."""
    for value in options.values():
        if type(value) not in _CONSTANT:
            return Settings(format, options)
    key = (format, *[(name, value, type(value)) for name, value in options.items()])
    found = _cached.get(key)
    if found is None:
        found = Settings(format, options)
        if len(_cached) >= 64:
            _cached.clear()
        _cached[key] = found
    return found


# The zstd parameters that have to do with the format and the effort; those about threads are none of ours.
_ZSTD_COMPRESS = frozenset((*range(100, 108), *range(160, 165), 200, 201, 202))
_PARAMS: dict[Format, frozenset[int]] = {
    Format.BROTLI_ENCODE: frozenset(range(9)),
    Format.BROTLI_DECODE: frozenset((0, 1)),
    Format.ZSTD_COMPRESS: _ZSTD_COMPRESS,
    Format.ZSTD_DECOMPRESS: frozenset((100,)),
}


def ranged(name: str, value: Any, least: int, most: int | None) -> int:
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an int, got {value!r}") from None
    if number < least or (most is not None and number > most):
        wanted = f"between {least} and {most}" if most is not None else f"{least} or more"
        raise ValueError(f"{name}: expected {wanted}, got {number}")
    return min(number, (1 << 63) - 1)


def _window_bits(format: Format, value: Any) -> int:
    if type(value) is int and value == 0 and not format.encodes and format is not Format.INFLATE_RAW:
        return 0  # as the data itself says
    bits = ranged("window_bits", value, 8, 15)
    # zlib refuses a window of 256 bytes, except in the zlib format, where it makes it 512.
    return 9 if bits == 8 and format in (Format.GZIP, Format.DEFLATE_RAW) else bits


def _dictionary(value: Any) -> bytes | None:
    if value is None:
        return None
    try:
        dictionary = value if type(value) is bytes else bytes(memoryview(value))
    except TypeError:
        raise TypeError(f"dictionary: expected a bytes-like object, got {value!r}") from None
    if len(dictionary) >= 1 << 32:
        raise ValueError("dictionary: expected less than 4 GiB")
    return dictionary


def _params(format: Format, value: Any) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"params: expected a mapping, got {value!r}")
    least, most = (0, (1 << 32) - 1) if format.library == "brotli" else (-(1 << 31), (1 << 31) - 1)
    pairs = array("I")
    for key, number in value.items():
        if index(key) not in _PARAMS[format]:
            raise ValueError(f"params: {format.name.lower()} has no parameter {key!r}")
        pairs.extend((index(key), ranged(f"params[{key!r}]", number, least, most) & 0xFFFFFFFF))
    return pairs.tobytes()
