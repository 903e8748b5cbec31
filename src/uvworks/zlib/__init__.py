"""Compression on libuv's worker pool, from any asyncio loop: deflate, gzip, brotli and zstd.

Names and options are Node's, in snake_case. The work is done in C without the GIL, as jobs on the lane ``cpu``; inputs
are bytes-like objects and are not copied. What is wrong with compressed data is a ``zlib.error`` (see Error); a wrong
option is a TypeError or a ValueError before anything is submitted.

Decompression stops with OutputTooLarge at MAX_OUTPUT_LENGTH bytes unless told otherwise by `max_output_length`.
"""

from . import constants
from ._errors import DataError, Error, OptionError, OutputTooLarge, TruncatedError
from ._files import gunzip_file, gzip_file
from ._options import MAX_OUTPUT_LENGTH
from ._streams import (
    Stream,
    create_brotli_compress,
    create_brotli_decompress,
    create_deflate,
    create_deflate_raw,
    create_gunzip,
    create_gzip,
    create_inflate,
    create_inflate_raw,
    create_unzip,
    create_zstd_compress,
    create_zstd_decompress,
)
from ._whole import (
    Info,
    brotli_compress,
    brotli_decompress,
    crc32,
    deflate,
    deflate_raw,
    gunzip,
    gzip,
    inflate,
    inflate_raw,
    unzip,
    zstd_compress,
    zstd_decompress,
)

__all__ = [
    "MAX_OUTPUT_LENGTH",
    "DataError",
    "Error",
    "Info",
    "OptionError",
    "OutputTooLarge",
    "Stream",
    "TruncatedError",
    "brotli_compress",
    "brotli_decompress",
    "constants",
    "crc32",
    "create_brotli_compress",
    "create_brotli_decompress",
    "create_deflate",
    "create_deflate_raw",
    "create_gunzip",
    "create_gzip",
    "create_inflate",
    "create_inflate_raw",
    "create_unzip",
    "create_zstd_compress",
    "create_zstd_decompress",
    "deflate",
    "deflate_raw",
    "gunzip",
    "gunzip_file",
    "gzip",
    "gzip_file",
    "inflate",
    "inflate_raw",
    "unzip",
    "zstd_compress",
    "zstd_decompress",
]
