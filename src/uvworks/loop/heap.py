"""keep_heap(): for programs that receive many large messages. A setting of the process, so nothing here calls it."""

__all__ = ["keep_heap"]


def keep_heap(size: int = 16 << 20) -> None:
    """Have glibc keep up to `size` bytes of freed memory, 256 KiB to 64 MiB, instead of giving them back.

    As soon as 128 KiB on top of the heap are free, glibc gives them back to the system, which maps them anew for the
    next large message. This is for the whole process and cannot be undone; without glibc it does nothing.
    """
    if not 256 << 10 <= size <= 64 << 20:
        raise ValueError(f"size must be 256 KiB to 64 MiB, got {size}")
    # glibc's threshold follows the largest block that was mapped and freed: it is twice its size. Blocks above 32 MiB,
    # with all headers and in whole pages, do not count.
    bytes(min(size // 2, (32 << 20) - 8192))
