"""add_reader and add_writer: every kind of descriptor, replacement, removal, reuse, and what is no descriptor."""

import asyncio
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.loop.support import LOCALHOST, only_uvworks
from tests.support import until

Loop = asyncio.AbstractEventLoop
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def turns(loop: Loop, seconds: float = 0.01) -> None:
    loop.run_until_complete(asyncio.sleep(seconds))


def test_a_reader_is_called_while_there_is_something(loop: Loop, pair: Pair) -> None:
    seen: list[bytes] = []
    loop.add_reader(pair[0], lambda: seen.append(pair[0].recv(1)))
    turns(loop)
    assert seen == []
    pair[1].send(b"abc")
    turns(loop)
    assert seen == [b"a", b"b", b"c"]
    assert loop.remove_reader(pair[0])
    pair[1].send(b"d")
    turns(loop)
    assert seen == [b"a", b"b", b"c"]


def test_arguments_and_numbers(loop: Loop, pair: Pair) -> None:
    seen: list[tuple[Any, ...]] = []

    def note(*args: Any) -> None:
        seen.append(args)
        pair[0].recv(10)

    loop.add_reader(pair[0].fileno(), note, 1, "two")
    pair[1].send(b"x")
    turns(loop)
    assert seen == [(1, "two")] and loop.remove_reader(pair[0])


def test_a_writer_is_called_when_there_is_room(loop: Loop, pair: Pair) -> None:
    while True:
        try:
            pair[0].send(bytes(65536))
        except BlockingIOError:
            break
    called = 0

    def note() -> None:
        nonlocal called
        called += 1
        loop.remove_writer(pair[0])

    loop.add_writer(pair[0], note)
    turns(loop)
    assert called == 0
    while True:
        try:
            pair[1].recv(65536)
        except BlockingIOError:
            break
    turns(loop)
    assert called == 1 and not loop.remove_writer(pair[0])


def test_reader_and_writer_on_one_descriptor(loop: Loop, pair: Pair) -> None:
    seen: set[str] = set()
    loop.add_writer(pair[0], seen.add, "writer")
    loop.add_reader(pair[0], lambda: (seen.add("reader"), pair[0].recv(10)))
    pair[1].send(b"x")
    turns(loop)
    assert seen == {"reader", "writer"}
    seen.clear()
    assert loop.remove_reader(pair[0])
    turns(loop)
    assert seen == {"writer"}
    assert loop.remove_writer(pair[0])
    seen.clear()
    turns(loop)
    assert not seen


def test_the_second_reader_replaces_the_first(loop: Loop, pair: Pair) -> None:
    seen: list[str] = []
    loop.add_reader(pair[0], seen.append, "first")
    loop.add_reader(pair[0], lambda: (seen.append("second"), pair[0].recv(10)))
    pair[1].send(b"x")
    turns(loop)
    assert seen == ["second"] and loop.remove_reader(pair[0]) and not loop.remove_reader(pair[0])


def test_a_reader_removes_itself_or_another(loop: Loop, pair: Pair) -> None:
    seen: list[str] = []
    other = socket.socketpair()
    with other[0], other[1]:

        def only(name: str) -> None:
            seen.append(name)
            loop.remove_reader(pair[0])
            loop.remove_reader(other[0])

        loop.add_reader(pair[0], only, "one")
        loop.add_reader(other[0], only, "other")
        pair[1].send(b"x")
        other[1].send(b"x")
        turns(loop)
    assert len(seen) == 1


def test_a_closed_peer_is_readable(loop: Loop, pair: Pair) -> None:
    seen: list[bytes] = []
    loop.add_reader(pair[0], lambda: (seen.append(pair[0].recv(10)), loop.remove_reader(pair[0])))
    pair[1].close()
    turns(loop)
    assert seen == [b""]


