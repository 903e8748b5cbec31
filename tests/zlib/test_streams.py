"""Streams: every format in pieces, the operations of Node's streams, and misuse."""

from __future__ import annotations

import asyncio
import threading
import zlib as std
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import until
from tests.zlib.support import noise, text
from uvworks import pool, zlib
from uvworks.zlib import constants as c

Create = Callable[..., zlib.Stream]

PAIRS: dict[str, tuple[Create, Create]] = {
    "deflate": (zlib.create_deflate, zlib.create_inflate),
    "deflate_raw": (zlib.create_deflate_raw, zlib.create_inflate_raw),
    "gzip": (zlib.create_gzip, zlib.create_gunzip),
    "unzip": (zlib.create_gzip, zlib.create_unzip),
    "brotli": (zlib.create_brotli_compress, zlib.create_brotli_decompress),
    "zstd": (zlib.create_zstd_compress, zlib.create_zstd_decompress),
}
FAST: dict[str, Any] = {"brotli": {"params": {c.BROTLI_PARAM_QUALITY: 3}}}
pair = pytest.mark.parametrize("name", PAIRS)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


async def through(stream: zlib.Stream, pieces: Iterable[bytes]) -> bytes:
    output = [await stream.write(piece) for piece in pieces]
    return b"".join([*output, await stream.finish()])


@pair
@pytest.mark.parametrize(("size", "piece"), [(0, 1), (1, 1), (300, 1), (100_000, 777), (1_000_000, 70_000)])
async def test_pieces(name: str, size: int, piece: int) -> None:
    create, reverse = PAIRS[name]
    for data in (text(size), noise(size)):
        packer = create(**FAST.get(name, {}))
        packed = await through(packer, cut(data, piece))
        assert packer.bytes_written == size and packer.ended
        unpacker = reverse()
        assert await through(unpacker, cut(packed, piece)) == data
        assert unpacker.bytes_written == len(packed) and unpacker.ended


@given(pieces=st.lists(st.binary(max_size=2000), max_size=8), chunk_size=st.integers(64, 3000))
def test_properties(run: Any, pieces: list[bytes], chunk_size: int) -> None:
    async def body() -> None:
        packed = [piece async for piece in zlib.create_gzip(pieces, chunk_size=chunk_size)]
        assert std.decompress(b"".join(packed), 31) == b"".join(pieces)
        output = [piece async for piece in zlib.create_gunzip(packed, chunk_size=chunk_size)]
        assert b"".join(output) == b"".join(pieces)
        assert all(len(piece) <= chunk_size for piece in packed + output)

    run(body())


@pair
async def test_iteration_over_a_source(name: str) -> None:
    create, reverse = PAIRS[name]
    data = text(400_000) + bytes(3_000_000) + noise(100_000)

    async def source() -> AsyncIterator[bytes]:
        for piece in cut(data, 50_000):
            await asyncio.sleep(0)
            yield piece

    packed = [piece async for piece in create(source(), **FAST.get(name, {}))]
    output = [piece async for piece in reverse(packed)]
    assert b"".join(output) == data
    assert max(map(len, output)) <= 64 << 10


async def test_only_one_operation_is_limited_unless_told_otherwise() -> None:
    size = zlib.MAX_OUTPUT_LENGTH + (1 << 20)
    packed = await zlib.gzip(bytes(size))
    total = 0
    async for piece in zlib.create_gunzip([packed], chunk_size=8 << 20):
        total += len(piece)
    assert total == size
    stream = zlib.create_gunzip()
    half = len(packed) // 2
    assert len(await stream.write(packed[:half])) + len(await stream.write(packed[half:])) == size
    assert len(await zlib.create_gunzip(max_output_length=None).write(packed)) == size
    with pytest.raises(zlib.OutputTooLarge):
        await zlib.create_gunzip().write(packed)


