"""copy_file against shutil.copy: content, permission bits, links, sparse and virtual files, and what it refuses."""

import asyncio
import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE, async_error_of, facts, until
from uvworks import fs, pool


@pytest.mark.parametrize("size", [0, 1, 65536, 131073, (10 << 20) + 1])
async def test_content(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "source").write_bytes(content)
    assert await fs.copy_file(tmp_path / "source", tmp_path / "copy") is None
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes() == content


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o400, 0o777, 0o666])
@pytest.mark.parametrize("existing", [False, True])
async def test_permission_bits_are_those_of_shutil_copy(tmp_path: Path, mode: int, existing: bool) -> None:
    (tmp_path / "source").write_bytes(b"x")
    (tmp_path / "source").chmod(mode)
    for name in ("ours", "theirs"):
        if existing:
            (tmp_path / name).write_bytes(b"something longer")
            (tmp_path / name).chmod(0o640)
    old = os.umask(0o027)
    try:
        await fs.copy_file(tmp_path / "source", tmp_path / "ours")
        shutil.copy(tmp_path / "source", tmp_path / "theirs")
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(tmp_path / "ours").st_mode) == stat.S_IMODE(os.stat(tmp_path / "theirs").st_mode)
    assert (tmp_path / "ours").read_bytes() == b"x"


async def test_links_are_followed_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    (tmp_path / "link").symlink_to("source")
    (tmp_path / "goal").symlink_to("made")
    await fs.copy_file(tmp_path / "link", tmp_path / "goal")
    assert (tmp_path / "made").read_bytes() == b"x" and not (tmp_path / "made").is_symlink()
    assert (tmp_path / "goal").is_symlink()


async def test_a_sparse_file(tmp_path: Path) -> None:
    with open(tmp_path / "source", "wb") as file:
        file.write(b"start")
        file.seek(50_000_000)
        file.write(b"middle")
        file.truncate(100_000_000)
    await fs.copy_file(tmp_path / "source", tmp_path / "copy")
    with open(tmp_path / "source", "rb") as source, open(tmp_path / "copy", "rb") as copy:
        assert hashlib.file_digest(source, "sha256").digest() == hashlib.file_digest(copy, "sha256").digest()


@pytest.mark.parametrize("path", ["/proc/version", "/proc/self/mountinfo", "/sys/devices/system/cpu/online"])
async def test_virtual_files(tmp_path: Path, path: str) -> None:
    await fs.copy_file(path, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == Path(path).read_bytes() != b""


@pytest.mark.parametrize("alias", ["itself", "dotted", "hard link", "link"])
async def test_the_same_file_is_refused_and_kept(tmp_path: Path, alias: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"precious")
    os.link(source, tmp_path / "hard link")
    (tmp_path / "link").symlink_to(source)
    goal = {"itself": str(source), "dotted": f"{tmp_path}/./source"}.get(alias, str(tmp_path / alias))
    with pytest.raises(shutil.SameFileError):
        await fs.copy_file(source, goal)
    assert source.read_bytes() == b"precious"


async def test_exclusive_makes_a_new_file_only(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    await fs.copy_file(tmp_path / "source", tmp_path / "made", exclusive=True)
    assert (tmp_path / "made").read_bytes() == b"new"
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("kept", "dangling"):
        goal = str(tmp_path / name)
        error = await async_error_of(fs.copy_file(tmp_path / "source", goal, exclusive=True))
        assert facts(error)[:3] == (FileExistsError, errno.EEXIST, os.strerror(errno.EEXIST))
        assert goal in (error.filename, error.filename2)  # type: ignore[attr-defined]
    assert (tmp_path / "kept").read_bytes() == b"kept" and not (tmp_path / "nowhere").exists()


async def test_a_fifo_is_refused_on_either_side(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(shutil.SpecialFileError):
        await asyncio.wait_for(fs.copy_file(tmp_path / "fifo", tmp_path / "new"), PATIENCE)
    with pytest.raises(shutil.SpecialFileError):
        await asyncio.wait_for(fs.copy_file(tmp_path / "file", tmp_path / "fifo"), PATIENCE)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "file"] and stat.S_ISFIFO(os.stat(tmp_path / "fifo").st_mode)


async def test_a_device_as_destination_stays_a_device(tmp_path: Path) -> None:
    """A full one too: tidying up after an error must not remove what was there before."""
    (tmp_path / "source").write_bytes(b"x")
    for name, minor in (("null", 3), ("full", 7)):
        try:
            os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            await fs.copy_file(tmp_path / "source", tmp_path / name)
        except PermissionError:
            pytest.skip("only root makes devices, and not on every file system")
        except OSError as error:
            assert (name, error.errno) == ("full", errno.ENOSPC)
        assert stat.S_ISCHR(os.stat(tmp_path / name).st_mode)


async def test_a_large_copy_can_be_cancelled(tmp_path: Path) -> None:
    with open(tmp_path / "source", "wb") as file:
        for _ in range(8):
            file.write(os.urandom(1 << 20) * 8)
    task = asyncio.create_task(fs.copy_file(tmp_path / "source", tmp_path / "copy"))
    await until(lambda: (tmp_path / "copy").exists() or task.done())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: pool.statistics().busy == 0)
    assert (tmp_path / "source").stat().st_size == 64 << 20


@pytest.mark.parametrize("arguments", [("only one",), ("a", "b", True)])
async def test_wrong_arguments(arguments: Any) -> None:
    with pytest.raises(TypeError):
        await fs.copy_file(*arguments)
