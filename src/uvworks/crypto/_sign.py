"""Signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from .._engine import core
from . import _checks
from ._checks import between, digest_name
from ._keys import PrivateKey, PublicKey, checked_key, checked_passphrase

if TYPE_CHECKING:
    from ._checks import Data

RSA_PKCS1_PADDING: Final[int] = core.crypto_numbers.RSA_PKCS1_PADDING
RSA_PKCS1_PSS_PADDING: Final[int] = core.crypto_numbers.RSA_PKCS1_PSS_PADDING
RSA_PSS_SALTLEN_DIGEST: Final[int] = core.crypto_numbers.RSA_PSS_SALTLEN_DIGEST
RSA_PSS_SALTLEN_AUTO: Final[int] = core.crypto_numbers.RSA_PSS_SALTLEN_AUTO
RSA_PSS_SALTLEN_MAX_SIGN: Final[int] = core.crypto_numbers.RSA_PSS_SALTLEN_MAX_SIGN

_PADDING_DEFAULT = core.crypto_numbers.PADDING_DEFAULT
_SALTLEN_DEFAULT = core.crypto_numbers.SALTLEN_DEFAULT

# Not `PublicKey | PrivateKey`: that would be made anew for each call.
_KEYS = (PublicKey, PrivateKey)


def _options(padding: int | None, salt_length: int | None, dsa_encoding: str) -> tuple[int, int, bool]:
    if padding not in (None, RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING):
        raise ValueError(f"padding must be RSA_PKCS1_PADDING or RSA_PKCS1_PSS_PADDING, got {padding!r}")
    if dsa_encoding not in ("der", "ieee-p1363"):
        raise ValueError(f"dsa_encoding must be 'der' or 'ieee-p1363', got {dsa_encoding!r}")
    salt = _SALTLEN_DEFAULT if salt_length is None else between("salt_length", salt_length, -2)
    return _PADDING_DEFAULT if padding is None else padding, salt, dsa_encoding != "der"


def _handle(key: Any, passphrase: Data | None, kinds: Any) -> tuple[Any, Any]:
    if isinstance(key, _KEYS):
        if not isinstance(key, kinds):
            raise TypeError("key: a public key cannot sign")
        return key._handle, None
    return checked_key("key", key), checked_passphrase(passphrase)


async def sign(
    algorithm: str | None,
    data: Data,
    key: Data | PrivateKey,
    *,
    passphrase: Data | None = None,
    padding: int | None = None,
    salt_length: int | None = None,
    dsa_encoding: Literal["der", "ieee-p1363"] = "der",
) -> bytes:
    """The signature of data with a private key, which may be a key object or its PEM or DER.

    `algorithm` is a digest; None for ed25519 and ed448, or for the key's
    default. `padding` and `salt_length` are for rsa; `dsa_encoding` is for
    dsa and ec. A key object spares reading the key each time. Raises
    ValueError when key, algorithm and options do not fit. Large data is read
    in chunks, which a cancel stops, except for ed25519 and ed448. Node's
    crypto.sign, lane ``cpu``.
    """
    handle, secret = _handle(key, passphrase, PrivateKey)
    options = _options(padding, salt_length, dsa_encoding)
    digest = None if algorithm is None else digest_name("algorithm", algorithm)
    signature: bytes = await core.sign(_checks.data("data", data), handle, secret, digest, *options)
    return signature


async def verify(
    algorithm: str | None,
    data: Data,
    key: Data | PublicKey | PrivateKey,
    signature: Data,
    *,
    passphrase: Data | None = None,
    padding: int | None = None,
    salt_length: int | None = None,
    dsa_encoding: Literal["der", "ieee-p1363"] = "der",
) -> bool:
    """Whether the signature of data is the private key's that belongs to this key.

    The arguments are sign()'s; a private key stands for its public one. False
    for whatever is no valid signature; ValueError when key, algorithm and
    options do not fit. Node's crypto.verify, lane ``cpu``.
    """
    handle, secret = _handle(key, passphrase, _KEYS)
    options = _options(padding, salt_length, dsa_encoding)
    digest = None if algorithm is None else digest_name("algorithm", algorithm)
    valid: bool = await core.verify(
        _checks.data("data", data), _checks.data("signature", signature), handle, secret, digest, *options
    )
    return valid
