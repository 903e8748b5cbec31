"""write_file and append_file: every kind of data, buffers locked for as long as they are read, modes, atomic writes
that leave the old file or the new one and nothing else."""

import array
import asyncio
import errno
import mmap
import os
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import facts, python, until
from uvworks import fs, pool

WAYS = {
    "write": lambda path, data, **options: fs.write_file(path, data, **options),
    "atomic": lambda path, data, **options: fs.write_file(path, data, atomic=True, **options),
    "fsync": lambda path, data, **options: fs.write_file(path, data, fsync=True, **options),
    "atomic fsync": lambda path, data, **options: fs.write_file(path, data, atomic=True, fsync=True, **options),
    "append": lambda path, data, **options: fs.append_file(path, data, **options),
    "append fsync": lambda path, data, **options: fs.append_file(path, data, fsync=True, **options),
}
every_way = pytest.mark.parametrize("write", WAYS.values(), ids=WAYS.keys())


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


def mapped(content: bytes) -> mmap.mmap:
    region = mmap.mmap(-1, len(content))
    region.write(content)
    return region


DATA = {
    "bytes": b"some content",
    "bytearray": bytearray(b"some content"),
    "memoryview": memoryview(b"some content"),
    "part of a memoryview": memoryview(b"xsome contentx")[1:-1],
    "array": array.array("i", range(100)),
    "memoryview of ints": memoryview(array.array("d", range(100))),
    "memoryview of two dimensions": memoryview(b"some content").cast("B", (3, 4)),
    "empty": b"",
    "empty bytearray": bytearray(),
}


@every_way
@pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
async def test_bytes_like_data(tmp_path: Path, write: Any, data: Any) -> None:
    assert await write(tmp_path / "file", data) is None
    assert (tmp_path / "file").read_bytes() == memoryview(data).tobytes()


@every_way
async def test_a_memory_map_as_data(tmp_path: Path, write: Any) -> None:
    with mapped(b"x" * 10_000) as region:
        await write(tmp_path / "file", region)
    assert (tmp_path / "file").read_bytes() == b"x" * 10_000


