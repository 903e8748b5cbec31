"""Both directions against Node, the standard library and the gzip, brotli and zstd commands; and known streams."""

from __future__ import annotations

import base64
import gzip as std_gzip
import json
import shutil
import subprocess
import zlib as std
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.zlib.support import noise, text
from uvworks import zlib
from uvworks.zlib import constants as c

Call = Callable[..., Awaitable[bytes]]

DATA = [b"", b"a", text(1000), noise(1000), text(300_000), bytes(2_500_000)]

node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")

# Answers lines of {call, data, options} with {data} or {code, errno, message}.
SCRIPT = """
const zlib = require('node:zlib');
const lines = require('node:readline').createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const { call, data, options } = JSON.parse(line);
  let answer;
  try {
    answer = { data: zlib[call + 'Sync'](Buffer.from(data, 'base64'), options).toString('base64') };
  } catch (error) {
    answer = { code: error.code, errno: error.errno, message: error.message };
  }
  console.log(JSON.stringify(answer));
});
"""

NAMES = {
    "deflate": "deflate",
    "deflate_raw": "deflateRaw",
    "gzip": "gzip",
    "inflate": "inflate",
    "inflate_raw": "inflateRaw",
    "gunzip": "gunzip",
    "unzip": "unzip",
    "brotli_compress": "brotliCompress",
    "brotli_decompress": "brotliDecompress",
}


def ask_node(requests: list[tuple[str, bytes, dict[str, Any]]]) -> list[bytes | tuple[str, int, str]]:
    lines = [
        json.dumps({"call": NAMES[call], "data": base64.b64encode(data).decode(), "options": options})
        for call, data, options in requests
    ]
    done = subprocess.run(
        ["node", "-e", SCRIPT], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=60, check=True
    )
    answers: list[bytes | tuple[str, int, str]] = []
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        if "data" in answer:
            answers.append(base64.b64decode(answer["data"]))
        else:
            answers.append((answer["code"], answer.get("errno", 0), answer["message"]))
    assert len(answers) == len(requests), done.stderr
    return answers


@node
async def test_node_reads_ours() -> None:
    requests = []
    for data in DATA:
        for encode, decode in (("deflate", "inflate"), ("deflate_raw", "inflate_raw"), ("gzip", "gunzip")):
            for level in (1, 6, 9):
                requests.append((decode, await getattr(zlib, encode)(data, level=level), {}))
        for quality in (1, 5):
            packed = await zlib.brotli_compress(data, params={c.BROTLI_PARAM_QUALITY: quality})
            requests.append(("brotli_decompress", packed, {}))
    expected = [data for data in DATA for _ in range(11)]
    assert ask_node(requests) == expected


@node
async def test_we_read_nodes() -> None:
    quick = {"params": {c.BROTLI_PARAM_QUALITY: 5}}
    calls = {
        "deflate": "inflate",
        "deflate_raw": "inflate_raw",
        "gzip": "gunzip",
        "brotli_compress": "brotli_decompress",
    }
    requests = [(call, data, quick if call[0] == "b" else {}) for data in DATA for call in calls]
    for (call, data, _), packed in zip(requests, ask_node(requests), strict=True):
        assert await getattr(zlib, calls[call])(packed) == data


