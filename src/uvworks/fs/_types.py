"""Types that the fs modules share, and the checks of their numbers."""

from __future__ import annotations

import os
from operator import index
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Buffer

    #: What write_file() and append_file() take.
    Data: TypeAlias = str | Buffer

StrPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_INT64_MAX = 2**63 - 1


def checked_size(name: str, value: int) -> int:
    """A count of bytes: an int from 0 up to what the system can express."""
    number = index(value)
    if number < 0:
        raise ValueError(f"{name} must not be negative, got {number}")
    if number > _INT64_MAX:
        raise OverflowError(f"{name} is too large: {number}")
    return number


def checked_mode(value: int) -> int:
    """Permission bits; those of a file's type, as in st_mode, are dropped."""
    number = index(value)
    if not 0 <= number <= 0o177777:
        raise ValueError(f"mode must be between 0 and 0o177777, got {number:#o}")
    return number & 0o7777
