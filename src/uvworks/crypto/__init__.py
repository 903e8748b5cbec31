"""Cryptography on libuv's worker pool, by OpenSSL's libcrypto, from any asyncio loop.

Every function is a coroutine function with Node's name in snake_case and Node's order of arguments; its work is one
job on the lane ``cpu``, done in C without the GIL, or is done at once where it is smaller than the trip to a worker.
Wrong arguments are refused before anything is submitted. Buffers are read in place: a bytearray cannot be resized until
the job has ended, which after a cancel may be later than the call's end.
"""

from ._hash import hash, openssl_version
from ._kdf import hkdf, pbkdf2, scrypt
from ._keys import (
    KeyPair,
    PrivateKey,
    PrivateKeyEncoding,
    PublicKey,
    PublicKeyEncoding,
    create_private_key,
    create_public_key,
    generate_key,
    generate_key_pair,
)
from ._random import check_prime, generate_prime, random_bytes, random_fill, random_int
from ._sign import (
    RSA_PKCS1_PADDING,
    RSA_PKCS1_PSS_PADDING,
    RSA_PSS_SALTLEN_AUTO,
    RSA_PSS_SALTLEN_DIGEST,
    RSA_PSS_SALTLEN_MAX_SIGN,
    sign,
    verify,
)

__all__ = [
    "RSA_PKCS1_PADDING",
    "RSA_PKCS1_PSS_PADDING",
    "RSA_PSS_SALTLEN_AUTO",
    "RSA_PSS_SALTLEN_DIGEST",
    "RSA_PSS_SALTLEN_MAX_SIGN",
    "KeyPair",
    "PrivateKey",
    "PrivateKeyEncoding",
    "PublicKey",
    "PublicKeyEncoding",
    "check_prime",
    "create_private_key",
    "create_public_key",
    "generate_key",
    "generate_key_pair",
    "generate_prime",
    "hash",
    "hkdf",
    "openssl_version",
    "pbkdf2",
    "random_bytes",
    "random_fill",
    "random_int",
    "scrypt",
    "sign",
    "verify",
]
