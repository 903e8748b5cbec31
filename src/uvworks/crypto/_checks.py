"""Types that the crypto modules share, and the checks of their arguments."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, SupportsIndex, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Buffer

    #: Bytes in any buffer, or text, which stands for its UTF-8.
    Data: TypeAlias = str | Buffer

INT_MAX = 2**31 - 1

_BYTES = (bytes, bytearray, memoryview)


def between(name: str, value: int, least: int, most: int = INT_MAX) -> int:
    """An int from `least` to `most`."""
    number = index(value)
    if not least <= number <= most:
        bounds = f"at least {least}" if number < least else f"at most {most}"
        raise ValueError(f"{name} must be {bounds}, got {number}")
    return number


def data(name: str, value: Data) -> Buffer:
    """The bytes of an argument."""
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, _BYTES):
        try:
            memoryview(value)
        except TypeError:
            raise TypeError(f"{name}: expected str or a buffer, got {value!r}") from None
    return value


def integer(name: str, value: int | Buffer) -> int:
    """An int, or the one that big-endian bytes hold."""
    if isinstance(value, SupportsIndex):
        return index(value)
    try:
        return int.from_bytes(memoryview(value).cast("B"), "big")
    except TypeError:
        raise TypeError(f"{name}: expected int or a buffer, got {value!r}") from None


def digest_name(name: str, value: str) -> str:
    """A digest's name, as a str; whether there is such a digest OpenSSL knows."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected str, got {value!r}")
    return value
