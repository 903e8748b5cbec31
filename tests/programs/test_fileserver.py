"""The file server of examples/: what it answers, what it refuses, and that the demo runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from uvworks import fs

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.append(str(EXAMPLES))

from fileserver import FileServer, with_aiofiles  # noqa: E402

Get = Callable[..., Awaitable[tuple[int, dict[bytes, bytes], bytes]]]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "folder").mkdir(parents=True)
    (top / "page.html").write_text("<p>hello")
    (top / "folder" / "a & b.bin").write_bytes(os.urandom(100_000))
    (top / "empty").touch()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "top-secret").write_text("secret")
    (top / "link-out").symlink_to(tmp_path / "secret")
    (top / "link-in").symlink_to("page.html")
    (top / "link-to-itself").symlink_to("link-to-itself")
    os.mkfifo(top / "fifo")
    return top


@pytest.fixture(params=["uvworks", "aiofiles"])
def get(request: pytest.FixtureRequest, top: Path) -> Get:
    application = FileServer(str(top), fs if request.param == "uvworks" else with_aiofiles())

    async def call(
        path: str, method: str = "GET", headers: list[tuple[bytes, bytes]] | None = None
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        await application({"type": "http", "method": method, "path": path, "headers": headers or []}, receive, send)
        start, body = sent
        return start["status"], dict(start["headers"]), body["body"]

    return call


async def test_files(get: Get, top: Path) -> None:
    status, headers, body = await get("/page.html")
    assert (status, body) == (200, b"<p>hello")
    assert headers[b"content-type"] == b"text/html" and headers[b"content-length"] == b"8"
    assert headers[b"last-modified"].endswith(b"GMT")
    status, headers, body = await get("/folder/a & b.bin")
    assert (status, body) == (200, (top / "folder" / "a & b.bin").read_bytes())
    assert (await get("/empty"))[0::2] == (200, b"")
    assert (await get("/link-in"))[2] == b"<p>hello"


async def test_head_and_unchanged_files_have_no_body(get: Get) -> None:
    status, headers, body = await get("/page.html", "HEAD")
    assert status == 200 and headers[b"content-length"] == b"8" and body == b""
    status, _, body = await get("/page.html", headers=[(b"if-none-match", headers[b"etag"])])
    assert (status, body) == (304, b"")
    assert (await get("/page.html", headers=[(b"if-none-match", b'"other"')]))[0] == 200


async def test_directories_are_listed(get: Get) -> None:
    status, headers, body = await get("/")
    assert status == 200 and headers[b"content-type"].startswith(b"text/html")
    assert b'<a href="/page.html">page.html</a>' in body
    assert b'<a href="/folder/a%20%26%20b.bin">a &amp; b.bin</a>' in (await get("/folder"))[2]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/no", 404),
        ("/page.html/below", 404),
        ("/../secret", 404),
        ("/folder/../../secret", 404),
        ("/../top-secret", 404),
        ("/link-out", 404),
        ("/a\0b", 404),
        ("/fifo", 403),
        ("/" + "x" * 300, 404),
        ("/link-to-itself", 404),
    ],
)
async def test_what_is_refused(get: Get, path: str, status: int) -> None:
    answer, _, body = await get(path)
    assert answer == status and b"secret" not in body


async def test_other_methods(get: Get) -> None:
    assert (await get("/page.html", "POST"))[0] == 405


@pytest.mark.timeout(120)
def test_the_demo(top: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "fileserver_demo.py", top, "--rounds", "1", "--seconds", "0.2"],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "every byte equal" in done.stdout
    assert "uvworks.fs on uvworks.Loop" in done.stdout and "aiofiles on asyncio" in done.stdout