def test_a_reader_hears_of_a_reset(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs = server.accept()[0]
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        heard: list[str] = []
        loop.add_reader(ours, lambda: (heard.append("reader"), loop.remove_reader(ours)))
        loop.add_writer(ours, lambda: (heard.append("writer"), loop.remove_writer(ours)))
        theirs.close()
        turns(loop, 0.02)
        ours.close()
    assert sorted(heard) == ["reader", "writer"]


def test_pipes_and_terminals(loop: Loop) -> None:
    for make in (os.pipe, os.openpty):
        one, other = make()
        seen: list[bytes] = []
        loop.add_reader(one, lambda one=one, seen=seen: seen.append(os.read(one, 10)))
        os.write(other, b"x")
        turns(loop)
        assert seen == [b"x"]
        loop.remove_reader(one)
        os.close(one)
        os.close(other)


def test_a_descriptor_used_again(loop: Loop) -> None:
    """The number comes back for something else; nothing of the old watch is left."""
    for _ in range(50):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            seen: list[bytes] = []
            loop.add_reader(ours, lambda ours=ours, seen=seen: seen.append(ours.recv(10)))
            theirs.send(b"x")
            turns(loop, 0)
            turns(loop, 0)
            loop.remove_reader(ours)
        assert seen == [b"x"]


@only_uvworks
def test_a_descriptor_closed_without_removal_does_no_harm(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    called: list[str] = []
    loop.add_reader(ours, called.append, "old")
    turns(loop)
    number = ours.fileno()
    ours.close()
    theirs.close()
    turns(loop)
    one, other = socket.socketpair()
    with one, other:
        if one.fileno() != number:
            pytest.skip("the number did not come back")
        loop.add_reader(one, lambda: (called.append("new"), one.recv(10)))
        other.send(b"x")
        turns(loop)
        assert called == ["new"] and loop.remove_reader(one)


@only_uvworks
def test_a_number_reused_while_its_watch_is_still_there(loop_factory: Any) -> None:
    """One who forgets to remove a reader and adds one for the descriptor that got its number: it works, and is told."""
    contexts: list[dict[str, Any]] = []
    loop = loop_factory()
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    for _ in range(5):
        ours, theirs = socket.socketpair()
        seen: list[bytes] = []
        loop.add_reader(ours, lambda ours=ours, seen=seen: seen.append(ours.recv(10)))
        theirs.send(b"x")
        turns(loop, 0.005)
        assert seen == [b"x"]
        ours.close()
        theirs.close()
    turns(loop)
    loop.close()
    assert {context["message"].partition(" without")[0] for context in contexts} <= {
        "A watched file descriptor was closed"
    }


@pytest.mark.parametrize("wrong", [-1, "text", None, 1.5, object()])
def test_what_is_no_descriptor(loop: Loop, wrong: Any) -> None:
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises((ValueError, TypeError)):
            method(wrong, print)
    for remove in (loop.remove_reader, loop.remove_writer):
        with pytest.raises((ValueError, TypeError)):
            remove(wrong)


def test_a_closed_descriptor_is_refused(loop: Loop) -> None:
    one, other = os.pipe()
    os.close(one)
    os.close(other)
    with pytest.raises(OSError):
        loop.add_reader(one, print)
    assert not loop.remove_reader(one)
    turns(loop)


def test_regular_files_are_refused(loop: Loop) -> None:
    with tempfile.TemporaryFile() as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file, print)
    turns(loop)


def test_removing_what_was_never_added(loop: Loop, pair: Pair) -> None:
    assert not loop.remove_reader(pair[0]) and not loop.remove_writer(pair[0])
    assert not loop.remove_reader(10_000)


def test_a_reader_on_a_transport_is_refused(loop: Loop) -> None:
    async def main() -> None:
        accepted: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda reader, writer: accepted.append(writer), "127.0.0.1", 0)
        async with server:
            transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
            number = transport.get_extra_info("socket").fileno()
            for method in (loop.add_reader, loop.add_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    method(number, print)
            for remove in (loop.remove_reader, loop.remove_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    remove(number)
            transport.close()
            await until(lambda: accepted)
            accepted[0].close()
            await asyncio.sleep(0.01)

    loop.run_until_complete(main())


def test_a_closed_loop(loop: Loop, pair: Pair) -> None:
    loop.add_reader(pair[0], print)
    loop.close()
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            method(pair[0], print)
    assert not loop.remove_reader(pair[0])


def test_a_reader_that_fails_is_called_again(loop_factory: Any, pair: Pair) -> None:
    loop = loop_factory()
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    left = 3

    def fail() -> None:
        nonlocal left
        left -= 1
        if not left:
            loop.remove_reader(pair[0])
            loop.stop()
        raise ZeroDivisionError

    loop.add_reader(pair[0], fail)
    pair[1].send(b"x")
    loop.run_forever()
    loop.close()
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError] * 3


def test_exits_pass_through_a_reader(loop: Loop, pair: Pair) -> None:
    def leave() -> None:
        pair[0].recv(10)
        raise KeyboardInterrupt

    loop.add_reader(pair[0], leave)
    pair[1].send(b"x")
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    turns(loop)
    loop.remove_reader(pair[0])


def test_hundreds_of_descriptors(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(200)]
    seen: list[int] = []
    for number, (one, _) in enumerate(pairs):
        loop.add_reader(one, lambda number=number, one=one: (seen.append(number), one.recv(10)))
    for _, other in pairs:
        other.send(b"x")
    turns(loop, 0.05)
    assert sorted(seen) == list(range(200))
    for one, other in pairs:
        loop.remove_reader(one)
        one.close()
        other.close()


@only_uvworks
def test_a_child_inherits_nothing(loop: Loop) -> None:
    """The loop's own descriptors are closed in a child."""
    turns(loop)
    output = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, close_fds=False).stdout
    parent = {fd for fd in os.listdir("/proc/self/fd") if _kind(fd).startswith("anon_inode:[event")}
    assert not parent & set(output.split())


@only_uvworks  # asyncio notices by chance only
async def test_one_transport_to_a_descriptor() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="used by"):
                await loop.create_connection(asyncio.Protocol, sock=ours)
            transport.pause_reading()
        transport.abort()
    server = await loop.create_server(asyncio.Protocol, LOCALHOST, 0)
    with pytest.raises(RuntimeError, match="used by"):
        loop.add_reader(server.sockets[0].fileno(), print)
    server.close()


def test_add_reader_leaves_a_descriptor_blocking(loop: asyncio.AbstractEventLoop) -> None:
    r, w = os.pipe()
    loop.add_reader(r, print)
    assert os.get_blocking(r)
    loop.remove_reader(r)
    os.close(r)
    os.close(w)


def _kind(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
