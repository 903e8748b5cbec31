"""Whole files: read, write, append, copy, truncate."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, overload

from .._engine import core
from ._types import StrPath, checked_mode, checked_size

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ._types import Data

_fs = core.fs


@overload
async def read_file(path: StrPath, *, encoding: None = None, max_size: int | None = None) -> bytes: ...
@overload
async def read_file(path: StrPath, *, encoding: str, max_size: int | None = None) -> str: ...
async def read_file(path: StrPath, *, encoding: str | None = None, max_size: int | None = None) -> bytes | str:
    """The whole contents of a file, as open(path, "rb").read() gives them; with `encoding`, as str.

    Newlines are left as they are. A file of more than `max_size` bytes is
    refused with an OSError (errno.EFBIG), without reading more than that.
    FIFOs and devices are read until they end and hold no worker while they
    have nothing to say. Node's fs.readFile.
    """
    if encoding is not None:
        codecs.lookup(encoding)
    limit = None if max_size is None else checked_size("max_size", max_size)
    result: bytes | str = await _fs.read(path, limit, encoding)
    return result


def _encoded(data: Data, encoding: str) -> Buffer:
    return data.encode(encoding) if isinstance(data, str) else data


async def write_file(
    path: StrPath,
    data: Data,
    *,
    encoding: str = "utf-8",
    mode: int = 0o666,
    atomic: bool = False,
    fsync: bool = False,
) -> None:
    """Make the file hold `data` and nothing else; it is created with `mode` (less the umask) if it is missing.

    `data` is a str, encoded with `encoding`, or any contiguous buffer, which
    is read in place: a bytearray cannot be resized until the job has ended,
    which after a cancel may be later than this call's end. With `atomic` the
    data goes to a new file beside the target, which then takes its place, so
    that every reader sees the old contents or the new. With `fsync` it is on
    the disk when the call returns. Node's fs.writeFile.
    """
    flags = (_fs.ATOMIC if atomic else 0) | (_fs.SYNC if fsync else 0)
    await _fs.write(path, _encoded(data, encoding), checked_mode(mode), flags)


async def append_file(
    path: StrPath, data: Data, *, encoding: str = "utf-8", mode: int = 0o666, fsync: bool = False
) -> None:
    """Add `data` to the end of the file, which is made if it is missing. Node's fs.appendFile."""
    await _fs.append(path, _encoded(data, encoding), checked_mode(mode), _fs.SYNC if fsync else 0)


async def copy_file(src: StrPath, dst: StrPath, *, exclusive: bool = False) -> None:
    """Copy a file with its permission bits; with `exclusive`, `dst` must not exist.

    The kernel copies where it can. What is left half done by an error or a
    cancel is removed, if this call created it. shutil.SameFileError and
    shutil.SpecialFileError (a FIFO) as from shutil.copyfile. Node's
    fs.copyFile.
    """
    await _fs.copy(src, dst, _fs.EXCLUSIVE if exclusive else 0)


async def truncate(path: StrPath, length: int = 0) -> None:
    """Cut the file to `length` bytes, or fill it up to there with zeros. Node's fs.truncate."""
    await _fs.truncate(path, checked_size("length", length))
