"""UNIX stream sockets: paths, abstract names, stale files, and who removes what."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.loop.support import Recorder, echo, echoes, only_uvworks, serving


async def test_a_connection(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with serving(await asyncio.start_unix_server(echo, path)) as server:
        assert server.sockets[0].getsockname() == str(path)
        for form in (path, str(path), os.fsencode(path)):
            reader, writer = await asyncio.open_unix_connection(form)
            assert writer.get_extra_info("peername") == str(path)
            await echoes(reader, writer, b"x" * 200_000)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
@pytest.mark.parametrize("name", ["\0uvworks-test-%d", b"\0uvworks-test-%d"], ids=["str", "bytes"])
async def test_abstract_names(name: Any) -> None:
    name %= os.getpid()
    async with serving(await asyncio.start_unix_server(echo, name)):
        await echoes(*await asyncio.open_unix_connection(name))


async def test_tls(tmp_path: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    path = tmp_path / "socket"
    async with serving(await asyncio.start_unix_server(echo, path, ssl=server_tls)):
        await echoes(*await asyncio.open_unix_connection(path, ssl=client_tls, server_hostname="localhost"))


async def test_given_sockets(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    async with serving(await asyncio.start_unix_server(echo, sock=listener)):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "socket"))
        await echoes(*await asyncio.open_unix_connection(sock=client))


async def test_a_pair_of_sockets() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    first, one = await loop.create_unix_connection(Recorder, sock=ours)
    second, two = await loop.create_connection(Recorder, sock=theirs)
    first.write(b"hello")
    first.write_eof()
    await asyncio.wait_for(two.lost, 10)
    assert two.data == b"hello"
    assert second.is_closing()
    await asyncio.wait_for(one.lost, 10)


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await asyncio.open_unix_connection(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "stale"))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_unix_connection(tmp_path / "stale")


async def test_a_stale_socket_makes_room(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    async with serving(await asyncio.start_unix_server(echo, path)):
        await echoes(*await asyncio.open_unix_connection(path))


async def test_other_files_do_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match="is already in use") as caught:
        await asyncio.start_unix_server(echo, path)
    assert caught.value.errno == errno.EADDRINUSE
    assert path.read_text() == "precious"


async def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await asyncio.start_unix_server(echo, tmp_path / "missing" / "socket")


async def test_names_that_are_too_long() -> None:
    with pytest.raises(OSError, match="too long"):
        await asyncio.start_unix_server(echo, "x" * 200)
    with pytest.raises(OSError, match="too long"):
        await asyncio.open_unix_connection("x" * 200)


async def test_the_file_goes_with_the_server_from_313_on(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with serving(await asyncio.start_unix_server(echo, path)):
        assert path.is_socket()
    assert path.exists() is (sys.version_info < (3, 13))


@only_uvworks
@pytest.mark.parametrize("cleanup", [True, False])
async def test_cleanup_socket(tmp_path: Path, cleanup: bool) -> None:
    path = tmp_path / "socket"
    async with serving(await asyncio.start_unix_server(echo, path, cleanup_socket=cleanup)):
        assert path.is_socket()
    assert path.exists() is not cleanup


@only_uvworks
async def test_cleanup_leaves_the_next_ones_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = await asyncio.start_unix_server(echo, path, cleanup_socket=True)
    async with serving(await asyncio.start_unix_server(echo, path, cleanup_socket=True)):
        first.close()
        assert path.is_socket()
        await echoes(*await asyncio.open_unix_connection(path))
    assert not path.exists()


@only_uvworks
async def test_cleanup_of_a_file_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with serving(await asyncio.start_unix_server(echo, path, cleanup_socket=True)):
        path.unlink()


Options = dict[str, Any]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "no path and sock were specified"),
        ({"path": "p", "sock": object()}, ValueError, "path and sock can not be specified at the same time"),
        ({"path": "p", "ssl": True}, ValueError, "you have to pass server_hostname when using ssl"),
        ({"path": "p", "server_hostname": "h"}, ValueError, "server_hostname is only meaningful with ssl"),
        ({"path": "p", "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful with ssl"),
        ({"path": "p", "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with ssl"),
        ({"path": 7}, TypeError, "expected str, bytes or os.PathLike object"),
        ({"path": "a\0b"}, (ValueError, OSError), None),
    ],
    ids=str,
)
async def test_arguments_of_a_connection_that_do_not_fit(options: Options, error: Any, message: str | None) -> None:
    with pytest.raises(error, match=message):
        await asyncio.get_running_loop().create_unix_connection(asyncio.Protocol, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "path was not specified, and no sock specified"),
        ({"path": "p", "sock": object()}, ValueError, "path and sock can not be specified at the same time"),
        ({"path": "p", "ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
        ({"path": "p", "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful with ssl"),
        ({"path": "p", "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with ssl"),
        ({"path": 7}, TypeError, "expected str, bytes or os.PathLike object"),
    ],
    ids=str,
)
async def test_arguments_of_a_server_that_do_not_fit(options: Options, error: Any, message: str | None) -> None:
    with pytest.raises(error, match=message):
        await asyncio.get_running_loop().create_unix_server(asyncio.Protocol, **options)


@only_uvworks  # asyncio leaves the socket to the garbage collector
async def test_a_path_with_a_nul() -> None:
    with pytest.raises(ValueError, match="null"):
        await asyncio.get_running_loop().create_unix_server(asyncio.Protocol, "a\0b")


@pytest.mark.parametrize("make", [socket.socket, lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)])
async def test_sockets_of_another_kind(make: Any) -> None:
    loop = asyncio.get_running_loop()
    with make() as sock:
        with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected"):
            await loop.create_unix_connection(asyncio.Protocol, sock=sock)
        with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected"):
            await loop.create_unix_server(asyncio.Protocol, sock=sock)
        assert sock.fileno() >= 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
async def test_a_directory_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        await asyncio.start_unix_server(echo, tmp_path / "socket")
