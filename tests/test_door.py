"""Every job enters by one door: whatever a coroutine asks of the pool, it is refused in the same places, in the same
words, and never left to wait for ever. The functions are found by introspection, so that a new one cannot miss it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests import door
from tests.loops import LOOPS, LoopFactory
from tests.support import python
from uvworks import fs

HANGS = 3  # so many are told of; each takes door.PATIENCE
ROOT = str(Path(__file__).parent.parent)
each_loop = pytest.mark.parametrize("loop", LOOPS)


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    door.prepare()


def listed(wrong: dict[str, str]) -> str:
    return "\n".join(f"{case}: {said}" for case, said in wrong.items())


def test_every_coroutine_function_has_arguments() -> None:
    known = {name.split(" ")[0] for name in (*door.JOBS, *door.NO_JOBS, *door.AT_ONCE)}
    new, gone = sorted(door.found() - known), sorted(known - door.found())
    assert not new, f"add a call of each of these to the tables of tests/door.py: {', '.join(new)}"
    assert not gone, f"take these out of the tables of tests/door.py: {', '.join(gone)}"


def test_without_a_running_loop() -> None:
    calls = {**{name: call for name, (_, call) in door.JOBS.items()}, **door.NO_JOBS}
    wrong = {
        name: said for name, call in calls.items() if "no running event loop" not in (said := door.first_step(call))
    }
    assert not wrong, listed(wrong)


def test_small_ones_are_answered_at_once() -> None:
    wrong = {name: said for name, call in door.AT_ONCE.items() if (said := door.first_step(call)) != "answers"}
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
def test_on_a_closed_loop(loop_factory: LoopFactory, used: bool) -> None:
    loop = loop_factory()
    loop.run_until_complete(fs.stat("/") if used else asyncio.sleep(0))
    loop.close()
    asyncio._set_running_loop(loop)
    try:
        said = {name: door.first_step(call) for name, (_, call) in door.JOBS.items()}
    finally:
        asyncio._set_running_loop(None)
    wrong = {name: text for name, text in said.items() if not (text.startswith("RuntimeError") and "closed" in text)}
    assert not wrong, listed(wrong)


def lines(output: str) -> dict[str, str]:
    return {case: said for case, _, said in (line.partition("\t") for line in output.splitlines())}


def said_inside(size: int, loop: str) -> dict[str, str]:
    """What door.inside() reports. A process ends with the first call that hangs; another goes on behind it."""
    said: dict[str, str] = {}
    for _ in range(HANGS):
        script = f"from tests import door; door.inside({size}, {loop!r}, {len(said)})"
        done = python(script, env={"PYTHONPATH": ROOT}, check=False, timeout=60)
        said |= lines(done.stdout)
        if done.returncode == 0:
            return said
        assert "Timeout" in done.stderr, done.stdout + done.stderr
        hung = list(said)[-1]
        said[hung] = "hangs"
    return said


def would_never_end(size: int, lane: str, inside: str) -> bool:
    """All lanes but io have size - 1 workers together, and a pool of one has no other."""
    return size == 1 or (size == 2 and lane != "io" and inside != "io")


@each_loop
@pytest.mark.parametrize("size", [1, 2, 4])
def test_inside_a_worker(size: int, loop: str) -> None:
    said = said_inside(size, loop)
    wrong = {}
    for case, text in said.items():
        name, _, inside = case.rpartition(" from ")
        if name in door.NO_JOBS:
            right = text == "answers" or text.startswith("gaierror")
        elif would_never_end(size, door.JOBS[name][0], inside):
            right = text.startswith("RuntimeError: deadlock")
        else:
            right = text == "answers"
        if not right:
            wrong[case] = text
    assert not wrong, listed(wrong)
    assert {case.rpartition(" from ")[0] for case in said} == {*door.JOBS, *door.NO_JOBS}


@each_loop
def test_on_a_parents_loop(loop: str) -> None:
    script = f"from tests import door; door.forked({loop!r})"
    said = lines(python(script, env={"PYTHONPATH": ROOT}, warnings="ignore", timeout=60).stdout)
    wrong = {
        case: text
        for case, text in said.items()
        if not text.startswith("RuntimeError") or (case.endswith(" on the loop") and "before fork()" not in text)
    }
    assert not wrong, listed(wrong)
    assert len(said) == 2 * len(door.JOBS)


@each_loop
def test_at_exit(loop: str) -> None:
    script = f"""
        import atexit
        atexit.register(lambda: door.at_exit({loop!r}))
        from tests import door
        door.prepare()
    """
    said = lines(python(script, env={"PYTHONPATH": ROOT}, timeout=60).stdout)
    wrong = {case: text for case, text in said.items() if not text.startswith("RuntimeError") or "shutdown" not in text}
    assert not wrong, listed(wrong)
    assert set(said) == set(door.JOBS)
