"""Thousands of damaged streams: the outcome is zlib's, whatever way the data takes, and nothing else happens."""

from __future__ import annotations

import asyncio
import random
import zlib as std
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zlib.support import noise, text
from uvworks import zlib

LIMIT = 1 << 20
Call = Callable[..., Awaitable[bytes]]


def damaged(packed: bytes, count: int, seed: int) -> list[bytes]:
    """Bits flipped, bytes replaced, ends cut off, parts repeated or dropped."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        data = bytearray(packed)
        kind = number % 5
        at = chance.randrange(len(data))
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + 4] = chance.randbytes(4)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = data[chance.randrange(len(data)) :][:50]
        else:
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(min(len(data), 80))] = chance.randrange(256)
        made.append(bytes(data))
    return made


def standard(data: bytes, bits: int) -> bytes | str:
    """What zlib says of data, with Node's rules for what follows a gzip member: the output, or how it fails."""
    output = b""
    while True:
        engine = std.decompressobj(bits)
        try:
            output += engine.decompress(data, LIMIT)
        except std.error as error:
            return "Missing dictionary" if "Error 2" in str(error) else str(error).rpartition(": ")[2]
        if len(output) > LIMIT or engine.unconsumed_tail:
            return "too large"
        if not engine.eof:
            return "unexpected end of file"
        data = engine.unused_data
        if bits != 31 or not data or data[0] == 0:
            return output


def same(ours: bytes | str, theirs: bytes | str) -> bool:
    """Codes that the format reserves are the greatest length or distance to libdeflate, and an error to zlib."""
    lenient = theirs in ("invalid literal/length code", "invalid distance code") and type(ours) is bytes
    return lenient or ours == theirs


async def outcome(call: Call, data: bytes, **options: Any) -> bytes | str:
    try:
        return await call(data, **options)
    except zlib.OutputTooLarge:
        return "too large"
    except std.error as error:
        return str(error)


SAMPLES = [b"", b"a", text(300), noise(300), text(30_000), bytes(100_000), noise(2000) + text(2000)]


@pytest.mark.parametrize("inline", [0, 1 << 16])
@pytest.mark.parametrize(
    ("encode", "decode", "bits"),
    [(zlib.gzip, zlib.gunzip, 31), (zlib.deflate, zlib.inflate, 15), (zlib.deflate_raw, zlib.inflate_raw, -15)],
)
async def test_zlib_says_the_same(encode: Call, decode: Call, bits: int, inline: int) -> None:
    corpus = []
    for number, sample in enumerate(SAMPLES):
        for level in (0, 1, 6):
            for strategy in (0, 4):
                packed = await encode(sample, level=level, strategy=strategy)
                corpus += damaged(packed, 40, 100 * number + level)
    results = await asyncio.gather(
        *[outcome(decode, data, max_output_length=LIMIT, inline_size=inline) for data in corpus]
    )
    for data, result in zip(corpus, results, strict=True):
        assert same(result, standard(data, bits)), data.hex()
    assert len(set(results)) > 8


@pytest.mark.parametrize(
    ("encode", "decode"),
    [(zlib.brotli_compress, zlib.brotli_decompress), (zlib.zstd_compress, zlib.zstd_decompress)],
)
async def test_brotli_and_zstd(encode: Call, decode: Call) -> None:
    corpus = []
    for number, sample in enumerate(SAMPLES):
        corpus += damaged(await encode(sample), 150, number)
    results = await asyncio.gather(*[outcome(decode, data, max_output_length=LIMIT) for data in corpus])
    assert sum(type(result) is str for result in results) > len(corpus) // 3


@pytest.mark.parametrize(
    "create",
    [
        zlib.create_gunzip,
        zlib.create_inflate,
        zlib.create_inflate_raw,
        zlib.create_unzip,
        zlib.create_brotli_decompress,
        zlib.create_zstd_decompress,
    ],
)
async def test_streams(create: Callable[..., zlib.Stream]) -> None:
    encode = {
        "GUNZIP": zlib.gzip,
        "UNZIP": zlib.gzip,
        "INFLATE": zlib.deflate,
        "INFLATE_RAW": zlib.deflate_raw,
        "BROTLI_DECODE": zlib.brotli_compress,
        "ZSTD_DECOMPRESS": zlib.zstd_compress,
    }[create()._format.name]

    async def feed(data: bytes, size: int) -> None:
        stream = create(max_output_length=LIMIT)
        try:
            for at in range(0, len(data), size):
                await stream.write(data[at : at + size])
            await stream.finish()
        except std.error:
            assert stream.closed

    for number, sample in enumerate(SAMPLES):
        packed = await encode(sample)  # type: ignore[operator]
        await asyncio.gather(*[feed(data, 1 + number * 7) for data in damaged(packed[:1500], 40, number)])


@given(data=st.binary(max_size=400))
def test_anything_at_all(run: Any, data: bytes) -> None:
    async def body() -> None:
        for call, bits in ((zlib.gunzip, 31), (zlib.inflate, 15), (zlib.inflate_raw, -15)):
            assert same(await outcome(call, data, max_output_length=LIMIT), standard(data, bits))
        for call in (zlib.unzip, zlib.brotli_decompress, zlib.zstd_decompress):
            await outcome(call, data, max_output_length=LIMIT)

    run(body())


async def test_tables_for_nothing() -> None:
    """Blocks that are all header: slow to decode, for what they give. Built by hand: dynamic, with one code each."""
    bits: list[int] = []

    def put(value: int, count: int) -> None:
        bits.extend(value >> number & 1 for number in range(count))

    def block(last: int) -> None:
        put(last, 1)
        put(2, 2)
        put(0, 5)  # 257 literal and length codes
        put(0, 5)  # one distance code
        put(14, 4)  # 18 lengths of code length codes, of which only "1", "0 x 11+" are used
        order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1]
        for symbol in order:
            put(1 if symbol in (1, 18) else 0, 3)
        for _ in range(1):
            put(1, 1)
            put(138 - 11, 7)
            put(1, 1)
            put(118 - 11, 7)
        put(0, 1)  # length 1 for 256
        put(0, 1)  # and for the distance
        put(0, 1)  # the end of the block

    for number in range(20_000):
        block(number == 19_999)
    bits += [0] * (-len(bits) % 8)
    data = bytes(sum(bits[at + n] << n for n in range(8)) for at in range(0, len(bits), 8))
    assert std.decompress(data, -15) == b""
    begun = asyncio.get_running_loop().time()
    assert await zlib.inflate_raw(data) == b""
    assert asyncio.get_running_loop().time() - begun < 1
