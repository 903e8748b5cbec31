"""One call, one result: round trips, options, limits, errors."""

from __future__ import annotations

import array
import ctypes
import gzip as std_gzip
import mmap
import zlib as std
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zlib.support import FAST, PAIRS, Call, decoder, noise, pair, sources, text
from uvworks import zlib
from uvworks.zlib import constants as c


@pair
@pytest.mark.parametrize("size", [0, 1, 2, 100, 1023, 65_536, 131_072, 300_000, (1 << 20) + 7, 5_000_000])
async def test_round_trip(name: str, size: int) -> None:
    encode, decode = PAIRS[name]
    for data in (text(size), noise(size), bytes(size)):
        packed = await encode(data, **FAST.get(name, {}))
        assert type(packed) is bytes
        assert await decode(packed) == data


@pair
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: array.array("B", data)])
async def test_any_buffer(name: str, wrap: Callable[[bytes], Any]) -> None:
    encode, decode = PAIRS[name]
    for data in (text(900), text(200_000)):
        packed = await encode(wrap(data), **FAST.get(name, {}))
        assert await decode(wrap(packed)) == data


@given(data=st.binary(max_size=3000), level=st.integers(-1, 9), inline=st.sampled_from([0, 4096]))
def test_properties(run: Any, data: bytes, level: int, inline: int) -> None:
    async def body() -> None:
        packed = await zlib.gzip(data, level=level, inline_size=inline)
        assert std_gzip.decompress(packed) == data
        assert await zlib.gunzip(packed, inline_size=inline) == data
        assert std.decompress(await zlib.deflate(data, level=level, inline_size=inline)) == data
        assert await zlib.inflate(std.compress(data, level), inline_size=inline) == data

    run(body())


@pytest.mark.parametrize("level", range(-1, 10))
@pytest.mark.parametrize("size", [0, 10, 70_000, 1_500_000])
async def test_levels_are_near_zlibs(level: int, size: int) -> None:
    data = sources()[:size]
    ours = await zlib.deflate(data, level=level)
    assert std.decompress(ours) == data
    assert len(ours) <= len(std.compress(data, level)) * 1.03 + 16


@pytest.mark.parametrize("strategy", range(5))
@pytest.mark.parametrize("window_bits", [8, 9, 12, 15])
@pytest.mark.parametrize("mem_level", [1, 9])
async def test_deflate_options(strategy: int, window_bits: int, mem_level: int) -> None:
    data = text(50_000)
    for encode, decode, bits in (
        (zlib.gzip, zlib.gunzip, 31),
        (zlib.deflate, zlib.inflate, 15),
        (zlib.deflate_raw, zlib.inflate_raw, -15),
    ):
        packed = await encode(data, strategy=strategy, window_bits=window_bits, mem_level=mem_level)
        assert await decode(packed) == data
        assert std.decompress(packed, bits) == data


async def test_window_as_the_data_says() -> None:
    data = text(5000)
    for encode, decode in ((zlib.gzip, zlib.gunzip), (zlib.deflate, zlib.inflate), (zlib.gzip, zlib.unzip)):
        assert await decode(await encode(data, window_bits=10), window_bits=0) == data


async def test_a_window_smaller_than_the_datas() -> None:
    with pytest.raises(zlib.DataError, match="invalid window size"):
        await zlib.inflate(await zlib.deflate(text(5000)), window_bits=9)


async def test_dictionary() -> None:
    data, dictionary = text(400, 1), text(3000, 2)
    for encode, decode in ((zlib.deflate, zlib.inflate), (zlib.deflate_raw, zlib.inflate_raw)):
        packed = await encode(data, dictionary=bytearray(dictionary))
        assert len(packed) < len(await encode(data))
        assert await decode(packed, dictionary=memoryview(dictionary)) == data
    packed = await zlib.deflate(data, dictionary=dictionary)
    with pytest.raises(zlib.DataError, match="Missing dictionary") as caught:
        await zlib.inflate(packed)
    assert (caught.value.code, caught.value.errno) == ("Z_NEED_DICT", 2)
    with pytest.raises(zlib.DataError, match="Bad dictionary"):
        await zlib.inflate(packed, dictionary=b"another one")
    packed = await zlib.zstd_compress(data, dictionary=dictionary)
    assert await zlib.zstd_decompress(packed, dictionary=dictionary) == data


