"""anyio on the loop: its TCP, UNIX and UDP sockets, TLS, threads, processes, signals and cancel scopes."""

import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener, TLSStream


async def echo(stream: SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


async def talk(stream: anyio.abc.ByteStream) -> None:
    data = os.urandom(1 << 20)
    received = b""

    async def read() -> None:
        nonlocal received
        while len(received) < len(data):
            received += await stream.receive()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await stream.send(data)
    assert received == data


async def test_tcp() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        port = listener.extra(SocketAttribute.local_port)
        async with await anyio.connect_tcp("localhost", port) as stream:
            await talk(stream)
        group.cancel_scope.cancel()


async def test_unix(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        async with await anyio.connect_unix(path) as stream:
            await talk(stream)
        # anyio sets the result of a cancelled future if its UNIX socket gets ready in the turn of the cancel.
        await anyio.sleep(0.05)
        group.cancel_scope.cancel()


async def test_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as plain, anyio.create_task_group() as group:
        port = plain.extra(SocketAttribute.local_port)
        group.start_soon(TLSListener(plain, server_tls, standard_compatible=False).serve, echo)
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            secure = await TLSStream.wrap(
                stream, hostname="localhost", ssl_context=client_tls, standard_compatible=False
            )
            await talk(secure)
        group.cancel_scope.cancel()


async def test_udp() -> None:
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as server:
        port = server.extra(SocketAttribute.local_port)
        async with await anyio.create_connected_udp_socket("127.0.0.1", port) as client:
            for data in (b"one", b"two" * 1000):
                await client.send(data)
                received, sender = await server.receive()
                assert received == data
                await server.sendto(data[::-1], *sender)
                assert await client.receive() == data[::-1]


async def test_threads_both_ways() -> None:
    def work(number: int) -> int:
        return anyio.from_thread.run(double, number)

    async def double(number: int) -> int:
        await anyio.sleep(0)
        return number * 2

    results = {}

    async def one(number: int) -> None:
        results[number] = await anyio.to_thread.run_sync(work, number)

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(one, number)
    assert results == {number: number * 2 for number in range(50)}


async def test_processes() -> None:
    done = await anyio.run_process([sys.executable, "-c", "print(input()[::-1])"], input=b"abc\n")
    assert (done.returncode, done.stdout) == (0, b"cba\n")
    with pytest.raises(subprocess.CalledProcessError):
        await anyio.run_process([sys.executable, "-c", "raise SystemExit(3)"])


async def test_signals() -> None:
    with anyio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        async for number in signals:
            assert number == signal.SIGUSR1
            break


async def test_cancel_scopes() -> None:
    with anyio.move_on_after(0.05) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.01):
            await anyio.Event().wait()
