"""Directories: make, list, remove."""

import os
from typing import Literal, overload

from .._engine import core
from ._types import StrPath, checked_mode

_fs = core.fs


class Dirent:
    """An entry of a directory: its name and, without another system call, its type. Node's fs.Dirent."""

    __slots__ = ("_type", "name", "parent_path")

    name: str | bytes
    parent_path: str | bytes

    def __init__(self, name: str | bytes, parent_path: str | bytes, type: str) -> None:
        self.name = name
        self.parent_path = parent_path
        self._type = type

    def __repr__(self) -> str:
        return f"<Dirent {self.name!r}>"

    @property
    def path(self) -> str | bytes:
        """The entry's path: the directory's, joined with the name."""
        return os.path.join(self.parent_path, self.name)  # type: ignore[arg-type]

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self._type == "f"

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self._type == "d"

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link (which is then nothing else)."""
        return self._type == "l"

    def is_fifo(self) -> bool:
        """Whether it is a FIFO."""
        return self._type == "p"

    def is_socket(self) -> bool:
        """Whether it is a UNIX socket."""
        return self._type == "s"

    def is_block_device(self) -> bool:
        """Whether it is a block device."""
        return self._type == "b"

    def is_character_device(self) -> bool:
        """Whether it is a character device."""
        return self._type == "c"


async def mkdir(path: StrPath, mode: int = 0o777, *, parents: bool = False) -> str | bytes | None:
    """Make a directory with `mode`, less the umask.

    With `parents`, missing parents are made too (with the default mode), a
    directory that exists already is no error, and the first directory made is
    returned, None if there was nothing to make. Node's fs.mkdir.
    """
    first: str | bytes | None = await _fs.mkdir(path, checked_mode(mode), _fs.PARENTS if parents else 0)
    return first


async def mkdtemp(prefix: StrPath) -> str | bytes:
    """Make a new directory, named `prefix` and six random characters, for this user alone. Node's fs.mkdtemp."""
    result: str | bytes = await _fs.mkdtemp(prefix)
    return result


@overload
async def readdir(path: StrPath = ".", *, with_file_types: Literal[False] = False) -> list[str] | list[bytes]: ...
@overload
async def readdir(path: StrPath = ".", *, with_file_types: Literal[True]) -> list[Dirent]: ...
@overload
async def readdir(path: StrPath = ".", *, with_file_types: bool) -> list[str] | list[bytes] | list[Dirent]: ...
async def readdir(path: StrPath = ".", *, with_file_types: bool = False) -> list[str] | list[bytes] | list[Dirent]:
    """The names in a directory, in the system's order and without "." and "..", or a Dirent for each.

    Node's fs.readdir.
    """
    if with_file_types:
        entries: list[Dirent] = await _fs.readdir(path, _fs.TYPES, Dirent)
        return entries
    names: list[str] | list[bytes] = await _fs.readdir(path, 0, None)
    return names


async def rm(path: StrPath, *, recursive: bool = False, force: bool = False) -> None:
    """Remove a file or, with `recursive`, a directory and all below it.

    Symbolic links are removed, never followed. With `force` a missing path is
    no error. The first thing that cannot be removed ends it, and is the
    error's filename. Node's fs.rm.
    """
    flags = (_fs.RECURSIVE if recursive else 0) | (_fs.FORCE if force else 0)
    await _fs.rm(path, flags)


async def rmdir(path: StrPath) -> None:
    """Remove an empty directory. Node's fs.rmdir."""
    await _fs.rmdir(path)
