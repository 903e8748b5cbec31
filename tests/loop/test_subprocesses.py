"""Subprocesses: every option of Popen, pipes, exit codes, and that no zombie, thread or descriptor is left."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.loop.support import only_uvworks
from tests.support import eventually, python, until

Loop = asyncio.AbstractEventLoop
PIPE = asyncio.subprocess.PIPE
MIB = 1 << 20


def children() -> list[str]:
    """Process ids of our children, zombies included."""
    found: list[str] = []
    for thread in os.listdir("/proc/self/task"):
        try:
            found += Path(f"/proc/self/task/{thread}/children").read_text().split()
        except OSError:
            pass
    return found


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    before = set(children())
    yield
    gc.collect()
    eventually(lambda: set(children()) <= before)


async def run_python(code: str, **options: Any) -> tuple[bytes, bytes, int | None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", code, stdout=PIPE, stderr=PIPE, **options
    )
    out, err = await process.communicate()
    return out, err, process.returncode


class Protocol(asyncio.SubprocessProtocol):
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.received = {1: bytearray(), 2: bytearray()}
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.events.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.received[fd] += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.events.append(("pipe lost", fd))

    def process_exited(self) -> None:
        self.events.append("exited")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.ended.set_result(exc)


# Talking to a process --------------------------------------------------------------


async def test_communicate() -> None:
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert await process.communicate(b"hello") == (b"hello", None)
    assert process.returncode == 0
    assert await process.wait() == 0


async def test_many_mebibytes_both_ways() -> None:
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    data = os.urandom(MIB) * 16
    out, _ = await asyncio.wait_for(process.communicate(data), 60)
    assert out == data


async def test_the_shell() -> None:
    process = await asyncio.create_subprocess_shell("echo out; echo err >&2; exit 7", stdout=PIPE, stderr=PIPE)
    assert await process.communicate() == (b"out\n", b"err\n")
    assert process.returncode == 7


async def test_what_a_protocol_is_told() -> None:
    loop = asyncio.get_running_loop()
    code = "import sys; sys.stdout.write('out'); sys.stderr.write('err'); sys.exit(3)"
    transport, protocol = await loop.subprocess_exec(Protocol, sys.executable, "-S", "-c", code)
    assert isinstance(transport, asyncio.SubprocessTransport)
    assert transport.get_pid() > 0 and not transport.is_closing()
    assert transport.get_extra_info("subprocess").pid == transport.get_pid()
    assert isinstance(transport.get_pipe_transport(0), asyncio.WriteTransport)
    assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
    assert transport.get_pipe_transport(3) is None
    assert await asyncio.wait_for(protocol.ended, 10) is None
    assert protocol.received == {1: b"out", 2: b"err"}
    assert protocol.events[0] == "made" and protocol.events[-1] == "lost"
    assert set(protocol.events[1:-1]) == {"exited", ("pipe lost", 0), ("pipe lost", 1), ("pipe lost", 2)}
    assert transport.get_returncode() == 3
    transport.close()


async def test_stderr_into_stdout_and_the_null_device(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_shell(
        "echo out; echo err >&2; cat", stdin=subprocess.DEVNULL, stdout=PIPE, stderr=subprocess.STDOUT
    )
    assert await process.communicate() == (b"out\nerr\n", None)
    with open(tmp_path / "file", "wb") as file:
        process = await asyncio.create_subprocess_exec("echo", "hello", stdin=None, stdout=file)
        assert await process.wait() == 0
    assert (tmp_path / "file").read_bytes() == b"hello\n"


async def test_stdin_may_be_opened_again_by_the_child() -> None:
    """A pipe can, a socket could not: /dev/stdin."""
    process = await asyncio.create_subprocess_exec("cat", "/dev/stdin", stdin=PIPE, stdout=PIPE)
    assert await process.communicate(b"by name") == (b"by name", None)


async def test_a_child_that_does_not_read() -> None:
    process = await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE)
    assert await asyncio.wait_for(process.communicate(bytes(MIB)), 10) == (b"", None)


async def test_closing_stdin_ends_the_child() -> None:
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert process.stdin and process.stdout
    process.stdin.write(b"one line\n")
    assert await process.stdout.readline() == b"one line\n"
    process.stdin.close()
    await process.stdin.wait_closed()
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_grandchild_that_keeps_the_pipe_open() -> None:
    """The process has ended, the end of its output comes later."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_shell(Protocol, "sleep 0.3 & echo started", stdin=None, stderr=None)
    await until(lambda: "exited" in protocol.events)
    assert "lost" not in protocol.events
    await asyncio.wait_for(protocol.ended, 10)
    assert protocol.received[1] == b"started\n"
    transport.close()


