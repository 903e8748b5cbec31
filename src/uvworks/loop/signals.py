"""Signals reach the loop through a socket pair.

The interpreter's C handler writes each signal's number to its wake-up
descriptor. While the loop runs in the main thread that is one end of our pair,
and the loop watches the other: so a signal always ends the wait for events,
and BaseLoop then lets Python's own handlers run (Ctrl-C raises there). A loop
with handlers of its own keeps the descriptor between two runs as well, as
asyncio does; otherwise the one from before is put back. Whoever had set that
one still gets every byte.
"""

import asyncio
import errno
import inspect
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, TypeVarTuple
from weakref import WeakSet

from .._engine import core

__all__ = ["Signals"]

_Ts = TypeVarTuple("_Ts")

_NOBODY = -1


def _noop(signum: int, frame: object) -> None:
    """As a handler in Python: with it the interpreter catches the signal, and so writes its number."""


class Signals(core.BaseLoop, asyncio.AbstractEventLoop):
    """add_signal_handler, remove_signal_handler, and the wake-up by signals."""

    def __init__(self) -> None:
        super().__init__()
        self._signal_handlers: dict[int, tuple[Callable[..., object], tuple[Any, ...], Context]] = {}
        self._signal_pair: tuple[socket.socket, socket.socket] | None = None
        self._wakeup_fd_before = _NOBODY

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` in the loop when the signal comes. Main thread only.

        ValueError for what is no signal, RuntimeError for one that cannot be
        caught, or in another thread.
        """
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check_signal(sig)
        self._check_closed()
        try:
            self._hold_wakeup_fd()
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from None
        self._signal_handlers[sig] = (callback, args, copy_context())
        try:
            signal.signal(sig, _noop)
            signal.siginterrupt(sig, False)  # fewer system calls of others end with EINTR
        except OSError as error:
            del self._signal_handlers[sig]
            self._free_wakeup_fd()
            raise _uncatchable(sig, error) from None

    def remove_signal_handler(self, sig: int) -> bool:
        """Give the signal its default action back; false if it had no handler."""
        _check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        try:
            signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL)
        except OSError as error:
            raise _uncatchable(sig, error) from None
        self._free_wakeup_fd()
        return True

    # The wake-up descriptor ------------------------------------------------------

    def _hear_signals(self) -> None:
        """The loop begins to run."""
        if threading.current_thread() is threading.main_thread():
            self._hold_wakeup_fd()

    def _unhear_signals(self) -> None:
        """The loop no longer runs."""
        if threading.current_thread() is threading.main_thread():
            self._free_wakeup_fd()

    def _hold_wakeup_fd(self) -> None:
        """Have signals written to our pair. ValueError outside of the main thread."""
        if self._signal_pair is None:
            if threading.current_thread() is not threading.main_thread():
                raise ValueError("set_wakeup_fd only works in main thread of the main interpreter")
            self._signal_pair = reader, writer = socket.socketpair()
            reader.setblocking(False)
            writer.setblocking(False)
            Context().run(self._add_reader, reader, self._read_signals)
        ours = self._signal_pair[1].fileno()
        # A full buffer loses a number that a handler of ours waits for, else only one of many wake-ups.
        before = signal.set_wakeup_fd(ours, warn_on_full_buffer=bool(self._signal_handlers))
        if before != ours:
            self._wakeup_fd_before = before
        _holders.add(self)

    def _free_wakeup_fd(self) -> None:
        """Put the previous descriptor back, unless we still need ours or somebody has set another since."""
        if self._signal_handlers or self.is_running() or self._signal_pair is None or self not in _holders:
            return
        _holders.discard(self)
        before, self._wakeup_fd_before = self._wakeup_fd_before, _NOBODY
        try:
            current = signal.set_wakeup_fd(before)
        except (ValueError, OSError):  # it has been closed meanwhile
            current = signal.set_wakeup_fd(_NOBODY)
        if current not in (self._signal_pair[1].fileno(), _NOBODY):
            signal.set_wakeup_fd(current)

    def _read_signals(self) -> None:
        assert self._signal_pair is not None
        while True:
            try:
                numbers = self._signal_pair[0].recv(4096)
            except (BlockingIOError, InterruptedError):
                return
            if self._wakeup_fd_before != _NOBODY:
                try:
                    os.write(self._wakeup_fd_before, numbers)
                except OSError:  # full or closed: the interpreter would have lost them as well
                    pass
            for number in numbers:
                if number in self._signal_handlers:
                    callback, args, context = self._signal_handlers[number]
                    self.call_soon(callback, *args, context=context)

    def _close_signals(self) -> None:
        try:
            if not sys.is_finalizing():
                for sig in list(self._signal_handlers):
                    self.remove_signal_handler(sig)
            elif self._signal_handlers:
                warnings.warn(
                    f"Closing the loop {self!r} on interpreter shutdown stage, skipping signal handlers removal",
                    ResourceWarning,
                    stacklevel=1,
                    source=self,
                )
                self._signal_handlers.clear()
        finally:
            pair, self._signal_pair = self._signal_pair, None
            if pair is not None:
                self._remove_reader(pair[0])
                for end in pair:
                    end.close()


# Loops whose pair is the wake-up descriptor now. A forked child must let go of
# it: its signals would be written into the parent's loop.
_holders: WeakSet[Signals] = WeakSet()


def _after_fork_in_child() -> None:
    if _holders:
        _holders.clear()
        signal.set_wakeup_fd(_NOBODY)


os.register_at_fork(after_in_child=_after_fork_in_child)


def _check_signal(sig: Any) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def _uncatchable(sig: int, error: OSError) -> Exception:
    return RuntimeError(f"sig {sig} cannot be caught") if error.errno == errno.EINVAL else error
