"""chmod, rename, truncate, unlink and utimes: the same tree afterwards as with the function of os."""

import math
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import async_error_of, error_of
from uvworks import fs


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("ours", "theirs"):
        (tmp_path / name).write_bytes(b"content")
    return tmp_path / "ours", tmp_path / "theirs"


@pytest.mark.parametrize("mode", [0, 0o400, 0o644, 0o777, 0o4755, 0o2711, 0o1777, stat.S_IFREG | 0o600])
async def test_chmod(twins: tuple[Path, Path], mode: int) -> None:
    ours, theirs = twins
    assert await fs.chmod(ours, mode) is None
    os.chmod(theirs, mode)
    assert os.stat(ours).st_mode == os.stat(theirs).st_mode


async def test_chmod_follows_links(tmp_path: Path, twins: tuple[Path, Path]) -> None:
    (tmp_path / "link").symlink_to("ours")
    await fs.chmod(tmp_path / "link", 0o604)
    assert stat.S_IMODE(os.stat(twins[0]).st_mode) == 0o604


@pytest.mark.parametrize("mode", ["600", None, 6.0])
async def test_chmod_takes_an_int(twins: tuple[Path, Path], mode: Any) -> None:
    with pytest.raises(TypeError):
        await fs.chmod(twins[0], mode)


@pytest.mark.parametrize("mode", [1 << 40, 1 << 70])
async def test_a_mode_too_big(twins: tuple[Path, Path], mode: int) -> None:
    with pytest.raises((OverflowError, ValueError)):
        await fs.chmod(twins[0], mode)


async def test_rename_replaces_files_and_moves_trees(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    assert await fs.rename(tmp_path / "file", tmp_path / "old") is None
    assert os.listdir(tmp_path) == ["old"] and (tmp_path / "old").read_bytes() == b"new"
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    await fs.rename(tmp_path / "tree", tmp_path / "empty")
    assert os.listdir(tmp_path / "empty") == ["deep"]
    (tmp_path / "link").symlink_to("nowhere")
    await fs.rename(tmp_path / "link", tmp_path / "old")
    assert os.readlink(tmp_path / "old") == "nowhere"


async def test_unlink_removes_the_link_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert await fs.unlink(tmp_path / "link") is None
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("length", [0, 1, 6, 7, 8, 4096, 5_000_000_000])
async def test_truncate_shrinks_and_grows(twins: tuple[Path, Path], length: int) -> None:
    ours, theirs = twins
    assert await fs.truncate(ours, length) is None
    os.truncate(theirs, length)
    assert os.stat(ours).st_size == os.stat(theirs).st_size == length
    with open(ours, "rb") as one, open(theirs, "rb") as other:
        assert one.read(10_000) == other.read(10_000)


async def test_truncate_empties_unless_told(twins: tuple[Path, Path]) -> None:
    await fs.truncate(twins[0])
    assert twins[0].read_bytes() == b""


@pytest.mark.parametrize(
    ("length", "error"),
    [(-1, ValueError), (-(1 << 62), ValueError), (1 << 63, OverflowError), (1 << 70, OverflowError), (1.0, TypeError)],
)
async def test_truncate_to_a_wrong_length(twins: tuple[Path, Path], length: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="length" if error is ValueError else None):
        await fs.truncate(twins[0], length)
    assert twins[0].read_bytes() == b"content"


NS = [(0, 0), (1, 2), (1_700_000_000_123_456_789, 1_600_000_000_987_654_321), (-1, -999_999_999), (-(10**18), 10**18)]


@pytest.mark.parametrize("ns", NS, ids=str)
async def test_utimes_in_nanoseconds(twins: tuple[Path, Path], ns: tuple[int, int]) -> None:
    ours, theirs = twins
    assert await fs.utimes(ours, ns=ns) is None
    os.utime(theirs, ns=ns)
    assert (os.stat(ours).st_atime_ns, os.stat(ours).st_mtime_ns) == ns
    assert os.stat(ours).st_mtime_ns == os.stat(theirs).st_mtime_ns


SECONDS = [(0, 0), (1, 2.5), (1_700_000_000.123456789, 0.1), (-1.5, -0.000000001), (1e-9, 1.1), (253_402_300_800.0, -7)]


@pytest.mark.parametrize("times", SECONDS, ids=str)
async def test_utimes_in_seconds_round_as_os_utime_does(twins: tuple[Path, Path], times: tuple[float, float]) -> None:
    ours, theirs = twins
    await fs.utimes(ours, *times)
    os.utime(theirs, times)
    assert os.stat(ours).st_atime_ns == os.stat(theirs).st_atime_ns
    assert os.stat(ours).st_mtime_ns == os.stat(theirs).st_mtime_ns


async def test_utimes_now(twins: tuple[Path, Path]) -> None:
    for arguments in ((), (None, None)):
        os.utime(twins[0], (0, 0))
        before = time.time() - 0.1  # the file system's clock ticks coarsely
        await fs.utimes(twins[0], *arguments)
        status = os.stat(twins[0])
        assert before <= status.st_atime <= time.time() + 0.1 and before <= status.st_mtime <= time.time() + 0.1


async def test_utimes_follows_links(tmp_path: Path, twins: tuple[Path, Path]) -> None:
    (tmp_path / "link").symlink_to("ours")
    await fs.utimes(tmp_path / "link", 5, 6)
    assert os.stat(twins[0]).st_mtime == 6


@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf, 1e300, 10**30, "1", b"1", 1j])
async def test_utimes_of_no_time(twins: tuple[Path, Path], time: Any) -> None:
    expected = error_of(lambda: os.utime(twins[1], (time, time)))
    before = os.stat(twins[0])
    kinds = (type(expected), ValueError) if isinstance(expected, OverflowError) else type(expected)
    assert isinstance(await async_error_of(fs.utimes(twins[0], time, time)), kinds)
    assert os.stat(twins[0]) == before


@pytest.mark.parametrize("ns", [(1,), (1, 2, 3), (1.0, 2), ("1", "2"), 5, (10**40, 0)], ids=str)
async def test_utimes_of_wrong_nanoseconds(twins: tuple[Path, Path], ns: Any) -> None:
    expected = error_of(lambda: os.utime(twins[1], ns=ns))
    assert isinstance(await async_error_of(fs.utimes(twins[0], ns=ns)), (type(expected), TypeError, ValueError))


async def test_utimes_takes_one_kind_of_time(twins: tuple[Path, Path]) -> None:
    with pytest.raises((TypeError, ValueError)):
        await fs.utimes(twins[0], 1, 2, ns=(1, 2))
