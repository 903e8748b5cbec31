"""What goes wrong around a loop: closed too early, forks, daemon threads, exits in any state, restarts under load."""

import asyncio
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from tests.loop.support import LOCALHOST, echo_server, only_uvworks, serving, unused_port
from tests.support import python, until

Loop = asyncio.AbstractEventLoop

# For scripts in an interpreter of their own: new_loop() makes the loop under test.
FACTORIES = {
    "asyncio": "import asyncio\nnew_loop = asyncio.SelectorEventLoop\n",
    "uvworks": "import asyncio, uvworks\nnew_loop = uvworks.new_event_loop\n",
}


@pytest.fixture(params=FACTORIES.values(), ids=FACTORIES.keys())
def prelude(request: pytest.FixtureRequest) -> str:
    return request.param


def script(prelude: str, text: str) -> str:
    return prelude + textwrap.dedent(text)


# Loops closed too early -----------------------------------------------------------


def test_a_loop_closed_with_live_transports(prelude: str) -> None:
    """ResourceWarnings, and nothing else."""
    done = python(
        script(
            prelude,
            """
            import gc, os
            loop = new_loop()
            kept = []

            async def main():
                server = await asyncio.start_server(lambda r, w: kept.append(w), "127.0.0.1", 0)
                address = server.sockets[0].getsockname()
                kept.append(server)
                connection = await asyncio.open_connection(*address)
                kept.append(connection)
                kept.append(await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)))
                read, write = os.pipe()
                kept.append(await loop.connect_read_pipe(asyncio.Protocol, open(read, "rb", 0)))
                kept.append(await loop.connect_write_pipe(asyncio.BaseProtocol, open(write, "wb", 0)))
                connection[1].write(b"x" * 10_000_000)
                await asyncio.sleep(0.05)

            loop.run_until_complete(main())
            loop.close()
            loop.close()
            for each in kept:
                repr(each)
            kept.clear()
            gc.collect()
            print("survived")
            """,
        ),
        warnings="always",
    )
    assert done.stdout == "survived\n"
    assert "ResourceWarning" in done.stderr and "unclosed transport" in done.stderr


def test_transports_used_after_their_loop_was_closed(prelude: str) -> None:
    done = python(
        script(
            prelude,
            """
            loop = new_loop()

            async def main():
                server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
                return (await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname()))[0]

            transport = loop.run_until_complete(main())
            loop.close()
            for call in (
                lambda: transport.write(b"x" * 10_000_000), transport.pause_reading, transport.resume_reading,
                transport.write_eof, transport.close, transport.abort, transport.is_closing,
                transport.get_write_buffer_size, lambda: transport.get_extra_info("peername"),
            ):
                try:
                    call()
                except (RuntimeError, OSError):
                    pass
            print("survived")
            """,
        ),
        warnings="ignore",
    )
    assert done.stdout == "survived\n"


def test_what_waits_when_its_loop_is_closed(prelude: str) -> None:
    """Tasks in every kind of wait, dropped with the loop."""
    done = python(
        script(
            prelude,
            """
            import gc, socket
            loop = new_loop()
            ours, theirs = socket.socketpair()
            ours.setblocking(False)

            async def wait(what):
                await what

            async def main():
                loop.add_reader(theirs, print)
                loop.call_later(100, print)
                return [asyncio.ensure_future(wait(each)) for each in (
                    asyncio.sleep(100), loop.sock_recv(ours, 1), loop.create_future(),
                    asyncio.Event().wait(), loop.run_in_executor(None, int))]

            tasks = loop.run_until_complete(main())
            loop.run_until_complete(asyncio.sleep(0.01))
            loop.close()
            del tasks
            gc.collect()
            print("survived")
            """,
        ),
        warnings="ignore",
    )
    assert done.stdout == "survived\n"


def test_a_transport_is_closed_after_its_loop(loop_factory: Callable[[], Loop]) -> None:
    loop = loop_factory()
    ours, theirs = socket.socketpair()
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    with pytest.warns(ResourceWarning, match="unclosed"):
        del transport, _, ours
        gc.collect()
    theirs.settimeout(5)
    assert theirs.recv(1) == b""
    theirs.close()


# Exits ----------------------------------------------------------------------------

