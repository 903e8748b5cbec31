"""UNIX stream sockets: connections and servers, by path, abstract name, or a socket that is already there."""

import asyncio
import errno
import logging
import os
import socket
import stat
import sys
from collections.abc import Callable
from functools import partial
from ssl import SSLContext
from typing import TypeVar

from . import tls
from .connect import Connections
from .serve import Server, Servers

__all__ = ["UnixSockets", "remove_stale_socket"]

_logger = logging.getLogger("asyncio")

_P = TypeVar("_P", bound=asyncio.BaseProtocol)
_Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class UnixSockets(Connections, Servers):
    """create_unix_connection and create_unix_server."""

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _P],
        path: _Path | None = None,
        *,
        ssl: bool | SSLContext | None = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _P]:
        """Connect to a UNIX stream socket, or take a connected one; a name that begins with NUL is abstract."""
        if server_hostname is not None and not isinstance(server_hostname, str):
            raise TypeError(f"server_hostname must be str or None, not {server_hostname!r}")
        if ssl and server_hostname is None:
            raise ValueError("you have to pass server_hostname when using ssl")
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        tls.check_options(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        ours = path is not None
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                await self.sock_connect(sock, os.fspath(path))
            except BaseException:
                sock.close()
                raise
        elif sock is None:
            raise ValueError("no path and sock were specified")
        else:
            _check_stream(sock)
        return await self._start_stream(
            sock,
            protocol_factory,
            ssl,
            server_hostname,
            ours=ours,
            handshake_timeout=ssl_handshake_timeout,
            shutdown_timeout=ssl_shutdown_timeout,
        )

    async def create_unix_server(
        self,
        protocol_factory: tls.Factory,
        path: _Path | None = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: bool | SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = sys.version_info >= (3, 13),
    ) -> Server:
        """Listen on a UNIX stream socket; a stale socket file in its place is removed.

        With `cleanup_socket` (the default from Python 3.13 on, as in asyncio) closing the server removes its file.
        """
        tls.check_options(ssl, ssl_handshake_timeout, ssl_shutdown_timeout, default_context=False)
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = _bound(os.fspath(path))
        elif sock is None:
            raise ValueError("path was not specified, and no sock specified")
        else:
            _check_stream(sock)
        if ssl is not None:
            protocol_factory = tls.server_factory(
                self, protocol_factory, ssl, ssl_handshake_timeout, ssl_shutdown_timeout
            )
        on_close = _file_remover(sock) if cleanup_socket else None
        return await self._serve(Server(self, [sock], protocol_factory, backlog, on_close), start_serving)


def remove_stale_socket(path: str | bytes) -> None:
    """Make room for a new socket file where an old one lies; other files are left alone."""
    if is_abstract(path):
        return
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
    except FileNotFoundError:
        pass
    except OSError as exception:  # the directory may allow making sockets only
        _logger.error("Unable to check or remove stale UNIX socket %r: %r", path, exception)


def is_abstract(path: str | bytes) -> bool:
    """Names that begin with NUL live in no file system; neither does the empty one, which lets the kernel choose."""
    return not path or path[0] in (0, "\0")


def _check_stream(sock: socket.socket) -> None:
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")


def _bound(path: str | bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_stale_socket(path)
        sock.bind(path)
    except BaseException as exception:
        sock.close()
        if isinstance(exception, OSError) and exception.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise
    return sock


def _file_remover(sock: socket.socket) -> Callable[[], None] | None:
    """What removes the socket's file, if it has one and that is still its own."""
    path = sock.getsockname()
    if is_abstract(path):
        return None
    try:
        return partial(_remove, path, os.stat(path).st_ino)
    except FileNotFoundError:
        return None


def _remove(path: str | bytes, inode: int) -> None:
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as exception:
        _logger.error("Unable to clean up listening UNIX socket %r: %r", path, exception)
