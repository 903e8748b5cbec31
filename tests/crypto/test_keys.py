"""Keys of all types: made, written, read; here, in `cryptography`, in the openssl command and in Node."""

from __future__ import annotations

import asyncio
import json
import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from uvworks import crypto
from uvworks.crypto import PrivateKey, PublicKey

SPKI: Any = {"type": "spki", "format": "pem"}
PKCS8: Any = {"type": "pkcs8", "format": "pem"}
DER: Any = {"format": "der"}

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("rsa", {"modulus_length": 1024}),
    ("rsa", {"modulus_length": 1024, "public_exponent": 3}),
    ("rsa-pss", {"modulus_length": 1024}),
    (
        "rsa-pss",
        {"modulus_length": 1024, "hash_algorithm": "sha256", "mgf1_hash_algorithm": "sha256", "salt_length": 32},
    ),
    ("dsa", {"modulus_length": 1024, "divisor_length": 160}),
    ("ec", {"named_curve": "P-256"}),
    ("ec", {"named_curve": "prime256v1"}),
    ("ec", {"named_curve": "secp521r1", "param_encoding": "named"}),
    ("ec", {"named_curve": "secp256k1"}),
    ("ed25519", {}),
    ("ed448", {}),
    ("x25519", {}),
    ("x448", {}),
    ("dh", {"group": "modp14"}),
    ("dh", {"group": "ffdhe2048", "generator": 2}),
    ("dh", {"prime": (1 << 600) - 3, "generator": 5}),
]


async def pair(kind: str, **options: Any) -> tuple[PublicKey, PrivateKey]:
    made: Any = await crypto.generate_key_pair(kind, **options)  # type: ignore[arg-type]
    return made.public_key, made.private_key


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=repr)
async def test_a_pair_goes_round(kind: str, options: dict[str, Any]) -> None:
    public, private = await pair(kind, **options)
    assert (public.type, private.type) == (kind, kind)
    assert private.public_key == public and public != (await pair(kind, **options))[0]
    for form in ("pem", "der"):
        text = await private.export(format=form)
        assert isinstance(text, str if form == "pem" else bytes)
        again = await crypto.create_private_key(text)
        assert again.public_key == public and await again.export(format=form) == text
        assert await crypto.create_public_key(text) == public
        text = await public.export(format=form)
        assert await crypto.create_public_key(text) == public
        with pytest.raises(ValueError, match="key"):
            await crypto.create_private_key(text)


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=repr)
async def test_encoded_at_once(kind: str, options: dict[str, Any]) -> None:
    made = await crypto.generate_key_pair(
        kind,  # type: ignore[arg-type]
        public_key_encoding=SPKI,
        private_key_encoding={**PKCS8, "cipher": "aes-256-cbc", "passphrase": "secret"},
        **options,
    )
    assert isinstance(made.public_key, str) and isinstance(made.private_key, str)
    assert made.public_key.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert made.private_key.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    private = await crypto.create_private_key(made.private_key, passphrase=b"secret")
    assert await crypto.create_public_key(made.public_key) == private.public_key
    made = await crypto.generate_key_pair(kind, private_key_encoding=DER, **options)  # type: ignore[arg-type]
    assert isinstance(made.public_key, PublicKey) and isinstance(made.private_key, bytes)


@pytest.mark.parametrize(("kind", "options"), [entry for entry in KINDS if entry[0] not in ("dh", "rsa-pss")], ids=repr)
async def test_cryptography_reads_and_is_read(kind: str, options: dict[str, Any]) -> None:
    public, private = await pair(kind, **options)
    theirs: Any = serialization.load_der_private_key(await private.export(format="der"), None)  # type: ignore[arg-type]
    for form, name in ((serialization.Encoding.PEM, "pem"), (serialization.Encoding.DER, "der")):
        text = theirs.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
        assert text == (await public.export(format=name) if name == "der" else (await public.export()).encode())  # type: ignore[union-attr]
        secret = serialization.BestAvailableEncryption(b"pass")
        text = theirs.private_bytes(form, serialization.PrivateFormat.PKCS8, secret)
        assert (await crypto.create_private_key(text, passphrase="pass")).public_key == public
        text = theirs.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        assert (await crypto.create_private_key(text)).public_key == public
    encrypted: Any = await private.export(cipher="aes-128-cbc", passphrase="pass")
    assert serialization.load_pem_private_key(encrypted.encode(), b"pass")


