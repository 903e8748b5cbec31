"""Key derivation: the RFCs' vectors, hashlib's answers, and what is refused before it costs anything."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Run
from uvworks import crypto, pool

RFC_6070 = [
    (b"password", b"salt", 1, "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
    (b"password", b"salt", 2, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"),
    (b"password", b"salt", 4096, "4b007901b765489abead49d926f721d065a429c1"),
    (
        b"passwordPASSWORDpassword",
        b"saltSALTsaltSALTsaltSALTsaltSALTsalt",
        4096,
        "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038",
    ),
    (b"pass\0word", b"sa\0lt", 4096, "56fa6aa75548099dcc37d7f03425e0c3"),
]
RFC_7914 = [
    (
        ("", "", 64, 16, 1, 1),
        "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
        "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906",
    ),
    (
        ("password", "NaCl", 64, 1024, 8, 16),
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
        "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640",
    ),
    (
        ("pleaseletmein", "SodiumChloride", 64, 16384, 8, 1),
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887",
    ),
]
RFC_5869 = [
    (
        ("sha256", b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        ("sha256", bytes(range(80)), bytes(range(0x60, 0xB0)), bytes(range(0xB0, 0x100)), 82),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        ("sha256", b"\x0b" * 22, b"", b"", 42),
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
    (
        ("sha1", b"\x0b" * 11, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42),
        "085a01ea1b10f36933068b56efa5ad81a4f14b822f5b091568a9cdd4f155fda2c22e422478d305f3f896",
    ),
]


@pytest.mark.parametrize(("password", "salt", "iterations", "expected"), RFC_6070)
async def test_rfc_6070(password: bytes, salt: bytes, iterations: int, expected: str) -> None:
    found = await crypto.pbkdf2(password, salt, iterations, len(expected) // 2, "sha1")
    assert found.hex() == expected


@pytest.mark.parametrize(("args", "expected"), RFC_7914)
async def test_rfc_7914(args: tuple[Any, ...], expected: str) -> None:
    password, salt, keylen, n, r, p = args
    assert (await crypto.scrypt(password, salt, keylen, n=n, r=r, p=p)).hex() == expected


@pytest.mark.parametrize(("args", "expected"), RFC_5869)
async def test_rfc_5869(args: tuple[Any, ...], expected: str) -> None:
    assert (await crypto.hkdf(*args)).hex() == expected


@given(st.binary(max_size=150), st.binary(max_size=150), st.integers(1, 50), st.integers(1, 200))
def test_pbkdf2_and_hashlib(run: Run, password: bytes, salt: bytes, iterations: int, keylen: int) -> None:
    for digest in ("sha1", "sha224", "sha256", "sha384", "sha512", "sha512_256", "sha3_224", "md5", "blake2b"):
        found = run(crypto.pbkdf2(password, salt, iterations, keylen, digest))
        assert found == hashlib.pbkdf2_hmac(digest, password, salt, iterations, keylen)


@pytest.mark.parametrize("iterations", [1023, 1024, 1025, 2049])
async def test_pbkdf2_between_its_looks(iterations: int) -> None:
    found = await crypto.pbkdf2("password", "salt", iterations, 100, "sha384")
    assert found == hashlib.pbkdf2_hmac("sha384", b"password", b"salt", iterations, 100)


async def test_large_passwords_and_salts() -> None:
    large = bytes(range(256)) * 4000  # several pieces
    assert await crypto.pbkdf2(large, large, 2, 50, "sha1") == hashlib.pbkdf2_hmac("sha1", large, large, 2, 50)
    assert await crypto.scrypt(large, large, 50, n=2, r=1) == hashlib.scrypt(large, salt=large, n=2, r=1, p=1, dklen=50)
    found = await crypto.scrypt(large, "salt", 50, n=2, r=9000, p=2)  # each mix has several looks
    assert found == hashlib.scrypt(large, salt=b"salt", n=2, r=9000, p=2, dklen=50, maxmem=32 << 20)


@given(
    st.binary(max_size=80), st.binary(max_size=80), st.sampled_from([2, 4, 64]), st.integers(1, 4), st.integers(1, 3)
)
def test_scrypt_and_hashlib(run: Run, password: bytes, salt: bytes, n: int, r: int, p: int) -> None:
    found = run(crypto.scrypt(password, salt, 40, n=n, r=r, p=p))
    assert found == hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, dklen=40)


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=1024), st.integers(1, 255 * 20))
def test_hkdf_and_cryptography(run: Run, key: bytes, salt: bytes, info: bytes, keylen: int) -> None:
    expected = HKDF(algorithm=hashes.SHA1(), length=keylen, salt=salt, info=info).derive(key)
    assert run(crypto.hkdf("sha1", key, salt, info, keylen)) == expected


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: data.decode()])
async def test_all_buffers_and_text(kind: Any) -> None:
    assert await crypto.pbkdf2(kind(b"password"), kind(b"salt"), 1, 20, "sha1") == bytes.fromhex(RFC_6070[0][3])
    assert await crypto.scrypt(kind(b""), kind(b""), 64, n=16, r=1) == bytes.fromhex(RFC_7914[0][1])


@pytest.mark.parametrize("digest", ["sha256", "SHA256", "SHA2-256", "sha-256", "RSA-SHA256"])
async def test_the_names_of_a_digest(digest: str) -> None:
    assert await crypto.pbkdf2("a", "b", 1, 32, digest) == hashlib.pbkdf2_hmac("sha256", b"a", b"b", 1)


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: crypto.pbkdf2("a", "b", 0, 20, "sha1"), ValueError, "iterations"),
        (lambda: crypto.pbkdf2("a", "b", -1, 20, "sha1"), ValueError, "iterations"),
        (lambda: crypto.pbkdf2("a", "b", 2**31, 20, "sha1"), ValueError, "iterations"),
        (lambda: crypto.pbkdf2("a", "b", 10**30, 20, "sha1"), ValueError, "iterations"),
        (lambda: crypto.pbkdf2("a", "b", 1.5, 20, "sha1"), TypeError, None),  # type: ignore[arg-type]
        (lambda: crypto.pbkdf2("a", "b", 1, 0, "sha1"), ValueError, "keylen"),
        (lambda: crypto.pbkdf2("a", "b", 1, 2**31, "sha1"), ValueError, "keylen"),
        (lambda: crypto.pbkdf2("a", "b", 1, 20, "sha0"), ValueError, "digest: unknown digest 'sha0'"),
        (lambda: crypto.pbkdf2("a", "b", 1, 20, "x" * 1000), ValueError, "digest"),
        (lambda: crypto.pbkdf2("a", "b", 1, 20, ""), ValueError, "digest"),
        (lambda: crypto.pbkdf2("a", "b", 1, 20, "sha1\0"), ValueError, None),
        (lambda: crypto.pbkdf2("a", "b", 1, 20, "shake128"), ValueError, "digest"),
        (lambda: crypto.pbkdf2("a", "b", 1, 20, "null"), ValueError, "digest"),
        (lambda: crypto.hkdf("null", "a", "b", "c", 20), ValueError, "digest"),
        (lambda: crypto.pbkdf2("a", "b", 1, 20, None), TypeError, "digest"),  # type: ignore[arg-type]
        (lambda: crypto.pbkdf2(None, "b", 1, 20, "sha1"), TypeError, "password"),  # type: ignore[arg-type]
        (lambda: crypto.pbkdf2("a", 1, 1, 20, "sha1"), TypeError, "salt"),  # type: ignore[arg-type]
        (lambda: crypto.pbkdf2("a", memoryview(b"abcd")[::2], 1, 20, "sha1"), BufferError, None),
        (lambda: crypto.scrypt("a", "b", 0), ValueError, "keylen"),
        (lambda: crypto.scrypt("a", "b", 20, n=0), ValueError, "n must"),
        (lambda: crypto.scrypt("a", "b", 20, n=1), ValueError, "n must"),
        (lambda: crypto.scrypt("a", "b", 20, n=1000), ValueError, "n must be a power of two"),
        (lambda: crypto.scrypt("a", "b", 20, n=65536, r=1), ValueError, "n must"),
        (lambda: crypto.scrypt("a", "b", 20, n=2**63), ValueError, "maxmem"),
        (lambda: crypto.scrypt("a", "b", 20, r=0), ValueError, "r must"),
        (lambda: crypto.scrypt("a", "b", 20, p=0), ValueError, "p must"),
        (lambda: crypto.scrypt("a", "b", 20, p=2**30), ValueError, "p must"),
        (lambda: crypto.scrypt("a", "b", 20, maxmem=0), ValueError, "maxmem"),
        (lambda: crypto.scrypt("a", "b", 20, n=32768), ValueError, "maxmem"),
        (lambda: crypto.scrypt("a", "b", 20, maxmem=2**64), ValueError, "maxmem"),
        (lambda: crypto.hkdf("nope", "a", "b", "c", 20), ValueError, "digest"),
        (lambda: crypto.hkdf("shake256", "a", "b", "c", 20), ValueError, "digest"),
        (lambda: crypto.hkdf("sha256", "a", "b", "c", 0), ValueError, "keylen"),
        (lambda: crypto.hkdf("sha256", "a", "b", "c", 255 * 32 + 1), ValueError, "keylen"),
        (lambda: crypto.hkdf("sha256", "a", "b", b"c" * 1025, 20), ValueError, "info"),
        (lambda: crypto.hkdf("sha256", 5, "b", "c", 20), TypeError, "key"),  # type: ignore[arg-type]
    ],
)
async def test_refused_before_it_is_submitted(call: Any, error: type[Exception], names: str | None) -> None:
    before = pool.statistics().lanes["cpu"]
    with pytest.raises(error, match=names):
        await call()
    assert pool.statistics().lanes["cpu"] == before


async def test_the_most_that_scrypt_may_take() -> None:
    needed = 128 * 8 * (1024 + 1 + 2)
    await crypto.scrypt("a", "b", 20, n=1024, maxmem=needed)
    with pytest.raises(ValueError, match="maxmem"):
        await crypto.scrypt("a", "b", 20, n=1024, maxmem=needed - 1)
