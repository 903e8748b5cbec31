"""uvicorn serving an ASGI app to httpx: requests, streams, keep-alive, lifespan, a clean end; and `uvicorn --loop`."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from tests.programs.conftest import accepts, free_port
from tests.support import eventually, until

PIECE = bytes(range(256)) * 256


class App:
    def __init__(self) -> None:
        self.events: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                self.events.append((await receive())["type"])
                await send({"type": f"{self.events[-1]}.complete"})
            return
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        if scope["path"] == "/stream":
            for _ in range(64):
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await send({"type": "http.response.body"})
        else:
            await send({"type": "http.response.body", "body": str(size).encode()})


@asynccontextmanager
async def serving(app: App, http: str) -> AsyncIterator[httpx.AsyncClient]:
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, http=http, ws="none", log_level="warning", lifespan="on")
    )
    task = asyncio.create_task(server._serve())  # serve() itself takes over the process's signals
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield client
    server.should_exit = True
    await task


@pytest.fixture(params=["httptools", "h11"])
def http(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_requests_bodies_and_the_end(http: str) -> None:
    app = App()
    async with serving(app, http) as client:
        for size in (0, 1, 100_000):
            response = await client.post("/", content=b"x" * size)
            assert (response.status_code, response.text) == (200, str(size))
        assert (await client.get("/stream")).content == PIECE * 64
        answers = await asyncio.gather(*(client.post("/", content=b"y" * number) for number in range(100)))
        assert [answer.text for answer in answers] == [str(number) for number in range(100)]
    assert app.events == ["lifespan.startup", "lifespan.shutdown"]


async def test_a_streamed_upload(http: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield PIECE

    async with serving(App(), http) as client:
        assert (await client.post("/", content=body())).text == str(64 * len(PIECE))


PROGRAM = """
import asyncio
async def app(scope, receive, send):
    assert scope["type"] == "http"
    name = type(asyncio.get_running_loop()).__module__
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": name.encode()})
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvworks:new_event_loop"])
def test_the_command_line(loop: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "program:app", "--port", str(port), "--loop", loop, "--lifespan", "off"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            eventually(lambda: process.poll() is not None or accepts(("127.0.0.1", port)))
            text = httpx.get(f"http://127.0.0.1:{port}/", timeout=10, trust_env=False).text
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=20)
    assert text.startswith("uvworks" if "uvworks" in loop else "asyncio"), output
    assert "Finished server process" in output
