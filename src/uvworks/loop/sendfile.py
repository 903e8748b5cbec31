"""Files to sockets: sendfile(2) where it can, reading and writing where it can not.

Rules: the file's position afterwards is behind the last byte sent, whatever ended the transfer; the socket's own order
of bytes is kept, so a transport is drained before the kernel sends past it.
"""

import asyncio
import errno
import io
import os
import socket
from asyncio.constants import _SendfileMode
from asyncio.exceptions import SendfileNotAvailableError
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from .._engine import core
from . import tls

__all__ = ["Sendfile"]

_CHUNK = 256 * 1024  # bytes read at a time where sendfile(2) can not be used
_AT_ONCE = 1 << 30  # bytes asked of one sendfile(2); the socket's buffer is what really bounds it


class Sendfile(core.BaseLoop, asyncio.AbstractEventLoop):
    """sendfile and sock_sendfile."""

    async def sock_sendfile(
        self,
        sock: socket.socket,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        """Send a file's bytes from `offset` on, `count` of them or all, to a connected socket; returns how many."""
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        tls.refuse_tls_socket(sock)
        if sock.type != socket.SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        _check(file, offset, count)
        try:
            return await self._send(sock, file, offset, count)
        except SendfileNotAvailableError:
            if not fallback:
                raise
        return await self._copy(file, offset, count, lambda data: self.sock_sendall(sock, data))

    async def sendfile(
        self,
        transport: asyncio.WriteTransport,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Send a file's bytes from `offset` on, `count` of them or all, through a transport; returns how many."""
        if transport.is_closing():
            raise RuntimeError("Transport is closing")
        mode = getattr(transport, "_sendfile_compatible", _SendfileMode.UNSUPPORTED)
        if mode is _SendfileMode.UNSUPPORTED:
            raise RuntimeError(f"sendfile is not supported for transport {transport!r}")
        _check(file, offset, count)
        if mode is _SendfileMode.TRY_NATIVE:
            try:
                return await self._sendfile_native(transport, file, offset, count)
            except SendfileNotAvailableError:
                if not fallback:
                    raise
        if not fallback:
            raise RuntimeError(f"fallback is disabled and native sendfile is not supported for transport {transport!r}")
        with _Guard(transport) as guard:
            return await self._copy(file, offset, count, guard.write)

    async def _sendfile_native(self, transport: Any, file: Any, offset: int, count: int | None) -> int:
        """sendfile(2) on the transport's socket, once the transport has sent what it had."""
        with _Guard(transport) as guard:
            await transport._make_empty_waiter()
            try:
                if transport.is_closing():
                    raise ConnectionError("Connection closed while it was drained")
                # On a descriptor of our own: the transport watches the other, and may close it at any time.
                with transport._sock.dup() as guard.sock:
                    return await self._send(guard.sock, file, offset, count)
            finally:
                guard.sock = None
                transport._reset_empty_waiter()

    async def _send(self, sock: socket.socket, file: Any, offset: int, count: int | None) -> int:
        """sendfile(2) until `count` bytes or the file's end.

        SendfileNotAvailableError says that nothing was sent and that this file or socket is not for sendfile(2).
        """
        try:
            source = file.fileno()
            os.lseek(source, 0, os.SEEK_CUR)  # a pipe or a socket has no offset to send from
        except (AttributeError, io.UnsupportedOperation, OSError) as exception:
            raise SendfileNotAvailableError("not a regular file") from exception
        target = sock.fileno()
        sent = 0
        try:
            while count is None or sent < count:
                at_once = _AT_ONCE if count is None else min(count - sent, _AT_ONCE)
                try:
                    n = os.sendfile(target, source, offset + sent, at_once)
                except (BlockingIOError, InterruptedError):
                    pass
                except OSError as exception:
                    if sent == 0:
                        raise SendfileNotAvailableError("os.sendfile call failed") from exception
                    if exception.errno == errno.ENOTCONN:
                        raise ConnectionError("socket is not connected", errno.ENOTCONN) from exception
                    raise
                else:
                    sent += n
                    if n == 0 or sent == count:
                        break
                # Also after progress, so that a fast reader does not keep the loop for itself.
                writable = self.create_future()
                self.add_writer(target, _wake, writable)
                try:
                    await writable
                finally:
                    self.remove_writer(target)
        finally:
            if sent:
                os.lseek(source, offset + sent, os.SEEK_SET)
        return sent

    async def _copy(self, file: Any, offset: int, count: int | None, write: Callable[[memoryview], Any]) -> int:
        """Read the file on another thread and write what was read."""
        seekable = file.seekable() if hasattr(file, "seekable") else hasattr(file, "seek")
        if offset or seekable:
            file.seek(offset)
        sent = 0
        try:
            while count is None or sent < count:
                # A buffer of its own for each chunk: the transport may keep it until it is sent.
                view = memoryview(bytearray(_CHUNK if count is None else min(count - sent, _CHUNK)))
                n = await self.run_in_executor(None, file.readinto, view)
                if not n:
                    break
                await write(view[:n])
                sent += n
        finally:
            if sent and seekable:
                file.seek(offset + sent)
        return sent


def _check(file: Any, offset: int, count: int | None) -> None:
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if count is not None:
        if not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
    if not isinstance(offset, int):
        raise TypeError(f"offset must be a non-negative integer (got {offset!r})")
    if offset < 0:
        raise ValueError(f"offset must be a non-negative integer (got {offset!r})")


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


class _Guard(asyncio.Protocol):
    """Stands in for a transport's protocol while a file goes past or through it."""

    def __init__(self, transport: Any) -> None:
        self.sock: socket.socket | None = None  # what sendfile(2) writes to
        self._transport = transport
        self._protocol = transport.get_protocol()
        if isinstance(self._protocol, _Guard):
            raise RuntimeError("unable to send a file; sendfile is in progress")
        self._was_reading = transport.is_reading()
        self._was_paused = transport._protocol_paused
        self._room: asyncio.Future[None] | None = None
        if self._was_paused:
            self.pause_writing()
        transport.pause_reading()
        transport.set_protocol(self)

    async def write(self, data: memoryview) -> None:
        if self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")
        if self._room is not None:
            await self._room
        self._transport.write(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the transport back as it was found; one that closes keeps us, who pass its end on."""
        if self._room is not None:
            self._room.cancel()
        if self._transport.is_closing():
            return
        self._transport.set_protocol(self._protocol)
        if self._was_reading:
            self._transport.resume_reading()
        if self._transport._protocol_paused != self._was_paused:
            if self._was_paused:
                self._protocol.resume_writing()
            else:
                self._protocol.pause_writing()

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = self._transport._loop.create_future()

    def resume_writing(self) -> None:
        if self._room is not None:
            _wake(self._room)
            self._room = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_exception(exc or ConnectionError("Connection is closed by peer"))
            self._room.exception()  # perhaps nobody waits
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)  # sendfile(2) fails now, instead of waiting for ever
        self._protocol.connection_lost(exc)

    def eof_received(self) -> bool | None:
        eof: bool | None = self._protocol.eof_received()  # TLS says so while it closes
        return eof

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raise RuntimeError("Invalid state: connection should have been established already.")

    def data_received(self, data: bytes) -> None:
        raise RuntimeError("Invalid state: reading should be paused")
