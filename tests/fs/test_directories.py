"""mkdir, mkdtemp, readdir and rmdir against os.mkdir, os.makedirs, tempfile, os.scandir and os.rmdir."""

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from uvworks import fs


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("mode", [0o777, 0o700, 0o555, 0o1777])
async def test_mkdir_modes(tmp_path: Path, umask: None, mode: int) -> None:
    assert await fs.mkdir(tmp_path / "ours", mode) is None
    os.mkdir(tmp_path / "theirs", mode)
    assert mode_of(tmp_path / "ours") == mode_of(tmp_path / "theirs")


async def test_mkdir_parents_mode_is_for_the_last_one(tmp_path: Path, umask: None) -> None:
    """As mkdir -p -m: a mode that shuts the parents would shut out the rest of the chain."""
    await fs.mkdir(tmp_path / "a" / "b" / "c", 0o500, parents=True)
    assert [mode_of(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o750, 0o750, 0o500]


async def test_mkdir_parents_tells_the_first_directory_made(tmp_path: Path) -> None:
    assert await fs.mkdir(tmp_path / "a", parents=True) == str(tmp_path / "a")
    assert await fs.mkdir(tmp_path / "a" / "b" / "c" / "d", parents=True) == str(tmp_path / "a" / "b")
    assert await fs.mkdir(tmp_path / "a" / "b" / "c" / "d", parents=True) is None
    assert await fs.mkdir(os.fsencode(tmp_path / "x" / "y"), parents=True) == os.fsencode(tmp_path / "x")
    (tmp_path / "link").symlink_to("a")
    assert await fs.mkdir(tmp_path / "link", parents=True) is None


@pytest.mark.parametrize("path", ["a/b/", "a//b", "./a/./b", "a/../a/b", "a/b/."])
async def test_mkdir_parents_of_odd_spellings(tmp_path: Path, monkeypatch: Any, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert await fs.mkdir(path, parents=True) is not None
    assert (tmp_path / "a" / "b").is_dir() and os.listdir(tmp_path) == ["a"] and os.listdir(tmp_path / "a") == ["b"]


async def test_mkdir_parents_of_what_always_is(tmp_path: Path) -> None:
    assert await fs.mkdir("/", parents=True) is None
    assert await fs.mkdir(".", parents=True) is None


async def test_mkdir_parents_raced_by_itself(tmp_path: Path) -> None:
    deep = "/".join("abcdefgh")
    results = await asyncio.gather(
        *(fs.mkdir(tmp_path / deep / str(number % 5), parents=True) for number in range(100)),
        *(fs.mkdir(tmp_path / deep, parents=True) for _ in range(100)),
    )
    assert sorted(os.listdir(tmp_path / deep)) == ["0", "1", "2", "3", "4"]
    assert results.count(str(tmp_path / "a")) == 1


@pytest.mark.parametrize("mode", ["r", None, 7.0])
async def test_mkdir_takes_an_int_mode(tmp_path: Path, mode: Any) -> None:
    with pytest.raises(TypeError):
        await fs.mkdir(tmp_path / "x", mode)


@pytest.mark.parametrize("prefix", ["", "t-", "名前-", os.fsdecode(b"\xff")])
async def test_mkdtemp(tmp_path: Path, prefix: str) -> None:
    made = await fs.mkdtemp(f"{tmp_path}/{prefix}")
    assert made.startswith(f"{tmp_path}/{prefix}") and len(made) == len(f"{tmp_path}/{prefix}") + 6
    assert mode_of(Path(made)) == 0o700


async def test_mkdtemp_names_differ_and_are_plain(tmp_path: Path) -> None:
    made = await asyncio.gather(*(fs.mkdtemp(os.fsencode(tmp_path / "t-")) for _ in range(100)))
    assert sorted(made) == sorted(os.fsencode(path) for path in tmp_path.iterdir())
    assert len(set(made)) == 100 and all(name[-6:].isalnum() for name in made)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """One of each kind of file; devices where the user may make them."""
    folder = tmp_path / "zoo"
    (folder / "directory").mkdir(parents=True)
    (folder / "file").touch()
    (folder / "link").symlink_to("file")
    (folder / "link to a directory").symlink_to("directory")
    (folder / "dangling").symlink_to("nowhere")
    (folder / os.fsdecode(b"\xff\xfe")).touch()
    (folder / " \n").touch()
    os.mkfifo(folder / "fifo")
    os.mknod(folder / "socket", stat.S_IFSOCK | 0o600)
    try:
        os.mknod(folder / "character", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(folder / "block", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    except PermissionError:
        pass
    return folder


async def test_readdir_names(zoo: Path) -> None:
    assert sorted(await fs.readdir(zoo)) == sorted(os.listdir(zoo))
    assert sorted(await fs.readdir(os.fsencode(zoo))) == sorted(os.listdir(os.fsencode(zoo)))


@pytest.mark.parametrize("spell", [str, os.fsencode, Path], ids=["str", "bytes", "Path"])
async def test_readdir_types_are_those_of_scandir_without_following(zoo: Path, spell: Any) -> None:
    entries = {entry.name: entry for entry in await fs.readdir(spell(zoo), with_file_types=True)}
    with os.scandir(os.fspath(spell(zoo))) as theirs:
        expected = {entry.name: entry for entry in theirs}
    assert entries.keys() == expected.keys()
    for name, entry in entries.items():
        mode = expected[name].stat(follow_symlinks=False).st_mode
        assert entry.path == expected[name].path
        assert entry.parent_path == os.fspath(spell(zoo))
        assert (
            entry.is_file(),
            entry.is_dir(),
            entry.is_symlink(),
            entry.is_fifo(),
            entry.is_socket(),
            entry.is_block_device(),
            entry.is_character_device(),
        ) == (
            stat.S_ISREG(mode),
            stat.S_ISDIR(mode),
            stat.S_ISLNK(mode),
            stat.S_ISFIFO(mode),
            stat.S_ISSOCK(mode),
            stat.S_ISBLK(mode),
            stat.S_ISCHR(mode),
        )
        assert repr(name) in repr(entry)


async def test_readdir_of_the_current_directory(zoo: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(zoo)
    assert sorted(await fs.readdir()) == sorted(os.listdir())
    with os.scandir() as theirs:
        assert {entry.path for entry in await fs.readdir(with_file_types=True)} == {entry.path for entry in theirs}


async def test_readdir_with_a_slash_at_the_end(zoo: Path) -> None:
    with os.scandir(f"{zoo}/") as theirs:
        expected = {entry.path for entry in theirs}
    assert {entry.path for entry in await fs.readdir(f"{zoo}/", with_file_types=True)} == expected


async def test_readdir_of_nothing_and_of_proc(tmp_path: Path) -> None:
    assert await fs.readdir(tmp_path) == []
    assert await fs.readdir(tmp_path, with_file_types=True) == []
    assert str(os.getpid()) in await fs.readdir("/proc")
    kinds = {entry.name: entry.is_symlink() for entry in await fs.readdir("/proc/self", with_file_types=True)}
    assert kinds["exe"] and not kinds["status"]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crowd")
    for number in range(10_000):
        (folder / f"file {number} {'n' * (number % 200)}").touch()
        os.symlink("x", folder / f"link {number}")
    return folder


async def test_readdir_of_twenty_thousand(crowd: Path) -> None:
    assert sorted(await fs.readdir(crowd)) == sorted(os.listdir(crowd))
    entries = await fs.readdir(crowd, with_file_types=True)
    assert len(entries) == len({entry.name for entry in entries}) == 20_000
    assert sum(entry.is_symlink() for entry in entries) == sum(entry.is_file() for entry in entries) == 10_000


async def test_rmdir(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert await fs.rmdir(tmp_path / "x") is None
    assert os.listdir(tmp_path) == []