ENDS = {
    "while it runs": "loop.call_soon(sys.exit, 7)\nloop.run_forever()",
    "from a task": "async def leave(): sys.exit(7)\nloop.run_until_complete(leave())",
    "not closed": "loop.run_until_complete(work())\nsys.exit(7)",
    "never run": "loop.call_soon(print)\nloop.call_later(1, print)\nsys.exit(7)",
    "closed": "loop.run_until_complete(work())\nloop.close()\nsys.exit(7)",
    "in atexit": "import atexit\natexit.register(lambda: loop.run_until_complete(work()))\nsys.exit(7)",
    "hard": "loop.run_until_complete(work())\nimport os\nos._exit(7)",
    "a daemon thread runs it": """
import threading, time
threading.Thread(target=loop.run_forever, daemon=True).start()
time.sleep(0.05)
sys.exit(7)
""",
    "a daemon thread calls it": """
import threading, time
def call():
    while True:
        loop.call_soon_threadsafe(int)
threading.Thread(target=call, daemon=True).start()
loop.run_until_complete(asyncio.sleep(0.05))
sys.exit(7)
""",
    "a reference cycle keeps it": "loop.me = loop\nkeep.append(loop)\nloop.run_until_complete(work())\nsys.exit(7)",
    "a generator is half way": """
async def numbers():
    try:
        yield 1
    finally:
        await asyncio.sleep(0)
keep.append(numbers())
loop.run_until_complete(anext(keep[0]))
sys.exit(7)
""",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_the_interpreter_ends_in_any_state(prelude: str, end: str) -> None:
    text = script(
        prelude,
        """
        import sys
        keep = []
        loop = new_loop()

        async def work():
            server = await asyncio.start_server(lambda r, w: keep.append(w), "127.0.0.1", 0)
            keep.append(server)
            keep.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
            keep.append(asyncio.ensure_future(asyncio.sleep(100)))
            loop.call_later(100, print)
            await asyncio.sleep(0.01)

        """,
    )
    done = python(text + end, warnings="ignore", check=False)
    assert done.returncode == 7, done.stderr
    assert "Fatal" not in done.stderr and "Segmentation" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_it(prelude: str, number: signal.Signals) -> None:
    text = script(
        prelude,
        f"""
        import os, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop = new_loop()
        loop.call_later(0.02, os.kill, os.getpid(), {int(number)})
        loop.run_forever()
        """,
    )
    done = python(text, warnings="ignore", check=False)
    assert done.returncode == -number and "Fatal" not in done.stderr


# Forks ----------------------------------------------------------------------------


def test_a_child_may_make_a_loop_of_its_own(prelude: str) -> None:
    done = python(
        script(
            prelude,
            """
            import os, sys
            loop = new_loop()

            async def echo_once():
                async def serve(reader, writer):
                    writer.write(await reader.read(100))
                    writer.close()
                server = await asyncio.start_server(serve, "127.0.0.1", 0)
                async with server:
                    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                    writer.write(b"hello")
                    assert await reader.read() == b"hello"
                    writer.close()
                    await writer.wait_closed()

            loop.run_until_complete(echo_once())
            child = os.fork()
            if child == 0:
                own = new_loop()
                own.run_until_complete(echo_once())
                own.close()
                os._exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
            loop.run_until_complete(echo_once())
            loop.close()
            print("survived")
            """,
        ),
        warnings="ignore",
    )
    assert done.stdout == "survived\n"


def test_a_fork_inside_a_running_loop_leaves_the_parents_alone(prelude: str) -> None:
    """The child exits, dropping its copy of everything; the parent's connections must not notice."""
    done = python(
        script(
            prelude,
            """
            import gc, os

            async def main():
                loop = asyncio.get_running_loop()
                async def serve(reader, writer):
                    while data := await reader.read(100):
                        writer.write(data)
                    writer.close()
                server = await asyncio.start_server(serve, "127.0.0.1", 0)
                async with server:
                    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                    for number in range(5):
                        child = os.fork()
                        if child == 0:
                            try:
                                asyncio.get_running_loop()
                                os._exit(4)
                            except RuntimeError:
                                pass
                            os._exit(3)
                        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
                        writer.write(b"%d" % number)
                        assert await asyncio.wait_for(reader.readexactly(1), 5) == b"%d" % number
                    writer.close()
                    await writer.wait_closed()

            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(main())
            print("survived")
            """,
        ),
        warnings="ignore",
    )
    assert done.stdout == "survived\n"


@only_uvworks
def test_a_child_that_uses_its_parents_loop_is_told(loop_factory: Callable[[], Loop]) -> None:
    """asyncio lets it steal the parent's events; we say so. A close in the child leaves the parent's registrations."""
    done = python(
        """
        import asyncio, os, socket, uvworks
        loop = uvworks.new_event_loop()
        ours, theirs = socket.socketpair()
        seen = []
        loop.add_reader(ours, lambda: (seen.append(ours.recv(10)), loop.stop()))
        loop.run_until_complete(asyncio.sleep(0.01))
        child = os.fork()
        if child == 0:
            try:
                loop.run_until_complete(asyncio.sleep(0))
            except RuntimeError:
                os._exit(3)
            os._exit(4)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        child = os.fork()
        if child == 0:
            loop.close()
            os._exit(0)
        os.waitpid(child, 0)
        theirs.send(b"still here")
        loop.run_forever()
        print(status, seen)
        """,
        warnings="ignore",
    )
    assert done.stdout == "3 [b'still here']\n"


# asyncio's child takes the parent's descriptors out of their shared epoll.
def test_a_forked_child_that_goes_on_does_the_parent_no_harm() -> None:
    program = """
import asyncio, os, socket, sys, uvworks

async def main():
    loop = asyncio.get_running_loop()
    got = loop.create_future()
    class Protocol(asyncio.Protocol):
        def data_received(self, data):
            got.set_result(data)
    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(Protocol, sock=ours)
    r, w = os.pipe()
    loop.add_reader(r, print)
    pid = os.fork()
    if pid == 0:
        transport.pause_reading()
        transport.resume_reading()
        loop.remove_reader(r)
        transport.abort()
        return
    _, status = await loop.run_in_executor(None, os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1, status
    theirs.send(b"hello")
    assert await asyncio.wait_for(got, 10) == b"hello"
    transport.close()

parent = os.getpid()
try:
    uvworks.run(main())
except RuntimeError as error:
    if os.getpid() == parent:
        raise
    os._exit("before fork()" in str(error))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, capture_output=True, timeout=60)


# Scarcity, load --------------------------------------------------------------------


async def test_no_descriptors_for_a_connection() -> None:
    """The client is told; the loop goes on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with echo_server() as port:
        held = [os.open("/dev/null", os.O_RDONLY)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 10, hard))
        try:
            while True:
                try:
                    held.append(os.dup(held[0]))
                except OSError:
                    break
            with pytest.raises(OSError):
                await asyncio.open_connection(LOCALHOST, port)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in held:
                os.close(fd)
        reader, writer = await asyncio.open_connection(LOCALHOST, port)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        writer.close()
        await writer.wait_closed()


