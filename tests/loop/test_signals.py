"""Signal handlers, the wake-up descriptor, and Ctrl-C in every way it can come."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Run
from tests.loop.support import only_uvworks
from tests.support import python, start_python

Loop = asyncio.AbstractEventLoop

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outer")


def raise_signal(sig: int = signal.SIGUSR1) -> None:
    os.kill(os.getpid(), sig)


@pytest.fixture(autouse=True)
def signals_are_as_before() -> Iterator[None]:
    interesting = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGCHLD)
    handlers = [signal.getsignal(sig) for sig in interesting]
    yield
    assert [signal.getsignal(sig) for sig in interesting] == handlers
    current = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(current)
    assert current == -1


# Handlers ------------------------------------------------------------------------


async def test_a_handler_is_called_in_the_loop() -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    seen: list[Any] = []

    def handler(*args: Any) -> None:
        seen.append((args, asyncio.get_running_loop(), threading.get_ident()))
        event.set()

    loop.add_signal_handler(signal.SIGUSR1, handler, 1, "two")
    raise_signal()
    assert not seen
    await asyncio.wait_for(event.wait(), 10)
    assert seen == [((1, "two"), loop, threading.get_ident())]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


async def test_a_signal_ends_the_wait_for_events() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, lambda: future.set_result(loop.time()))
    begin = loop.time()
    threading.Timer(0.05, raise_signal).start()
    try:
        assert await asyncio.wait_for(future, 10) - begin < 2
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


async def test_a_signal_sent_from_another_thread() -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, event.set)
    await asyncio.to_thread(raise_signal)
    await asyncio.wait_for(event.wait(), 10)
    loop.remove_signal_handler(signal.SIGUSR1)


async def test_every_delivery_counts() -> None:
    loop = asyncio.get_running_loop()
    count = 0

    def handler() -> None:
        nonlocal count
        count += 1

    loop.add_signal_handler(signal.SIGUSR1, handler)
    for _ in range(5):
        raise_signal()
    await asyncio.sleep(0.05)
    assert count == 5
    loop.remove_signal_handler(signal.SIGUSR1)


async def test_the_second_handler_replaces_the_first() -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, pytest.fail, "the first was called")
    loop.add_signal_handler(signal.SIGUSR1, event.set)
    loop.add_signal_handler(signal.SIGUSR2, pytest.fail, "the wrong one was called")
    raise_signal()
    await asyncio.wait_for(event.wait(), 10)
    loop.remove_signal_handler(signal.SIGUSR1)
    loop.remove_signal_handler(signal.SIGUSR2)


async def test_a_handler_runs_in_the_context_it_was_added_in() -> None:
    loop = asyncio.get_running_loop()
    seen = loop.create_future()
    token = variable.set("inner")
    loop.add_signal_handler(signal.SIGUSR1, lambda: seen.set_result(variable.get()))
    variable.reset(token)
    raise_signal()
    assert await asyncio.wait_for(seen, 10) == "inner"
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_handler_that_raises_reaches_the_exception_handler(loop_factory: Callable[[], Loop]) -> None:
    loop = loop_factory()
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: (contexts.append(context), loop.stop()))
    loop.add_signal_handler(signal.SIGUSR1, divmod, 1, 0)
    raise_signal()
    loop.run_forever()
    loop.close()
    assert isinstance(contexts[0]["exception"], ZeroDivisionError)


def test_what_cannot_be_handled(loop: Loop) -> None:
    async def coroutine() -> None: ...

    with pytest.raises(TypeError, match="sig must be an int, not 'SIGUSR1'"):
        loop.add_signal_handler("SIGUSR1", print)  # type: ignore[arg-type]
    for number in (-1, 0, signal.NSIG + 1):
        with pytest.raises(ValueError, match=f"invalid signal number {number}"):
            loop.add_signal_handler(number, print)
        with pytest.raises(ValueError, match=f"invalid signal number {number}"):
            loop.remove_signal_handler(number)
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(signal.SIGKILL, print)
    with pytest.raises(TypeError, match="coroutines cannot be used with add_signal_handler"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine)
    made = coroutine()
    with pytest.raises(TypeError, match="coroutines cannot be used with add_signal_handler"):
        loop.add_signal_handler(signal.SIGUSR1, made)  # type: ignore[arg-type]
    made.close()


def test_only_the_main_thread_can_add_handlers(loop: Loop) -> None:
    errors: list[BaseException] = []

    async def body() -> None:
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=lambda: loop.run_until_complete(body()))
    thread.start()
    thread.join(10)
    [error] = errors
    assert isinstance(error, RuntimeError) and "set_wakeup_fd only works in main thread" in str(error)


def test_a_signal_between_two_runs_is_not_lost(loop: Loop) -> None:
    seen: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    loop.run_until_complete(asyncio.sleep(0))
    raise_signal()
    loop.run_until_complete(asyncio.sleep(0.05))
    assert seen == [1]


def test_close_gives_the_signals_back(loop: Loop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_pythons_own_run_while_the_loop_waits(run: Run) -> None:
    when: list[float] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: when.append(time.monotonic()))

    async def body() -> None:
        threading.Timer(0.05, raise_signal).start()
        begin = time.monotonic()
        await asyncio.sleep(0.5)
        assert time.monotonic() - begin >= 0.5  # is not cut short
        assert when[0] - begin < 0.4

    try:
        run(body())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_exception_from_pythons_own_handler_leaves_run_forever(loop: Loop) -> None:
    def handler(number: int, frame: Any) -> None:
        raise ZeroDivisionError

    before = signal.signal(signal.SIGUSR1, handler)
    threading.Timer(0.05, raise_signal).start()
    try:
        with pytest.raises(ZeroDivisionError):
            loop.run_until_complete(asyncio.sleep(10))
    finally:
        signal.signal(signal.SIGUSR1, before)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))


# The wake-up descriptor ------------------------------------------------------------


@only_uvworks
def test_the_descriptor_of_before_is_put_back_and_still_told(loop: Loop) -> None:
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    signal.set_wakeup_fd(writer.fileno())
    try:
        loop.call_soon(raise_signal)
        loop.run_until_complete(asyncio.sleep(0.05))
        assert reader.recv(10) == bytes([signal.SIGUSR1])
        assert signal.set_wakeup_fd(writer.fileno()) == writer.fileno()
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
        reader.close()
        writer.close()


@only_uvworks
def test_one_that_was_closed_meanwhile_is_no_error(loop: Loop) -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    loop.call_soon(writer.close)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert signal.set_wakeup_fd(-1) == -1
    reader.close()


@only_uvworks
def test_one_that_a_callback_has_set_stays(loop: Loop) -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    loop.call_soon(signal.set_wakeup_fd, writer.fileno())
    loop.run_until_complete(asyncio.sleep(0.01))
    assert signal.set_wakeup_fd(-1) == writer.fileno()
    reader.close()
    writer.close()


def test_many_signals_while_the_loop_is_held_up(run: Run) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(1))

    async def body() -> None:
        for _ in range(2000):  # more than the socket pair holds
            raise_signal()
        await asyncio.sleep(0.01)

    try:
        run(body())
        assert len(seen) == 2000
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_forked_child_does_not_write_to_its_parents_loop(loop: Loop) -> None:
    seen: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)

    async def body() -> None:
        pid = os.fork()
        if pid == 0:
            raise_signal()
            os._exit(0)
        os.waitpid(pid, 0)
        await asyncio.sleep(0.05)

    loop.run_until_complete(body())
    loop.remove_signal_handler(signal.SIGUSR1)
    if type(loop).__module__.startswith("uvworks"):  # asyncio does so from 3.12 on
        assert seen == []


# Ctrl-C ----------------------------------------------------------------------------

each_factory = pytest.mark.parametrize("factory", ["asyncio.SelectorEventLoop", "uvworks.new_event_loop"])


@each_factory
def test_ctrl_c_without_a_runner(factory: str) -> None:
    script = f"""
        import asyncio, os, signal, threading, uvworks
        loop = {factory}()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("interrupted")
        print(loop.run_until_complete(asyncio.sleep(0, "works")))
        loop.close()
    """
    assert python(script).stdout == "interrupted\nworks\n"


@each_factory
def test_ctrl_c_cancels_what_a_runner_runs(factory: str) -> None:
    script = f"""
        import asyncio, os, signal, threading, uvworks
        async def main():
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                print("cancelled")
                raise
            finally:
                await asyncio.sleep(0.01)
                print("cleaned up")
        try:
            with asyncio.Runner(loop_factory={factory}) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    """
    assert python(script).stdout == "cancelled\ncleaned up\ninterrupted\n"


@each_factory
def test_ctrl_c_in_a_callback_that_computes(factory: str) -> None:
    """Twice: the first cancels the task, which does not run; the second ends the loop."""
    script = f"""
        import asyncio, os, signal, threading, time, uvworks
        async def main():
            for delay in (0.2, 0.4):
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
            end = time.monotonic() + 10
            while time.monotonic() < end:
                pass
        try:
            with asyncio.Runner(loop_factory={factory}) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert python(script, timeout=8).stdout == "interrupted\n"


