"""An HTTP file server: an ASGI application under uvicorn, on uvworks' loop, reading through uvworks.fs.

    python examples/fileserver.py [DIRECTORY] [--port 8000]

GET and HEAD of files and of directories (a listing), with Content-Type, ETag, Last-Modified and 304. It serves
nothing outside of the directory, not even through a symbolic link, and no file larger than MAX_SIZE.

--with aiofiles runs the same application on asyncio's own loop with aiofiles; fileserver_demo.py compares the two.
"""

import argparse
import html
import mimetypes
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from errno import EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM
from typing import Any, Protocol
from urllib.parse import quote

import uvicorn

MAX_SIZE = 64 << 20

# What the request is to blame for; the rest (too large, a disk that fails) is the server's.
STATUS = {ENOENT: 404, ENOTDIR: 404, ENAMETOOLONG: 404, ELOOP: 404, EACCES: 403, EPERM: 403}

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Files(Protocol):
    """What the server asks of a file library: uvworks.fs has it as it is."""

    async def realpath(self, path: str) -> str: ...
    async def stat(self, path: str) -> os.stat_result: ...
    async def readdir(self, path: str) -> list[str]: ...
    async def read_file(self, path: str, *, max_size: int) -> bytes: ...


class FileServer:
    """The ASGI application."""

    def __init__(self, top: str, files: Files) -> None:
        self.top = os.path.realpath(top)
        self.files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # no lifespan, no websockets
            return
        try:
            status, headers, body = await self.answer(scope)
        except ValueError:  # a NUL in the path
            status, headers, body = text(404, "not found")
        except OSError as error:
            status, headers, body = text(STATUS.get(error.errno or 0, 500), error.strerror or "error")
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def answer(self, scope: Scope) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if scope["method"] not in ("GET", "HEAD"):
            return text(405, "method not allowed")
        path = await self.files.realpath(f"{self.top}/{scope['path']}")
        if path != self.top and not path.startswith(self.top + os.sep):
            return text(404, "not found")
        found = await self.files.stat(path)
        if stat.S_ISDIR(found.st_mode):
            return await self.listing(path, scope["path"])
        if not stat.S_ISREG(found.st_mode):
            return text(403, "not a file")
        etag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'.encode()
        headers = [
            (b"content-type", (mimetypes.guess_type(path)[0] or "application/octet-stream").encode()),
            (b"last-modified", formatdate(found.st_mtime, usegmt=True).encode()),
            (b"etag", etag),
        ]
        if any(name == b"if-none-match" and etag in value for name, value in scope["headers"]):
            return 304, headers, b""
        body = await self.files.read_file(path, max_size=MAX_SIZE)
        return 200, [*headers, (b"content-length", str(len(body)).encode())], body

    async def listing(self, path: str, shown: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        base = shown.rstrip("/")
        names = sorted(await self.files.readdir(path))
        items = (f'<li><a href="{quote(base)}/{quote(name)}">{html.escape(name)}</a>' for name in names)
        page = f"<!doctype html><meta charset=utf-8><title>{html.escape(shown)}</title><ul>{''.join(items)}</ul>"
        body = page.encode("utf-8", "surrogateescape")
        return 200, [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())], body


def text(status: int, message: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    body = f"{message}\n".encode()
    return status, [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())], body


def with_aiofiles() -> Files:
    """The same four calls from aiofiles, each a thread's."""
    import aiofiles
    import aiofiles.os

    class Aiofiles:
        realpath = staticmethod(aiofiles.os.wrap(os.path.realpath))
        stat = staticmethod(aiofiles.os.stat)
        readdir = staticmethod(aiofiles.os.listdir)

        async def read_file(self, path: str, *, max_size: int) -> bytes:
            async with aiofiles.open(path, "rb") as file:
                return await file.read(max_size)

    return Aiofiles()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("top", nargs="?", default=".", metavar="DIRECTORY", help="what to serve (default .)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--with", choices=("uvworks", "aiofiles"), default="uvworks", dest="way")
    parser.add_argument("--fd", type=int, help="a listening socket to serve on instead")
    arguments = parser.parse_args()
    if arguments.way == "uvworks":
        from uvworks import fs

        files, loop = fs, "uvworks:new_event_loop"
    else:
        files, loop = with_aiofiles(), "asyncio"
    application: Any = FileServer(arguments.top, files)
    config = uvicorn.Config(
        application, port=arguments.port, loop=loop, http="httptools", lifespan="off", ws="none", access_log=False,
        log_level="warning" if arguments.fd is not None else "info",
    )  # fmt: skip
    sockets = None if arguments.fd is None else [socket.socket(fileno=arguments.fd)]
    try:
        uvicorn.Server(config).run(sockets)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
