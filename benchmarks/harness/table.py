"""Turns results into numbers and numbers into text: medians, ratios, what misses its target, what is lost.

A ratio is the median of the ratios of the single rounds (both sides measured within seconds of each other), not the
ratio of two medians: a slow minute of the machine then hits both sides of a pair. Losses and misses are marked
where they stand and listed again at the end of their scenario.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import geometric_mean, median
from typing import Any

from benchmarks.harness.runner import Results
from benchmarks.harness.scenario import Ratio, Scenario

# What a ratio may fall under another ratio before it counts: two medians of the same thing differ by this much.
TOLERANCE = 0.9
WIDTH = 140
TURNED = 12  # columns


def rates(results: Results, cell: str, peer: str) -> list[float]:
    """Operations per second, round by round."""
    return [reply["rate"] for reply in results.rounds[cell].get(peer, [])]


def paired(results: Results, cell: str, ratio: Ratio) -> list[float]:
    """The ratio, round by round; empty when one side is missing."""
    ours, theirs = (rates(results, cell, peer.name) for peer in (ratio.subject, ratio.against))
    return [a / b for a, b in zip(ours, theirs, strict=False)]


def cheaper(results: Results, cell: str, ratio: Ratio) -> list[float]:
    """How many times our processor time an operation costs the other, round by round."""
    sides = [results.rounds[cell].get(peer.name, []) for peer in (ratio.subject, ratio.against)]
    ours, theirs = ([reply["processor"] / reply["operations"] for reply in replies] for replies in sides)
    return [b / a for a, b in zip(ours, theirs, strict=False)]


def geometric_means(results: Results, ratio: Ratio) -> list[float]:
    """The geometric mean of the ratio over all cells that both sides took part in, round by round."""
    cells = [values for cell in results.rounds if (values := paired(results, cell, ratio))]
    return [geometric_mean(values) for values in zip(*cells, strict=False)]


def verdicts(scenario: Scenario, results: Results) -> list[dict[str, Any]]:
    """Each target and what came out. Losses without a target are in it too, with `target` None."""
    found = []
    for ratio in scenario.ratios:
        for cell in results.rounds:
            values = paired(results, cell, ratio)
            if not values:
                continue
            value, target = median(values), ratio.at_least.get(cell)
            slack = 1.0
            if cell in ratio.keeps:
                quiet = paired(results, ratio.keeps[cell], ratio)
                target, slack = (median(quiet) if quiet else None), TOLERANCE
            if target is not None or value < 1:
                found.append(
                    {
                        "cell": cell,
                        "what": f"{ratio.subject.name} / {ratio.against.name}",
                        "value": value,
                        "rounds": values,
                        "target": target,
                        "at least": True,
                        "ok": target is None or value >= target * slack,
                        "loss": value < 1,
                    }
                )
        if ratio.mean is not None and (means := geometric_means(results, ratio)):
            value = median(means)
            found.append(
                {
                    "cell": "geometric mean",
                    "what": f"{ratio.subject.name} / {ratio.against.name}",
                    "value": value,
                    "rounds": means,
                    "target": ratio.mean,
                    "at least": True,
                    "ok": value >= ratio.mean,
                    "loss": value < 1,
                }
            )
    for limit in scenario.limits:
        for cell, peers in results.rounds.items():
            values = [reply[limit.metric] for reply in peers.get(limit.subject.name, [])]
            what = f"{limit.subject.name}: {limit.metric}"
            if limit.times is not None:
                others = [reply[limit.metric] for reply in peers.get(limit.times.name, [])]
                values = [ours / theirs for ours, theirs in zip(values, others, strict=False)]
                what += f" / {limit.times.name}"
            if values:
                found.append(
                    {
                        "cell": cell,
                        "what": what,
                        "value": median(values),
                        "rounds": values,
                        "target": limit.at_most,
                        "at least": False,
                        "ok": median(values) <= limit.at_most,
                        "loss": False,
                    }
                )
    return found


def report(scenario: Scenario, results: Results) -> list[str]:
    """The whole text of one scenario."""
    lines = [scenario.about, ""]
    if scenario.metrics:
        lines += _metrics(scenario, results)
    else:
        lines += [*_rates(scenario, results), "", *_ratios(scenario, results), "", *_processor(scenario, results)]
        if scenario.load:
            lines += ["", *_over_all_cells(scenario, results), "", *_idle(scenario, results)]
    lines += ["", *_verdicts(scenario, results)]
    if not scenario.metrics:
        lines += _spread(scenario, results)
    if results.repeated or results.disturbed:
        kept = sum(len(replies) for peers in results.rounds.values() for replies in peers.values())
        lines.append(
            f"other processes disturbed {results.repeated + results.disturbed} rounds: {results.repeated} repeated, "
            f"{results.disturbed} of {kept} kept"
        )
        if scenario.needs_quiet and results.disturbed > kept / 10:
            lines.append("NOT QUIET: the machine was busy with other things; met or missed, this run says little")
    lines += [f"missing: {name}: {why}" for name, why in results.missing.items()]
    lines += [f"FAILED: {failure}" for failure in results.failures]
    return lines


def _rates(scenario: Scenario, results: Results) -> list[str]:
    cells = list(results.rounds)
    rows = [[scenario.unit, *cells]]
    for peer in scenario.peers:
        values = [rates(results, cell, peer.name) for cell in cells]
        if any(values):
            rows.append([peer.name, *[_short(median(v) / 1e3) if v else "-" for v in values]])
    return _aligned(rows)


def _ratios(scenario: Scenario, results: Results) -> list[str]:
    cells = list(results.rounds)
    rows = [["ratio (! misses its target, < is a loss)", *cells]]
    found = {(verdict["cell"], verdict["what"]): verdict for verdict in verdicts(scenario, results)}
    for ratio in scenario.ratios:
        name = f"{ratio.subject.name} / {ratio.against.name}"
        row, targets = [name], ["    target"]
        for cell in cells:
            values = paired(results, cell, ratio)
            verdict = found.get((cell, name), {"ok": True, "loss": False, "target": None})
            mark = "!" if not verdict["ok"] else "<" if verdict["loss"] else " "
            row.append(f"{_short(median(values))}{mark}" if values else "- ")
            targets.append(f"{_short(verdict['target'])} " if verdict["target"] is not None else "")
        if any(cell.strip("- ") for cell in row[1:]):
            rows.append(row)
            if any(targets[1:]):
                rows.append(targets)
    return _aligned(rows)


def _processor(scenario: Scenario, results: Results) -> list[str]:
    """What an operation costs in processor time, all threads together: waiting by spinning shows here."""
    cells = list(results.rounds)
    rows = [["processor time, microseconds/operation", *cells]]
    for peer in scenario.peers:
        replies = [results.rounds[cell].get(peer.name, []) for cell in cells]
        if any(replies):
            costs = [[reply["processor"] / reply["operations"] * 1e6 for reply in of_cell] for of_cell in replies]
            rows.append([peer.name, *[_short(median(values)) if values else "-" for values in costs]])
    return _aligned(rows)


def _over_all_cells(scenario: Scenario, results: Results) -> list[str]:
    """One line for each ratio: its mean over the cells, the cell where it is worst, and the same by processor time.

    That one says how many times what we need an operation costs the other: it has no idle time in it, and less of
    what else the machine does.
    """
    rows = [
        ["ratio over all cells", "geometric mean", "target", "worst", "in cell", "processor time", "worst", "in cell"]
    ]
    for ratio in scenario.ratios:
        cells = {cell: median(values) for cell in results.rounds if (values := paired(results, cell, ratio))}
        if cells:
            worst = min(cells, key=lambda cell: cells[cell])
            target = "" if ratio.mean is None else _short(ratio.mean)
            mean = median(geometric_means(results, ratio))
            name = f"{ratio.subject.name} / {ratio.against.name}"
            costs = {cell: median(values) for cell in cells if (values := cheaper(results, cell, ratio))}
            dearest = min(costs, key=lambda cell: costs[cell])
            cost = geometric_mean(costs.values())
            rows.append([name, _short(mean), target, _short(cells[worst]), worst])
            rows[-1] += [_short(cost), _short(costs[dearest]), dearest]
    return _aligned(rows)


def _idle(scenario: Scenario, results: Results) -> list[str]:
    """How much of the time the load generator waited for the server: near nothing, it was itself the slower one."""
    cells = list(results.rounds)
    rows = [["load generator idle, %", *cells]]
    for peer in scenario.peers:
        replies = [results.rounds[cell].get(peer.name, []) for cell in cells]
        if any(replies):
            idle = [[100 * reply["idle"] for reply in of_cell] for of_cell in replies]
            rows.append([peer.name, *[f"{median(values):.0f}" if values else "-" for values in idle]])
    return _aligned(rows)


def _spread(scenario: Scenario, results: Results) -> list[str]:
    """How much the rounds of one peer in one cell differ: the noise that every figure above has in it."""
    spreads = []
    for cell in results.rounds:
        for peer in scenario.peers:
            if values := rates(results, cell, peer.name):
                spreads.append((max(values) / min(values), f"{peer.name}, {cell}"))
    if not spreads:
        return []
    widest, where = max(spreads)
    typical = median(spread for spread, _ in spreads)
    return [f"spread of a peer's rounds, fastest / slowest: {typical:.2f} typically, {widest:.2f} at most ({where})"]


def _metrics(scenario: Scenario, results: Results) -> list[str]:
    lines = []
    for cell, peers in results.rounds.items():
        rows = [[cell, *scenario.metrics]]
        for peer, replies in peers.items():
            if replies:
                rows.append([peer, *[f"{median(r[m] for r in replies):,.4g}" for m in scenario.metrics]])
        lines += _aligned(rows)
    return lines


def _verdicts(scenario: Scenario, results: Results) -> list[str]:
    found = verdicts(scenario, results)
    held = [verdict for verdict in found if verdict["target"] is not None]
    missed = [verdict for verdict in held if not verdict["ok"]]
    losses = [verdict for verdict in found if verdict["loss"]]
    lines = [f"targets: {len(held) - len(missed)} of {len(held)} met"] if held else ["targets: none set or measured"]
    for verdict in missed:
        sign = ">=" if verdict["at least"] else "<="
        lines.append(
            f"  MISSED  {verdict['cell']}: {verdict['what']} is {_short(verdict['value'])}, wanted {sign} "
            f"{_short(verdict['target'])} (rounds {_short(min(verdict['rounds']))} to {_short(max(verdict['rounds']))})"
        )
    for what in dict.fromkeys(verdict["what"] for verdict in losses):
        cells = [f"{loss['cell']} {_short(loss['value'])}" for loss in losses if loss["what"] == what]
        lines.append(f"  LOSS    {what}: {', '.join(cells)}")
    return lines


def _short(value: float) -> str:
    """Three digits or so: more would be noise."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side; what does not fit into WIDTH goes into more tables below, with the names again.

    A table that is much wider than high is turned, so that it stays one.
    """
    if len(rows[0]) > TURNED and len(rows) > 1:
        rows = list(zip(*rows, strict=True))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    columns = len(widths) - 1
    for tables in range(1, columns + 1):
        size = -(-columns // tables)
        starts = range(1, columns + 1, size)
        if all(widths[0] + sum(widths[at : at + size]) + 2 * size <= WIDTH for at in starts):
            break
    if columns and size < columns:
        parts = [[[row[0], *row[at : at + size]] for row in rows] for at in starts]
        return [line for part in parts for line in [*_aligned(part), ""]][:-1]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