async def test_a_dictionary_is_read_at_every_call() -> None:
    data, first, second = text(400, 1), text(3000, 2), noise(3000)
    for shared in (bytearray(3000), mmap.mmap(-1, 3000), (ctypes.c_char * 3000)()):
        dictionary: Any = memoryview(shared).cast("B") if type(shared) is bytearray else shared
        for content in (first, second):
            memoryview(shared).cast("B")[:] = content
            packed = await zlib.deflate_raw(data, dictionary=dictionary)
            assert await zlib.inflate_raw(packed, dictionary=content) == data


async def test_a_dictionary_has_less_than_4_gib() -> None:
    with pytest.raises(ValueError, match="dictionary"):
        await zlib.deflate(b"abc", dictionary=bytes(1 << 32))  # of which nothing is touched


async def test_codec_params() -> None:
    data = text(100_000)
    sizes = [
        len(await zlib.brotli_compress(data, params={c.BROTLI_PARAM_QUALITY: quality, c.BROTLI_PARAM_LGWIN: 16}))
        for quality in (0, 5, 11)
    ]
    assert sizes[0] > sizes[1] > sizes[2]
    plain = await zlib.zstd_compress(data)
    summed = await zlib.zstd_compress(data, params={c.ZSTD_c_checksumFlag: 1})
    assert len(summed) == len(plain) + 4
    assert await zlib.zstd_decompress(summed, params={c.ZSTD_d_windowLogMax: 27}) == data
    for level in (-5, 1, 19):
        packed = await zlib.zstd_compress(data, params={c.ZSTD_c_compressionLevel: level})
        assert await zlib.zstd_decompress(packed) == data


async def test_info_tells_how_much_was_used() -> None:
    packed = await zlib.deflate(b"abc" * 100)
    for inline in (0, 4096):
        info = await zlib.inflate(packed + b"trailing", info=True, inline_size=inline)
        assert info == zlib.Info(b"abc" * 100, len(packed))
    assert (await zlib.gzip(b"abc", info=True)).bytes_written == 3


async def test_crc32() -> None:
    for size in (0, 1, 1000, 100_000):
        data = noise(size)
        assert zlib.crc32(data) == std.crc32(data)
        assert zlib.crc32(bytearray(data), 12345) == std.crc32(data, 12345)
    assert zlib.crc32("naïve") == std.crc32("naïve".encode())
    with pytest.raises(TypeError):
        zlib.crc32(5)  # type: ignore[arg-type]


# What surrounds the data ------------------------------------------------------


@pytest.mark.parametrize("size", [10, 300_000, 3_000_000])
async def test_members_follow_each_other(size: int) -> None:
    parts = [text(size, seed) for seed in range(3)]
    packed = b"".join([await zlib.gzip(part) for part in parts])
    for tail in (b"", b"\0", b"\0" * 100):
        for call in (zlib.gunzip, zlib.unzip):
            assert await call(packed + tail) == b"".join(parts)


async def test_what_looks_like_another_member_must_be_one() -> None:
    packed = await zlib.gzip(b"abc")
    with pytest.raises(zlib.DataError, match="unknown compression method"):
        await zlib.gunzip(packed + b"\x1f\x8b\xff\xff" + bytes(10))
    with pytest.raises(zlib.DataError, match="incorrect header check"):
        await zlib.gunzip(packed + b"garbage")
    assert await zlib.gunzip(packed + b"\0garbage") == b"abc"


@pytest.mark.parametrize("name", ["deflate", "deflate_raw", "brotli", "zstd"])
async def test_what_follows_is_ignored(name: str) -> None:
    encode, decode = PAIRS[name]
    assert await decode(await encode(b"abc") + b"garbage") == b"abc"


async def test_zstd_frames_follow_each_other() -> None:
    skippable = b"\x50\x2a\x4d\x18\x03\0\0\0xyz"
    packed = await zlib.zstd_compress(b"abc") + skippable + await zlib.zstd_compress(text(500_000))
    assert await zlib.zstd_decompress(packed) == b"abc" + text(500_000)


