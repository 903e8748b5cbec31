"""read_file gives what open().read() gives: sizes around the buffers' edges, files that change while they are read,
max_size, encodings."""

import asyncio
import errno
import os
import threading
from array import array
from pathlib import Path
from typing import Any

import pytest

from tests.support import facts
from uvworks import fs, pool

SIZES = [0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 131071, 131072, 131073, 1 << 20, (10 << 20) + 1]


def pattern(size: int) -> bytes:
    """Bytes that tell where they are from: no block repeats within a file."""
    return array("I", range(size // 4 + 1)).tobytes()[:size]


@pytest.mark.parametrize("size", SIZES)
async def test_sizes(tmp_path: Path, size: int) -> None:
    content = pattern(size)
    (tmp_path / "file").write_bytes(content)
    read = await fs.read_file(tmp_path / "file")
    assert type(read) is bytes and read == content


async def test_many_sizes_at_once_come_back_to_their_readers(tmp_path: Path) -> None:
    sizes = [number * 517 % 70_000 for number in range(400)]
    for size in sizes:
        (tmp_path / str(size)).write_bytes(pattern(size))
    results = await asyncio.gather(*(fs.read_file(tmp_path / str(size)) for size in sizes))
    assert results == [pattern(size) for size in sizes]


async def test_results_are_not_views_of_a_reused_buffer(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 65536)
    first = await fs.read_file(tmp_path / "a")
    for _ in range(20):
        await fs.read_file(tmp_path / "b")
    assert first == b"a" * 65536


async def test_reads_follow_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert await fs.read_file(tmp_path / "link") == b"content"


async def test_a_sparse_file(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        file.seek(20_000_000)
        file.write(b"end")
    assert await fs.read_file(tmp_path / "file") == bytes(20_000_000) + b"end"


async def test_a_growing_file(tmp_path: Path) -> None:
    """What is read is a prefix of what was ever there, and at least what was there at the start."""
    content = pattern(12 << 20)
    start = 1 << 20
    path = tmp_path / "file"
    path.write_bytes(content[:start])
    stop = threading.Event()

    def grow() -> None:
        with open(path, "ab", buffering=0) as file:
            for offset in range(start, len(content), 100_000):
                if stop.is_set():
                    return
                file.write(content[offset : offset + 100_000])

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        least = start
        while writer.is_alive():
            read = await fs.read_file(path)
            assert len(read) >= least and content.startswith(read)
            least = len(read)
    finally:
        stop.set()
        writer.join()
    assert await fs.read_file(path) == path.read_bytes()


async def test_a_shrinking_file(tmp_path: Path) -> None:
    """Each read gives a prefix of the old content, between the new length and the old one."""
    content = pattern(4 << 20)
    path = tmp_path / "file"
    for cut in (0, 1, 65536, 1 << 20, (4 << 20) - 1):
        path.write_bytes(content)
        reads = [asyncio.create_task(fs.read_file(path)) for _ in range(4)]
        await asyncio.sleep(0)
        os.truncate(path, cut)
        for read in await asyncio.gather(*reads):
            assert cut <= len(read) and content.startswith(read)


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 1 << 20])
async def test_max_size_admits_its_own_size_and_no_more(tmp_path: Path, size: int) -> None:
    path = str(tmp_path / "file")
    Path(path).write_bytes(bytes(size))
    assert await fs.read_file(path, max_size=size) == bytes(size)
    assert await fs.read_file(path, max_size=size + 1) == bytes(size)
    assert await fs.read_file(path, max_size=None) == bytes(size)
    if size:
        for limit in {0, size - 1}:
            with pytest.raises(OSError) as caught:
                await fs.read_file(path, max_size=limit)
            kind, code, text, filename, filename2 = facts(caught.value)
            assert (kind, code, filename, filename2) == (OSError, errno.EFBIG, path, None)
            assert text.startswith(os.strerror(errno.EFBIG)) and f"max_size={limit}" in text


@pytest.mark.parametrize("path", ["/proc/self/status", "/dev/zero"])
async def test_max_size_counts_what_is_read_where_the_size_is_unknown(path: str) -> None:
    for limit in (0, 10, 70_000 if path == "/dev/zero" else 100):
        with pytest.raises(OSError) as caught:
            await fs.read_file(path, max_size=limit)
        assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, path)


@pytest.mark.parametrize(
    ("limit", "error"), [(-1, ValueError), (1 << 70, OverflowError), (1.5, TypeError), ("9", TypeError)]
)
async def test_max_size_of_a_wrong_kind(tmp_path: Path, limit: Any, error: type[Exception]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(error, match="max_size" if error is ValueError else None):
        await fs.read_file(tmp_path / "file", max_size=limit)


@pytest.mark.parametrize("encoding", ["utf-8", "utf8", "latin-1", "utf-16", "utf-8-sig", "cp1252"])
async def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = "één €uro\r\nand\rno line end is touched\n".replace("€", "e" if encoding == "latin-1" else "€")
    (tmp_path / "file").write_bytes(text.encode(encoding))
    read = await fs.read_file(tmp_path / "file", encoding=encoding)
    assert type(read) is str and read == text


async def test_encoding_of_an_empty_file_gives_str(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert await fs.read_file(tmp_path / "file", encoding="utf-8") == ""


async def test_bytes_that_do_not_decode(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"fine\xff")
    with pytest.raises(UnicodeDecodeError) as caught:
        await fs.read_file(tmp_path / "file", encoding="utf-8")
    assert (caught.value.object, caught.value.start) == (b"fine\xff", 4)


async def test_an_unknown_encoding_fails_before_the_file_is_touched(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")  # opening it would wait for a writer that never comes
    with pytest.raises(LookupError, match="no-such-encoding"):
        await fs.read_file(tmp_path / "fifo", encoding="no-such-encoding")


@pytest.mark.parametrize("encoding", [8, b"utf-8", True])
async def test_an_encoding_of_another_type(tmp_path: Path, encoding: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TypeError):
        await fs.read_file(tmp_path / "file", encoding=encoding)


async def test_arguments_after_the_path_are_keywords(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        await fs.read_file(tmp_path / "file", "utf-8")  # type: ignore[misc, call-overload]


async def test_a_huge_read_can_be_cancelled(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        file.truncate(1 << 28)
    task = asyncio.create_task(fs.read_file(tmp_path / "file"))
    await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.statistics().busy <= 1  # and nothing_leaks waits for that one to see its stop flag
