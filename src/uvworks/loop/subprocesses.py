"""Subprocesses: Popen starts them, the loop's pipe transports talk to them, a pidfd tells when they have ended.

The standard library's Popen knows every option and every corner of starting a
process, so libuv's uv_spawn is not used; and with a pidfd neither SIGCHLD nor
a thread is needed. Where there is none (an old kernel, a seccomp filter, no
descriptor left) a thread waits instead.

Rules: the exit status is taken in the loop's thread, or by a thread of ours
once the loop has closed, so that no zombie stays. A child watcher that the
program has installed itself (asyncio has them up to 3.13) is asked first, as
some of them collect every child there is.
"""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from .._engine import core

__all__ = ["Subprocesses"]

_P = TypeVar("_P", bound=asyncio.BaseProtocol)

_logger = logging.getLogger("asyncio")

_STATUS_UNKNOWN = 255  # somebody else has collected the child: asyncio's answer


class _Transport(BaseSubprocessTransport):
    _proc: subprocess.Popen[Any] | None

    def _start(self, args: Any, shell: bool, stdin: Any, stdout: Any, stderr: Any, bufsize: int, **kwargs: Any) -> None:
        self._proc = subprocess.Popen(
            args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=bufsize, **kwargs
        )

    def _give_up(self) -> None:
        """A pipe could not be connected: end, and tell nothing to a protocol that has not heard of the beginning."""
        process = self._proc
        assert process is not None
        for fd, file in enumerate((process.stdin, process.stdout, process.stderr)):
            if fd in self._pipes and self._pipes[fd] is None:
                del self._pipes[fd]
                if file is not None:
                    file.close()
        self._protocol = asyncio.SubprocessProtocol()
        self._pending_calls = None  # type: ignore[assignment]  # they would wait for the pipes
        self.close()


