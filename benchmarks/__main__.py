"""The command `python -m benchmarks [scenario...]`: finds the scenarios, runs them, prints tables, writes JSON.

A scenario is a module of this package with a SCENARIO in it; a new file is found by itself.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks.harness import machine, runner, table
from benchmarks.harness.scenario import POOL_SIZE, Scenario


def scenarios() -> dict[str, Scenario]:
    """Every scenario by the name of its file."""
    names = [info.name for info in pkgutil.iter_modules(benchmarks.__path__) if not info.name.startswith("_")]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    return {name: module.SCENARIO for name, module in modules.items() if hasattr(module, "SCENARIO")}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="uvworks beside its peers.")
    parser.add_argument("scenario", nargs="*", help="which ones (default: all)")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    parser.add_argument("--quick", action="store_true", help="a look in under a minute, not for quoting")
    parser.add_argument("--rounds", type=int, help="rounds of the scenarios that compare rates")
    parser.add_argument(
        "--patience",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds a scenario may spend on repeating rounds that other processes disturbed (default 30)",
    )
    parser.add_argument("--cell", action="append", default=[], metavar="TEXT", help="only cells named like that")
    parser.add_argument("--peer", action="append", default=[], metavar="TEXT", help="only peers named like that")
    parser.add_argument("--dir", type=Path, help="where the files are made (default: the system's temporary directory)")
    parser.add_argument("--results", action="store_true", help="keep each scenario's report in benchmarks/results/")
    parser.add_argument("--json", type=Path, metavar="F", help="write every round's figures to F")
    return parser.parse_args()


def scratch_for(scenario: Scenario, chosen: Path | None) -> Path | None:
    """A parent for the scenario's files; the system's temporary directory when None."""
    if chosen is None and scenario.on_tmpfs and os.access("/dev/shm", os.W_OK):
        return Path("/dev/shm")
    return chosen


def named(name: str, wanted: list[str]) -> bool:
    """Whether a name holds one of the texts asked for; all do when none was."""
    return not wanted or any(text in name for text in wanted)


def keep(name: str, rounds: int, facts: dict[str, str], versions: dict[str, dict[str, Any]], report: list[str]) -> None:
    """Write a result file: what was printed, under the facts. scripts/figures.py reads it, and people do."""
    peers = dict.fromkeys(f"{what} {version}" for of_peer in versions.values() for what, version in of_peer.items())
    lines = [f"{what:12} {fact}" for what, fact in {**facts, "peers": ", ".join(peers)}.items()]
    text = "\n".join([f"== {name}, {rounds} rounds ==", *lines, "", *report])
    (Path(__file__).parent / "results" / f"{name}.txt").write_text(text + "\n")


def main() -> int:
    args = arguments()
    known = scenarios()
    if args.list:
        for name, scenario in known.items():
            print(f"{name:12} {scenario.about}")
        return 0
    if unknown := set(args.scenario) - known.keys():
        print(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    mode = "quick" if args.quick else "full"
    facts = machine.describe(args.dir or Path(tempfile.gettempdir()))
    print("\n".join(f"{name:12} {fact}" for name, fact in facts.items()))
    print(f"{'how':12} {mode}; rounds interleaved; a ratio is the median of the rounds' ratios; all pools {POOL_SIZE}")
    document: dict[str, Any] = {"machine": facts, "mode": mode, "rounds": 0, "pool": POOL_SIZE, "scenarios": {}}
    failed = False
    told: dict[str, dict[str, Any]] = {}
    begin = time.monotonic()
    for name in args.scenario or known:
        scenario = known[name]
        cells = [cell for cell in scenario.cells if mode in cell.modes and named(cell.name, args.cell)]
        peers = [peer for peer in scenario.peers if named(peer.name, args.peer)]
        rounds = scenario.rounds[mode] if scenario.metrics else args.rounds or scenario.rounds[mode]
        document["rounds"] = max(rounds, document["rounds"])
        print(f"\n== {name}, {rounds} rounds ==", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"benchmarks-{name}-", dir=scratch_for(scenario, args.dir)) as scratch:
            run = runner.Run(scenario, rounds, scenario.seconds[mode], args.patience, Path(scratch))
            results = run.run(cells, peers, _progress)
        _progress("")
        told |= results.versions
        failed = failed or bool(results.failures)
        report = table.report(scenario, results)
        print("\n".join(report), flush=True)
        if args.results:
            keep(name, rounds, facts, results.versions, report)
        document["scenarios"][name] = {
            "about": scenario.about,
            "unit": scenario.unit,
            "versions": results.versions,
            "missing": results.missing,
            "failures": results.failures,
            "repeated": results.repeated,
            "disturbed": results.disturbed,
            "rounds": results.rounds,
            "verdicts": table.verdicts(scenario, results),
        }
    print("\npeers")
    for peer, versions in told.items():
        print(f"  {peer:22} " + ", ".join(f"{what} {version}" for what, version in versions.items()))
    document["machine"]["load after"] = machine.load()
    print(f"load after   {machine.load()}; {time.monotonic() - begin:.0f} s in all")
    if args.json:
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if failed else 0


def _progress(cell: str) -> None:
    """The cell now running, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{cell}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