async def test_a_bomb_is_given_out_piece_by_piece() -> None:
    packed = await zlib.gzip(bytes(200 << 20))
    total = 0
    async for piece in zlib.create_gunzip([packed]):
        assert len(piece) <= 64 << 10
        total += len(piece)
        if total > 10 << 20:
            break
    with pytest.raises(zlib.OutputTooLarge):
        await zlib.create_gunzip().write(packed)
    with pytest.raises(zlib.OutputTooLarge):
        async for _ in zlib.create_gunzip([packed], max_output_length=1 << 20):
            pass


@pair
async def test_flush_gives_all_so_far(name: str) -> None:
    create, reverse = PAIRS[name]
    packer, unpacker = create(), reverse()
    for number in range(5):
        data = text(3000, number)
        packed = await packer.write(data) + await packer.flush()
        assert await unpacker.write(packed) == data
        assert await unpacker.flush() == b""
    assert not unpacker.ended
    await unpacker.write(await packer.finish())
    assert unpacker.ended
    assert await unpacker.finish() == b""


@pytest.mark.parametrize("mode", [c.Z_NO_FLUSH, c.Z_PARTIAL_FLUSH, c.Z_SYNC_FLUSH, c.Z_FULL_FLUSH, c.Z_BLOCK])
async def test_modes_of_flush(mode: int) -> None:
    stream = zlib.create_deflate()
    packed = await stream.write(text(5000)) + await stream.flush(mode) + await stream.finish()
    assert std.decompress(packed) == text(5000)


async def test_flush_can_finish() -> None:
    stream = zlib.create_gzip()
    packed = await stream.write(b"abc") + await stream.flush(c.Z_FINISH)
    assert std.decompress(packed, 31) == b"abc"
    with pytest.raises(ValueError, match="finished"):
        await stream.write(b"abc")


async def test_params() -> None:
    data = noise(1000) * 300
    stream = zlib.create_gzip(level=0)
    packed = await stream.write(data)
    packed += await stream.params(9, c.Z_DEFAULT_STRATEGY)
    stored = len(packed)
    packed += await stream.write(data) + await stream.finish()
    assert stored > len(data) > 5 * (len(packed) - stored)
    assert std.decompress(packed, 31) == 2 * data
    with pytest.raises(ValueError, match="level"):
        await zlib.create_gzip().params(10, 0)
    with pytest.raises(ValueError, match="no level"):
        await zlib.create_gunzip().params(1, 0)
    fresh = zlib.create_deflate()
    packed = await fresh.params(1, 0) + await fresh.write(b"abc") + await fresh.finish()
    assert std.decompress(packed) == b"abc"


@pair
async def test_reset(name: str) -> None:
    create, reverse = PAIRS[name]
    options = {"dictionary": text(500)} if name in ("deflate", "deflate_raw", "zstd") else {}
    packer, unpacker = create(**options), reverse(**options)
    await packer.reset()
    await packer.write(b"something else")
    for _ in range(2):
        await packer.reset()
        packed = await packer.write(text(1000)) + await packer.finish()
        await unpacker.reset()
        assert await unpacker.write(packed) + await unpacker.finish() == text(1000)


async def test_members_over_many_pieces() -> None:
    packed = await zlib.gzip(b"abc") + await zlib.gzip(b"def") + bytes(5)
    for size in (1, 2, 3, len(packed)):
        assert await through(zlib.create_gunzip(), cut(packed, size)) == b"abcdef"
        assert await through(zlib.create_unzip(), cut(packed, size)) == b"abcdef"


@pair
async def test_truncated(name: str) -> None:
    create, reverse = PAIRS[name]
    packed = await through(create(), [text(1000)])
    stream = reverse()
    await stream.write(packed[:-1])
    with pytest.raises(zlib.TruncatedError):
        await stream.finish()
    assert stream.closed
    with pytest.raises(zlib.TruncatedError):
        async for _ in reverse([packed[:-1]]):
            pass