@every_way
@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 1 << 20, (10 << 20) + 1])
async def test_sizes(tmp_path: Path, write: Any, size: int) -> None:
    content = array.array("I", range(size // 4 + 1)).tobytes()[:size]
    await write(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == content


@every_way
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
async def test_text(tmp_path: Path, write: Any, encoding: str) -> None:
    text = "één\r\ntwo\nno line end is touched"
    await write(tmp_path / "file", text, encoding=encoding)
    assert (tmp_path / "file").read_bytes() == text.encode(encoding)


@every_way
async def test_text_is_utf8_unless_told(tmp_path: Path, write: Any) -> None:
    await write(tmp_path / "file", "€")
    assert (tmp_path / "file").read_bytes() == "€".encode()


@every_way
@pytest.mark.parametrize(
    ("data", "options", "error"),
    [
        ("é", {"encoding": "ascii"}, UnicodeEncodeError),
        ("\ud800", {}, UnicodeEncodeError),
        ("x", {"encoding": "no-such-encoding"}, LookupError),
        (5, {}, TypeError),
        (None, {}, TypeError),
        ([b"x"], {}, TypeError),
        (memoryview(b"abcdef")[::2], {}, (BufferError, TypeError, ValueError)),
        (b"x", {"mode": "w"}, TypeError),
        (b"x", {"mode": -1}, (ValueError, OverflowError)),
    ],
    ids=str,
)
async def test_wrong_data_leaves_the_old_file(tmp_path: Path, write: Any, data: Any, options: Any, error: Any) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(error):
        await write(tmp_path / "file", data, **options)
    assert (tmp_path / "file").read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


@every_way
@pytest.mark.parametrize("mode", [0o666, 0o600, 0o755])
async def test_the_mode_of_a_new_file_minds_the_umask(tmp_path: Path, umask: None, write: Any, mode: int) -> None:
    await write(tmp_path / "file", b"x", mode=mode)
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == mode & ~0o027


@every_way
async def test_the_default_mode_is_that_of_open(tmp_path: Path, umask: None, write: Any) -> None:
    await write(tmp_path / "file", b"x")
    (tmp_path / "by open").write_bytes(b"x")
    assert os.stat(tmp_path / "file").st_mode == os.stat(tmp_path / "by open").st_mode


@every_way
@pytest.mark.parametrize("mode", [0o640, 0o444, 0o777, 0o4755])
async def test_an_existing_file_keeps_its_mode(tmp_path: Path, write: Any, mode: int) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(mode)
    if os.geteuid() and not mode & 0o200:
        pytest.skip("only root writes what is not writable")
    (tmp_path / "by open").write_bytes(b"old")
    (tmp_path / "by open").chmod(mode)
    with open(tmp_path / "by open", "r+b") as file:
        file.write(b"new")
    await write(tmp_path / "file", b"new", mode=0o600)
    kept = stat.S_IMODE(os.stat(tmp_path / "file").st_mode)
    # A write drops the set-user-id bit for all but root; an atomic one may do so for everyone.
    assert kept in {stat.S_IMODE(os.stat(tmp_path / "by open").st_mode), mode & 0o777}


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def attributes(path: Path) -> tuple[int, int, int]:
    result = os.stat(path)
    return result.st_uid, result.st_gid, stat.S_IMODE(result.st_mode)


@as_root
@pytest.mark.parametrize("mode", [0o640, 0o4755, 0o2775, 0o6711])
async def test_root_keeps_owner_group_and_set_id_bits(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 4241, 4242)
    path.chmod(mode)
    await fs.write_file(path, b"new", atomic=True)
    assert (path.read_bytes(), attributes(path)) == (b"new", (4241, 4242, mode))


def write_as_user(path: Path, groups: str) -> None:
    """An atomic write by user 4243 and group 4243, who may write in the directory and is a member of these groups."""
    path.parent.chmod(0o777)
    python(
        """
        import asyncio, os, sys
        from uvworks import fs

        os.chdir(os.path.dirname(sys.argv[1]))
        os.setgroups([int(group) for group in sys.argv[2].split()])
        os.setgid(4243)
        os.setuid(4243)
        asyncio.run(fs.write_file(os.path.basename(sys.argv[1]), b"new", atomic=True))
        """,
        str(path),
        groups,
    )
    assert path.read_bytes() == b"new"


@as_root
@pytest.mark.parametrize(("mode", "kept"), [(0o660, 0o660), (0o2775, 0o775), (0o6750, 0o750)], ids=oct)
def test_a_member_of_the_group_keeps_the_group(tmp_path: Path, mode: int, kept: int) -> None:
    """The set-id bits go with what is written, as in a plain write by anybody but root."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 4241, 4242)
    path.chmod(mode)
    write_as_user(path, "4242")
    assert attributes(path) == (4243, 4242, kept)


@as_root
@pytest.mark.parametrize(
    ("mode", "kept"), [(0o660, 0o600), (0o664, 0o644), (0o604, 0o600), (0o6755, 0o755), (0o1640, 0o1600)], ids=oct
)
def test_where_the_group_cannot_be_kept_nobody_gains_rights(tmp_path: Path, mode: int, kept: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 4241, 4242)
    path.chmod(mode)
    write_as_user(path, "")
    assert attributes(path) == (4243, 4243, kept)


async def test_write_replaces_and_append_appends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    await fs.write_file(path, b"a long content")
    await fs.write_file(path, b"short")
    await fs.append_file(path, b" and ")
    await fs.append_file(path, "more")
    assert path.read_bytes() == b"short and more"


async def test_parallel_appends_all_land_whole(tmp_path: Path) -> None:
    lines = [f"{number:05d}".encode() * 20 + b"\n" for number in range(300)]
    await asyncio.gather(*(fs.append_file(tmp_path / "file", line) for line in lines))
    assert sorted((tmp_path / "file").read_bytes().splitlines(keepends=True)) == lines


@every_way
async def test_a_write_follows_a_link(tmp_path: Path, write: Any) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "link to it").symlink_to(tmp_path / "link")
    await write(tmp_path / "link to it", b"new")
    assert os.readlink(tmp_path / "link") == "file" and (tmp_path / "file").read_bytes() == b"new"
    assert len(os.listdir(tmp_path)) == 3


@every_way
async def test_a_write_through_a_dangling_link_makes_its_target(tmp_path: Path, write: Any) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/file")
    await write(tmp_path / "link", b"new")
    assert os.path.islink(tmp_path / "link") and os.listdir(tmp_path / "there") == ["file"]
    assert (tmp_path / "there" / "file").read_bytes() == b"new"


async def test_plain_writes_keep_the_inode_and_atomic_ones_leave_old_readers_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old content")
    os.link(path, tmp_path / "second name")
    with open(path, "rb") as reader:
        await fs.write_file(path, b"new", atomic=True)
        assert reader.read() == b"old content"
    assert path.read_bytes() == b"new" and (tmp_path / "second name").read_bytes() == b"old content"
    inode = os.stat(path).st_ino
    await fs.write_file(path, b"newer")
    assert os.stat(path).st_ino == inode


async def test_a_reader_sees_one_atomic_write_or_another(tmp_path: Path) -> None:
    path = tmp_path / "file"
    size = 200_000
    await fs.write_file(path, b"a" * size, atomic=True)
    writes = [fs.write_file(path, bytes([65 + number]) * size, atomic=True) for number in range(50)]
    reads = [fs.read_file(path) for _ in range(50)]
    results = await asyncio.gather(*(call for pair in zip(writes, reads, strict=True) for call in pair))
    for content in results[1::2]:
        assert len(content) == size and len(set(content)) == 1
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("fsync", [False, True])
async def test_a_cancelled_atomic_write_leaves_the_old_file_or_the_new_one_alone(tmp_path: Path, fsync: bool) -> None:
    new = bytes(64 << 20)
    (tmp_path / "file").write_bytes(b"old")
    task = asyncio.create_task(fs.write_file(tmp_path / "file", new, atomic=True, fsync=fsync))
    await until(lambda: len(os.listdir(tmp_path)) > 1 or pool.statistics().lanes["io"].running or task.done())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: pool.statistics().busy == 0)
    assert os.listdir(tmp_path) == ["file"]
    # 64 MiB take far longer than a turn of the loop, so the stop flag was seen before the rename.
    assert (tmp_path / "file").stat().st_size == 3


async def test_a_cancelled_write_that_never_started_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for atomic in (False, True):
        task = asyncio.create_task(fs.write_file(tmp_path / "file", b"new", atomic=atomic))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("way", ["write", "atomic", "append"])
def test_a_file_size_limit_is_efbig_and_leaves_no_temporary_file(tmp_path: Path, way: str) -> None:
    (tmp_path / "file").write_bytes(b"old")
    python(
        """
        import asyncio, errno, resource, sys
        from uvworks import fs

        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        call = fs.append_file if sys.argv[2] == "append" else fs.write_file
        options = {"atomic": True} if sys.argv[2] == "atomic" else {}
        try:
            asyncio.run(call(sys.argv[1], bytes(1 << 20), **options))
        except OSError as error:
            assert (error.errno, error.filename) == (errno.EFBIG, sys.argv[1]), error
        else:
            raise AssertionError("nothing raised")
        """,
        str(tmp_path / "file"),
        way,
    )
    assert os.listdir(tmp_path) == ["file"]
    content = (tmp_path / "file").read_bytes()
    assert content == b"old" if way == "atomic" else len(content) == 100_000


def resize(buffer: Any) -> None:
    if isinstance(buffer, mmap.mmap):
        buffer.resize(2 * len(buffer))
    else:
        buffer.append(1)


BUFFERS = {
    "bytearray": lambda: bytearray(1 << 20),
    "array": lambda: array.array("B", bytes(1 << 20)),
    "mmap": lambda: mmap.mmap(-1, 1 << 20),
}


def locked(buffer: Any) -> bool:
    try:
        resize(buffer)
    except BufferError:
        return True
    return False


@pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS.keys())
async def test_a_buffer_is_locked_while_it_is_written_and_free_after(tmp_path: Path, make: Any) -> None:
    """A FIFO with a reader that does not read holds the job where we want it: in the middle."""
    os.mkfifo(tmp_path / "fifo")
    buffer = make()
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        task = asyncio.create_task(fs.write_file(tmp_path / "fifo", buffer))
        await until(lambda: select.select([reader], [], [], 0)[0])
        assert locked(buffer)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not locked(buffer))
    finally:
        os.close(reader)


async def test_a_buffer_stays_locked_after_a_cancel_until_the_worker_has_let_go(tmp_path: Path) -> None:
    buffer = bytearray(64 << 20)
    task = asyncio.create_task(fs.write_file(tmp_path / "file", buffer))
    await until(lambda: pool.statistics().lanes["io"].running or task.done())
    assert locked(buffer)
    task.cancel()
    # The loop has not turned since, so it cannot have heard from the worker: the memory must stay where it is.
    assert locked(buffer)
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not locked(buffer))
    assert pool.statistics().busy == 0  # freed no sooner than the job ended
    assert (tmp_path / "file").stat().st_size < len(buffer)  # and it ended early


@every_way
async def test_a_buffer_is_free_once_the_call_returned_or_failed(tmp_path: Path, write: Any) -> None:
    buffer = bytearray(100_000)
    await write(tmp_path / "file", buffer)
    buffer.append(1)
    with pytest.raises(FileNotFoundError):
        await write(tmp_path / "no" / "file", buffer)
    buffer.append(1)
    with pytest.raises(LookupError):
        await write(tmp_path / "file", "text", encoding="no-such-encoding")
    with pytest.raises(ValueError, match="null"):
        await write("nul\0byte", buffer)
    buffer.append(1)


async def test_a_closed_memory_map_or_released_view_is_a_value_error(tmp_path: Path) -> None:
    region = mapped(b"x")
    region.close()
    view = memoryview(b"x")
    view.release()
    for data in (region, view):
        with pytest.raises(ValueError):
            await fs.write_file(tmp_path / "file", data)
    assert os.listdir(tmp_path) == []


async def test_errors_name_the_path(tmp_path: Path) -> None:
    path = str(tmp_path)
    for write in WAYS.values():
        with pytest.raises(IsADirectoryError) as caught:
            await write(path, b"x")
        assert facts(caught.value) == (IsADirectoryError, errno.EISDIR, os.strerror(errno.EISDIR), path, None)
