"""gzip_file and gunzip_file: whole files, what is left behind, and what is refused."""

from __future__ import annotations

import asyncio
import errno
import gzip as std_gzip
import os
import shutil
import zlib as std
from pathlib import Path
from typing import Any

import pytest

from tests.support import async_error_of, until
from tests.zlib.support import noise, text
from uvworks import pool, zlib
from uvworks.zlib import constants


@pytest.mark.parametrize("size", [0, 1, 100_000, 1 << 20, (1 << 20) + 1, 4_500_000])
async def test_there_and_back(tmp_path: Path, size: int) -> None:
    data = text(size // 2) + noise(size - size // 2)
    source, packed, unpacked = (tmp_path / name for name in ("a", "a.gz", "b"))
    source.write_bytes(data)
    for options in ({}, {"level": 9}, {"strategy": 2}):
        assert await zlib.gzip_file(source, str(packed), **options) == packed.stat().st_size  # type: ignore[arg-type]
        assert std_gzip.decompress(packed.read_bytes()) == data
        assert await zlib.gunzip_file(os.fsencode(packed), unpacked) == size
        assert unpacked.read_bytes() == data
    assert sorted(os.listdir(tmp_path)) == ["a", "a.gz", "b"]


async def test_members_and_padding(tmp_path: Path) -> None:
    packed, unpacked = tmp_path / "a.gz", tmp_path / "a"
    for parts in ([b"abc", b"def"], [text(100_000), noise(200_000), text(300_000)]):
        packed.write_bytes(b"".join(map(std_gzip.compress, parts)) + bytes(1000))
        assert await zlib.gunzip_file(packed, unpacked) == sum(map(len, parts))
        assert unpacked.read_bytes() == b"".join(parts)


async def test_permissions(tmp_path: Path) -> None:
    source, new, old = tmp_path / "a", tmp_path / "new", tmp_path / "old"
    source.write_bytes(b"abc")
    source.chmod(0o640)
    old.write_bytes(b"before")
    old.chmod(0o600)
    await zlib.gzip_file(source, new)
    await zlib.gzip_file(source, old)
    assert (new.stat().st_mode & 0o777, old.stat().st_mode & 0o777) == (0o640, 0o600)


async def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "target").write_bytes(b"before")
    (tmp_path / "link").symlink_to("target")
    await zlib.gzip_file(tmp_path / "a", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert std_gzip.decompress((tmp_path / "target").read_bytes()) == b"abc"


async def test_a_dangling_link_stays_and_its_target_is_made(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link.gz").symlink_to("there/a.gz")
    (tmp_path / "link").symlink_to(tmp_path / "link to it")
    (tmp_path / "link to it").symlink_to("there/a")
    await zlib.gzip_file(tmp_path / "a", tmp_path / "link.gz")
    await zlib.gunzip_file(tmp_path / "link.gz", tmp_path / "link")
    assert all((tmp_path / name).is_symlink() for name in ("link.gz", "link", "link to it"))
    assert std_gzip.decompress((tmp_path / "there" / "a.gz").read_bytes()) == b"abc"
    assert (tmp_path / "there" / "a").read_bytes() == b"abc"
    assert sorted(os.listdir(tmp_path / "there")) == ["a", "a.gz"]


async def test_a_ring_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "ring").symlink_to("ring")
    error = await async_error_of(zlib.gzip_file(tmp_path / "a", tmp_path / "ring"))
    assert isinstance(error, OSError) and (error.errno, error.filename) == (errno.ELOOP, str(tmp_path / "ring"))
    assert sorted(os.listdir(tmp_path)) == ["a", "ring"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("mode", [0o640, 0o4755, 0o2775])
async def test_the_target_keeps_owner_group_and_set_id_bits(tmp_path: Path, mode: int) -> None:
    source, packed, unpacked = (tmp_path / name for name in ("a", "a.gz", "b"))
    source.write_bytes(b"abc")
    for target in (packed, unpacked):
        target.write_bytes(b"before")
        os.chown(target, 4241, 4242)
        target.chmod(mode)
    await zlib.gzip_file(source, packed)
    await zlib.gunzip_file(packed, unpacked)
    for target in (packed, unpacked):
        result = target.stat()
        assert (result.st_uid, result.st_gid, result.st_mode & 0o7777) == (4241, 4242, mode)
    assert unpacked.read_bytes() == b"abc"


@pytest.mark.parametrize("packed", [b"", b"\x1f\x8b", b"nothing of the kind", std_gzip.compress(noise(300_000))[:-1]])
async def test_bad_data_leaves_the_target(tmp_path: Path, packed: bytes) -> None:
    source, target = tmp_path / "a.gz", tmp_path / "a"
    source.write_bytes(packed)
    target.write_bytes(b"before")
    with pytest.raises(std.error):
        await zlib.gunzip_file(source, target)
    assert target.read_bytes() == b"before"
    assert sorted(os.listdir(tmp_path)) == ["a", "a.gz"]


async def test_as_much_as_there_is(tmp_path: Path) -> None:
    source, target = tmp_path / "a.gz", tmp_path / "a"
    data = noise(300_000)
    source.write_bytes(std_gzip.compress(data)[:-1000])
    size = await zlib.gunzip_file(source, target, finish_flush=constants.Z_SYNC_FLUSH)
    assert size == target.stat().st_size > 200_000 and data.startswith(target.read_bytes())
    target.write_bytes(data)
    await zlib.gzip_file(target, source, finish_flush=constants.Z_SYNC_FLUSH)  # without an end
    engine = std.decompressobj(31)
    assert engine.decompress(source.read_bytes()) == data and not engine.eof


async def test_the_limit(tmp_path: Path) -> None:
    source, target = tmp_path / "a.gz", tmp_path / "a"
    source.write_bytes(std_gzip.compress(bytes(1_000_000)))
    assert await zlib.gunzip_file(source, target, max_output_length=1_000_000) == 1_000_000
    target.unlink()
    with pytest.raises(zlib.OutputTooLarge):
        await zlib.gunzip_file(source, target, max_output_length=999_999)
    source.write_bytes(std_gzip.compress(bytes(zlib.MAX_OUTPUT_LENGTH + 1)))
    with pytest.raises(zlib.OutputTooLarge):
        await zlib.gunzip_file(source, target)
    assert os.listdir(tmp_path) == ["a.gz"]


async def test_what_is_refused(tmp_path: Path) -> None:
    file, directory, fifo = tmp_path / "file", tmp_path / "directory", tmp_path / "fifo"
    file.write_bytes(b"abc")
    directory.mkdir()
    os.mkfifo(fifo)
    missing = tmp_path / "missing"
    cases: list[tuple[Any, Any, type[Exception]]] = [
        (missing, file, FileNotFoundError),
        (file, missing / "below", FileNotFoundError),
        (directory, missing, IsADirectoryError),
        (file, directory, IsADirectoryError),
        (fifo, missing, shutil.SpecialFileError),
        (file, fifo, shutil.SpecialFileError),
        (file, "/dev/null", shutil.SpecialFileError),
        ("/dev/zero", missing, shutil.SpecialFileError),
        (file, file, shutil.SameFileError),
        ("nul\0", file, ValueError),
        (file, 5, TypeError),
        (None, file, TypeError),
    ]
    for source, target, error in cases:
        for call in (zlib.gzip_file, zlib.gunzip_file):
            assert type(await async_error_of(call(source, target))) is error, (source, target)
    assert (await async_error_of(zlib.gzip_file(missing, file))).filename == os.fspath(missing)
    with pytest.raises(ValueError, match="level"):
        await zlib.gzip_file(file, missing, level=10)
    assert sorted(os.listdir(tmp_path)) == ["directory", "fifo", "file"]
    assert file.read_bytes() == b"abc"


async def test_cancel_leaves_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "a.gz"
    with source.open("wb") as file:
        for _ in range(100):
            file.write(noise(1 << 20))
    taken = []
    for level in (1, 6, 9):
        task = asyncio.create_task(zlib.gzip_file(source, target, level=level))
        await until(lambda: pool.statistics().lanes["cpu"].running)
        await asyncio.sleep(0.05)
        begun = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not pool.statistics().lanes["cpu"].running)
        taken.append(asyncio.get_running_loop().time() - begun)
        assert os.listdir(tmp_path) == ["a"]
    assert min(taken) < 0.05, taken


async def test_a_long_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    await zlib.gzip_file(tmp_path / "a", tmp_path / ("b" * 255))
    with pytest.raises(OSError, match="File name too long"):
        await zlib.gzip_file(tmp_path / "a", tmp_path / ("b" * 256))


async def test_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").write_bytes(b"abc")
    await zlib.gzip_file("a", "b")
    assert await zlib.gunzip_file("b", "c") == 3 and sorted(os.listdir(".")) == ["a", "b", "c"]


async def test_many_at_once(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(text(50_000))
    targets = [tmp_path / f"{number}.gz" for number in range(300)]
    await asyncio.gather(*[zlib.gzip_file(source, target) for target in targets])
    assert all(std_gzip.decompress(target.read_bytes()) == text(50_000) for target in targets)
