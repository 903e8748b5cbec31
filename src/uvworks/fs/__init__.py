"""Files and directories on libuv's worker pool, from any asyncio loop.

Every function is a coroutine function with Node's name in snake_case; its work
is one job on the lane ``io``, done in C without the GIL. Paths are str, bytes
or os.PathLike; names come back as the type that was given. What the system
refuses is the OSError that the standard library would raise.
"""

from ._directories import Dirent, mkdir, mkdtemp, readdir, rm, rmdir
from ._files import append_file, copy_file, read_file, truncate, write_file
from ._paths import (
    access,
    chmod,
    exists,
    link,
    lstat,
    readlink,
    realpath,
    rename,
    stat,
    symlink,
    unlink,
    utimes,
)

__all__ = [
    "Dirent",
    "access",
    "append_file",
    "chmod",
    "copy_file",
    "exists",
    "link",
    "lstat",
    "mkdir",
    "mkdtemp",
    "read_file",
    "readdir",
    "readlink",
    "realpath",
    "rename",
    "rm",
    "rmdir",
    "stat",
    "symlink",
    "truncate",
    "unlink",
    "utimes",
    "write_file",
]
