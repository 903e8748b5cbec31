"""What other threads do to a loop's transports and descriptors: drop them, use them, add them."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.loop.support import only_uvworks


@contextmanager
def in_a_thread(function: Callable[[], object]) -> Iterator[None]:
    """Runs it in another thread, most likely while this one waits for events; what it raises is raised here."""
    errors: list[BaseException] = []

    def work() -> None:
        time.sleep(0.02)
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(10)
    assert not thread.is_alive() and not errors, errors


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_the_collector_drops_a_transport_in_another_thread() -> None:
    class Protocol(asyncio.Protocol):
        transport: Any

    loop = asyncio.get_running_loop()
    for _ in range(10):
        ours, theirs = socket.socketpair()
        transport, protocol = await loop.create_connection(Protocol, sock=ours)
        transport.pause_reading()
        protocol.transport = transport
        del transport, protocol, ours
        done = loop.create_future()
        with in_a_thread(lambda done=done: (gc.collect(), loop.call_soon_threadsafe(done.set_result, None))):  # type: ignore[misc]
            await done
        theirs.settimeout(5)
        assert theirs.recv(1) == b""
        theirs.close()


@only_uvworks  # asyncio's loop is not woken
async def test_a_transport_in_the_hands_of_another_thread() -> None:
    loop = asyncio.get_running_loop()
    lost = loop.create_future()

    class Protocol(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(exc)

    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(Protocol, sock=ours)
    size = 4_000_000
    received = bytearray()

    def work() -> None:
        transport.write(b"x" * size)
        while len(received) < size:
            received.extend(theirs.recv(1 << 20))
        transport.close()

    with in_a_thread(work):
        assert await lost is None
    assert len(received) == size
    theirs.close()


@only_uvworks
async def test_a_reader_added_by_another_thread_is_refused() -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    r, w = os.pipe()

    def work() -> None:
        try:
            with pytest.raises(RuntimeError, match="Non-thread-safe"):
                loop.add_reader(r, print)
        finally:
            loop.call_soon_threadsafe(done.set_result, None)

    with in_a_thread(work):
        await done
    os.close(r)
    os.close(w)
