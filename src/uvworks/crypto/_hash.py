"""Digests of data and files."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .._engine import core
from ._checks import between, digest_name

if TYPE_CHECKING:
    from typing_extensions import Buffer

    class BinaryFile(Protocol):
        """An open file."""

        def fileno(self) -> int: ...
        def tell(self) -> int: ...

    Source: TypeAlias = Buffer | str | os.PathLike[str] | os.PathLike[bytes] | BinaryFile

# Not `str | os.PathLike`: that would be made anew for each call.
_PATHS = (str, os.PathLike)

#: The libcrypto that is linked, as "OpenSSL 3.0.19 27 Jan 2026".
openssl_version: str = core.openssl_version()


async def hash(source: Source, algorithm: str, *, length: int | None = None) -> bytes:
    """The digest of a buffer's bytes, of the file at a path, or of what is left of an open file.

    A str is a path. An open file is binary and regular; it is read from where
    it stands to its end, and its position is not moved. All of it is one job,
    in chunks, which a cancel stops; up to 8 KiB of data are hashed at once.
    `length` is for digests that have none of their own (shake128, shake256).
    Raises ValueError for an unknown algorithm, shutil.SpecialFileError for
    FIFOs and devices, and OSError as open() does. Node's crypto.hash and
    hashlib.file_digest, lane ``cpu``.
    """
    size = -1 if length is None else between("length", length, 1)
    digest_name("algorithm", algorithm)
    result: Any
    if isinstance(source, _PATHS):
        result = core.hash_path(source, algorithm, size)
    elif hasattr(source, "fileno") and hasattr(source, "tell"):
        if isinstance(source, io.TextIOBase):
            raise TypeError("source: the file must be open in binary mode")
        name = getattr(source, "name", None)
        result = core.hash_file(source.fileno(), source.tell(), name, algorithm, size)
    else:
        result = core.hash_data(source, algorithm, size)
    if result.__class__ is not bytes:
        result = await result
    digest: bytes = result
    return digest
