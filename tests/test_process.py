"""Whole processes: exit with work running and waiting, fork, signals, daemon threads, subinterpreters."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import python, start_python

# Exit ---------------------------------------------------------------------------------

EXIT = """
import asyncio, os, sys, threading, time
from uvworks import fs, pool, uv

started = threading.Semaphore(0)

def work(number):
    started.release()
    time.sleep(0.03)
    sys.stdout.write(f"finished {number}\\n")   # one line by one who was running at exit

async def main(how):
    tasks = [asyncio.ensure_future(pool.submit(work, number)) for number in range(50)]
    tasks += [asyncio.ensure_future(fs.read_file("/proc/self/maps")) for _ in range(100)]
    tasks += [asyncio.ensure_future(fs.read_file(sys.argv[1])) for _ in range(5)]   # a FIFO nobody writes
    while not started.acquire(blocking=False):
        await asyncio.sleep(0.001)
    sys.stdout.write("started\\n")
    if how == "raise":
        raise LookupError("the end")
    if how == "sys.exit":
        sys.exit(3)
    if how == "callback":
        asyncio.get_running_loop().call_soon(sys.exit, 4)
        await asyncio.sleep(10)

how = sys.argv[2]
if how == "no close":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main("return"))
elif how == "uv":
    loop = uv.Loop()
    for number in range(50):
        loop.queue_work(lambda number=number: work(number), lambda error, result: None)
    while not started.acquire(blocking=False):
        loop.run(uv.RUN_NOWAIT)
else:
    asyncio.run(main(how))
"""

CODES = {"return": 0, "raise": 1, "sys.exit": 3, "callback": 4, "no close": 0, "uv": 0}


@pytest.mark.parametrize("how", CODES)
def test_exit_with_work_running_and_waiting(tmp_path: Path, how: str) -> None:
    """What runs finishes its line, what waits is dropped, nothing crashes or hangs. Fifty times in all."""
    os.mkfifo(tmp_path / "fifo")
    for _ in range(9):
        start = time.monotonic()
        done = python(EXIT, str(tmp_path / "fifo"), how, check=False, warnings="default", timeout=20)
        took = time.monotonic() - start
        assert done.returncode == CODES[how], f"exit code {done.returncode}\n{done.stderr}"
        assert "Fatal" not in done.stderr and "Segmentation" not in done.stderr
        finished = re.findall(r"^finished \d+$", done.stdout, re.MULTILINE)
        assert 1 <= len(finished) < 50, done.stdout
        assert not re.search(r"^finished$|finished \d*finished", done.stdout, re.MULTILINE)
        assert took < 10


def test_every_line_of_a_running_callable_is_printed() -> None:
    done = python(
        """
        import asyncio, threading, time
        from uvworks import pool

        running = threading.Event()

        def work():
            running.set()
            for number in range(20):
                time.sleep(0.005)
                print(number, flush=True)

        async def main():
            task = asyncio.ensure_future(pool.submit(work))
            while not running.is_set():
                await asyncio.sleep(0.001)

        asyncio.run(main())
        """
    )
    assert done.stdout.split() == [str(number) for number in range(20)]


def test_an_executor_keeps_its_promises_at_exit() -> None:
    """As those of concurrent.futures do: what was submitted runs."""
    done = python(
        """
        import os, time
        from uvworks import pool

        executor = pool.Executor()
        for number in range(20):
            executor.submit(lambda number=number: (time.sleep(0.002), os.write(1, b"%d " % number)))
        """
    )
    assert sorted(map(int, done.stdout.split())) == list(range(20))


def test_a_call_after_the_pool_has_shut_down_is_a_runtime_error() -> None:
    done = python(
        """
        import atexit, asyncio

        def late():
            for call in (fs.stat("/"), pool.submit(int)):
                try:
                    asyncio.run(call)
                except RuntimeError as error:
                    print("refused", bool(str(error)))

        atexit.register(late)   # runs after the hooks of what is imported later
        from uvworks import fs, pool
        asyncio.run(fs.stat("/"))
        """
    )
    assert done.stdout == "refused True\nrefused True\n"


def test_daemon_threads_at_exit() -> None:
    for _ in range(5):
        python(
            """
            import asyncio, threading, time
            from uvworks import fs, pool

            ready = threading.Barrier(5)

            def use():
                async def main():
                    await asyncio.gather(fs.stat("/"), pool.submit(int))
                    ready.wait()
                    while True:
                        await asyncio.gather(*(fs.stat("/") for _ in range(20)), *(pool.submit(int) for _ in range(20)))
                try:
                    asyncio.run(main())
                except RuntimeError:
                    pass   # the pool has shut down

            for _ in range(4):
                threading.Thread(target=use, daemon=True).start()
            ready.wait()
            time.sleep(0.01)
            """,
            timeout=20,
        )


def test_importing_alone_starts_nothing() -> None:
    python(
        """
        import os, threading
        files = set(os.listdir("/proc/self/fd"))
        import uvworks, uvworks.fs, uvworks.pool, uvworks.uv, uvworks.errors
        assert len(os.listdir("/proc/self/task")) == 1
        assert set(os.listdir("/proc/self/fd")) == files
        """
    )


# Signals ------------------------------------------------------------------------------

INTERRUPT = """
import asyncio, sys, time
from uvworks import fs, pool, uv