@each_factory
def test_ctrl_c_in_a_loop_that_never_polls(factory: str) -> None:
    script = f"""
        import asyncio, os, signal, threading, uvworks
        async def main():
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            while True:
                await asyncio.sleep(0)
        try:
            with asyncio.Runner(loop_factory={factory}) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert python(script, timeout=8).stdout == "interrupted\n"


@each_factory
def test_ctrl_c_while_the_main_thread_runs_no_loop(factory: str) -> None:
    """A loop in another thread takes no notice, and does not take the signal away from the main thread."""
    script = f"""
        import asyncio, os, signal, threading, time, uvworks
        loop = {factory}()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            time.sleep(20)
        except KeyboardInterrupt:
            print("interrupted")
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    """
    assert python(script, timeout=10).stdout == "interrupted\n"


def test_ctrl_c_from_a_terminal() -> None:
    script = """
        import asyncio, uvworks
        async def main():
            print("ready", flush=True)
            await asyncio.sleep(20)
        uvworks.run(main())
    """
    with start_python(script) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert "KeyboardInterrupt" in errors
        assert process.returncode in (-signal.SIGINT, 130)


def test_sigterm_still_ends_the_process() -> None:
    script = """
        import asyncio, uvworks
        async def main():
            print("ready", flush=True)
            await asyncio.sleep(20)
        uvworks.run(main())
    """
    with start_python(script) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.terminate()
        process.communicate(timeout=10)
        assert process.returncode == -signal.SIGTERM


def test_loops_with_handlers_leave_no_descriptors(loop_factory: Callable[[], Loop]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        loop = loop_factory()
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
