"""What the real programs need: the loops to run them on, certificates, and database servers on loopback.

A server is started once for the session, as an unprivileged user if the tests run as root, with its data in a
temporary directory; when the session ends it is stopped and its data removed. Where its Debian package is missing the
tests that need it are skipped, but not in CI: there they fail (scripts/system_packages.sh installs them).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def missing(what: str) -> Any:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what} is not installed")


def unprivileged(*names: str) -> dict[str, Any]:
    """Arguments for subprocess, for a program that refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = next(user for user in pwd.getpwall() if user.pw_name in names)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def server_directory(user: dict[str, Any]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="uvworks-", ignore_cleanup_errors=True) as name:
        if user:
            os.chown(name, user["user"], user["group"])
        yield Path(name)


@contextlib.contextmanager
def running_server(
    command: list[str], directory: Path, ready: Callable[[], bool], **arguments: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start COMMAND and wait until `ready()`; end it by SIGTERM."""
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory, **arguments
        )
    try:
        deadline = time.monotonic() + 30
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} did not start (exit status {process.poll()}):\n{log.read_text()}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def accepts(address: Any, family: int = socket.AF_INET) -> bool:
    with socket.socket(family) as sock:
        return sock.connect_ex(address) == 0


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    command = shutil.which("redis-server") or missing("redis-server")
    user, port = unprivileged("redis", "nobody"), free_port()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (
        server_directory(user) as directory,
        running_server([command, *arguments], directory, lambda: accepts(("127.0.0.1", port)), **user),
    ):
        yield port


@pytest.fixture(scope="session")
def postgres() -> Iterator[dict[str, Any]]:
    """Where the server listens, as arguments for asyncpg.connect."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    initdb = str(installed[-1]) if installed else shutil.which("initdb") or missing("postgresql")
    user, port = unprivileged("postgres", "nobody"), free_port()
    with server_directory(user) as directory:
        data = directory / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", "tester", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"],
            check=True,
            capture_output=True,
            cwd=directory,
            timeout=60,
            **user,
        )
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(directory),
            "fsync": "off",
            "max_connections": "50",
        }
        command = [str(Path(initdb).with_name("postgres")), "-D", str(data), "-p", str(port)]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        where = {"host": "127.0.0.1", "port": port, "user": "tester", "database": "postgres"}
        socket_path = str(directory / f".s.PGSQL.{port}")

        def ready() -> bool:  # it accepts earlier, only to say that it is starting up
            try:
                return (data / "postmaster.pid").read_text().split()[-1] == "ready"
            except (FileNotFoundError, IndexError):
                return False

        with running_server(command, directory, ready, **user):
            yield {**where, "socket_directory": str(Path(socket_path).parent)}