@pytest.mark.parametrize("name", ["deflate", "gzip", "brotli", "zstd"])
async def test_corrupt(name: str) -> None:
    stream = PAIRS[name][1]()
    with pytest.raises(zlib.DataError):
        await stream.write(b"\xffthis is none of them, whatever it may be")
    assert stream.closed
    with pytest.raises(ValueError, match="closed"):
        await stream.write(b"")
    with pytest.raises(ValueError, match="closed"):
        await stream.reset()


async def test_wrong_types_leave_the_stream_as_it_was() -> None:
    stream = zlib.create_gzip()
    for wrong in ("text", 5, None, memoryview(b"abcd")[::2]):
        with pytest.raises((TypeError, BufferError)):
            await stream.write(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode"):
        await stream.flush(9)
    assert std.decompress(await stream.write(b"abc") + await stream.finish(), 31) == b"abc"
    with pytest.raises(TypeError, match="nonsense"):
        zlib.create_gzip(nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no source"):
        async for _ in zlib.create_gzip():
            pass


@pytest.mark.parametrize("source", [b"abc", bytearray(b"abc"), memoryview(b"abc"), "abc", 5])
def test_a_wrong_source(source: Any) -> None:
    with pytest.raises(TypeError, match="source"):
        zlib.create_gzip(source)


async def test_operations_between_two_pieces() -> None:
    data = [noise(100_000, number) for number in range(5)]
    stream = zlib.create_gzip(data, chunk_size=5000)
    packed = []
    async for piece in stream:
        packed.append(piece)
        if len(packed) < 10:
            packed.append(await stream.flush(c.Z_SYNC_FLUSH) + await stream.params(1, 0))
    assert std.decompress(b"".join(packed), 31) == b"".join(data)
    for message in ("closed", "finished"):
        other = zlib.create_gzip(data, chunk_size=200)
        with pytest.raises(ValueError, match=message):
            async for _ in other:
                if message == "closed":
                    other.close()
                else:
                    await other.finish()


async def test_operations_take_their_turns() -> None:
    stream = zlib.create_gzip()
    pieces = [noise(20_000, number) for number in range(30)]
    packed = await asyncio.gather(*map(stream.write, pieces))
    assert std.decompress(b"".join([*packed, await stream.finish()]), 31) == b"".join(pieces)


async def test_cancel_closes() -> None:
    stream = zlib.create_gzip(level=9)
    task = asyncio.create_task(stream.write(noise(1 << 20) * 32))
    await until(lambda: pool.statistics().lanes["cpu"].running)
    waiting = asyncio.create_task(stream.write(b"abc"))
    await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ValueError, match="closed"):
        await waiting
    assert stream.closed
    await until(lambda: not pool.statistics().lanes["cpu"].running)


async def test_close() -> None:
    async with zlib.create_gzip() as stream:
        await stream.write(b"abc")
    assert stream.closed
    with pytest.raises(ValueError, match="closed"):
        await stream.finish()


def test_a_stream_belongs_to_one_loop() -> None:
    stream = zlib.create_gzip()
    asyncio.run(begin(stream))

    async def go_on() -> None:
        for call in (stream.finish, stream.flush, stream.reset, lambda: stream.write(b"abc")):
            with pytest.raises(RuntimeError, match="another event loop"):
                await call()

    thread = threading.Thread(target=lambda: asyncio.run(go_on()))
    thread.start()
    thread.join()


async def begin(stream: zlib.Stream) -> None:
    await stream.write(b"abc")


@pytest.mark.parametrize("size", [5, 1 << 20])
async def test_zstd_knows_the_size_it_was_told(size: int) -> None:
    stream = zlib.create_zstd_compress(pledged_src_size=size)
    packed = await stream.write(text(size)) + await stream.finish()
    assert await zlib.zstd_decompress(packed) == text(size)
    stream = zlib.create_zstd_compress(pledged_src_size=size + 1)
    for _ in range(2):
        await stream.write(text(size + 1))
        await stream.finish()
        await stream.reset()
    with pytest.raises(zlib.Error):
        await stream.write(text(size))
        await stream.finish()
