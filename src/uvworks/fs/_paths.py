"""What works on a name rather than on contents: metadata and links."""

import os
import time
from math import floor, isfinite, modf
from operator import index

from .._engine import core
from ._types import StrPath, checked_mode

_fs = core.fs
_NS = 1_000_000_000


async def access(path: StrPath, mode: int = os.F_OK) -> None:
    """Check that the path may be accessed as `mode` says (os.F_OK, R_OK, W_OK, X_OK, combined by ``|``).

    Returns None, or raises the OSError that tells why not. Node's fs.access.
    """
    if not 0 <= index(mode) <= 7:
        raise ValueError(f"mode must combine os.F_OK, R_OK, W_OK and X_OK, got {mode}")
    await _fs.access(path, mode)


async def chmod(path: StrPath, mode: int) -> None:
    """Set the permission bits of the path; symbolic links are followed. Node's fs.chmod."""
    await _fs.chmod(path, checked_mode(mode))


async def exists(path: StrPath) -> bool:
    """Whether the path leads to something; a broken symbolic link does not. os.path.exists."""
    try:
        await _fs.access(path, os.F_OK)
    except (OSError, ValueError):
        return False
    return True


async def link(existing_path: StrPath, new_path: StrPath) -> None:
    """Make `new_path` another name of the file at `existing_path`, which is not followed if it is a symbolic link.

    Both are on one file system; directories have one name only. Node's fs.link, link(2).
    """
    await _fs.link(existing_path, new_path)


async def lstat(path: StrPath) -> os.stat_result:
    """Like stat(), but a symbolic link itself is looked at. Node's fs.lstat."""
    result: os.stat_result = await _fs.lstat(path)
    return result


async def readlink(path: StrPath) -> str | bytes:
    """What the symbolic link holds. Node's fs.readlink."""
    result: str | bytes = await _fs.readlink(path)
    return result


async def realpath(path: StrPath) -> str | bytes:
    """The absolute path without symbolic links; all of it must exist. Node's fs.realpath, realpath(3)."""
    result: str | bytes = await _fs.realpath(path)
    return result


async def rename(src: StrPath, dst: StrPath) -> None:
    """Rename; a file at `dst` is replaced in one step. Node's fs.rename, rename(2)."""
    await _fs.rename(src, dst)


async def stat(path: StrPath) -> os.stat_result:
    """What the system knows of the path: an os.stat_result, nanoseconds included. Node's fs.stat."""
    result: os.stat_result = await _fs.stat(path)
    return result


async def symlink(target: StrPath, path: StrPath) -> None:
    """Make a symbolic link at `path` that holds `target`. Node's fs.symlink."""
    await _fs.symlink(target, path)


async def unlink(path: StrPath) -> None:
    """Remove a name that is not a directory. Node's fs.unlink."""
    await _fs.unlink(path)


def _split(name: str, seconds: float) -> tuple[int, int]:
    """Whole seconds and nanoseconds, rounded down as os.utime does."""
    if not isinstance(seconds, float):
        return index(seconds), 0
    if not isfinite(seconds):
        raise ValueError(f"{name} must be finite, got {seconds}")
    fraction, whole = modf(seconds)
    return _normal(int(whole), floor(fraction * _NS))


def _normal(seconds: int, nanoseconds: int) -> tuple[int, int]:
    more, rest = divmod(nanoseconds, _NS)
    return seconds + more, rest


async def utimes(
    path: StrPath, atime: float | None = None, mtime: float | None = None, *, ns: tuple[int, int] | None = None
) -> None:
    """Set the times of last access and modification; symbolic links are followed.

    `atime` and `mtime` are seconds since the epoch, or ``ns=(atime, mtime)``
    gives nanoseconds exactly; with neither both are set to now. Node's
    fs.utimes, os.utime.
    """
    if ns is not None:
        if atime is not None or mtime is not None:
            raise ValueError("ns: give either seconds or nanoseconds, not both")
        atime_ns, mtime_ns = map(index, ns)
        times = (*_normal(0, atime_ns), *_normal(0, mtime_ns))
    elif atime is None and mtime is None:
        times = (*_normal(0, time.time_ns()),) * 2
    elif atime is None or mtime is None:
        raise ValueError(f"{'atime' if atime is None else 'mtime'}: give both times or none")
    else:
        times = (*_split("atime", atime), *_split("mtime", mtime))
    await _fs.utimes(path, *times)
