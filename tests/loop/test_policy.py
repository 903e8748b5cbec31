"""The face: run(), install(), the policy, and python -m uvworks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import uvworks
from tests.support import python


@pytest.fixture(autouse=True)
def policy_is_as_before() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
        asyncio.set_event_loop_policy(None)


async def kind_of_loop(*arguments: Any) -> Any:
    await asyncio.sleep(0)
    return type(asyncio.get_running_loop())


def test_run() -> None:
    assert uvworks.run(kind_of_loop()) is uvworks.Loop
    with pytest.raises(ValueError, match="a coroutine was expected"):
        uvworks.run(print)  # type: ignore[arg-type]


def test_run_in_debug_mode() -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert uvworks.run(main(), debug=True) is True
    assert uvworks.run(main(), debug=False) is False


def test_run_with_another_factory() -> None:
    class Mine(uvworks.Loop):
        pass

    assert uvworks.run(kind_of_loop(), loop_factory=Mine) is Mine


def test_run_inside_a_running_loop() -> None:
    async def main() -> None:
        coroutine = kind_of_loop()
        with pytest.raises(RuntimeError, match=r"uvworks.run\(\) cannot be called from a running event loop"):
            uvworks.run(coroutine)
        coroutine.close()

    uvworks.run(main())


def test_run_cleans_up() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            ended.append("task")
            raise

    async def generator() -> Any:
        try:
            yield 1
        finally:
            ended.append("generator")

    async def main() -> Any:
        task = asyncio.create_task(background())
        kept = generator()
        await anext(kept)
        await asyncio.to_thread(int)
        return asyncio.get_running_loop(), task, kept

    loop, task, _ = uvworks.run(main())
    assert task.cancelled() and ended == ["task", "generator"]
    assert loop.is_closed()


def test_a_runner() -> None:
    with asyncio.Runner(loop_factory=uvworks.new_event_loop) as runner:
        assert runner.run(kind_of_loop()) is uvworks.Loop
        assert runner.run(kind_of_loop()) is uvworks.Loop


def test_new_loops_are_no_two_the_same() -> None:
    first, second = uvworks.new_event_loop(), uvworks.Loop()
    assert type(first) is type(second) is uvworks.Loop and first is not second
    assert isinstance(first, asyncio.AbstractEventLoop)
    first.close()
    second.close()


def test_loop_may_be_subclassed() -> None:
    class Mine(uvworks.Loop):
        def __init__(self, tag: str) -> None:
            super().__init__()
            self.tag = tag
            self.scheduled = 0

        def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
            self.scheduled += 1
            return super().call_soon(callback, *args, context=context)

    loop = Mine("mine")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert loop.tag == "mine" and loop.scheduled == 1 and repr(loop).startswith("<Mine ")
    loop.close()


def test_install() -> None:
    uvworks.install()
    assert asyncio.run(kind_of_loop()) is uvworks.Loop
    loop = asyncio.new_event_loop()
    assert type(loop) is uvworks.Loop
    loop.close()


def test_the_policy() -> None:
    policy = uvworks.EventLoopPolicy()
    assert isinstance(policy, asyncio.AbstractEventLoopPolicy)
    asyncio.set_event_loop_policy(policy)
    loop = asyncio.new_event_loop()
    assert type(loop) is uvworks.Loop
    asyncio.set_event_loop(loop)
    assert asyncio.get_event_loop_policy().get_event_loop() is loop
    asyncio.set_event_loop(None)
    loop.close()
    with pytest.raises(RuntimeError, match="There is no current event loop"):
        policy.get_event_loop()


def test_without_policies_there_is_a_clear_message() -> None:
    script = """
        import asyncio
        del asyncio.DefaultEventLoopPolicy
        import uvworks
        assert uvworks.run(asyncio.sleep(0, 42)) == 42
        for call in (uvworks.install, uvworks.EventLoopPolicy):
            try:
                call()
            except RuntimeError as error:
                print(error)
    """
    out = python(script).stdout.splitlines()
    assert len(out) == 2 and all("no event loop policies" in line and "uvworks.run()" in line for line in out)


def test_files_alone_do_not_draw_in_the_loop() -> None:
    script = """
        import sys
        import uvworks.fs, uvworks.pool
        assert "uvworks.loop" not in sys.modules
        assert "Loop" in dir(uvworks) and "run" in dir(uvworks)
        uvworks.Loop
        assert "uvworks.loop" in sys.modules
        assert not hasattr(uvworks, "nonsense")
        from uvworks import *
        assert run and install and EventLoopPolicy and new_event_loop
    """
    python(script)


def test_a_loop_that_nobody_closes_before_the_interpreter_ends() -> None:
    script = """
        import asyncio, uvworks
        loop = uvworks.new_event_loop()
        async def main():
            asyncio.create_task(asyncio.sleep(100))
            await asyncio.create_subprocess_exec("true")
            server = await asyncio.start_server(print, "127.0.0.1", 0)
            await asyncio.to_thread(int)
            loop.call_later(100, print)
        loop.run_until_complete(main())
        print("done")
    """
    assert python(script, warnings="ignore").stdout == "done\n"


# python -m uvworks ------------------------------------------------------------------

PROGRAM = """\
import asyncio, sys
async def main():
    return type(asyncio.get_running_loop()).__module__
if __name__ == "__main__":
    print(asyncio.run(main()), sys.argv, __name__)
    if sys.argv[1:2] == ["fail"]:
        sys.exit(3)
"""


def run_m(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "uvworks", *arguments],
        capture_output=True, text=True, timeout=30, **options,
    )  # fmt: skip


def test_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    done = run_m(script, "a", "-b")
    assert done.returncode == 0 and done.stdout == f"uvworks.loop ['{script}', 'a', '-b'] __main__\n", done.stderr
    assert run_m(script, "fail").returncode == 3


def test_a_script_imports_from_its_own_directory(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_script.py").write_text("value = 42\n")
    (tmp_path / "script.py").write_text("import neighbour_of_script\nprint(neighbour_of_script.value)\n")
    done = run_m(tmp_path / "script.py", cwd="/")
    assert done.stdout == "42\n", done.stderr


def test_a_module(tmp_path: Path) -> None:
    (tmp_path / "some_module.py").write_text(PROGRAM)
    done = run_m("-m", "some_module", "a", cwd=tmp_path)
    assert done.stdout == f"uvworks.loop ['{tmp_path / 'some_module.py'}', 'a'] __main__\n", done.stderr


def test_an_exception_shows_as_python_shows_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def inner():\n    1 / 0\ninner()\n")
    done = run_m(script)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr and "in inner" in done.stderr


@pytest.mark.parametrize(("arguments", "code"), [((), 1), (("-m",), 1), (("--help",), 0), (("-h",), 0)])
def test_usage(arguments: tuple[str, ...], code: int) -> None:
    done = run_m(*arguments)
    assert done.returncode == code
    assert "usage: python -m uvworks" in (done.stderr if code else done.stdout)


def test_a_script_that_is_not_there() -> None:
    done = run_m("/no/such/script.py")
    assert done.returncode != 0 and "/no/such/script.py" in done.stderr
