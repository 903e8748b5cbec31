"""Feeds tests to worker processes, one test at a time, and outlives whatever they do.

A test that hangs is killed with its worker's whole process group when its time is up; one that crashes takes only its
worker along. Either is a result like any other. A worker whose test did not pass is replaced, so that a failure cannot
spread. Each result is written to a file at once: a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "conformance"
PACKAGE = "test.test_asyncio"
KEPT = 20_000  # characters of a test's output that a result keeps


@dataclass
class Result:
    name: str
    outcome: str  # passed, failed, skipped, hung, crashed
    text: str = ""  # the tracebacks, or why it was skipped
    made: int = 0  # how many loops of the tested kind the test made
    seconds: float = 0.0

    @property
    def bad(self) -> bool:
        return self.outcome in ("failed", "hung", "crashed")


class WorkerGone(Exception):
    """The worker ended or said nothing for too long; the text says which."""


class Worker:
    """A process that runs one test after another."""

    def __init__(self, loop: str, package: str) -> None:
        ours, theirs = socket.socketpair()
        self._channel = ours
        self._received = b""
        self._output = tempfile.TemporaryFile()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PYTHONASYNCIODEBUG": ""}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.conformance.worker", loop, str(theirs.fileno()), package],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            )

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        try:
            self._channel.sendall(json.dumps(request).encode() + b"\n")
            while b"\n" not in self._received:
                if not select.select([self._channel], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise WorkerGone("hung")
                data = self._channel.recv(1 << 16)
                if not data:
                    raise WorkerGone("crashed")
                self._received += data
        except OSError as error:
            raise WorkerGone("crashed") from error
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def output(self) -> str:
        """What was written since the last call, its end if it is long."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - KEPT))
        text = self._output.read().decode(errors="replace")
        self._output.seek(0)
        self._output.truncate()
        return text

    def close(self) -> int:
        """End the process with everything it started; its exit status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        self._channel.close()
        self._output.close()
        return status

    def post_mortem(self) -> str:
        text = self.output()
        status = self.close()
        return f"exit status {status}\n{text}"


def list_tests(module: str, package: str = PACKAGE) -> list[str]:
    """The names of the tests in MODULE; listing loads no loop but asyncio's own."""
    worker = Worker("asyncio", package)
    try:
        answer = worker.ask({"list": module}, 60)
    except WorkerGone as gone:
        raise RuntimeError(f"cannot list {module}: {gone}: {worker.post_mortem()}") from None
    worker.close()
    if "error" in answer:
        raise RuntimeError(f"cannot list {module}: {answer['error']}")
    return answer["tests"]


def _run_one(worker: Worker, name: str, timeout: float) -> Result:
    start = time.monotonic()
    try:
        answer = worker.ask({"run": name, "timeout": timeout}, timeout)
    except WorkerGone as gone:
        return Result(name, str(gone), worker.post_mortem(), 0, round(time.monotonic() - start, 3))
    text, output = answer["text"], worker.output()
    if answer["outcome"] == "failed":
        text = f"{text}\n{output}"
    return Result(name, answer["outcome"], text, answer["made"], round(time.monotonic() - start, 3))


def run_tests(
    loop: str,
    tests: Iterable[tuple[str, float]],
    *,
    package: str = PACKAGE,
    jobs: int = 1,
    go_on: Callable[[Result], bool] = lambda result: True,
) -> list[Result]:
    """Run (name, seconds it may take) TESTS on LOOP in JOBS processes; `go_on` hears each result and can end it."""
    waiting: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
    for test in tests:
        waiting.put(test)
    results: list[Result] = []
    mutex = threading.Lock()
    stop = threading.Event()

    def work() -> None:
        worker: Worker | None = None
        try:
            while not stop.is_set():
                try:
                    name, timeout = waiting.get_nowait()
                except queue.Empty:
                    break
                worker = worker or Worker(loop, package)
                result = _run_one(worker, name, timeout)
                if result.bad:
                    if result.outcome == "failed":
                        worker.close()
                    worker = None
                with mutex:
                    results.append(result)
                    if not go_on(result):
                        stop.set()
        finally:
            if worker:
                worker.close()

    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        stop.set()
        for thread in threads:
            thread.join()
        raise
    return results


class Record:
    """The results of one loop on one Python, in a file of JSON lines that survives an interrupted run."""

    def __init__(self, loop: str) -> None:
        version = ".".join(platform.python_version_tuple()[:2])
        self.path = RESULTS / f"{loop.replace(':', '-')}-{version}.jsonl"

    def read(self) -> dict[str, Result]:
        if not self.path.exists():
            return {}
        results: dict[str, Result] = {}
        for line in self.path.read_text().splitlines():
            with contextlib.suppress(ValueError, TypeError):  # the line that was being written when the run ended
                result = Result(**json.loads(line))
                results[result.name] = result
        return results

    def begin(self, kept: Iterable[Result]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(json.dumps(asdict(result)) + "\n" for result in kept))

    def add(self, result: Result) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
