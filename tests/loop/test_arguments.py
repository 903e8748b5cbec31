"""The arguments of the methods that are C: by position or by name, and what is refused.

asyncio refuses the same calls with the same exceptions; their texts may differ: of several arguments that are missing
CPython names all, we the first.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.send(b"x")
    yield ours
    ours.close()
    theirs.close()


def nothing() -> None:
    pass


WRONG: dict[str, Callable[[Any, socket.socket], Any]] = {
    "missing": lambda loop, sock: loop.call_soon(),
    "missing, but for a context": lambda loop, sock: loop.call_soon(context=contextvars.copy_context()),
    "unknown": lambda loop, sock: loop.call_soon(nothing, foo=1),
    "unknown, beside a context": lambda loop, sock: loop.call_soon(nothing, context=None, foo=1),
    "twice": lambda loop, sock: loop.call_soon(nothing, callback=nothing),
    "threadsafe": lambda loop, sock: loop.call_soon_threadsafe(),
    "no callback": lambda loop, sock: loop.call_later(1),
    "delay twice": lambda loop, sock: loop.call_later(1, nothing, delay=1),
    "when unknown": lambda loop, sock: loop.call_at(1, nothing, delay=1),
    "reader": lambda loop, sock: loop.add_reader(sock),
    "reader twice": lambda loop, sock: loop.add_reader(sock, nothing, fd=sock),
    "writer": lambda loop, sock: loop.add_writer(sock, foo=nothing),
    "too many": lambda loop, sock: loop.remove_reader(sock, sock),
    "too few": lambda loop, sock: loop.remove_writer(),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG.keys())
def test_refused(loop: asyncio.AbstractEventLoop, sock: socket.socket, call: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"argument"):
        call(loop, sock)


@pytest.mark.parametrize(
    "arguments",
    [lambda s: ((s,), {}), lambda s: ((s, 1, 1), {}), lambda s: ((s,), {"size": 1}), lambda s: ((s, 1), {"sock": s})],
    ids=["missing", "too many", "unknown", "twice"],
)
def test_sock_recv_refuses(loop: asyncio.AbstractEventLoop, sock: socket.socket, arguments: Any) -> None:
    args, kwargs = arguments(sock)
    with pytest.raises(TypeError, match=r"argument"):
        loop.sock_recv(*args, **kwargs)


def test_by_name(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    seen: list[Any] = []
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="outer")
    context = contextvars.copy_context()
    context.run(var.set, "inner")
    untyped: Any = loop
    untyped.call_soon(callback=lambda: seen.append("soon"))
    untyped.call_soon(lambda *args: seen.append((*args, var.get())), 1, 2, context=context)
    untyped.call_soon(context=context, callback=lambda: seen.append(var.get()))
    untyped.call_soon_threadsafe(callback=lambda: seen.append(var.get()), context=None)
    untyped.call_later(callback=lambda: seen.append("later"), delay=0)
    untyped.call_at(loop.time(), lambda *args: seen.append((*args, var.get())), 3, context=context)
    untyped.call_at(callback=loop.stop, when=loop.time() + 0.05)
    loop.run_forever()
    assert sorted(seen, key=str) == sorted(["soon", (1, 2, "inner"), "inner", "outer", "later", (3, "inner")], key=str)
    assert loop.run_until_complete(untyped.sock_recv(n=10, sock=sock)) == b"x"
    untyped.add_reader(fd=sock, callback=nothing)
    assert untyped.remove_reader(fd=sock) is True


async def test_transports_by_name(sock: socket.socket) -> None:
    transport: Any
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=sock)
    assert transport.get_extra_info(name="socket").fileno() == sock.fileno()
    assert transport.get_extra_info("nothing", default=1) == 1
    transport.set_write_buffer_limits(low=1, high=2)
    assert transport.get_write_buffer_limits() == (1, 2)
    for refused in (
        lambda: transport.get_extra_info(),
        lambda: transport.get_extra_info("socket", 1, 2),
        lambda: transport.get_extra_info("socket", fallback=1),
        lambda: transport.set_write_buffer_limits(1, high=2),
    ):
        with pytest.raises(TypeError, match="argument"):
            refused()
    transport.abort()


async def test_datagrams_by_name() -> None:
    transport: Any
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(10)
        peer.bind(("127.0.0.1", 0))
        transport.sendto(data=b"x", addr=peer.getsockname())
        assert peer.recv(10) == b"x"
    for refused in (lambda: transport.sendto(), lambda: transport.sendto(b"x", address=None)):
        with pytest.raises(TypeError, match="argument"):
            refused()
    transport.abort()


def test_what_the_errors_say(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError, match="multiple values for argument 'callback'"):
        loop.call_soon(print, callback=print)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'no'"):
        loop.call_soon(print, no=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'callback'"):
        loop.call_soon()  # type: ignore[call-arg]