def slow():
    for _ in range(20):
        time.sleep(0.01)
    print("slow ended", flush=True)

async def main(what):
    calls = {
        "fifo": lambda: fs.read_file(sys.argv[2]),
        "fs": lambda: busy_fs(),
        "pool": lambda: pool.submit(slow),
        "waiting": lambda: asyncio.gather(*(pool.submit(slow) for _ in range(200))),
    }
    asyncio.get_running_loop().call_later(0.05, lambda: print("ready", flush=True))
    await calls[what]()
    await asyncio.sleep(10)

async def busy_fs():
    while True:
        await asyncio.gather(*(fs.stat("/") for _ in range(50)))

if sys.argv[1] == "uv":
    loop = uv.Loop()
    loop.queue_work(lambda: (print("ready", flush=True), slow()))
    loop.queue_work(lambda: time.sleep(3))
    loop.run()
elif sys.argv[1] == "result":
    executor = pool.Executor()
    future = executor.submit(lambda: (print("ready", flush=True), time.sleep(1)))
    future.result()
elif len(sys.argv) > 3:
    import uvloop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
else:
    asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("what", ["fifo", "fs", "pool", "waiting", "uv", "result", "fifo uvloop", "fs uvloop"])
def test_ctrl_c_ends_the_program(tmp_path: Path, what: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    what, _, loop = what.partition(" ")
    with start_python(INTERRUPT, what, str(tmp_path / "fifo"), *([loop] if loop else [])) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
        took = time.monotonic() - start
    assert "KeyboardInterrupt" in errors.splitlines()[-1], errors
    assert process.returncode in (-signal.SIGINT, 130), errors
    # Up to the end of the callables that run: 3 seconds for the bare loop's, a fraction of one for the others.
    assert took < {"uv": 4.5}.get(what, 2.5)
    if what == "pool":
        assert "slow ended" in output


def test_a_caught_ctrl_c_leaves_the_loop_usable() -> None:
    with start_python(
        """
        import time
        from uvworks import uv

        with uv.Loop() as loop:
            seen = []
            loop.queue_work(lambda: time.sleep(0.5), lambda error, result: seen.append(error))
            print("ready", flush=True)
            try:
                loop.run()
            except KeyboardInterrupt:
                print("caught", seen, flush=True)
            loop.run()
            print("went on", seen, flush=True)
        """
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert (output, process.returncode) == ("caught []\nwent on [None]\n", 0), errors


# Fork ---------------------------------------------------------------------------------

FORK = """
import asyncio, os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)   # 3.12 warns of fork() among threads, which is what is tried here
from uvworks import fs, pool, uv

def in_child(call):
    # Runs call() in a forked child and passes on what it said and how it ended.
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 1
        try:
            os.close(read)
            os.write(write, str(call()).encode())
            code = 0
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(code)
    os.close(write)
    with open(read, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return said, os.waitstatus_to_exitcode(status)

async def everything():
    calls = [fs.stat("/"), pool.submit(int, "3"), fs.readdir("/"), fs.read_file("/proc/version")]
    results = await asyncio.gather(*calls * 1, *(fs.stat("/") for _ in range(100)))
    # Not the times: reading the directory itself may move its access time.
    assert results[1] == 3 and os.path.samestat(results[0], os.stat("/"))
    return "works"
"""


def test_new_loops_work_in_a_forked_child_and_the_parent_is_unaffected() -> None:
    python(
        FORK
        + """
async def main():
    gate = threading.Event()
    busy = [asyncio.create_task(pool.submit(gate.wait, 20)) for _ in range(10)]   # workers busy, jobs waiting
    reads = [asyncio.create_task(fs.stat("/")) for _ in range(50)]
    await asyncio.sleep(0)
    result = in_child(lambda: threading_run(everything))
    assert result == ("works", 0), result
    gate.set()
    assert await asyncio.gather(*busy) == [True] * 10
    await asyncio.gather(*reads)
    assert await everything() == "works"

def threading_run(body):
    # The child is inside a running loop; a new one needs a thread of its own.
    results = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(body())))
    thread.start()
    thread.join(15)
    return results[0] if results else "nothing"

asyncio.run(main())
assert asyncio.run(everything()) == "works"
"""
    )


def test_the_old_loop_is_a_runtime_error_in_a_forked_child() -> None:
    python(
        FORK
        + """
loop = asyncio.new_event_loop()
assert loop.run_until_complete(everything()) == "works"

def use_old():
    return loop.run_until_complete(fs.stat("/"))

def use_old_submit():
    return loop.run_until_complete(pool.submit(int))

for use in (use_old, use_old_submit):
    said, code = in_child(use)
    assert code == 1 and said.startswith("RuntimeError: ") and "fork" in said, (said, code)
# The parent's loop was not touched: its descriptor is still watched.
assert loop.run_until_complete(everything()) == "works"
assert in_child(lambda: asyncio.run(everything())) == ("works", 0)
assert loop.run_until_complete(everything()) == "works"
loop.close()
"""
    )


def test_a_bare_loop_in_a_forked_child() -> None:
    python(
        FORK
        + """
loop = uv.Loop()
seen = []
loop.queue_work(int, lambda error, result: seen.append(result))
loop.run()

def use_old():
    loop.queue_work(int)

def use_new():
    told = []
    with uv.Loop() as new:
        new.queue_work(int, lambda error, result: told.append(result))
        new.run()
    loop.close()   # harmless: it must not undo the parent's
    return told

said, code = in_child(use_old)
assert code == 1 and said.startswith("RuntimeError: ") and "fork" in said, said
assert in_child(use_new) == ("[0]", 0)
loop.queue_work(int, lambda error, result: seen.append(result))
loop.run()
assert seen == [0, 0]
loop.close()
"""
    )


def test_fork_while_other_threads_submit_all_the_time() -> None:
    python(
        FORK
        + """
stop = threading.Event()

def submit():
    async def main():
        while not stop.is_set():
            await asyncio.gather(*(fs.stat("/") for _ in range(20)), *(pool.submit(int) for _ in range(20)))
    asyncio.run(main())

threads = [threading.Thread(target=submit) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(20):
    result = in_child(lambda: asyncio.run(everything()))
    assert result == ("works", 0), result
stop.set()
for thread in threads:
    thread.join()
"""
    )


def test_a_fork_before_the_first_use() -> None:
    python(
        FORK
        + """
assert in_child(lambda: asyncio.run(everything())) == ("works", 0)
pool.configure(size=3)
assert asyncio.run(everything()) == "works" and pool.statistics().size == 3
"""
    )


def test_a_child_that_exits_normally() -> None:
    done = python(
        """
        import asyncio, os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from uvworks import fs, pool

        asyncio.run(fs.stat("/"))
        child = os.fork()
        if child == 0:
            print(asyncio.run(pool.submit(str, "child")), flush=True)   # and all exit hooks run
        else:
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), asyncio.run(pool.submit(str, "parent")))
        """
    )
    assert done.stdout == "child\n0 parent\n"


def test_multiprocessing_by_fork(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        """
import asyncio, multiprocessing, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from uvworks import fs, pool

def work(number):
    return asyncio.run(pool.submit(pow, number, 2)) + 0 * asyncio.run(fs.stat("/")).st_ino

if __name__ == "__main__":
    asyncio.run(fs.stat("/"))
    with multiprocessing.get_context("fork").Pool(2) as processes:
        assert processes.map(work, range(20)) == [number ** 2 for number in range(20)]
    assert work(5) == 25
"""
    )
    subprocess.run([sys.executable, script], check=True, timeout=30)


# Subinterpreters ----------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before 3.12 subinterpreters share too much to try")
def test_a_subinterpreter_is_refused_with_a_clear_error() -> None:
    done = python(
        """
        import asyncio, sys
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
        else:
            import _xxsubinterpreters as interpreters
        from uvworks import fs

        asyncio.run(fs.stat("/"))
        other = interpreters.create()
        result = interpreters.run_string(other, '''if True:
            try:
                import uvworks
            except ImportError as error:
                print("refused:", error, flush=True)
            else:
                print("imported", flush=True)
        ''')
        interpreters.destroy(other)
        assert result is None, result
        asyncio.run(fs.stat("/"))
        """,
        warnings="default",
    )
    assert done.stdout.startswith("refused: ") and "interpreter" in done.stdout, done.stdout + done.stderr
