"""What can be wrong with compressed data: subclasses of zlib.error with Node's codes."""

from __future__ import annotations

import zlib

from .._engine import core

__all__ = ["DataError", "Error", "OptionError", "OutputTooLarge", "TruncatedError"]


class Error(zlib.error):
    """Compression or decompression failed.

    `code` is Node's name of what happened, such as "Z_DATA_ERROR", and `errno`
    the codec's own number for it, 0 if it has none.
    """

    def __init__(self, message: str, code: str = "", errno: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.errno = errno

    def __reduce__(self) -> tuple[type[Error], tuple[str, str, int]]:
        return type(self), (str(self), self.code, self.errno)


class DataError(Error):
    """The input is not valid compressed data, or needs another dictionary."""


class TruncatedError(DataError, EOFError):
    """The input ends before the compressed data does."""


class OutputTooLarge(Error):
    """The output would be longer than max_output_length."""


class OptionError(Error, ValueError):
    """The codec refuses an option's value."""


_trouble = core.zlib_numbers
_CLASSES: dict[int, type[Error]] = {
    _trouble.CORRUPT: DataError,
    _trouble.TRUNCATED: TruncatedError,
    _trouble.TOO_LARGE: OutputTooLarge,
    _trouble.MISUSED: OptionError,
}


def _make(trouble: int, errno: int, code: str | None, message: str | None) -> Error:
    text = message or "the output would be longer than max_output_length"
    return _CLASSES[trouble](text, code or "", errno)


core.zlib_setup(_make)
