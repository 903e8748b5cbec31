"""Properties over generated paths, sizes, offsets, flags and data: ours beside the standard library on twin files."""

import asyncio
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import async_error_of, error_of
from uvworks import fs

NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: not {0, 47} & {*name} and name not in (b".", b".."))
DATA = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda size, seed: bytes([seed]) * size, st.integers(0, 200_000), st.integers(0, 255)),
)


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("ours", "theirs"):
        (tmp_path / name).write_bytes(b"content")
    return tmp_path / "ours", tmp_path / "theirs"


@given(name=NAMES, text=st.booleans())
@example(name=b"\xff" * 255, text=True)
@example(name=b"-rf", text=False)
def test_any_name(run: Any, tmp_path: Path, name: bytes, text: bool) -> None:
    def told(raw: bytes) -> Any:
        return os.fsdecode(raw) if text else raw

    folder = os.fsencode(tmp_path / "folder")
    path = told(folder + b"/" + name)

    async def body() -> None:
        await fs.mkdir(told(folder))
        await fs.symlink(told(name), path)
        assert await fs.readdir(told(folder)) == [told(name)]
        assert await fs.readlink(path) == told(name)
        await fs.unlink(path)
        await fs.write_file(path, name)
        (entry,) = await fs.readdir(told(folder), with_file_types=True)
        assert entry.path == path and entry.is_file()
        assert await fs.read_file(path) == name
        assert await fs.stat(path) == os.stat(path)
        assert await fs.realpath(path) == os.path.realpath(path)
        await fs.rm(told(folder), recursive=True)

    run(body())
    assert not os.path.exists(folder)


@given(steps=st.lists(st.tuples(st.sampled_from(["write", "atomic", "append", "truncate"]), DATA), max_size=8))
def test_any_sequence_of_writes(run: Any, tmp_path: Path, steps: list[tuple[str, bytes]]) -> None:
    path = tmp_path / "file"

    async def body() -> None:
        content = b""
        await fs.write_file(path, content)
        for kind, data in steps:
            if kind == "append":
                await fs.append_file(path, data)
                content += data
            elif kind == "truncate":
                await fs.truncate(path, len(data))
                content = content[: len(data)].ljust(len(data), b"\0")
            else:
                await fs.write_file(path, data, atomic=kind == "atomic")
                content = data
            assert await fs.read_file(path) == content == path.read_bytes()
            assert (await fs.stat(path)).st_size == len(content)

    run(body())


TEXT = st.text(st.characters(codec="utf-8"), max_size=300)


