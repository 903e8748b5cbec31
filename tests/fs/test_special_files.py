"""What is no regular file: /proc and /sys (whose sizes lie), devices, FIFOs. They give what open().read() gives, wait
as it waits, can be cancelled while they wait, and however many wait, a plain stat still answers."""

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import PATIENCE, Gate, until
from uvworks import fs, pool


def plain_read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/cmdline",
        "/proc/self/environ",
        "/proc/self/limits",
        "/proc/self/mountinfo",
        "/proc/version",
        "/proc/filesystems",
        "/proc/kallsyms",  # megabytes, and a size of 0
        "/sys/devices/system/cpu/online",  # a size of 4096, and a few bytes
        "/dev/null",
    ],
)
async def test_stable_ones_read_as_open_reads_them(path: str) -> None:
    assert await fs.read_file(path) == plain_read(path)


async def test_proc_status_is_of_this_process() -> None:
    lines = (await fs.read_file("/proc/self/status")).splitlines()
    assert f"Tgid:\t{os.getpid()}".encode() in lines


async def test_proc_maps_is_whole() -> None:
    lines = (await fs.read_file("/proc/self/maps")).splitlines()
    assert len(lines) > 50 and all(b"-" in line.split()[0] for line in lines)
    assert any(b"[stack]" in line for line in lines)


async def test_proc_cpuinfo_but_for_its_clocks() -> None:
    def steady(text: bytes) -> list[bytes]:
        return [line for line in text.splitlines() if b"MHz" not in line]

    assert steady(await fs.read_file("/proc/cpuinfo")) == steady(plain_read("/proc/cpuinfo"))


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """The other end of a FIFO needs a thread of its own: opening it blocks."""
    started: list[threading.Thread] = []

    def start(target: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=target)
        thread.start()
        started.append(thread)
        return thread

    yield start
    for thread in started:
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 65536, b"x" * 300_001], ids=len)
async def test_a_fifo_read_waits_for_its_writer(fifo: str, in_thread: Callable, content: bytes) -> None:
    task = asyncio.create_task(fs.read_file(fifo))
    await asyncio.sleep(0.03)
    assert not task.done()  # nobody writes yet: that is not an empty file
    in_thread(lambda: Path(fifo).write_bytes(content))
    assert await task == content


async def test_a_fifo_read_goes_on_until_the_last_writer_closes(fifo: str, in_thread: Callable) -> None:
    go_on = threading.Event()

    def write() -> None:
        with open(fifo, "wb", buffering=0) as file:
            file.write(b"one ")
            assert go_on.wait(PATIENCE)
            file.write(b"two")

    task = asyncio.create_task(fs.read_file(fifo, encoding="ascii"))
    in_thread(write)
    await asyncio.sleep(0.03)
    assert not task.done()
    go_on.set()
    assert await task == "one two"


async def test_max_size_of_a_fifo(fifo: str, in_thread: Callable) -> None:
    in_thread(lambda: Path(fifo).write_bytes(b"ten bytes!"))
    assert await fs.read_file(fifo, max_size=10) == b"ten bytes!"
    in_thread(lambda: Path(fifo).write_bytes(b"eleven byte"))
    with pytest.raises(OSError) as caught:
        await fs.read_file(fifo, max_size=10)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, fifo)


@pytest.mark.parametrize("count", [1, 20])
async def test_reads_whose_writer_never_comes_stop_nobody_and_can_be_cancelled(fifo: str, count: int) -> None:
    tasks = [asyncio.create_task(fs.read_file(fifo)) for _ in range(count)]
    await asyncio.sleep(0.03)
    for _ in range(20):
        assert await asyncio.wait_for(fs.stat(fifo), PATIENCE) == os.stat(fifo)
    assert await asyncio.wait_for(fs.read_file("/dev/null"), PATIENCE) == b""
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    await until(lambda: pool.statistics().busy == 0)


