"""Signatures: RFC 8032's vectors, every kind of key, what `cryptography` signs and verifies."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from tests.support import until
from uvworks import crypto, pool

# The DER around a raw key.
ED25519 = bytes.fromhex("302e020100300506032b657004220420"), bytes.fromhex("302a300506032b6570032100")
ED448 = bytes.fromhex("3047020100300506032b6571043b0439"), bytes.fromhex("3043300506032b6571033a00")
RFC_8032 = [
    (
        ED25519,
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        ED25519,
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        ED25519,
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        ED448,
        "6c82a562cb808d10d632be89c8513ebf6c929f34ddfa8c9f63c9960ef6e348a3"
        "528c8a3fcc2f044e39a3fc5b94492f8f032e7549a20098f95b",
        "5fd7449b59b461fd2ce787ec616ad46a1da1342485a70e1f8a0ea75d80e96778"
        "edf124769b46c7061bd6783df1e50f6cd1fa1abeafe8256180",
        "",
        "533a37f6bbe457251f023c0d88f976ae2dfb504a843e34d2074fd823d41a591f"
        "2b233f034f628281f2fd7a22ddd47d7828c59bd0a21bfd3980ff0d2028d4b18a"
        "9df63e006c5d1c2d345b925d8dc00b4104852db99ac5c7cdda8530a113a0f4db"
        "b61149f05a7363268c71d95808ff2e652600",
    ),
]
KINDS: list[tuple[str, dict[str, Any], str | None]] = [
    ("rsa", {"modulus_length": 1024}, "sha256"),
    ("rsa-pss", {"modulus_length": 1024}, "sha256"),
    ("dsa", {"modulus_length": 1024, "divisor_length": 160}, "sha1"),
    ("ec", {"named_curve": "P-256"}, "sha256"),
    ("ec", {"named_curve": "secp521r1"}, "sha512"),
    ("ed25519", {}, None),
    ("ed448", {}, None),
]


@pytest.mark.parametrize(("prefixes", "secret", "public", "message", "signature"), RFC_8032)
async def test_rfc_8032(prefixes: tuple[bytes, bytes], secret: str, public: str, message: str, signature: str) -> None:
    data, expected = bytes.fromhex(message), bytes.fromhex(signature)
    assert await crypto.sign(None, data, prefixes[0] + bytes.fromhex(secret)) == expected
    key = prefixes[1] + bytes.fromhex(public)
    assert await crypto.verify(None, data, key, expected) is True
    assert await crypto.verify(None, data + b"x", key, expected) is False


@pytest.mark.parametrize(("kind", "options", "algorithm"), KINDS, ids=repr)
@pytest.mark.parametrize("size", [0, 1000, 1 << 20])
async def test_sign_and_verify(kind: Any, options: dict[str, Any], algorithm: str | None, size: int) -> None:
    pair: Any = await crypto.generate_key_pair(kind, **options)
    data = os.urandom(size)
    signature = await crypto.sign(algorithm, data, pair.private_key)
    for key in (
        pair.public_key,
        pair.private_key,
        await pair.public_key.export(),
        await pair.public_key.export(format="der"),
        bytearray((await pair.private_key.export()).encode()),
    ):
        assert await crypto.verify(algorithm, memoryview(data), key, signature) is True
    assert await crypto.verify(algorithm, data + b"x", pair.public_key, signature) is False
    for wrong in (b"", b"x", signature[:-1], signature + b"x", bytes(len(signature)), bytes(5000)):
        assert await crypto.verify(algorithm, data, pair.public_key, wrong) is False
    flipped = bytearray(signature)
    flipped[len(flipped) // 2] ^= 1
    assert await crypto.verify(algorithm, data, pair.public_key, flipped) is False


async def test_ieee_p1363() -> None:
    for kind, options, half in (
        ("ec", {"named_curve": "P-256"}, 32),
        ("ec", {"named_curve": "secp521r1"}, 66),
        ("dsa", {"modulus_length": 1024, "divisor_length": 160}, 20),
    ):
        pair: Any = await crypto.generate_key_pair(kind, **options)  # type: ignore[arg-type]
        for _ in range(20):  # halves with leading zeros, too
            signature = await crypto.sign("sha1", "data", pair.private_key, dsa_encoding="ieee-p1363")
            assert len(signature) == 2 * half
            for key, data, given, valid in (
                (pair.public_key, "data", signature, True),
                (pair.public_key, "date", signature, False),
                (pair.public_key, "data", signature[1:], False),
                (pair.public_key, "data", bytes(2 * half), False),
                (pair.public_key, "data", b"\xff" * 2 * half, False),
            ):
                assert await crypto.verify("sha1", data, key, given, dsa_encoding="ieee-p1363") is valid
        assert await crypto.verify("sha1", "data", pair.public_key, signature) is False


async def test_rsa_options_and_cryptography() -> None:
    pair: Any = await crypto.generate_key_pair("rsa", modulus_length=1024)
    theirs: Any = serialization.load_pem_private_key((await pair.private_key.export()).encode(), None)
    pkcs1 = padding.PKCS1v15()
    signature = theirs.sign(b"data", pkcs1, hashes.SHA256())
    assert await crypto.sign("sha256", "data", pair.private_key) == signature
    for salt, length in (
        (20, 20),
        (crypto.RSA_PSS_SALTLEN_DIGEST, 32),
        (crypto.RSA_PSS_SALTLEN_MAX_SIGN, 94),
        (None, 94),
    ):
        options: Any = {"padding": crypto.RSA_PKCS1_PSS_PADDING, "salt_length": salt}
        signature = await crypto.sign("sha256", "data", pair.private_key, **options)
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), length)
        theirs.public_key().verify(signature, b"data", pss, hashes.SHA256())
        signature = theirs.sign(b"data", pss, hashes.SHA256())
        assert await crypto.verify("sha256", "data", pair.public_key, signature, **options) is True
        assert await crypto.verify("sha256", "data", pair.public_key, signature) is False
        auto: Any = {"padding": crypto.RSA_PKCS1_PSS_PADDING, "salt_length": crypto.RSA_PSS_SALTLEN_AUTO}
        assert await crypto.verify("sha256", "data", pair.public_key, signature, **auto) is True


async def test_ecdsa_and_cryptography() -> None:
    pair: Any = await crypto.generate_key_pair("ec", named_curve="P-384")
    theirs: Any = serialization.load_pem_private_key((await pair.private_key.export()).encode(), None)
    signature = theirs.sign(b"data", ec.ECDSA(hashes.SHA384()))
    assert await crypto.verify("sha384", b"data", pair.public_key, signature) is True
    signature = await crypto.sign("sha384", b"data", pair.private_key)
    theirs.public_key().verify(signature, b"data", ec.ECDSA(hashes.SHA384()))


async def test_refused() -> None:
    ed: Any = await crypto.generate_key_pair("ed25519")
    dh: Any = await crypto.generate_key_pair("dh", group="modp14")
    small: Any = await crypto.generate_key_pair("rsa", modulus_length=512)
    cases: list[tuple[Any, type[Exception], str | None]] = [
        (crypto.sign("sha256", "data", ed.private_key), ValueError, "digest"),
        (crypto.sign("nope", "data", ed.private_key), ValueError, "algorithm: unknown digest"),
        (crypto.sign(5, "data", ed.private_key), TypeError, "algorithm"),  # type: ignore[arg-type]
        (crypto.sign(None, 5, ed.private_key), TypeError, "data"),  # type: ignore[arg-type]
        (crypto.sign(None, "data", ed.public_key), TypeError, "key"),
        (crypto.sign(None, "data", await ed.public_key.export()), ValueError, "key"),
        (crypto.sign(None, "data", "junk"), ValueError, "key"),
        (crypto.sign(None, "data", None), TypeError, "key"),  # type: ignore[arg-type]
        (crypto.sign("sha256", "data", dh.private_key), ValueError, None),
        (crypto.sign("sha512", "data", small.private_key), ValueError, "too big|too small|digest"),
        (crypto.sign("sha256", "data", small.private_key, padding=99), ValueError, "padding"),
        (crypto.sign("sha256", "data", small.private_key, salt_length=-3), ValueError, "salt_length"),
        (crypto.sign("sha256", "data", small.private_key, dsa_encoding="raw"), ValueError, "dsa_encoding"),  # type: ignore[arg-type]
        (
            crypto.sign("sha256", "data", small.private_key, padding=crypto.RSA_PKCS1_PSS_PADDING, salt_length=1000),
            ValueError,
            None,
        ),
        (crypto.verify("sha256", "data", ed.public_key, b""), ValueError, "digest"),
        (crypto.verify(None, "data", ed.public_key, 5), TypeError, "signature"),  # type: ignore[arg-type]
        (crypto.verify(None, "data", "junk", b""), ValueError, "key"),
    ]
    for call, error, names in cases:
        with pytest.raises(error, match=names):
            await call


async def test_a_cancel_frees_the_worker() -> None:
    pair: Any = await crypto.generate_key_pair("ec", named_curve="P-256")
    data = bytes(256 << 20)
    for call in (
        crypto.sign("sha3-512", data, pair.private_key),
        crypto.verify("sha3-512", data, pair.public_key, b"x"),
    ):
        task = asyncio.create_task(call)
        await until(lambda: pool.statistics().lanes["cpu"].running + pool.statistics().lanes["cpu"].waiting == 1)
        await asyncio.sleep(0.02)
        task.cancel()
        begin = asyncio.get_running_loop().time()
        await asyncio.wait([task])
        await until(lambda: pool.statistics().busy == 0)
        assert task.cancelled() and asyncio.get_running_loop().time() - begin < 0.5


async def test_data_that_changes_meanwhile_does_not_give_the_key_away() -> None:
    """Two ed25519 signatures with one nonce (their first half) over different data would."""
    pair: Any = await crypto.generate_key_pair("ed25519")
    data = bytearray(64 << 20)
    begin = asyncio.get_running_loop().time()
    before = await crypto.sign(None, bytes(data), pair.private_key)
    taken = asyncio.get_running_loop().time() - begin
    for when in (0.6, 0.7, 0.8):
        data[-1] = 0
        task = asyncio.create_task(crypto.sign(None, data, pair.private_key))
        await asyncio.sleep(when * taken)
        data[-1] = 1
        after = await task
        assert after == before or after[:32] != before[:32]


async def test_one_key_for_many() -> None:
    pair: Any = await crypto.generate_key_pair("rsa", modulus_length=1024)
    signatures = await asyncio.gather(*(crypto.sign("sha256", str(n), pair.private_key) for n in range(200)))
    valid = await asyncio.gather(
        *(crypto.verify("sha256", str(n), pair.public_key, signature) for n, signature in enumerate(signatures))
    )
    assert all(valid) and len(set(signatures)) == 200
