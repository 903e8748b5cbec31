"""What a path may be, for every function that takes one: str, bytes, os.PathLike, names that are not UTF-8, and what it
may not be: other types, NUL bytes, the empty path, names and paths too long."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import async_error_of, error_of, facts
from uvworks import fs

Call = Callable[[Any], Awaitable[Any]]

# Every function with a path to look at, and one argument list that would work on a plain file or fresh name.
ONE_PATH: dict[str, Call] = {
    "access": lambda path: fs.access(path),
    "append_file": lambda path: fs.append_file(path, b"x"),
    "chmod": lambda path: fs.chmod(path, 0o600),
    "copy_file source": lambda path: fs.copy_file(path, "unused"),
    "exists": lambda path: fs.exists(path),
    "lstat": lambda path: fs.lstat(path),
    "mkdir": lambda path: fs.mkdir(path),
    "mkdir parents": lambda path: fs.mkdir(path, parents=True),
    "mkdtemp": lambda path: fs.mkdtemp(path),
    "read_file": lambda path: fs.read_file(path),
    "readdir": lambda path: fs.readdir(path),
    "readdir types": lambda path: fs.readdir(path, with_file_types=True),
    "readlink": lambda path: fs.readlink(path),
    "realpath": lambda path: fs.realpath(path),
    "link existing": lambda path: fs.link(path, "unused"),
    "link new": lambda path: fs.link("unused", path),
    "rename source": lambda path: fs.rename(path, "unused"),
    "rename destination": lambda path: fs.rename("unused", path),
    "rm": lambda path: fs.rm(path),
    "rm force": lambda path: fs.rm(path, force=True),
    "rm recursive": lambda path: fs.rm(path, recursive=True),
    "rmdir": lambda path: fs.rmdir(path),
    "stat": lambda path: fs.stat(path),
    "symlink target": lambda path: fs.symlink(path, "unused"),
    "symlink path": lambda path: fs.symlink("unused", path),
    "truncate": lambda path: fs.truncate(path),
    "unlink": lambda path: fs.unlink(path),
    "utimes": lambda path: fs.utimes(path),
    "write_file": lambda path: fs.write_file(path, b"x"),
    "write_file atomic": lambda path: fs.write_file(path, b"x", atomic=True),
}
# Those that fail on a path in a missing directory, with an error that names this path.
NAMES_ITS_PATH = {
    name: call
    for name, call in ONE_PATH.items()
    if name
    not in ("exists", "rm force", "mkdir parents", "mkdtemp", "symlink target", "link new", "rename destination")
}

every_function = pytest.mark.parametrize("call", ONE_PATH.values(), ids=ONE_PATH.keys())


class BytesPath:
    """os.PathLike may give bytes too."""

    def __init__(self, path: bytes) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return self.path


SPELLINGS: dict[str, Callable[[Path], Any]] = {
    "str": str,
    "bytes": os.fsencode,
    "Path": lambda path: path,
    "PathLike of bytes": lambda path: BytesPath(os.fsencode(path)),
}
NAMES = {"plain": "name", "not UTF-8": os.fsdecode(b"\xff\xfe n"), "emoji": "\N{PILE OF POO}", "blanks": " \n\t"}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
async def test_every_function_takes_every_kind_of_path(tmp_path: Path, name: str, spell: Any) -> None:
    file, folder, link, other = (tmp_path / f"{name}{suffix}" for suffix in ("", ".dir", ".link", ".other"))
    as_given = type(os.fspath(spell(file)))

    def told(path: Path) -> str | bytes:
        return str(path) if as_given is str else os.fsencode(path)

    assert not await fs.exists(spell(file))
    await fs.write_file(spell(file), b"one")
    await fs.append_file(spell(file), b" two")
    assert file.read_bytes() == await fs.read_file(spell(file)) == b"one two"
    await fs.write_file(spell(file), b"three", atomic=True)
    assert await fs.stat(spell(file)) == os.stat(file)
    await fs.access(spell(file), os.R_OK)
    assert await fs.exists(spell(file))
    await fs.chmod(spell(file), 0o611)
    assert os.stat(file).st_mode & 0o777 == 0o611
    await fs.truncate(spell(file), 2)
    assert file.read_bytes() == b"th"
    await fs.utimes(spell(file), ns=(1, 2))
    assert os.stat(file).st_mtime_ns == 2
    await fs.symlink(spell(file), spell(link))
    assert await fs.lstat(spell(link)) == os.lstat(link)
    assert await fs.readlink(spell(link)) == told(file)
    assert await fs.realpath(spell(link)) == told(Path(os.path.realpath(file)))
    await fs.copy_file(spell(file), spell(other))
    assert other.read_bytes() == b"th"
    await fs.unlink(spell(other))
    await fs.rename(spell(file), spell(other))
    assert other.exists() and not file.exists()
    await fs.mkdir(spell(folder))
    assert await fs.mkdir(spell(folder / "a" / "b"), parents=True) == told(folder / "a")
    made = await fs.mkdtemp(spell(folder / "t-"))
    assert type(made) is as_given and os.path.isdir(made)
    os.rmdir(made)
    assert await fs.readdir(spell(folder)) == [told(Path("a"))]
    (entry,) = await fs.readdir(spell(folder), with_file_types=True)
    assert (entry.name, entry.parent_path, entry.path) == (told(Path("a")), told(folder), told(folder / "a"))
    await fs.rmdir(spell(folder / "a" / "b"))
    await fs.rm(spell(folder), recursive=True)
    await fs.rm(spell(link))
    assert os.listdir(os.fsencode(tmp_path)) == [os.fsencode(other.name)]


@pytest.mark.parametrize("call", NAMES_ITS_PATH.values(), ids=NAMES_ITS_PATH.keys())
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
async def test_an_error_names_the_path_as_it_was_given(tmp_path: Path, call: Call, spell: Any) -> None:
    given = spell(tmp_path / os.fsdecode(b"no\xff") / "where")
    with pytest.raises(FileNotFoundError) as caught:
        await call(given)
    named = (caught.value.filename, caught.value.filename2)
    assert any(name == os.fspath(given) and type(name) is type(os.fspath(given)) for name in named)


@every_function
@pytest.mark.parametrize("path", [None, 3, 1.5, bytearray(b"x"), ["x"], object()], ids=repr)
async def test_a_path_of_another_type_is_a_type_error(call: Call, path: Any) -> None:
    with pytest.raises(TypeError):
        await call(path)


@every_function
@pytest.mark.parametrize("path", ["nul\0byte", b"nul\0byte", Path("nul\0byte"), "\0"], ids=repr)
async def test_a_nul_byte_is_a_value_error(call: Call, path: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    if call is ONE_PATH["exists"]:
        assert await call(path) is os.path.exists(path) is False
    else:
        with pytest.raises(ValueError, match="null"):
            await call(path)
    assert os.listdir(tmp_path) == []


@every_function
@pytest.mark.parametrize("path", ["", b""], ids=repr)
async def test_the_empty_path_is_not_found(call: Call, path: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    if call is ONE_PATH["exists"]:
        assert await call(path) is False
    elif call is ONE_PATH["rm force"]:
        assert await call(path) is None
    elif call is ONE_PATH["mkdtemp"]:  # a prefix may be empty: six random characters in the current directory
        made = await call(path)
        assert os.listdir(tmp_path) == [os.fsdecode(made)] and type(made) is type(path)
    else:
        with pytest.raises(FileNotFoundError) as caught:
            await call(path)
        assert path in (caught.value.filename, caught.value.filename2)


@every_function
async def test_a_lone_surrogate_cannot_be_encoded(call: Call) -> None:
    if call is ONE_PATH["exists"]:
        assert await call("\ud800") is os.path.exists("\ud800") is False
        return
    with pytest.raises(UnicodeEncodeError):
        await call("\ud800")


LONG = {"name": "n" * 256, "path": "n/" * 2100 + "n"}


@every_function
@pytest.mark.parametrize("path", LONG.values(), ids=LONG.keys())
async def test_too_long_is_the_error_of_the_system(call: Call, path: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unused").touch()
    if call is ONE_PATH["exists"]:
        assert await call(path) is False
        return
    if call is ONE_PATH["symlink target"] and path is LONG["name"]:
        (tmp_path / "unused").unlink()
        await call(path)  # a target is text: only its length as a path counts
        return
    if call is ONE_PATH["mkdir parents"] and path is LONG["path"]:
        pytest.skip("a chain of short names may well be made one by one")
    error = await async_error_of(call(path))
    theirs = (lambda: os.path.realpath(path, strict=True)) if call is ONE_PATH["realpath"] else lambda: os.stat(path)
    kind, code, text, _, _ = facts(error_of(theirs))
    assert facts(error)[:3] == (kind, code, text)


async def test_the_longest_name_and_path_work(tmp_path: Path) -> None:
    name = tmp_path / ("n" * 255)
    await fs.write_file(name, b"x")
    assert await fs.read_file(name) == b"x"
    padding = 4095 - len(os.fsencode(name))
    path = str(tmp_path) + "/" * (padding + 1) + name.name
    assert len(path) == 4095
    assert await fs.stat(path) == os.stat(path)


async def test_fspath_is_asked_once_and_its_error_is_the_users(tmp_path: Path) -> None:
    class Broken:
        asked = 0

        def __fspath__(self) -> str:
            type(self).asked += 1
            if self.asked > 1:
                raise LookupError("mine")
            return str(tmp_path)

    path = Broken()
    assert await fs.exists(path) is True
    assert Broken.asked == 1
    with pytest.raises(LookupError, match="mine"):
        await fs.stat(path)


async def test_relative_paths_follow_the_current_directory(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    await fs.write_file("here", b"x")
    assert (tmp_path / "here").read_bytes() == b"x"
    assert await fs.readdir() == ["here"]
    assert await fs.readdir(b".") == [b"here"]
    assert await fs.realpath("here") == os.path.realpath("here")