# Exit codes and signals ---------------------------------------------------------------


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -9 $$", -9)])
async def test_exit_codes(command: str, code: int) -> None:
    process = await asyncio.create_subprocess_shell(command)
    assert await process.wait() == code
    assert process.returncode == code


async def test_signals_to_the_child() -> None:
    for send, code in (
        (lambda process: process.kill(), -signal.SIGKILL),
        (lambda process: process.terminate(), -signal.SIGTERM),
        (lambda process: process.send_signal(signal.SIGUSR1), -signal.SIGUSR1),
    ):
        process = await asyncio.create_subprocess_exec("sleep", "20")
        send(process)
        assert await asyncio.wait_for(process.wait(), 10) == code


async def test_a_signal_to_a_child_that_has_ended() -> None:
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    await asyncio.sleep(0.01)
    for send in (process.kill, process.terminate, lambda: process.send_signal(signal.SIGUSR1)):
        with pytest.raises(ProcessLookupError):
            send()


@only_uvworks  # asyncio loses the code in 3.11
async def test_a_signal_while_the_child_ends_does_not_hide_its_code(loop_factory: Any) -> None:
    for _ in range(10):
        process = await asyncio.create_subprocess_exec("sleep", "0.02")
        await asyncio.sleep(0.02)
        try:
            process.send_signal(signal.SIGCONT)
        except ProcessLookupError:
            pass
        assert await process.wait() == 0


async def test_several_wait_for_one_child() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "0.05")
    assert await asyncio.gather(*(process.wait() for _ in range(5))) == [0] * 5


async def test_many_children_at_once() -> None:
    async def one(number: int) -> int:
        process = await asyncio.create_subprocess_shell(f"exit {number}")
        return await process.wait()

    assert await asyncio.gather(*map(one, range(40))) == list(range(40))


# Options --------------------------------------------------------------------------------


async def test_arguments_environment_and_directory(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv[1:], os.environ['WHAT'], os.getcwd(), sep='|')"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", code, "a b", os.fsencode("ü"), tmp_path / "p",
        stdout=PIPE, env={**os.environ, "WHAT": "this", "PYTHONUTF8": "1"}, cwd=tmp_path,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert out.decode().strip() == f"['a b', 'ü', '{tmp_path / 'p'}']|this|{tmp_path}"


async def test_umask() -> None:
    out, _, _ = await run_python("import os; print(oct(os.umask(0)))", umask=0o037)
    assert out == b"0o37\n"


async def test_process_group_and_session() -> None:
    code = "import os; print(os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid())"
    assert (await run_python(code))[0] == b"False False\n"
    assert (await run_python(code, process_group=0))[0] == b"True False\n"
    assert (await run_python(code, start_new_session=True))[0] == b"True True\n"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
async def test_user_and_groups() -> None:
    code = "import os; print(os.getuid(), os.getgid(), sorted(os.getgroups()))"
    options = {"user": 65534, "group": 65533, "extra_groups": [65532]}
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        "id -u; id -g; id -G",
        stdout=PIPE,
        **options,  # type: ignore[arg-type]
    )
    out, _ = await process.communicate()
    assert code and out.split() == [b"65534", b"65533", b"65533", b"65532"]


