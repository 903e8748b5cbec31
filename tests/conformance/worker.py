"""A process that runs single tests of `test.test_asyncio` on the loop it was told.

python -m tests.conformance.worker LOOP FD PACKAGE

It reads requests, a JSON line each, from the socket FD and answers each with a JSON line:

    {"list": MODULE}                      -> {"tests": [NAME, ...]} or {"error": TEXT}
    {"run": NAME, "timeout": SECONDS}     -> {"outcome": "passed" | "failed" | "skipped", "text": ..., "made": LOOPS}

NAME is "test_events.EPollEventLoopTests.test_run_forever", to be found in PACKAGE. Rule: a request never changes what
the next one sees, as far as one process can promise that; the runner replaces a worker whose test did not pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import os
import signal
import socket
import sys
import tempfile
import traceback
import unittest
from collections.abc import Iterator
from typing import Any

from tests.conformance import swap


def ids_of(suite: unittest.TestSuite) -> Iterator[str]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from ids_of(test)
        else:
            yield test.id()


def list_tests(package: str, module: str) -> dict[str, Any]:
    suite = unittest.defaultTestLoader.loadTestsFromName(f"{package}.{module}")
    return {"tests": [each.removeprefix(f"{package}.") for each in ids_of(suite)]}


def run_test(package: str, name: str, timeout: float, loop: Any) -> dict[str, Any]:
    result = unittest.TestResult()
    # Some tests count on another of their module having made this call before them.
    asyncio.set_event_loop(None)
    made_before = loop.made
    # A C thread writes the stacks shortly before the runner's patience ends, even if a callback holds the GIL.
    faulthandler.dump_traceback_later(max(timeout - 0.5, timeout / 2))
    try:
        unittest.defaultTestLoader.loadTestsFromName(f"{package}.{name}").run(result)
    finally:
        faulthandler.cancel_dump_traceback_later()
    problems = [text for _, text in (*result.errors, *result.failures)]
    problems += [f"unexpected success of {test}" for test in result.unexpectedSuccesses]
    if problems:
        outcome, text = "failed", "\n".join(problems)
    elif result.skipped:
        outcome, text = "skipped", result.skipped[0][1]
    else:
        outcome, text = "passed", ""
    return {"outcome": outcome, "text": text, "made": loop.made - made_before}


def main(loop_name: str, fd: int, package: str) -> None:
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a CI may start us with SIGINT ignored
    channel = socket.socket(fileno=fd)
    channel.set_inheritable(False)
    loop = swap.swap_in(loop_name)
    with channel.makefile("r") as requests, tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        for line in requests:
            request = json.loads(line)
            try:
                if "list" in request:
                    answer = list_tests(package, request["list"])
                else:
                    answer = run_test(package, request["run"], request["timeout"], loop)
            except BaseException:
                text = traceback.format_exc()
                answer = {"error": text, "outcome": "failed", "text": text, "made": 0}
            sys.stdout.flush()
            sys.stderr.flush()
            channel.sendall(json.dumps(answer).encode() + b"\n")
    os._exit(0)  # what a test left behind must not hold up the runner


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