@given(text=TEXT, encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_any_text_comes_back_as_it_was(run: Any, tmp_path: Path, text: str, encoding: str) -> None:
    async def body() -> None:
        await fs.write_file(tmp_path / "file", text, encoding=encoding)
        assert await fs.read_file(tmp_path / "file", encoding=encoding) == text

    run(body())
    assert (tmp_path / "file").read_bytes() == text.encode(encoding)


@given(size=st.integers(0, 150_000), limit=st.integers(0, 150_000))
@example(size=65536, limit=65536)
@example(size=65537, limit=65536)
def test_any_max_size(run: Any, tmp_path: Path, size: int, limit: int) -> None:
    (tmp_path / "file").write_bytes(bytes(size))
    if size <= limit:
        assert run(fs.read_file(tmp_path / "file", max_size=limit)) == bytes(size)
    else:
        assert isinstance(run(async_error_of(fs.read_file(tmp_path / "file", max_size=limit))), OSError)


@given(length=st.one_of(st.integers(-(2**80), 2**80), st.integers(0, 2**40)))
@example(length=2**63 - 1)
@example(length=2**63)
def test_any_length(run: Any, twins: tuple[Path, Path], length: int) -> None:
    ours, theirs = twins
    try:
        os.truncate(theirs, length)
    except (OSError, OverflowError) as expected:
        error = run(async_error_of(fs.truncate(ours, length)))
        if length < 0:
            assert isinstance(error, (ValueError, OverflowError))
        else:
            assert type(error) is type(expected)
            assert getattr(error, "errno", None) == getattr(expected, "errno", None)
    else:
        run(fs.truncate(ours, length))
    assert os.stat(ours).st_size == os.stat(theirs).st_size


TIMES_NS = st.one_of(st.integers(-(2**66), 2**66), st.integers(-(2**31) * 10**9, 2**33 * 10**9))


@given(ns=st.tuples(TIMES_NS, TIMES_NS))
@example(ns=(-1, -(10**9)))
def test_any_nanoseconds(run: Any, twins: tuple[Path, Path], ns: tuple[int, int]) -> None:
    ours, theirs = twins
    try:
        os.utime(theirs, ns=ns)
    except (OSError, OverflowError) as expected:
        assert type(run(async_error_of(fs.utimes(ours, ns=ns)))) is type(expected)
    else:
        run(fs.utimes(ours, ns=ns))
        status = os.stat(theirs)
        assert os.stat(ours).st_mtime_ns == status.st_mtime_ns and os.stat(ours).st_atime_ns == status.st_atime_ns


TIMES = st.one_of(st.floats(), st.integers(-(2**70), 2**70), st.floats(-1e10, 1e10), st.integers(-(2**31), 2**33))


@given(atime=TIMES, mtime=TIMES)
@example(atime=-0.0000000001, mtime=0.9999999999)
def test_any_seconds(run: Any, twins: tuple[Path, Path], atime: float, mtime: float) -> None:
    ours, theirs = twins
    try:
        os.utime(theirs, (atime, mtime))
    except (OSError, OverflowError, ValueError) as expected:
        error = run(async_error_of(fs.utimes(ours, atime, mtime)))
        assert type(error) is type(expected) or {type(error), type(expected)} == {ValueError, OverflowError}
    else:
        run(fs.utimes(ours, atime, mtime))
        status = os.stat(theirs)
        assert os.stat(ours).st_mtime_ns == status.st_mtime_ns and os.stat(ours).st_atime_ns == status.st_atime_ns


@given(mode=st.integers(0, 0o7777), umask=st.integers(0, 0o777))
def test_any_mode(run: Any, tmp_path: Path, mode: int, umask: int) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    old = os.umask(umask)
    try:
        run(fs.mkdir(ours / "directory", mode, parents=True))
        run(fs.write_file(ours / "file", b"x", mode=mode))
        run(fs.write_file(ours / "atomic", b"x", mode=mode, atomic=True))
        run(fs.write_file(ours / "changed", b"x"))
        run(fs.chmod(ours / "changed", mode))
        theirs.mkdir()
        os.mkdir(theirs / "directory", mode)
        for name in ("file", "atomic"):
            os.close(os.open(theirs / name, os.O_CREAT | os.O_WRONLY, mode))
        (theirs / "changed").touch()
        os.chmod(theirs / "changed", mode)
        for name in ("directory", "file", "atomic", "changed"):
            assert stat.S_IMODE(os.stat(ours / name).st_mode) == stat.S_IMODE(os.stat(theirs / name).st_mode), name
    finally:
        os.umask(old)
        shutil.rmtree(ours, ignore_errors=True)
        shutil.rmtree(theirs, ignore_errors=True)


SEGMENTS = st.lists(st.sampled_from(["a", "b", "a b", ".", "..", ""]), min_size=1, max_size=6)


@given(segments=SEGMENTS)
def test_any_chain_of_directories(run: Any, tmp_path: Path, segments: list[str]) -> None:
    made = {}
    for side in ("ours", "theirs"):
        base = tmp_path / side / "1" / "2" / "3" / "4" / "5" / "6"  # .. stays inside
        base.mkdir(parents=True)
        path = f"{base}/{'/'.join(segments)}"
        if side == "ours":
            existed = os.path.isdir(path)
            first = run(fs.mkdir(path, parents=True))
            assert (first is None) == existed or ".." in segments
        else:
            os.makedirs(path, exist_ok=True)
        made[side] = sorted(str(found.relative_to(tmp_path / side)) for found in (tmp_path / side).rglob("*"))
        shutil.rmtree(tmp_path / side)
    assert made["ours"] == made["theirs"]


@given(sizes=st.lists(st.one_of(st.integers(0, 5000), st.integers(60_000, 70_000)), min_size=1, max_size=20))
def test_any_mix_of_reads_at_once(run: Any, tmp_path: Path, sizes: list[int]) -> None:
    for number, size in enumerate(sizes):
        (tmp_path / str(number)).write_bytes(bytes([number]) * size)

    async def body() -> list[bytes]:
        return await asyncio.gather(*(fs.read_file(tmp_path / str(number)) for number in range(len(sizes))))

    assert run(body()) == [bytes([number]) * size for number, size in enumerate(sizes)]


@given(bits=st.integers(0, 7), mode=st.integers(0, 0o777))
def test_any_access(run: Any, twins: tuple[Path, Path], bits: int, mode: int) -> None:
    os.chmod(twins[0], mode)
    if os.access(twins[0], bits):
        assert run(fs.access(twins[0], bits)) is None
    else:
        error = run(async_error_of(fs.access(twins[0], bits)))
        assert type(error) is PermissionError and error.filename == str(twins[0])


@given(length=st.integers(0, 1 << 70))
def test_any_bad_name_is_an_error_like_stats(run: Any, length: int) -> None:
    path = "n" * min(length, 6000)
    if 0 < len(path) <= 255:
        return
    ours, theirs = run(async_error_of(fs.stat(path))), error_of(lambda: os.stat(path))
    assert type(ours) is type(theirs) and ours.args == theirs.args