async def test_what_follows_a_frame_and_is_none() -> None:
    packed = await zlib.zstd_compress(b"abc")
    for tail in (b"(garbage)", b"PK\x03\x04", b"\x28\xb5\x2f\xfe", b"\x50\x2a\x4d\x19more"):
        info = await zlib.zstd_decompress(packed + tail, info=True)
        assert info == zlib.Info(b"abc", len(packed))
    for tail in (b"\x28", b"\x28\xb5\x2f\xfd", b"\x5f\x2a\x4d"):
        with pytest.raises(zlib.TruncatedError):
            await zlib.zstd_decompress(packed + tail)


@pair
@pytest.mark.parametrize("size", [1, 1000, 300_000])
async def test_truncated(name: str, size: int) -> None:
    encode, decode = PAIRS[name]
    packed = await encode(text(size), **FAST.get(name, {}))
    cuts = set(range(min(len(packed), 40))) | {len(packed) - n for n in range(1, 12)} | {len(packed) // 2}
    for cut in sorted(cuts & set(range(len(packed)))):
        with pytest.raises(zlib.TruncatedError, match="unexpected end of file") as caught:
            await decode(packed[:cut])
        assert isinstance(caught.value, std.error) and isinstance(caught.value, EOFError)
        assert (caught.value.code, caught.value.errno) == ("Z_BUF_ERROR", -5)


@pytest.mark.parametrize("name", ["deflate", "deflate_raw", "gzip"])
async def test_as_much_as_there_is(name: str) -> None:
    encode, decode = PAIRS[name]
    data = text(200_000)
    packed = await encode(data)
    part = await decode(packed[: len(packed) // 2], finish_flush=c.Z_SYNC_FLUSH)
    assert 50_000 < len(part) < 150_000 and data.startswith(part)


async def test_a_checksum_that_is_wrong() -> None:
    packed = bytearray(await zlib.gzip(b"abc"))
    packed[-5] ^= 1
    with pytest.raises(zlib.DataError, match="incorrect data check") as caught:
        await zlib.gunzip(packed)
    assert (caught.value.code, caught.value.errno) == ("Z_DATA_ERROR", -3)
    packed[-5] ^= 1
    packed[-1] ^= 1
    with pytest.raises(zlib.DataError, match="incorrect length check"):
        await zlib.gunzip(packed)


async def test_a_gzip_header_with_everything() -> None:
    header = bytearray(b"\x1f\x8b\x08\x1e" + b"\0" * 6 + b"\x04\0extr" + b"name\0" + b"comment\0")
    summed = header + (std.crc32(header) & 0xFFFF).to_bytes(2, "little")
    body = (await zlib.gzip(b"abc"))[10:]
    assert await zlib.gunzip(summed + body) == b"abc"
    summed[-1] ^= 1
    with pytest.raises(zlib.DataError, match="header crc mismatch"):
        await zlib.gunzip(summed + body)


async def test_errors_can_be_pickled() -> None:
    import pickle

    error = zlib.DataError("message", "Z_DATA_ERROR", -3)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.code, copy.errno) == (zlib.DataError, "message", "Z_DATA_ERROR", -3)


# Limits -----------------------------------------------------------------------


@decoder
@pytest.mark.parametrize("size", [1000, 200_000, 2_000_000])
async def test_the_limit_is_exact(name: str, size: int) -> None:
    family, (encode, decode) = next(item for item in PAIRS.items() if item[1][1].__name__ == name)
    packed = await encode(text(size), **FAST.get(family, {}))
    assert len(await decode(packed, max_output_length=size)) == size
    for limit in (size - 1, 1):
        with pytest.raises(zlib.OutputTooLarge) as caught:
            await decode(packed, max_output_length=limit)
        assert caught.value.code == "ERR_BUFFER_TOO_LARGE"


@pytest.mark.parametrize("name", ["deflate_raw", "gzip", "brotli", "zstd"])
async def test_a_bomb(name: str) -> None:
    encode, decode = PAIRS[name]
    packed = await encode(bytes(zlib.MAX_OUTPUT_LENGTH + 1), **FAST.get(name, {}))
    assert len(packed) < zlib.MAX_OUTPUT_LENGTH // 500
    with pytest.raises(zlib.OutputTooLarge):
        await decode(packed)
    assert len(await decode(packed, max_output_length=None)) == zlib.MAX_OUTPUT_LENGTH + 1


@pair
async def test_a_limit_on_compression(name: str) -> None:
    encode = PAIRS[name][0]
    for size in (1000, 100_000):
        with pytest.raises(zlib.OutputTooLarge):
            await encode(noise(size), max_output_length=100)


async def test_a_size_that_lies() -> None:
    for size in (100, 100_000):
        packed = bytearray(await zlib.gzip(bytes(size)))
        packed[-4:] = b"\xff\xff\xff\x7f"
        with pytest.raises(zlib.DataError, match="incorrect length check"):
            await zlib.gunzip(packed)


# Wrong arguments ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("level", 10, ValueError),
        ("level", -2, ValueError),
        ("level", 6.0, TypeError),
        ("level", "6", TypeError),
        ("level", 1 << 80, ValueError),
        ("window_bits", 7, ValueError),
        ("window_bits", 16, ValueError),
        ("window_bits", 0, ValueError),
        ("mem_level", 0, ValueError),
        ("mem_level", 10, ValueError),
        ("strategy", 5, ValueError),
        ("flush", 6, ValueError),
        ("finish_flush", -1, ValueError),
        ("chunk_size", 63, ValueError),
        ("max_output_length", 0, ValueError),
        ("max_output_length", "1", TypeError),
        ("inline_size", -1, ValueError),
        ("dictionary", "text", TypeError),
        ("dictionary", 5, TypeError),
        ("params", {}, TypeError),
        ("nonsense", 1, TypeError),
    ],
)
async def test_wrong_options(option: str, value: Any, error: type[Exception]) -> None:
    await zlib.gzip(b"")  # fills the cache of options
    for _ in range(2):
        with pytest.raises(error, match=option):
            await zlib.gzip(b"abc", **{option: value})


