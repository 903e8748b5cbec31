"""Digests of data and of files."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Run
from tests.support import until
from uvworks import crypto, pool

ALGORITHMS = ["md5", "sha1", "sha256", "sha384", "sha512", "sha512_256", "sha3_256", "blake2b", "blake2s"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1, 8192, 8193, 1 << 18, 1_000_003])
async def test_data_and_file(tmp_path: Path, algorithm: str, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "data"
    path.write_bytes(data)
    expected = hashlib.new(algorithm, data).digest()
    assert await crypto.hash(data, algorithm) == expected
    assert await crypto.hash(bytearray(data), algorithm) == expected
    assert await crypto.hash(memoryview(data), algorithm) == expected
    assert await crypto.hash(path, algorithm) == expected
    assert await crypto.hash(str(path), algorithm) == expected
    assert await crypto.hash(os.fsencode(path), algorithm) == hashlib.new(algorithm, os.fsencode(path)).digest()


@pytest.mark.parametrize("size", [100, 20_000])
async def test_a_digest_by_any_of_its_names(size: int) -> None:
    """Digests are kept under the name that was used last; others must still be found, and not mistaken."""
    names = ["sha256", "SHA256", "SHA2-256", "sha512_256", "SHA-256", "SHA512-256", "RSA-SHA256", "sha256"]
    for name in names * 2:
        plain = "sha512_256" if "512" in name else "sha256"
        assert await crypto.hash(bytes(size), name) == hashlib.new(plain, bytes(size)).digest()


@given(st.binary(max_size=20_000), st.integers(1, 300))
def test_shake(run: Run, data: bytes, length: int) -> None:
    assert run(crypto.hash(data, "shake_128", length=length)) == hashlib.shake_128(data).digest(length)
    assert run(crypto.hash(data, "shake256", length=length)) == hashlib.shake_256(data).digest(length)


async def test_an_open_file_from_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"head" + b"x" * 100_000)
    with path.open("rb") as file:
        file.read(4)  # the descriptor itself is further, for the buffer
        assert await crypto.hash(file, "sha256") == hashlib.sha256(b"x" * 100_000).digest()
        assert file.tell() == 4
    with path.open("rb", buffering=0) as file:
        assert await crypto.hash(file, "sha256") == hashlib.sha256(path.read_bytes()).digest()


@pytest.mark.parametrize(
    ("source", "algorithm", "length", "error", "names"),
    [
        (b"x", "nope", None, ValueError, "algorithm: unknown digest"),
        (b"x" * 10_000, "nope", None, ValueError, "algorithm"),
        (b"x", None, None, TypeError, "algorithm"),
        (b"x", "sha256", 20, ValueError, "length"),
        (b"x", "shake128", 0, ValueError, "length"),
        (5, "sha256", None, TypeError, None),
        (None, "sha256", None, TypeError, None),
        ("no\0name", "sha256", None, ValueError, "null"),
        (b"data", "sha256\0", None, ValueError, "null"),
        (b"data", "sha256" + "6" * 100, None, ValueError, "unknown digest"),
        ("/no such file", "sha256", None, FileNotFoundError, "/no such file"),
        ("/", "sha256", None, IsADirectoryError, "/"),
        ("/dev/zero", "sha256", None, shutil.SpecialFileError, "/dev/zero"),
        (io.BytesIO(b"x"), "sha256", None, OSError, None),
        (SimpleNamespace(fileno=lambda: -1, tell=lambda: 0), "sha256", None, OSError, "Bad file descriptor"),
    ],
)
async def test_refused(source: Any, algorithm: Any, length: Any, error: type[Exception], names: str | None) -> None:
    with pytest.raises(error, match=names):
        await crypto.hash(source, algorithm, length=length)


async def test_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    with (tmp_path / "text").open() as file, pytest.raises(TypeError, match="binary"):
        await crypto.hash(file, "sha256")


async def test_a_fifo_does_not_hold_a_worker(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(shutil.SpecialFileError):
        await asyncio.wait_for(crypto.hash(tmp_path / "fifo", "sha256"), 5)


async def test_a_cancel_frees_the_worker(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(20 << 30)
    for source in (tmp_path / "sparse", bytes(200 << 20)):
        task = asyncio.create_task(crypto.hash(source, "sha3_512"))
        await until(lambda: pool.statistics().lanes["cpu"].running + pool.statistics().lanes["cpu"].waiting == 1)
        await asyncio.sleep(0.02)
        task.cancel()
        begin = asyncio.get_running_loop().time()
        await asyncio.wait([task])
        await until(lambda: pool.statistics().busy == 0)
        assert task.cancelled() and asyncio.get_running_loop().time() - begin < 0.5  # 50 ms, on a quiet machine


async def test_a_buffer_may_change_meanwhile() -> None:
    data = bytearray(4 << 20)
    task = asyncio.create_task(crypto.hash(data, "sha256"))
    for at in range(0, len(data), 4096):
        data[at] = 1
        if at % (1 << 20) == 0:
            await asyncio.sleep(0)
    assert len(await task) == 32
    data.append(1)  # and is free again


async def test_others_have_their_turn() -> None:
    big = bytes(64 << 20)
    tasks = [asyncio.create_task(crypto.hash(big, "sha512")) for _ in range(4)]
    await asyncio.sleep(0.01)
    begin = asyncio.get_running_loop().time()
    await crypto.hash(bytes(10_000), "sha256")
    assert not all(task.done() for task in tasks) or asyncio.get_running_loop().time() - begin < 1
    assert set(await asyncio.gather(*tasks)) == {hashlib.sha512(big).digest()}


def test_what_is_linked() -> None:
    assert crypto.openssl_version.startswith("OpenSSL 3.")
