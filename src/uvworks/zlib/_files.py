"""From file to file: one job on the lane cpu, in pieces, with which other jobs take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._engine import core
from ..fs._types import StrPath
from ._options import DeflateOptions, Format, InflateOptions, settings

if TYPE_CHECKING:
    from typing import Unpack


async def gzip_file(src: StrPath, dst: StrPath, **options: Unpack[DeflateOptions]) -> int:
    """Compress a regular file to another one in the gzip format; returns the new file's size in bytes.

    `dst` gets the permission bits of `src`, or keeps its own if it exists. It
    is replaced when the new contents are complete; an error or a cancel leaves
    it as it was. Raises OSError, shutil.SameFileError, and
    shutil.SpecialFileError for what is no regular file.
    """
    given = settings(Format.GZIP, options)
    return int(await core.zlib_file(Format.GZIP, src, dst, given.config, given.finish_flush, given.limit))


async def gunzip_file(src: StrPath, dst: StrPath, **options: Unpack[InflateOptions]) -> int:
    """Decompress a gzip file of one or several members to another file; returns the new file's size in bytes.

    Everything else is as with gzip_file(); the output has the same limit,
    `max_output_length`, as that of gunzip().
    """
    given = settings(Format.GUNZIP, options)
    return int(await core.zlib_file(Format.GUNZIP, src, dst, given.config, given.finish_flush, given.limit))