async def test_what_cryptography_makes() -> None:
    made: list[Any] = [
        rsa.generate_private_key(65537, 1024),
        dsa.generate_private_key(1024),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ]
    for key in made[:3]:
        traditional = serialization.PrivateFormat.TraditionalOpenSSL
        for secret in (serialization.NoEncryption(), serialization.BestAvailableEncryption(b"pass")):
            text = key.private_bytes(serialization.Encoding.PEM, traditional, secret)
            assert (await crypto.create_private_key(text, passphrase="pass")).bits >= 384
    numbers = made[0].public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
    assert await (await crypto.create_public_key(numbers)).export(type="pkcs1") == numbers.decode()


async def test_the_old_structures() -> None:
    public, private = await pair("rsa", modulus_length=1024)
    assert str(await public.export(type="pkcs1")).startswith("-----BEGIN RSA PUBLIC KEY-----")
    text = await private.export(type="pkcs1")
    assert str(text).startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert (await crypto.create_private_key(text)).public_key == public
    text = await private.export(type="pkcs1", cipher="aes-256-cbc", passphrase="x" * 1024)
    assert "DEK-Info: AES-256-CBC" in str(text)
    assert (await crypto.create_private_key(text, passphrase="x" * 1024)).public_key == public
    curve, secret = await pair("ec", named_curve="P-256")
    text = await secret.export(type="sec1", format="der")
    assert (await crypto.create_private_key(text)).public_key == curve
    assert str(await secret.export(type="sec1")).startswith("-----BEGIN EC PRIVATE KEY-----")


async def test_facts() -> None:
    public, private = await pair("ec", named_curve="P-256")
    assert (public.bits, public.group) == (256, "prime256v1")
    assert repr(private) == "<PrivateKey ec prime256v1>" and repr(public) == "<PublicKey ec prime256v1>"
    assert len({public, private.public_key}) == 1
    public, _ = await pair("ed25519")
    assert (public.bits, public.group, repr(public)) == (256, None, "<PublicKey ed25519 256>")
    with pytest.raises(TypeError, match="export"):
        pickle.dumps(public)
    explicit, _ = await pair("ec", named_curve="P-256", param_encoding="explicit")
    assert len(await explicit.export(format="der")) > 150


