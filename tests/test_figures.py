"""The figures in README.md and docs/benchmarks.md are those of benchmarks/results/, and scripts/figures.py reads what
the harness writes."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import keep, scenarios
from benchmarks.harness import machine, table
from benchmarks.harness.runner import Results
from benchmarks.harness.scenario import Scenario

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("figures", ROOT / "scripts" / "figures.py")
assert spec is not None and spec.loader is not None
figures = sys.modules["figures"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(figures)


@pytest.mark.parametrize("page", figures.PAGES, ids=lambda page: page.name)
def test_the_page_has_the_figures_of_the_result_files(page: Path) -> None:
    text = page.read_text()
    assert figures.MARKS.search(text)
    assert figures.filled(page, figures.load()) == text, "run scripts/figures.py"


def test_every_result_file_is_of_a_scenario() -> None:
    assert {result.name for result in figures.load().values()} <= set(scenarios())


def made_up(scenario: Scenario) -> Results:
    """Replies such as peers give: one operation of cell c takes the peer number p a second, times (c + 1) / p."""
    results = Results()
    for at, cell in enumerate(scenario.cells, 1):
        results.rounds[cell.name] = {}
        for number, peer in enumerate(scenario.peers, 1):
            reply = {"rate": 1e5 * at / number, "operations": 1000, "processor": 1e-3 * number, "idle": 0.5}
            reply |= {metric: float(at * number) for metric in scenario.metrics}
            results.rounds[cell.name][peer.name] = [reply] * 3
    return results


@pytest.mark.parametrize("name", sorted(scenarios()))
def test_what_the_harness_writes_is_what_is_read(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scenario = scenarios()[name]
    results = made_up(scenario)
    (tmp_path / "results").mkdir()
    monkeypatch.setattr("benchmarks.__main__.__file__", str(tmp_path / "__main__.py"))
    versions: dict[str, dict[str, Any]] = {scenario.peers[0].name: {"python": "3.11.7"}}
    keep(name, 3, {"kernel": "Linux", "built with": "libuv"}, versions, table.report(scenario, results))
    read = figures.parse((tmp_path / "results" / f"{name}.txt").read_text())
    assert (read.name, read.rounds, read.about) == (name, 3, scenario.about)
    assert read.facts == {"kernel": "Linux", "built with": "libuv", "peers": "python 3.11.7"}
    assert read.verdicts[0].startswith("targets: ")
    if scenario.metrics:
        assert [rows[0] for rows in read.tables.values()] == [[c.name, *scenario.metrics] for c in scenario.cells]
        assert [row[0] for row in read.rates[1:]] == [peer.name for peer in scenario.peers]
        assert figures.by_metric(read)
        return
    cells = [cell.name for cell in scenario.cells]
    assert read.rates[0] == [scenario.unit, *cells]
    pairs = {f"{ratio.subject.name} / {ratio.against.name}": ratio for ratio in scenario.ratios}
    assert [pair for pair, _ in read.ratios] == list(pairs)
    numbers = {peer.name: number for number, peer in enumerate(scenario.peers, 1)}
    for pair, by_cell in read.ratios:
        ratio = pairs[pair]
        expected = numbers[ratio.against.name] / numbers[ratio.subject.name]
        assert list(by_cell) == cells
        for cell, (value, target) in by_cell.items():
            assert float(value.rstrip("!<")) == pytest.approx(expected, rel=0.01)
            if cell not in ratio.keeps:
                wanted = ratio.at_least.get(cell)
                assert float(target) == pytest.approx(wanted, rel=0.01) if wanted is not None else target == ""
    assert len(figures.by_ratio(read)) > len(cells)


def test_the_machine_says_what_uvworks_was_built_with(tmp_path: Path) -> None:
    assert "libdeflate 1." in machine.describe(tmp_path)["built with"]