async def test_a_server_restarted_under_load() -> None:
    port = unused_port()
    stop = False
    answered = failed = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async def client() -> None:
        nonlocal answered, failed
        while not stop:
            try:
                reader, writer = await asyncio.open_connection(LOCALHOST, port)
                writer.write(b"x" * 500)
                await reader.readexactly(500)
                answered += 1
                writer.close()
                await writer.wait_closed()
            except (OSError, asyncio.IncompleteReadError):
                failed += 1
                await asyncio.sleep(0.001)

    clients = [asyncio.create_task(client()) for _ in range(10)]
    for _ in range(10):
        server = await asyncio.start_server(serve, LOCALHOST, port)
        before = answered
        await until(lambda before=before: answered >= before + 20)
        server.close()
    stop = True
    await asyncio.gather(*clients)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert answered >= 200


async def test_many_connections_reset_at_once() -> None:
    """Every one of them tells its protocol, once."""
    lost: list[Exception | None] = []

    class Count(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(exc)

    loop = asyncio.get_running_loop()
    async with serving(await loop.create_server(Count, LOCALHOST, 0, backlog=200)) as server:
        socks = []
        for _ in range(100):
            sock = socket.create_connection(server.sockets[0].getsockname())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            socks.append(sock)
        await asyncio.sleep(0.05)
        for sock in socks:
            sock.close()
        await until(lambda: len(lost) == 100)
        await asyncio.sleep(0.01)
    assert len(lost) == 100 and all(isinstance(each, ConnectionResetError) for each in lost)


def test_memory_is_gone_with_the_loop(loop_factory: Any) -> None:
    """Loops come and go; their descriptors do, too."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        loop = loop_factory()
        loop.call_soon(int)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert len(os.listdir("/proc/self/fd")) == before
