"""Keys: made, read, written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict

from .._engine import core
from ._checks import between, data, digest_name, integer
from ._random import random_bytes

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ._checks import Data

KeyType: TypeAlias = Literal["rsa", "rsa-pss", "dsa", "ec", "ed25519", "ed448", "x25519", "x448", "dh"]

_MAX_KEY = 1 << 20  # bytes of a key's text: none that OpenSSL takes is near it
_MAX_PASSPHRASE = core.crypto_numbers.MAX_PASSPHRASE

# What each type of pair may be told.
_OPTIONS = {
    "rsa": {"modulus_length", "public_exponent"},
    "rsa-pss": {"modulus_length", "public_exponent", "hash_algorithm", "mgf1_hash_algorithm", "salt_length"},
    "dsa": {"modulus_length", "divisor_length"},
    "ec": {"named_curve", "param_encoding"},
    "ed25519": set[str](),
    "ed448": set[str](),
    "x25519": set[str](),
    "x448": set[str](),
    "dh": {"prime", "prime_length", "generator", "group"},
}
_GROUPS = {
    "modp5": "modp_1536",
    "modp14": "modp_2048",
    "modp15": "modp_3072",
    "modp16": "modp_4096",
    "modp17": "modp_6144",
    "modp18": "modp_8192",
    **{name: name for name in ("ffdhe2048", "ffdhe3072", "ffdhe4096", "ffdhe6144", "ffdhe8192")},
}
_STRUCTURES = {
    "spki": core.crypto_numbers.SPKI,
    "pkcs8": core.crypto_numbers.PKCS8,
    "pkcs1": core.crypto_numbers.PKCS1,
    "sec1": core.crypto_numbers.SEC1,
}
_UNWRITTEN = core.crypto_numbers.UNWRITTEN
_FORMATS = ("pem", "der")


class PublicKeyEncoding(TypedDict, total=False):
    """How a public key is written: type "spki", or "pkcs1" for rsa; format "pem" (a str) or "der" (bytes)."""

    type: Literal["spki", "pkcs1"]
    format: Literal["pem", "der"]


class PrivateKeyEncoding(TypedDict, total=False):
    """How a private key is written.

    Type "pkcs8", or "pkcs1" for rsa, or "sec1" for ec; format "pem" (a str)
    or "der" (bytes); encrypted when a cipher ("aes-256-cbc", ...) and a
    passphrase are given, in DER as pkcs8 only.
    """

    type: Literal["pkcs8", "pkcs1", "sec1"]
    format: Literal["pem", "der"]
    cipher: str
    passphrase: Data


class _Key:
    """What public and private keys have in common."""

    __slots__ = ("_facts", "_handle")

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._facts: tuple[str, int, str | None] = core.key_facts(handle)

    @property
    def type(self) -> str:
        """Node's name of the type: "rsa", "ec", "ed25519", ..."""
        return self._facts[0].lower()

    @property
    def bits(self) -> int:
        """The key's size: of the modulus for rsa, of the prime for dh and dsa."""
        return self._facts[1]

    @property
    def group(self) -> str | None:
        """The curve of an ec key or the group of a dh key, if it has a name."""
        return self._facts[2]

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} {self.type} {self.group or self.bits}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"a {self.__class__.__name__} cannot be pickled: export it")


class PublicKey(_Key):
    """A public key: made by generate_key_pair(), read by create_public_key(). Node's KeyObject."""

    __slots__ = ()

    async def export(self, *, type: str = "spki", format: str = "pem") -> str | bytes:
        """The key as text (PEM) or bytes (DER), in the structure "spki", or "pkcs1" for rsa."""
        structure, pem = _public_encoding({"type": type, "format": format}, self.type)
        text: str | bytes = await core.export_key(self._handle, False, structure, pem, None, None)
        return text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PublicKey):
            return NotImplemented
        return core.keys_equal(self._handle, other._handle)

    def __hash__(self) -> int:
        return hash(self._facts)