async def test_descriptors_are_passed_only_on_demand() -> None:
    reader, writer = os.pipe()
    try:
        code = f"import os; os.write({writer}, b'passed')"
        _, err, returncode = await run_python(code)
        assert returncode == 1 and b"Bad file descriptor" in err
        assert (await run_python(code, pass_fds=(writer,)))[2] == 0
        assert os.read(reader, 100) == b"passed"
        os.set_inheritable(writer, True)
        assert (await run_python(code, close_fds=False))[2] == 0
    finally:
        os.close(reader)
        os.close(writer)


async def test_preexec_executable_pipesize_and_restored_signals() -> None:
    out, _, _ = await run_python("import os; print(os.getpriority(os.PRIO_PROCESS, 0))", preexec_fn=lambda: os.nice(3))
    assert out == b"3\n"
    process = await asyncio.create_subprocess_exec("named", "-c", "echo $0", executable="/bin/sh", stdout=PIPE)
    assert await process.communicate() == (b"named\n", None)
    out, _, _ = await run_python("import fcntl; print(fcntl.fcntl(1, 1032))", pipesize=8192)
    assert out == b"8192\n"
    code = "import signal; print(signal.getsignal(signal.SIGPIPE))"
    assert (await run_python(f"{code}", restore_signals=True))[2] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"universal_newlines": True}, "universal_newlines must be False"),
        ({"bufsize": 4096}, "bufsize must be 0"),
        ({"text": True}, "text must be False"),
        ({"encoding": "utf-8"}, "encoding must be None"),
        ({"errors": "strict"}, "errors must be None"),
    ],
)
async def test_text_is_refused(options: dict[str, Any], message: str) -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(ValueError, match=message):
        await loop.subprocess_exec(Protocol, "true", **options)
    with pytest.raises(ValueError, match=message):
        await loop.subprocess_shell(Protocol, "true", **options)