@pytest.mark.parametrize(
    ("kind", "options", "names"),
    [
        ("nope", {}, "type"),
        ("rsa", {}, "modulus_length"),
        ("rsa", {"modulus_length": 511}, "modulus_length"),
        ("rsa", {"modulus_length": 16385}, "modulus_length"),
        ("rsa", {"modulus_length": 1024, "public_exponent": 1}, "public_exponent"),
        ("rsa", {"modulus_length": 1024, "public_exponent": 4}, "public_exponent"),
        ("rsa", {"modulus_length": 1024, "public_exponent": 2**64 + 1}, "public_exponent"),
        ("rsa", {"modulus_length": 1024, "named_curve": "P-256"}, "named_curve"),
        ("rsa-pss", {"modulus_length": 1024, "hash_algorithm": "nope"}, "hash_algorithm"),
        ("rsa-pss", {"modulus_length": 1024, "mgf1_hash_algorithm": "nope"}, "mgf1_hash_algorithm"),
        ("rsa-pss", {"modulus_length": 1024, "salt_length": -1}, "salt_length"),
        ("dsa", {"modulus_length": 20000}, "modulus_length"),
        ("dsa", {"modulus_length": 1024, "divisor_length": 159}, "divisor_length"),
        ("ec", {}, "named_curve"),
        ("ec", {"named_curve": "nope"}, "named_curve: unknown curve 'nope'"),
        ("ec", {"named_curve": "sha256"}, "named_curve"),
        ("ec", {"named_curve": "P-256\0"}, "null"),
        ("ec", {"named_curve": "P-256", "param_encoding": "no"}, "param_encoding"),
        ("ed25519", {"modulus_length": 1024}, "modulus_length"),
        ("dh", {}, "group"),
        ("dh", {"group": "modp14", "prime_length": 1024}, "group"),
        ("dh", {"group": "modp99"}, "group"),
        ("dh", {"prime_length": 511}, "prime_length"),
        ("dh", {"prime": 7}, "prime"),
        ("dh", {"group": "modp14", "generator": 1}, "generator"),
        ("ed25519", {"public_key_encoding": {"type": "pkcs1"}}, "type"),
        ("ed25519", {"public_key_encoding": {"format": "jwk"}}, "format"),
        ("ed25519", {"public_key_encoding": {"tpye": "spki"}}, "public_key_encoding"),
        ("ed25519", {"private_key_encoding": {"type": "sec1"}}, "type"),
        ("rsa", {"modulus_length": 1024, "private_key_encoding": {"type": "sec1"}}, "type"),
        ("ed25519", {"private_key_encoding": {"cipher": "aes-256-cbc"}}, "passphrase"),
        ("ed25519", {"private_key_encoding": {"passphrase": "x"}}, "cipher"),
        ("ed25519", {"private_key_encoding": {"cipher": "nope", "passphrase": "x"}}, "cipher: unknown cipher 'nope'"),
        ("ed25519", {"private_key_encoding": {"cipher": "aes-256-cbc", "passphrase": "x" * 1025}}, "passphrase"),
        (
            "ec",
            {
                "named_curve": "P-256",
                "private_key_encoding": {"type": "sec1", "format": "der", "cipher": "aes-256-cbc", "passphrase": "x"},
            },
            "cipher",
        ),
    ],
    ids=repr,
)
async def test_options_are_refused(kind: Any, options: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        await crypto.generate_key_pair(kind, **options)


@pytest.mark.parametrize("text", ["", "junk", b"\x30\x82\xff\xff", b"\0" * 1000, "x" * ((1 << 20) + 1)])
async def test_what_is_no_key(text: Any) -> None:
    for create in (crypto.create_private_key, crypto.create_public_key):
        with pytest.raises(ValueError, match="key"):
            await create(text)


async def test_passphrases() -> None:
    _, private = await pair("ed25519")
    for options in ({"format": "pem"}, {"format": "der"}):
        text = await private.export(**options, cipher="aes-256-cbc", passphrase="right")
        assert (await crypto.create_private_key(text, passphrase="right")).public_key == private.public_key
        for wrong, names in (
            (None, "there is no passphrase"),
            ("wrong", "wrong"),
            ("", "wrong"),
            ("x" * 1024, "wrong"),
        ):
            with pytest.raises(ValueError, match=names):
                await crypto.create_private_key(text, passphrase=wrong)
        with pytest.raises(ValueError, match="passphrase"):
            await crypto.create_private_key(text, passphrase="x" * 1025)


async def test_damaged_keys() -> None:
    """None of them may crash, hang or ask at a terminal."""
    _, private = await pair("ec", named_curve="P-256")
    text = await private.export(format="der")
    assert isinstance(text, bytes)
    refused = 0
    for at in range(len(text)):
        for damaged in (text[:at], text[:at] + bytes([text[at] ^ 0x41]) + text[at + 1 :]):
            try:
                await crypto.create_private_key(damaged)
            except ValueError:
                refused += 1
    assert refused > len(text)


@pytest.mark.parametrize(
    "piece", ["\n", "x\n", "-----BEGIN X-----\nAA==\n-----END X-----\n", "-----BEGIN ", "\x30\x80"]
)
async def test_a_long_text_without_a_key(piece: str) -> None:
    async with asyncio.timeout(20):  # OpenSSL would take hours for some, were it asked again and again
        with pytest.raises(ValueError, match="key"):
            await crypto.create_public_key((piece * 500_000)[: 1 << 19])


async def test_generate_key() -> None:
    assert len(await crypto.generate_key("hmac", 64)) == 8
    assert len(await crypto.generate_key("hmac", 71)) == 8
    assert len(await crypto.generate_key("aes", 256)) == 32
    for args in (("hmac", 7), ("aes", 64), ("des", 64), ("hmac", -8)):
        with pytest.raises(ValueError):
            await crypto.generate_key(*args)  # type: ignore[arg-type]


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl command")
async def test_the_openssl_command(tmp_path: Path) -> None:
    def openssl(*args: str) -> bytes:
        done = subprocess.run(["openssl", *args], capture_output=True, timeout=30, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    public, private = await pair("ec", named_curve="P-384")
    secret: Any = await private.export(cipher="aes-256-cbc", passphrase="pass")
    (tmp_path / "key").write_text(secret)
    (tmp_path / "pub").write_text(str(await public.export()))
    (tmp_path / "data").write_bytes(b"some data")
    assert openssl("pkey", "-in", "key", "-passin", "pass:pass", "-pubout").decode() == await public.export()
    openssl("dgst", "-sha256", "-sign", "key", "-passin", "pass:pass", "-out", "sig", "data")
    assert await crypto.verify("sha256", b"some data", public, (tmp_path / "sig").read_bytes())
    (tmp_path / "sig2").write_bytes(await crypto.sign("sha256", "some data", secret, passphrase="pass"))
    assert b"Verified OK" in openssl("dgst", "-sha256", "-verify", "pub", "-signature", "sig2", "data")
    theirs = openssl("genpkey", "-algorithm", "ed25519", "-outform", "DER")
    assert (await crypto.create_private_key(theirs)).type == "ed25519"
    with_parameters = openssl("ecparam", "-name", "P-256", "-genkey", "-out", "ec") or (tmp_path / "ec").read_bytes()
    assert with_parameters.startswith(b"-----BEGIN EC PARAMETERS")
    own = await crypto.create_private_key(with_parameters)
    certificate = openssl("req", "-x509", "-new", "-key", "ec", "-subj", "/CN=test")
    assert await crypto.create_public_key(certificate) == own.public_key
    assert await crypto.create_public_key(with_parameters + certificate) == own.public_key
    parameters = with_parameters[: with_parameters.index(b"-----BEGIN EC PRIVATE")]
    hidden: Any = await own.export(cipher="aes-128-cbc", passphrase="pass")
    assert await crypto.create_public_key(parameters + hidden.encode(), passphrase="pass") == own.public_key
    with pytest.raises(ValueError, match="passphrase is wrong"):
        await crypto.create_private_key(parameters + hidden.encode(), passphrase="word")
    with pytest.raises(ValueError, match="key"):
        await crypto.create_private_key(certificate)
    with pytest.raises(ValueError, match="key"):
        await crypto.create_public_key(certificate[:200])


NODE = """
const crypto = require('node:crypto');
const items = JSON.parse(require('node:fs').readFileSync(0));
const answer = items.map(({ publicKey, privateKey, passphrase, algorithm, signature, data }) => {
  const key = crypto.createPrivateKey({ key: privateKey, passphrase });
  return {
    valid: crypto.verify(algorithm, Buffer.from(data), publicKey, Buffer.from(signature, 'hex')),
    signature: crypto.sign(algorithm, Buffer.from(data), key).toString('hex'),
    publicKey: crypto.createPublicKey(key).export({ type: 'spki', format: 'pem' }),
    privateKey: key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'node' }),
  };
});
process.stdout.write(JSON.stringify(answer));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="there is no Node")
async def test_node() -> None:
    items = []
    for kind, options in KINDS:
        if kind in ("x25519", "x448", "dh", "rsa-pss"):
            continue
        made: Any = await crypto.generate_key_pair(
            kind,  # type: ignore[arg-type]
            public_key_encoding=SPKI,
            private_key_encoding={**PKCS8, "cipher": "aes-256-cbc", "passphrase": "secret"},
            **options,
        )
        algorithm = None if kind.startswith("ed") else "sha256"
        signature = await crypto.sign(algorithm, "data", made.private_key, passphrase="secret")
        items.append(
            {
                "publicKey": made.public_key,
                "privateKey": made.private_key,
                "passphrase": "secret",
                "algorithm": algorithm,
                "signature": signature.hex(),
                "data": "data",
            }
        )
    done = subprocess.run(["node", "-e", NODE], input=json.dumps(items), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for item, answer in zip(items, json.loads(done.stdout), strict=True):
        assert answer["valid"] is True
        assert answer["publicKey"] == item["publicKey"]
        valid = await crypto.verify(item["algorithm"], "data", item["publicKey"], bytes.fromhex(answer["signature"]))
        assert valid is True
        theirs = await crypto.create_private_key(answer["privateKey"], passphrase="node")
        assert theirs.public_key == await crypto.create_public_key(item["publicKey"])