async def test_only_data_with_a_header_says_its_window() -> None:
    packed = await zlib.deflate_raw(b"abc")
    for wrong in (0, False):
        with pytest.raises(ValueError, match="window_bits"):
            await zlib.inflate_raw(packed, window_bits=wrong)


@pytest.mark.parametrize(
    ("call", "number"),
    [(zlib.zstd_compress, 1 << 31), (zlib.zstd_compress, -(1 << 31) - 1), (zlib.brotli_compress, -1)],
)
async def test_params_out_of_range(call: Call, number: int) -> None:
    key = c.ZSTD_c_compressionLevel if call is zlib.zstd_compress else c.BROTLI_PARAM_QUALITY
    with pytest.raises(ValueError, match="params"):
        await call(b"abc", params={key: number})


@pytest.mark.parametrize("params", [{999: 1}, {c.ZSTD_c_compressionLevel: "x"}, [1], {"a": 1}, {400: 2}])
async def test_wrong_params(params: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        await zlib.zstd_compress(b"abc", params=params)


async def test_params_that_the_codec_refuses() -> None:
    with pytest.raises(zlib.OptionError) as caught:
        await zlib.zstd_compress(b"abc", params={c.ZSTD_c_windowLog: 77})
    assert isinstance(caught.value, ValueError)


@pair
@pytest.mark.parametrize("data", ["text", None, 5, [1, 2], memoryview(b"abcdef")[::2]])
async def test_wrong_data(name: str, data: Any) -> None:
    for call in PAIRS[name]:
        with pytest.raises((TypeError, BufferError, ValueError)):
            await call(data)


def test_no_other_librarys_libdeflate_takes_the_place_of_ours() -> None:
    import uvworks._uv

    library = ctypes.CDLL(uvworks._uv.__file__)
    assert library.PyInit__uv
    if b"system libdeflate" in ctypes.string_at(library.uvw_built_with):
        pytest.skip("built against the system's libdeflate, which is everybody's")
    assert not hasattr(library, "libdeflate_crc32")


def test_without_a_loop() -> None:
    coroutine: Any = zlib.gzip(b"abc")
    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.send(None)