async def test_waiting_fifos_and_busy_python_together_do_not_fill_the_pool(fifo: str) -> None:
    gate = Gate()
    reads = [asyncio.create_task(fs.read_file(fifo)) for _ in range(20)]
    await asyncio.sleep(0.03)
    calls = [asyncio.create_task(pool.submit(gate)) for _ in range(20)]
    await asyncio.sleep(0.03)
    try:
        assert await asyncio.wait_for(fs.stat(fifo), PATIENCE) == os.stat(fifo)
    finally:
        for read in reads:
            read.cancel()
        gate.open()
        await asyncio.gather(*reads, *calls, return_exceptions=True)


async def test_cancelled_reads_leave_the_fifo_to_the_next_reader(fifo: str, in_thread: Callable) -> None:
    tasks = [asyncio.create_task(fs.read_file(fifo)) for _ in range(10)]
    await asyncio.sleep(0.03)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: pool.statistics().busy == 0)
    in_thread(lambda: Path(fifo).write_bytes(b"for the next"))
    assert await fs.read_file(fifo) == b"for the next"


@pytest.mark.parametrize("write", [fs.write_file, fs.append_file])
async def test_a_fifo_write_waits_for_its_reader(fifo: str, in_thread: Callable, write: Callable) -> None:
    content, read = b"0123456789" * 30_000, []
    task = asyncio.create_task(write(fifo, content))
    await asyncio.sleep(0.03)
    assert not task.done()
    in_thread(lambda: read.append(Path(fifo).read_bytes()))
    assert await task is None
    await until(lambda: read)
    assert read == [content]


async def test_a_fifo_write_to_a_reader_already_there(fifo: str, in_thread: Callable) -> None:
    read: list[bytes] = []
    in_thread(lambda: read.append(Path(fifo).read_bytes()))
    await fs.write_file(fifo, b"x" * 200_000)
    await until(lambda: read)
    assert read == [b"x" * 200_000]


async def test_writes_whose_reader_never_comes_stop_nobody_and_can_be_cancelled(fifo: str) -> None:
    tasks = [asyncio.create_task(fs.write_file(fifo, b"x")) for _ in range(20)]
    await asyncio.sleep(0.03)
    assert await asyncio.wait_for(fs.stat(fifo), PATIENCE) == os.stat(fifo)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: pool.statistics().busy == 0)


async def test_a_reader_that_leaves_breaks_the_pipe(fifo: str, in_thread: Callable) -> None:
    def read_little() -> None:
        with open(fifo, "rb", buffering=0) as file:
            file.read(10)

    in_thread(read_little)
    with pytest.raises(BrokenPipeError) as caught:
        await fs.write_file(fifo, bytes(1 << 20))
    assert caught.value.filename == fifo


@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
async def test_a_device_stays_a_device(tmp_path: Path, atomic: bool) -> None:
    """An atomic write may refuse a device, but never puts a file in its place."""
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        await fs.write_file(device, b"swallowed", atomic=atomic)
    except PermissionError:
        pytest.skip("only root makes devices, and not on every file system")
    except OSError:
        assert atomic
    assert stat.S_ISCHR(os.stat(device).st_mode) and os.listdir(tmp_path) == ["null"]


async def test_an_atomic_write_to_a_fifo_keeps_the_fifo(fifo: str, in_thread: Callable) -> None:
    read: list[bytes] = []
    keep_open = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        try:
            await fs.write_file(fifo, b"content", atomic=True)
        except OSError:
            pass
        else:
            read.append(os.read(keep_open, 100))
            assert read == [b"content"]
    finally:
        os.close(keep_open)
    assert stat.S_ISFIFO(os.stat(fifo).st_mode) and len(os.listdir(os.path.dirname(fifo))) == 1


async def test_a_full_device_is_enospc() -> None:
    for write in (fs.write_file, fs.append_file):
        with pytest.raises(OSError) as caught:
            await write("/dev/full", b"x")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


async def test_a_terminal_reads_what_was_typed() -> None:
    master, slave = os.openpty()
    try:
        os.write(master, b"typed\n\x04")
        task = asyncio.create_task(fs.read_file(os.ttyname(slave)))
        assert await asyncio.wait_for(task, PATIENCE) == b"typed\n"
    finally:
        os.close(master)
        os.close(slave)