async def test_shell_and_exec_are_not_mixed_up() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(ValueError, match="shell must be False"):
        await loop.subprocess_exec(Protocol, "true", shell=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shell must be True"):
        await loop.subprocess_shell(Protocol, "true", shell=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cmd must be a string"):
        await loop.subprocess_shell(Protocol, ["true"])  # type: ignore[arg-type]


async def test_programs_that_cannot_be_started(tmp_path: Path) -> None:
    for program, error in ((tmp_path / "no", FileNotFoundError), (tmp_path, PermissionError), ("a\0b", ValueError)):
        with pytest.raises(error):
            await asyncio.create_subprocess_exec(program, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    with pytest.raises(TypeError):
        await asyncio.create_subprocess_exec("true", nonsense=1)  # type: ignore[call-overload]


# The end --------------------------------------------------------------------------------


async def test_closing_the_transport_kills_and_collects() -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(Protocol, "sleep", "20")
    transport.close()
    assert transport.is_closing()
    transport.close()
    assert await asyncio.wait_for(protocol.ended, 10) is None
    assert transport.get_returncode() == -signal.SIGKILL


async def test_a_cancelled_start_leaves_no_process() -> None:
    for turns in range(6):
        task = asyncio.create_task(asyncio.create_subprocess_exec("sleep", "20", stdin=PIPE, stdout=PIPE))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            process = await asyncio.wait_for(task, 10)
        except asyncio.CancelledError:
            continue
        process.kill()
        await process.wait()


@only_uvworks
async def test_pipes_that_cannot_be_connected(loop_factory: Any) -> None:
    loop: Any = asyncio.get_running_loop()

    async def refuse(*arguments: Any) -> Any:
        raise OSError(errno.EMFILE, "no more")

    loop.connect_read_pipe = refuse
    try:
        with pytest.raises(OSError, match="no more"):
            await asyncio.wait_for(loop.subprocess_exec(Protocol, "sleep", "20"), 10)
    finally:
        del loop.connect_read_pipe


@only_uvworks  # asyncio leaves the child and its pidfd
def test_a_loop_that_closes_before_its_child_leaves_no_zombie(loop_factory: Callable[[], Loop]) -> None:
    loop = loop_factory()
    process = loop.run_until_complete(asyncio.create_subprocess_exec("sleep", "0.2"))
    transport = process._transport  # type: ignore[attr-defined]
    popen = transport.get_extra_info("subprocess")
    loop.close()
    eventually(lambda: popen.returncode == 0)
    transport._closed = True  # it cannot be closed any more, and need not


@only_uvworks
def test_a_transport_that_is_dropped_kills_its_child(loop_factory: Callable[[], Loop]) -> None:
    loop = loop_factory()
    process = loop.run_until_complete(asyncio.create_subprocess_exec("sleep", "20"))
    popen = process._transport.get_extra_info("subprocess")  # type: ignore[attr-defined]
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del process
        gc.collect()
    eventually(lambda: popen.returncode == -signal.SIGKILL)


@only_uvworks
async def test_a_child_that_somebody_else_has_collected(loop_factory: Any, caplog: pytest.LogCaptureFixture) -> None:
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)  # blocks the loop on purpose
    assert await asyncio.wait_for(process.wait(), 10) == 255
    assert "exit status already read" in caplog.text


async def test_handlers_of_sigchld_keep_working() -> None:
    loop = asyncio.get_running_loop()
    seen = asyncio.Event()
    loop.add_signal_handler(signal.SIGCHLD, seen.set)
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
    await asyncio.wait_for(seen.wait(), 10)
    loop.remove_signal_handler(signal.SIGCHLD)


async def test_children_of_others_are_left_alone() -> None:
    with subprocess.Popen(["true"]) as other:
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0
        await asyncio.sleep(0.05)
        assert other.wait() == 0


def test_a_loop_in_another_thread_has_subprocesses(loop: Loop) -> None:
    import threading

    codes: list[int] = []

    async def body() -> None:
        process = await asyncio.create_subprocess_shell("exit 5")
        codes.append(await process.wait())

    thread = threading.Thread(target=lambda: loop.run_until_complete(body()))
    thread.start()
    thread.join(10)
    assert codes == [5]


@only_uvworks
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EMFILE, errno.EPERM])
def test_without_a_pidfd_a_thread_waits(loop: Loop, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "pidfd_open", refuse)

    async def body() -> None:
        process = await asyncio.create_subprocess_shell("exit 5", stdout=PIPE)
        assert await asyncio.wait_for(process.wait(), 10) == 5
        process = await asyncio.create_subprocess_exec("sleep", "20")
        process.kill()
        assert await asyncio.wait_for(process.wait(), 10) == -signal.SIGKILL

    loop.run_until_complete(body())
    process = loop.run_until_complete(asyncio.create_subprocess_exec("sleep", "0.1"))
    popen = process._transport.get_extra_info("subprocess")  # type: ignore[attr-defined]
    loop.close()
    eventually(lambda: popen.returncode == 0)
    process._transport._closed = True  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="deprecated from 3.12 on")
@only_uvworks
def test_no_child_watcher_is_made(loop_factory: Any) -> None:
    script = """
        import asyncio, uvworks
        async def main():
            process = await asyncio.create_subprocess_exec("true")
            await process.wait()
        uvworks.run(main())
        assert asyncio.get_event_loop_policy()._watcher is None
    """
    python(script)


def test_debug_mode_tells_of_processes_but_not_of_arguments(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "asyncio")

    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        process = await asyncio.create_subprocess_exec("true", "secret", stdout=PIPE, stderr=subprocess.STDOUT)
        await process.communicate()
        loop.set_debug(False)

    run(body())
    messages = [record.message for record in caplog.records]
    assert any(message.startswith("execute program 'true' stdout=stderr=<pipe>") for message in messages)
    assert any(message.startswith("execute program 'true': <") for message in messages)


def test_children_leave_no_descriptors(run: Run) -> None:
    async def body() -> None:
        for _ in range(20):
            await run_python("")

    run(body())
    before = len(os.listdir("/proc/self/fd"))
    run(body())
    gc.collect()
    begin = time.monotonic()
    while len(os.listdir("/proc/self/fd")) > before:
        assert time.monotonic() - begin < 5
        time.sleep(0.01)