class Subprocesses(core.BaseLoop, asyncio.AbstractEventLoop):
    """subprocess_exec, subprocess_shell."""

    def __init__(self) -> None:
        super().__init__()
        self._children: dict[_Transport, int | None] = {}  # with their pidfd, if a thread does not wait for them

    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], _P],
        program: Any,
        *args: Any,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: Literal[False] = False,
        shell: Literal[False] = False,
        bufsize: Literal[0] = 0,
        encoding: None = None,
        errors: None = None,
        text: Literal[False] | None = None,
        **kwargs: Any,
    ) -> tuple[asyncio.SubprocessTransport, _P]:
        """Start a program; all that Popen takes may be given, but bytes only and unbuffered."""
        if shell:
            raise ValueError("shell must be False")
        _check_binary(universal_newlines, bufsize, encoding, errors, text)
        popen = dict(
            args=(program, *args), shell=False, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=bufsize, **kwargs
        )
        return await self._start_process(protocol_factory, f"execute program {program!r}", popen)

    async def subprocess_shell(
        self,
        protocol_factory: Callable[[], _P],
        cmd: bytes | str,
        *,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: Literal[False] = False,
        shell: Literal[True] = True,
        bufsize: Literal[0] = 0,
        encoding: None = None,
        errors: None = None,
        text: Literal[False] | None = None,
        **kwargs: Any,
    ) -> tuple[asyncio.SubprocessTransport, _P]:
        """Have the shell run a command; all that Popen takes may be given, but bytes only and unbuffered."""
        if not isinstance(cmd, (bytes, str)):
            raise ValueError("cmd must be a string")
        if not shell:
            raise ValueError("shell must be True")
        _check_binary(universal_newlines, bufsize, encoding, errors, text)
        popen = dict(args=cmd, shell=True, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=bufsize, **kwargs)
        return await self._start_process(protocol_factory, f"run shell command {cmd!r}", popen)

    async def _start_process(
        self, protocol_factory: Callable[[], _P], what: str, popen: dict[str, Any]
    ) -> tuple[asyncio.SubprocessTransport, _P]:
        protocol = protocol_factory()
        if self.get_debug():
            # Not the arguments: they may hold a password.
            _logger.debug("%s%s", what, _describe_streams(popen["stdin"], popen["stdout"], popen["stderr"]))
        watcher = _installed_watcher()
        if watcher is None:
            transport = await self._make_process(self._watch, protocol, popen)
        else:
            with watcher as entered:
                if sys.version_info < (3, 12):
                    watcher = entered  # what asyncio asked then
                if not watcher.is_active():
                    raise RuntimeError(
                        "asyncio.get_child_watcher() is not activated, subprocess support is not installed."
                    )

                def watch(child: _Transport) -> None:
                    watcher.add_child_handler(child.get_pid(), self._watcher_says, child)

                transport = await self._make_process(watch, protocol, popen)
        if self.get_debug():
            _logger.info("%s: %r", what, transport)
        return transport, protocol

    async def _make_process(
        self, watch: Callable[[_Transport], None], protocol: Any, popen: dict[str, Any]
    ) -> _Transport:
        waiter = self.create_future()
        transport = _Transport(self, protocol, waiter=waiter, **popen)
        watch(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except asyncio.CancelledError:
            transport.close()
            await transport._wait()
            raise
        except BaseException:
            transport._give_up()
            await transport._wait()
            raise
        return transport

    # The end of a process ----------------------------------------------------------

    def _watcher_says(self, pid: int, returncode: int, child: _Transport) -> None:
        """In whichever thread the program's watcher works."""
        self.call_soon_threadsafe(child._process_exited, returncode)

    def _watch(self, child: _Transport) -> None:
        process = child._proc
        assert process is not None
        try:
            pidfd = os.pidfd_open(process.pid)
        except (AttributeError, OSError):
            self._children[child] = None
            _wait_in_thread(process, lambda: self._thread_says(child, process))
            return
        self._children[child] = pidfd
        self._add_reader(pidfd, self._collect, child)

    def _thread_says(self, child: _Transport, process: subprocess.Popen[Any]) -> None:
        """In the thread that has waited: the child has ended, but is still there to be collected."""
        try:
            self.call_soon_threadsafe(self._collect, child)
        except RuntimeError:  # the loop has closed
            _returncode(process)

    def _collect(self, child: _Transport) -> None:
        if child not in self._children:
            return
        process = child._proc
        assert process is not None
        returncode = _returncode(process)
        if returncode is not None:
            self._forget(child)
            child._process_exited(returncode)

    def _forget(self, child: _Transport) -> None:
        pidfd = self._children.pop(child)
        if pidfd is not None:
            self._remove_reader(pidfd)
            os.close(pidfd)

    def _leave_children(self) -> None:
        """The loop closes: threads wait for those that still run, lest they become zombies."""
        for child, pidfd in list(self._children.items()):
            process = child._proc
            self._forget(child)
            if pidfd is not None and process is not None and _returncode(process) is None:
                _wait_in_thread(process, lambda process=process: _returncode(process))  # type: ignore[misc]


def _returncode(process: subprocess.Popen[Any]) -> int | None:
    """Collect the child if it has ended: its exit code, or minus the signal; None while it runs."""
    if process.returncode is None:
        try:
            pid, status = os.waitpid(process.pid, os.WNOHANG)
        except ChildProcessError:
            if process.returncode is None:
                process.returncode = _STATUS_UNKNOWN
                _logger.warning(
                    "child process pid %d exit status already read:  will report returncode 255", process.pid
                )
        else:
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode


def _wait_in_thread(process: subprocess.Popen[Any], ended: Callable[[], object]) -> None:
    def wait() -> None:
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            pass
        ended()

    threading.Thread(target=wait, name=f"uvworks-waitpid-{process.pid}", daemon=True).start()


def _installed_watcher() -> Any:
    """The child watcher that the program has chosen, if that is not one of those that asyncio itself would."""
    if sys.version_info >= (3, 14):
        return None
    watcher = getattr(asyncio.get_event_loop_policy(), "_watcher", None)
    return None if isinstance(watcher, (asyncio.ThreadedChildWatcher, asyncio.PidfdChildWatcher)) else watcher


def _check_binary(universal_newlines: bool, bufsize: int, encoding: object, errors: object, text: object) -> None:
    if universal_newlines:
        raise ValueError("universal_newlines must be False")
    if bufsize != 0:
        raise ValueError("bufsize must be 0")
    if text:
        raise ValueError("text must be False")
    if encoding is not None:
        raise ValueError("encoding must be None")
    if errors is not None:
        raise ValueError("errors must be None")


def _describe_streams(stdin: Any, stdout: Any, stderr: Any) -> str:
    if stdout is not None and stderr == subprocess.STDOUT:
        streams = {"stdin": stdin, "stdout=stderr": stdout}
    else:
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    special = {subprocess.PIPE: "<pipe>", subprocess.STDOUT: "<stdout>"}
    return "".join(
        f" {name}={special.get(file, repr(file)) if isinstance(file, int) else repr(file)}"
        for name, file in streams.items()
        if file is not None
    )
