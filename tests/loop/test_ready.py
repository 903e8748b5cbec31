"""call_soon and call_soon_threadsafe: order, contexts, handles, cancels, threads, references."""

import asyncio
import contextvars
import functools
import gc
import os
import socket
import sys
import threading
import time
import weakref
from typing import Any

import pytest

from tests.loop.support import only_uvworks

Loop = asyncio.AbstractEventLoop


def once(loop: Loop) -> None:
    """Runs what is ready."""
    loop.call_soon(loop.stop)
    loop.run_forever()


# Order --------------------------------------------------------------------------


def test_callbacks_run_in_their_order(loop: Loop) -> None:
    seen: list[int] = []
    for number in range(10_000):
        loop.call_soon(seen.append, number)
    once(loop)
    assert seen == list(range(10_000))


def test_what_a_callback_schedules_waits_for_the_next_turn(loop: Loop) -> None:
    seen: list[str] = []

    def first() -> None:
        loop.call_soon(seen.append, "third")
        seen.append("first")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["first", "second"]
    once(loop)
    assert seen == ["first", "second", "third"]


def test_what_is_ready_goes_before_what_the_poll_finds(loop: Loop) -> None:
    """A task that run_until_complete() starts makes its first step before data that has come already is told of."""
    seen: list[str] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        loop.add_reader(ours, lambda: (seen.append("data"), ours.recv(10), loop.stop()))
        once(loop)
        theirs.send(b"x")
        loop.call_soon(seen.append, "ready")
        loop.run_forever()
        loop.remove_reader(ours)
    assert seen == ["ready", "data"]


def test_a_growing_queue(loop: Loop) -> None:
    """Each callback schedules two until there are many: the queue grows while it is taken from."""
    count = 0

    def double(depth: int) -> None:
        nonlocal count
        count += 1
        if depth:
            loop.call_soon(double, depth - 1)
            loop.call_soon(double, depth - 1)

    loop.call_soon(double, 14)
    while count < 2**15 - 1:
        once(loop)
    assert count == 2**15 - 1


# Arguments, contexts -------------------------------------------------------------


def test_arguments_of_every_number(loop: Loop) -> None:
    seen: list[tuple[Any, ...]] = []
    for count in range(20):
        loop.call_soon(lambda *args: seen.append(args), *range(count))
    once(loop)
    assert seen == [tuple(range(count)) for count in range(20)]


def test_a_callback_runs_in_the_context_of_its_call_or_in_a_given_one(loop: Loop) -> None:
    variable = contextvars.ContextVar("variable", default="none")
    given = contextvars.copy_context()
    given.run(variable.set, "given")
    seen: list[str] = []

    def look() -> None:
        seen.append(variable.get())
        variable.set("changed inside")

    loop.call_soon(look, context=given)
    variable.set("at the call")
    loop.call_soon(look)
    loop.call_soon_threadsafe(look)
    loop.call_soon_threadsafe(look, context=given)
    variable.set("later")
    once(loop)
    assert seen == ["given", "at the call", "at the call", "changed inside"]
    assert variable.get() == "later" and given[variable] == "changed inside"


@only_uvworks
def test_what_is_no_context(loop: Loop) -> None:
    with pytest.raises(TypeError):
        loop.call_soon(print, context="none")  # type: ignore[arg-type]


def test_wrong_calls(loop: Loop) -> None:
    for wrong in ((), {"callback": print, "color": "red"}):
        with pytest.raises(TypeError):
            loop.call_soon(**wrong) if isinstance(wrong, dict) else loop.call_soon(*wrong)  # type: ignore[call-arg]


def test_arguments_by_name(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []

    def callback(name: str = "no name") -> None:
        ran.append(name)

    r, w = os.pipe()
    loop.call_soon(callback=callback)
    loop.call_soon_threadsafe(callback=callback)
    loop.call_later(delay=0, callback=callback)
    loop.call_at(loop.time(), callback=callback)
    loop.call_at(when=0, callback=callback, context=None)
    loop.add_reader(fd=r, callback=callback)
    loop.add_writer(w, callback=callback)
    assert loop.remove_reader(fd=r)
    assert loop.remove_writer(fd=w)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert ran == ["no name"] * 5
    for wrong in (
        lambda: loop.call_soon(),  # type: ignore[call-arg]
        lambda: loop.call_later(1),  # type: ignore[call-arg]
        lambda: loop.call_soon(callback, callback=callback),  # type: ignore[misc]
        lambda: loop.call_soon(callback, other=1),  # type: ignore[call-arg]
        lambda: loop.call_later(callback=callback),  # type: ignore[call-arg]
        lambda: loop.add_reader(r, callback, context=None),  # type: ignore[call-arg]
        lambda: loop.remove_reader(r, r),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError):
            wrong()
    os.close(r)
    os.close(w)


# Handles -------------------------------------------------------------------------


def test_a_cancelled_callback_does_not_run(loop: Loop) -> None:
    seen: list[int] = []
    handles = [loop.call_soon(seen.append, number) for number in range(10)]
    for handle in handles[::2]:
        handle.cancel()
        handle.cancel()
        assert handle.cancelled()
    once(loop)
    assert seen == [1, 3, 5, 7, 9]
    handles[1].cancel()
    assert handles[1].cancelled()


def test_a_callback_cancels_the_next_and_itself(loop: Loop) -> None:
    seen: list[str] = []
    handles: list[asyncio.Handle] = []

    def cancel_all() -> None:
        seen.append("ran")
        for handle in handles:
            handle.cancel()

    handles += [loop.call_soon(cancel_all), loop.call_soon(seen.append, "not")]
    once(loop)
    assert seen == ["ran"]


def test_a_cancelled_handle_lets_go_of_what_it_held(loop: Loop) -> None:
    class Thing:
        def method(self) -> None: ...

    thing = Thing()
    ref = weakref.ref(thing)
    handle = loop.call_soon(thing.method)
    del thing
    gc.collect()
    assert ref() is not None
    handle.cancel()
    gc.collect()
    assert ref() is None
    once(loop)


def test_a_handle_that_ran_keeps_nothing_alive(loop: Loop) -> None:
    class Thing: ...

    thing = Thing()
    ref = weakref.ref(thing)
    handle = loop.call_soon(id, thing)
    del thing
    once(loop)
    del handle
    gc.collect()
    assert ref() is None


def test_what_a_handle_looks_like(loop: Loop) -> None:
    handle = loop.call_soon(test_what_a_handle_looks_like, 1)
    assert "test_what_a_handle_looks_like" in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle)