@node
async def test_node_judges_damaged_data_the_same() -> None:
    packed = {name: await getattr(zlib, name)(b"abc") for name in ("gzip", "deflate", "deflate_raw", "brotli_compress")}
    gzip, deflate = packed["gzip"], packed["deflate"]
    with_dictionary = await zlib.deflate(b"abc", dictionary=b"abcdef")
    cases: list[tuple[str, bytes, dict[str, Any]]] = []
    for call in ("gunzip", "unzip", "inflate", "inflate_raw", "brotli_decompress"):
        for data in (b"", b"\x1f", b"\x1f\x8b", b"\x78", b"x", b"garbage", bytes(20), b"\xff" * 30, with_dictionary):
            cases.append((call, data, {}))
        own = {"gunzip": gzip, "unzip": deflate, "inflate": deflate, "inflate_raw": packed["deflate_raw"]}
        whole = own.get(call, packed["brotli_compress"])
        for cut in range(len(whole)):
            cases.append((call, whole[:cut], {}))
            if call[0] != "b":
                cases.append((call, whole[:cut], {"finishFlush": c.Z_SYNC_FLUSH}))
        for tail in (
            b"\0",
            bytes(10),
            b"\x1f\x8b",
            b"\x1f\x8b\xff\xff" + bytes(10),
            b"PK\x03\x04",
            b"\0garbage",
            whole,
        ):
            cases.append((call, whole + tail, {}))
        for at in range(len(whole)):
            flipped = bytearray(whole)
            flipped[at] ^= 0xFF
            cases.append((call, bytes(flipped), {}))
    differing = []
    for (call, data, options), theirs in zip(cases, ask_node(cases), strict=True):
        ours: bytes | tuple[str, int, str]
        try:
            ours = await getattr(zlib, call)(data, **({"finish_flush": 2} if options else {}))
        except zlib.Error as error:
            ours = (error.code, error.errno, str(error))
        if call[0] == "b" and type(ours) is tuple and type(theirs) is tuple:
            ours, theirs = ours[1:], theirs[1:]  # the codes' names begin in different ways
        if ours != theirs:
            differing.append((call, data.hex(), options, ours, theirs))
    assert not differing, differing


@pytest.mark.parametrize("number", range(len(DATA)))
async def test_standard_library(number: int) -> None:
    data = DATA[number]
    assert await zlib.gunzip(std_gzip.compress(data)) == data
    assert await zlib.unzip(std_gzip.compress(data)) == data
    assert await zlib.inflate(std.compress(data)) == data
    assert std_gzip.decompress(await zlib.gzip(data)) == data
    assert std.decompress(await zlib.deflate(data)) == data
    assert std.decompress(await zlib.deflate_raw(data), -15) == data


COMMANDS: dict[str, tuple[Call, Call]] = {
    "gzip": (zlib.gzip, zlib.gunzip),
    "brotli": (zlib.brotli_compress, zlib.brotli_decompress),
    "zstd": (zlib.zstd_compress, zlib.zstd_decompress),
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_commands(name: str) -> None:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    encode, decode = COMMANDS[name]

    def run(*options: str, data: bytes) -> bytes:
        return subprocess.run([program, *options], input=data, capture_output=True, timeout=60, check=True).stdout

    options = {"params": {c.BROTLI_PARAM_QUALITY: 5}} if name == "brotli" else {}
    for data in DATA:
        assert run("-dc", data=await encode(data, **options)) == data
        assert await decode(run("-c", *(["-q", "5"] if name == "brotli" else []), data=data)) == data


VECTORS: list[tuple[Call, str, bytes]] = [
    # RFC 1950: an empty one, a stored one, one of fixed codes.
    (zlib.inflate, "789c030000000001", b""),
    (zlib.inflate, "78010105 00faff 68656c6c6f 062c0215", b"hello"),
    (zlib.inflate, "789c4b4c4a06000 24d0127", b"abc"),
    # RFC 1951: fixed codes with a match that overlaps itself, distance 1.
    (zlib.inflate_raw, "4b4c8401 00", b"aaaaaaaaaa"),
    # RFC 1952: plain, and with a name.
    (zlib.gunzip, "1f8b0800000000000003 4b4c4a0600 c2412435 03000000", b"abc"),
    (zlib.gunzip, "1f8b0808000000000003 6e616d6500 4b4c4a0600 c2412435 03000000", b"abc"),
    # RFC 7932: an empty stream, and 10 x, 10 y of its reference implementation's tests.
    (zlib.brotli_decompress, "06", b""),
    (zlib.brotli_decompress, "3b", b""),
    (zlib.brotli_decompress, "1b130000a4b0b2ea8147028a", b"X" * 10 + b"Y" * 10),
    # RFC 8878: an empty frame with a checksum, a raw block, a block of one byte repeated.
    (zlib.zstd_decompress, "28b52ffd 2400 010000 99e9d851", b""),
    (zlib.zstd_decompress, "28b52ffd 2003 190000 616263", b"abc"),
    (zlib.zstd_decompress, "28b52ffd 200a 530000 61", b"aaaaaaaaaa"),
]


@pytest.mark.parametrize("number", range(len(VECTORS)))
async def test_vectors(number: int) -> None:
    decode, packed, data = VECTORS[number]
    assert await decode(bytes.fromhex(packed.replace(" ", ""))) == data
