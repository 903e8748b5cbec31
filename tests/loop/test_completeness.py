"""Nothing of asyncio's loop is missing: every method of AbstractEventLoop is there, takes at least what the running
Python's own loop takes, and is documented."""

from __future__ import annotations

import asyncio
import inspect

import pytest

import uvworks

ABSTRACT = sorted(name for name in vars(asyncio.AbstractEventLoop) if not name.startswith("_"))


def test_there_is_something_to_compare() -> None:
    assert len(ABSTRACT) > 50


@pytest.mark.parametrize("name", ABSTRACT)
def test_methods(name: str) -> None:
    ours, standard = getattr(uvworks.Loop, name), getattr(asyncio.SelectorEventLoop, name)
    assert ours is not getattr(asyncio.AbstractEventLoop, name)
    assert inspect.getdoc(ours)
    if not inspect.isfunction(ours):  # in C, without a signature
        return
    wanted, given = inspect.signature(standard).parameters, inspect.signature(ours).parameters
    kinds = {parameter.kind for parameter in given.values()}
    for parameter in wanted.values():
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            assert parameter.name in given or parameter.VAR_KEYWORD in kinds, parameter.name
    assert (inspect.Parameter.VAR_POSITIONAL in {parameter.kind for parameter in wanted.values()}) <= (
        inspect.Parameter.VAR_POSITIONAL in kinds
    )


@pytest.mark.parametrize("name", ["create_task", "run_in_executor", "subprocess_exec", "add_signal_handler"])
def test_positional_arguments_keep_their_places(name: str) -> None:
    def places(method: object) -> list[str]:
        return [
            parameter.name
            for parameter in inspect.signature(method).parameters.values()  # type: ignore[arg-type]
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]

    assert places(getattr(uvworks.Loop, name)) == places(getattr(asyncio.SelectorEventLoop, name))