@only_uvworks
def test_references_are_given_back(loop: Loop) -> None:
    argument = object()
    before = sys.getrefcount(argument)
    for _ in range(1000):
        loop.call_soon(id, argument)
        loop.call_soon(id, argument).cancel()
        loop.call_later(0, id, argument)
        loop.call_soon_threadsafe(id, argument)
    assert sys.getrefcount(argument) > before
    loop.run_until_complete(asyncio.sleep(0.01))
    gc.collect()
    assert sys.getrefcount(argument) == before


def test_a_callback_that_cancels_itself_and_fails_is_reported(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[Any] = []
    loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))

    class Unspeakable:
        def __call__(self) -> None:
            handle.cancel()
            raise ValueError

        def __repr__(self) -> str:
            return "\udc80"

    handle = loop.call_soon(Unspeakable())
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert [type(error) for error in seen] == [ValueError]


# Threads -------------------------------------------------------------------------


def test_a_call_from_a_thread_wakes_the_loop(loop: Loop) -> None:
    """A loop that waits for nothing in particular, so nothing else can wake it."""
    for _ in range(20):
        thread = threading.Timer(0.002, loop.call_soon_threadsafe, [loop.stop])
        thread.start()
        start = time.monotonic()
        loop.run_forever()
        assert time.monotonic() - start < 5
        thread.join()


def test_many_threads_call_at_once(loop: Loop) -> None:
    threads, calls = 8, 3000
    seen: list[list[int]] = [[] for _ in range(threads)]
    left = threads * calls

    def called(thread: int, number: int) -> None:
        nonlocal left
        seen[thread].append(number)
        left -= 1
        if not left:
            loop.stop()

    def call(thread: int) -> None:
        for number in range(calls):
            loop.call_soon_threadsafe(called, thread, number)

    workers = [threading.Thread(target=call, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    loop.run_forever()
    for worker in workers:
        worker.join()
    assert seen == [list(range(calls))] * threads


def test_ping_pong_between_two_loops(loop: Loop, loop_factory: Any) -> None:
    """Each call must wake a loop that is about to wait or waits."""
    other = loop_factory()
    left = 2000

    def ping() -> None:
        nonlocal left
        left -= 1
        if left > 0:
            other.call_soon_threadsafe(loop.call_soon_threadsafe, ping)
        else:
            other.call_soon_threadsafe(other.stop)
            loop.stop()

    thread = threading.Thread(target=other.run_forever)
    thread.start()
    loop.call_soon(ping)
    loop.run_forever()
    thread.join()
    other.close()
    assert left == 0


def test_calls_before_the_run_and_between_runs(loop: Loop) -> None:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(seen.append, 1))
    thread.start()
    thread.join()
    once(loop)
    loop.call_soon_threadsafe(seen.append, 2)
    once(loop)
    assert seen == [1, 2]


def test_a_thread_that_calls_a_closed_loop(loop: Loop) -> None:
    loop.close()
    errors: list[BaseException] = []

    def call() -> None:
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert [str(error) for error in errors] == ["Event loop is closed"]


def test_closing_while_threads_call(loop_factory: Any) -> None:
    """Either the call is taken or it says that the loop is closed; nothing crashes, nobody hangs."""
    for _ in range(20):
        loop = loop_factory()
        started, outcome = threading.Event(), []

        def call(loop: Loop = loop, started: threading.Event = started, outcome: list[str] = outcome) -> None:
            try:
                while True:
                    loop.call_soon_threadsafe(int)
                    started.set()
            except RuntimeError as error:
                outcome.append(str(error))

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        started.wait(10)
        once(loop)
        loop.close()
        for thread in threads:
            thread.join(10)
        assert outcome == ["Event loop is closed"] * 3


def test_a_busy_loop_lets_other_threads_run(loop: Loop) -> None:
    """A chain of callbacks holds the GIL no longer than the interpreter's switch interval."""
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1

    def chain() -> None:
        loop.call_soon(chain)

    loop.call_soon(chain)
    loop.call_later(0.2, loop.stop)
    thread = threading.Thread(target=count)
    thread.start()
    loop.run_forever()
    done.set()
    thread.join()
    assert counted > 100


@only_uvworks
def test_callbacks_in_c_alone_leave_room_for_other_threads(loop: Loop) -> None:
    """Nothing of a chain of C functions would ask the interpreter to switch threads."""
    again: functools.partial[Any] = functools.partial(loop.call_soon)
    again.__setstate__((loop.call_soon, (again,), {}, None))  # type: ignore[attr-defined]  # runs itself, again and again
    turns = 0

    def work() -> None:
        nonlocal turns
        end = time.monotonic() + 20
        while turns < 20 and time.monotonic() < end:
            time.sleep(0)  # lets the GIL go
            turns += 1
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=work)
    again()
    thread.start()
    loop.run_forever()
    thread.join()
    assert turns == 20
    again.__setstate__((print, (), {}, None))  # type: ignore[attr-defined]  # no cycle is left
