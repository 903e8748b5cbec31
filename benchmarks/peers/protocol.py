"""The Python side of the protocol: a greeting, then a JSON line in, a JSON line out (see harness/runner.py)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def say(message: dict[str, Any]) -> None:
    """One line to the runner."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answers requests until the input ends.

    A failing request is an answer too: the runner reports it and goes on.
    """
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        say(reply)
