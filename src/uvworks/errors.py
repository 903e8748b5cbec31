"""Exceptions that Python does not have already.

Whatever the operating system refuses is an OSError of the usual subclass, with
errno, strerror, filename and filename2; wrong arguments are TypeError,
ValueError and OverflowError; a passed deadline is TimeoutError.
"""

__all__ = ["PoolSaturated"]


class PoolSaturated(RuntimeError):
    """A bounded lane has no room for another job: try later, or shed load."""
