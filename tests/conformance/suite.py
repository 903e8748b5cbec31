"""What a run consists of: which modules, which tests, which of them are excluded, and the verdict over the results."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance import exclusions, runner
from tests.conformance.exclusions import Exclusion
from tests.conformance.runner import Result

TIMEOUT = 60.0  # seconds for one test
TIMEOUT_EXCLUDED = 10.0  # for one that is expected to fail; many of those wait for something that never comes
NOT_HERE = ("test_windows_events", "test_windows_utils")  # they cannot even be imported on another platform


class NoSuite(Exception):
    """This interpreter came without its own tests; the text says what to install."""


def modules() -> list[str]:
    """The names of the interpreter's asyncio test modules."""
    try:
        spec = importlib.util.find_spec("test.test_asyncio")
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.origin:
        raise NoSuite(
            "this interpreter has no test.test_asyncio: its packager left CPython's tests out "
            "(Debian and Ubuntu: install libpython3.X-testsuite)"
        )
    found = sorted(path.stem for path in Path(spec.origin).parent.glob("test_*.py"))
    return [module for module in found if module not in NOT_HERE]


@dataclass
class Report:
    """What came out, for one loop."""

    results: list[Result] = field(default_factory=list)
    excluded: list[tuple[str, Exclusion]] = field(default_factory=list)
    flaky: list[Result] = field(default_factory=list)  # what they failed with before they passed
    stale: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if result.bad]

    @property
    def ok(self) -> bool:
        return not self.failures and not self.stale

    def count(self, outcome: str) -> int:
        return sum(result.outcome == outcome for result in self.results)

    def summary(self) -> str:
        on_loop = sum(bool(result.made) for result in self.results)
        return (
            f"{len(self.results)} tests, {on_loop} of them on the loop: {self.count('passed')} passed, "
            f"{len(self.failures)} failed ({self.count('hung')} hung, {self.count('crashed')} crashed), "
            f"{self.count('skipped')} skipped by themselves; {len(self.excluded)} excluded, "
            f"{len(self.stale)} stale exclusions, {len(self.flaky)} passed only at the second try"
        )


def _stale(rules: Iterable[Exclusion], names: list[str], results: dict[str, Result]) -> list[str]:
    found = []
    for rule in rules:
        matching = [name for name in names if rule.matches(name)]
        if not matching:
            found.append(f"exclusions.txt:{rule.line}: no test is called {rule.pattern}")
        found += [
            f"exclusions.txt:{rule.line}: {name} now {results[name].outcome}"
            for name in matching
            if name in results and not results[name].bad
        ]
    return found


def run(
    loop: str,
    wanted: Iterable[str],
    *,
    names: Callable[[str], bool] = lambda name: True,
    excluded: str = "check",
    timeout: float = TIMEOUT,
    retries: int = 0,
    jobs: int = 1,
    stop_early: bool = False,
    done: dict[str, Result] | None = None,
    on_result: Callable[[Result, bool], None] = lambda result, expected: None,
) -> Report:
    """Run the tests of the WANTED modules that `names` accepts on LOOP.

    `excluded` says what happens to excluded tests: "check" runs them and calls for their line's removal if they pass,
    "skip" leaves them out, "run" takes them like any other. `done` holds results that need no second run. A test that
    fails runs again up to `retries` times, in a new process, and is listed as flaky if it passes then. `on_result` is
    called as each test ends, with the result and whether it is as expected.
    """
    wanted = list(wanted)
    every = [name for module in wanted for name in runner.list_tests(module)]
    rules = [] if excluded == "run" else [rule for rule in exclusions.load() if rule.module in wanted]
    chosen = [name for name in every if names(name)]
    report = Report()
    report.excluded = [(name, rule) for name in chosen for rule in rules[:] if rule.matches(name)]
    left_out = {name for name, _ in report.excluded}

    done = dict(done or {})
    todo = [(name, timeout) for name in chosen if name not in left_out and name not in done]
    if excluded == "check":
        todo += [(name, min(timeout, TIMEOUT_EXCLUDED)) for name in chosen if name in left_out and name not in done]

    def run_some(tests: list[tuple[str, float]]) -> None:
        def note(result: Result) -> bool:
            expected = result.bad == (result.name in left_out)
            on_result(result, expected)
            return expected or not stop_early

        for result in runner.run_tests(loop, tests, jobs=jobs, go_on=note):
            done[result.name] = result

    run_some(todo)
    for _ in range(retries):
        before = [done[name] for name, _ in todo if name not in left_out and name in done and done[name].bad]
        run_some([(result.name, timeout) for result in before])
        report.flaky += [result for result in before if not done[result.name].bad]

    report.results = [done[name] for name in chosen if name not in left_out and name in done]
    if excluded == "check":
        checked = {name: done[name] for name in left_out if name in done}
        report.stale = _stale(rules, every, checked)
    return report