class PrivateKey(_Key):
    """A private key: made by generate_key_pair(), read by create_private_key(). Node's KeyObject."""

    __slots__ = ()

    @property
    def public_key(self) -> PublicKey:
        """The public key of the pair."""
        return PublicKey(self._handle)

    async def export(
        self, *, type: str = "pkcs8", format: str = "pem", cipher: str | None = None, passphrase: Data | None = None
    ) -> str | bytes:
        """The key as text (PEM) or bytes (DER), as PrivateKeyEncoding says."""
        encoding = {"type": type, "format": format, "cipher": cipher, "passphrase": passphrase}
        structure, pem, name, secret = _private_encoding(encoding, self.type)
        text: str | bytes = await core.export_key(self._handle, True, structure, pem, name, secret)
        return text


class KeyPair(NamedTuple):
    """What generate_key_pair() makes: key objects, or what their encodings asked for."""

    public_key: PublicKey | str | bytes
    private_key: PrivateKey | str | bytes


# Arguments ---------------------------------------------------------------------


def checked_passphrase(value: Data | None) -> Buffer | None:
    """A passphrase's bytes."""
    if value is None:
        return None
    secret = data("passphrase", value)
    if memoryview(secret).nbytes > _MAX_PASSPHRASE:
        raise ValueError(f"passphrase must have at most {_MAX_PASSPHRASE} bytes")
    return secret


def checked_key(name: str, value: Data) -> Buffer:
    """A key's text, in PEM or DER."""
    text = data(name, value)
    if not 0 < memoryview(text).nbytes <= _MAX_KEY:
        raise ValueError(f"{name} is no key in PEM or DER: it has {memoryview(text).nbytes} bytes")
    return text


def _choice(name: str, value: Any, choices: Any) -> Any:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def _known(what: str, encoding: Any, keys: set[str]) -> None:
    if unknown := set(encoding) - keys:
        raise ValueError(f"{what}: unknown {', '.join(sorted(map(repr, unknown)))}")


def _public_encoding(encoding: Any, key_type: str) -> tuple[int, bool]:
    """The structure's number, and whether it is PEM."""
    if encoding is None:
        return _UNWRITTEN, False
    _known("public_key_encoding", encoding, {"type", "format"})
    structures = ("spki", "pkcs1") if key_type == "rsa" else ("spki",)
    structure = _choice("type", encoding.get("type", "spki"), structures)
    return _STRUCTURES[structure], _choice("format", encoding.get("format", "pem"), _FORMATS) == "pem"


def _private_encoding(encoding: Any, key_type: str) -> tuple[int, bool, str | None, Buffer | None]:
    """The structure's number, whether it is PEM, the cipher and the passphrase."""
    if encoding is None:
        return _UNWRITTEN, False, None, None
    _known("private_key_encoding", encoding, {"type", "format", "cipher", "passphrase"})
    structures = ("pkcs8", "pkcs1") if key_type == "rsa" else ("pkcs8", "sec1") if key_type == "ec" else ("pkcs8",)
    structure = _choice("type", encoding.get("type", "pkcs8"), structures)
    form = _choice("format", encoding.get("format", "pem"), _FORMATS)
    cipher, secret = encoding.get("cipher"), checked_passphrase(encoding.get("passphrase"))
    if cipher is not None:
        digest_name("cipher", cipher)
        if secret is None:
            raise ValueError("passphrase: a cipher needs one")
        if form == "der" and structure != "pkcs8":
            raise ValueError(f"cipher: {structure} in DER cannot be encrypted")
    elif secret is not None:
        raise ValueError("cipher: a passphrase needs one")
    return _STRUCTURES[structure], form == "pem", cipher, secret


# Making ------------------------------------------------------------------------


