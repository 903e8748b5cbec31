"""stat and lstat give the os.stat_result that os.stat and os.lstat give, field by field; exists and access agree."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from uvworks import fs

FIELDS = [name for name in dir(os.stat_result) if name.startswith("st_")]


def same(ours: os.stat_result, theirs: os.stat_result) -> None:
    assert type(ours) is os.stat_result
    assert tuple(ours) == tuple(theirs) and ours == theirs
    for name in FIELDS:
        mine, expected = getattr(ours, name), getattr(theirs, name)
        assert mine == expected and type(mine) is type(expected), name


@pytest.fixture(params=["file", "empty", "directory", "link", "link to a directory", "fifo", "sparse", "hard link"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    (tmp_path / "empty").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "link to a directory").symlink_to("directory")
    os.mkfifo(tmp_path / "fifo")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(5_000_000_000)
    os.link(tmp_path / "file", tmp_path / "hard link")
    return tmp_path / request.param


async def test_every_field_is_the_standard_librarys(path: Path) -> None:
    same(await fs.stat(path), os.stat(path))
    same(await fs.lstat(path), os.lstat(path))


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/proc/self", "/proc/cpuinfo", "/", ".", "/dev", "/sys"])
async def test_devices_and_virtual_files(path: str) -> None:
    same(await fs.lstat(path), os.lstat(path))
    theirs = os.stat(path)
    ours = await fs.stat(path)
    assert (ours.st_mode, ours.st_rdev, ours.st_size) == (theirs.st_mode, theirs.st_rdev, theirs.st_size)


async def test_a_device_of_large_numbers(tmp_path: Path) -> None:
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        try:
            os.mknod(tmp_path / str(kind), kind | 0o600, os.makedev(4000, 900_000))
        except PermissionError:
            pytest.skip("only root makes devices")
        same(await fs.stat(tmp_path / str(kind)), os.stat(tmp_path / str(kind)))


@pytest.mark.parametrize("ns", [0, 1, 999_999_999, 1_700_000_000_123_456_789, -1, -1_500_000_000, 2**31 * 10**9 + 7])
async def test_times_to_the_nanosecond(tmp_path: Path, ns: int) -> None:
    file = tmp_path / "file"
    file.touch()
    os.utime(file, ns=(ns, ns + 1))
    ours, theirs = await fs.stat(file), os.stat(file)
    same(ours, theirs)
    assert (ours.st_atime_ns, ours.st_mtime_ns) == (theirs.st_atime_ns, theirs.st_mtime_ns)
    assert (ours.st_atime, ours.st_mtime) == (theirs.st_atime, theirs.st_mtime)


@pytest.mark.parametrize("mode", [0, 0o600, 0o777, 0o4755, 0o2755, 0o1777])
async def test_modes(tmp_path: Path, mode: int) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(mode)
    same(await fs.stat(tmp_path / "file"), os.stat(tmp_path / "file"))


async def test_owners(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    try:
        os.chown(tmp_path / "file", 2**31 + 5, 2**32 - 2)
    except PermissionError:
        pytest.skip("only root gives files away")
    same(await fs.stat(tmp_path / "file"), os.stat(tmp_path / "file"))


async def test_a_thousand_at_once(tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(1000)]
    for number, file in enumerate(files):
        file.write_bytes(b"x" * number)
    results = await asyncio.gather(*map(fs.stat, files))
    assert [result.st_size for result in results] == list(range(1000))
    assert [result.st_ino for result in results] == [file.stat().st_ino for file in files]


async def test_each_of_many_gets_its_own_answer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    calls = [fs.stat(tmp_path / ("file" if number % 3 else f"no {number}")) for number in range(300)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    for number, result in enumerate(results):
        if number % 3:
            assert isinstance(result, os.stat_result)
        else:
            assert isinstance(result, FileNotFoundError) and result.filename == str(tmp_path / f"no {number}")


async def test_exists_follows_links(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("no")
    (tmp_path / "link").symlink_to(".")
    assert await fs.exists(tmp_path) is True
    assert await fs.exists(tmp_path / "link") is True
    assert await fs.exists(tmp_path / "dangling") is False


@pytest.mark.parametrize("mode", ["r", None, 1.0])
async def test_access_takes_an_int_mode(tmp_path: Path, mode: Any) -> None:
    with pytest.raises(TypeError):
        await fs.access(tmp_path, mode)


async def test_access_has_a_default_and_a_keyword(tmp_path: Path) -> None:
    assert await fs.access(tmp_path) is None
    assert await fs.access(tmp_path, mode=os.R_OK | os.X_OK) is None
