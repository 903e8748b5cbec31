"""python -m tests.conformance: CPython's asyncio suite on a loop of choice."""

from __future__ import annotations

import argparse
import collections
import fnmatch
import platform
import sys
import time

from tests.conformance import suite, swap
from tests.conformance.runner import Record, Result


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--loop", default="uvworks", help=f"{', '.join(swap.KNOWN)} or module:Class (%(default)s)")
    parser.add_argument(
        "--module", action="append", metavar="NAME", help="only this module, test_tcp or tcp; repeatable"
    )
    parser.add_argument("-k", action="append", metavar="PATTERN", help="only tests whose name has PATTERN; repeatable")
    parser.add_argument("--failed", action="store_true", help="only what failed in the last run")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    parser.add_argument(
        "--excluded", choices=("check", "skip", "run"), help="check on uvworks, run on asyncio, else skip"
    )
    parser.add_argument("--timeout", type=float, default=suite.TIMEOUT, help="seconds for one test (%(default)s)")
    parser.add_argument("--retries", type=int, default=0, help="run a failed test again so many times (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes at a time (%(default)s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="name every test, and show tracebacks in full")
    return parser.parse_args()


def show(result: Result, expected: bool, verbose: bool) -> None:
    if verbose or not expected:
        print(f"{result.outcome:8} {result.name} ({result.seconds:.1f} s)", flush=True)
    if verbose and not expected:
        print(result.text, flush=True)


def last_line(result: Result) -> str:
    if result.outcome != "failed":
        return result.text.partition("\n")[0]
    lines = [
        line for line in result.text.splitlines() if line and not line.startswith((" ", "Traceback", "Exception in"))
    ]
    return next((line for line in lines if "Error" in line or "Exception" in line), lines[0] if lines else "")


def print_report(report: suite.Report) -> None:
    by_module: dict[str, list[Result]] = collections.defaultdict(list)
    for result in report.results:
        by_module[result.name.partition(".")[0]].append(result)
    excluded = collections.Counter(name.partition(".")[0] for name, _ in report.excluded)
    titles = ("passed", "failed", "skipped", "excluded", "on the loop", "seconds")
    print(f"\n{'module':28}", *(f"{title:>11}" for title in titles))
    for module in sorted({*by_module, *excluded}):
        results = by_module[module]
        count = collections.Counter("failed" if result.bad else result.outcome for result in results)
        counts = (
            count["passed"],
            count["failed"],
            count["skipped"],
            excluded[module],
            sum(bool(r.made) for r in results),
        )
        print(f"{module:28}", *(f"{each:11}" for each in counts), f"{sum(result.seconds for result in results):11.1f}")
    for title, lines in (
        ("FAILED", [f"{result.outcome:8} {result.name}: {last_line(result)}" for result in report.failures]),
        ("STALE EXCLUSIONS", report.stale),
        ("PASSED AT THE SECOND TRY", [f"{result.name}: {last_line(result)}" for result in report.flaky]),
    ):
        if lines:
            print(f"\n{title}", *lines, sep="\n  ")


def main() -> int:
    options = arguments()
    try:
        modules = suite.modules()
    except suite.NoSuite as error:
        print(error, file=sys.stderr)
        return 2
    if options.module:
        wanted = [name if name.startswith("test_") else f"test_{name}" for name in options.module]
        if unknown := [name for name in wanted if name not in modules]:
            print(f"no such module: {', '.join(unknown)}; there are {', '.join(modules)}", file=sys.stderr)
            return 2
        modules = wanted
    default = {"asyncio": "run", "uvworks": "check"}.get(options.loop, "skip")
    record = Record(options.loop)
    before = record.read()
    failed = {name for name, result in before.items() if result.bad}
    done = before if options.resume else {}
    # Results of tests that this run does not touch stay in the record.
    part = bool(options.module or options.k or options.failed or options.resume)
    record.begin(before.values() if part else [])

    def chosen(name: str) -> bool:
        if options.failed and name not in failed:
            return False
        return not options.k or any(fnmatch.fnmatchcase(name, f"*{pattern}*") for pattern in options.k)

    def on_result(result: Result, expected: bool) -> None:
        record.add(result)
        show(result, expected, options.verbose)

    start = time.monotonic()
    report = suite.run(
        options.loop,
        modules,
        names=chosen,
        excluded=options.excluded or default,
        timeout=options.timeout,
        retries=options.retries,
        jobs=options.jobs,
        stop_early=not options.keep_going,
        done=done,
        on_result=on_result,
    )
    print_report(report)
    version = platform.python_version()
    print(f"\n{options.loop} on Python {version}: {report.summary()}; {time.monotonic() - start:.0f} s")
    print(f"Results with full tracebacks: {record.path}")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