async def generate_key_pair(
    type: KeyType,
    *,
    modulus_length: int | None = None,
    public_exponent: int | None = None,
    hash_algorithm: str | None = None,
    mgf1_hash_algorithm: str | None = None,
    salt_length: int | None = None,
    divisor_length: int | None = None,
    named_curve: str | None = None,
    param_encoding: Literal["named", "explicit"] | None = None,
    prime: int | Buffer | None = None,
    prime_length: int | None = None,
    generator: int | None = None,
    group: str | None = None,
    public_key_encoding: PublicKeyEncoding | None = None,
    private_key_encoding: PrivateKeyEncoding | None = None,
) -> KeyPair:
    """A new pair of keys; as key objects, or written as the encodings say.

    `type` and its options: "rsa" (modulus_length in bits, public_exponent);
    "rsa-pss" (those, hash_algorithm, mgf1_hash_algorithm, salt_length in
    bytes); "dsa" (modulus_length, divisor_length); "ec" (named_curve,
    param_encoding); "dh" (one of group, prime, prime_length; generator);
    "ed25519", "ed448", "x25519", "x448" (none). A cancel ends the search for
    primes at the next candidate. Node's crypto.generateKeyPair, lane ``cpu``.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    _choice("type", type, _OPTIONS)
    for name in given.keys() - {"type", "public_key_encoding", "private_key_encoding"} - _OPTIONS[type]:
        raise ValueError(f"{name} is not an option of {type!r}")
    public = _public_encoding(public_key_encoding, type)
    private = _private_encoding(private_key_encoding, type)
    bits = divisor = 0
    number: bytes | None = None
    if type in ("rsa", "rsa-pss", "dsa"):
        if modulus_length is None:
            raise ValueError(f"modulus_length: {type!r} needs it")
        bits = between("modulus_length", modulus_length, 512, 10000 if type == "dsa" else 16384)
    if divisor_length is not None:
        divisor = between("divisor_length", divisor_length, 160, 512)
    exponent = between("public_exponent", 65537 if public_exponent is None else public_exponent, 3, 2**64 - 1)
    if exponent % 2 == 0:
        raise ValueError(f"public_exponent must be odd, got {exponent}")
    if type == "ec" and named_curve is None:
        raise ValueError("named_curve: 'ec' needs it")
    if param_encoding is not None:
        _choice("param_encoding", param_encoding, ("named", "explicit"))
    if type == "dh":
        if sum(value is not None for value in (group, prime, prime_length)) != 1:
            raise ValueError("group, prime or prime_length: 'dh' needs one of them")
        if group is not None:
            group = _GROUPS[_choice("group", group, _GROUPS)]
        if prime_length is not None:
            bits = between("prime_length", prime_length, 512, 10000)
        if prime is not None:
            chosen = integer("prime", prime)
            if chosen < 0 or not 512 <= chosen.bit_length() <= 10000:
                raise ValueError("prime must have from 512 to 10000 bits")
            number = chosen.to_bytes((chosen.bit_length() + 7) // 8, "big")
    result: tuple[Any, Any] = await core.generate_key_pair(
        type.upper(),
        bits,
        divisor,
        exponent,
        None if hash_algorithm is None else digest_name("hash_algorithm", hash_algorithm),
        None if mgf1_hash_algorithm is None else digest_name("mgf1_hash_algorithm", mgf1_hash_algorithm),
        -1 if salt_length is None else between("salt_length", salt_length, 0),
        named_curve if type == "ec" else group,
        param_encoding == "explicit",
        number,
        between("generator", 2 if generator is None else generator, 2),
        *public,
        *private,
    )
    return KeyPair(
        PublicKey(result[0]) if public_key_encoding is None else result[0],
        PrivateKey(result[1]) if private_key_encoding is None else result[1],
    )


async def generate_key(type: Literal["hmac", "aes"], length: int) -> bytes:
    """A new secret key of `length` bits: "aes" of 128, 192 or 256, "hmac" of 8 or more, in whole bytes.

    Node's crypto.generateKey.
    """
    _choice("type", type, ("hmac", "aes"))
    if type == "aes":
        _choice("length", length, (128, 192, 256))
    return await random_bytes(between("length", length, 8) // 8)


# Reading -----------------------------------------------------------------------


async def create_private_key(key: Data, *, passphrase: Data | None = None) -> PrivateKey:
    """The private key that stands in PEM or DER, in whatever structure.

    Raises ValueError for what is none, and for a wrong or missing passphrase.
    How long an encrypted key takes is up to who encrypted it, and cannot be
    interrupted. Node's crypto.createPrivateKey, here on the lane ``cpu``.
    """
    return PrivateKey(await core.load_key(checked_key("key", key), checked_passphrase(passphrase), True))


async def create_public_key(key: Data | PrivateKey, *, passphrase: Data | None = None) -> PublicKey:
    """The public key that stands in PEM or DER, or that belongs to the private key or the PEM certificate there.

    Raises ValueError as create_private_key() does. Node's
    crypto.createPublicKey, here on the lane ``cpu``.
    """
    if isinstance(key, PrivateKey):
        return key.public_key
    return PublicKey(await core.load_key(checked_key("key", key), checked_passphrase(passphrase), False))
