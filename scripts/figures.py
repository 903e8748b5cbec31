"""Write measured figures into README.md and docs/benchmarks.md: scripts/figures.py FIGURES.json

FIGURES.json is what `python -m benchmarks --json` wrote. Rule: only the text between the "measured" marks changes, so
that every figure there comes from one run, and a run can be repeated and put in again.
"""

import json
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MARKS = re.compile(r"(<!-- measured: begin[^\n]*\n).*?(<!-- measured: end -->)", re.DOTALL)

# The rows of the README's table: (what it says, scenario, cell).
HEADLINES = [
    ("read a 1 KiB file, 128 in flight", "read_file", "1 KiB x 128"),
    ("read a 64 KiB file, 128 in flight", "read_file", "64 KiB x 128"),
    ("read a 1 MiB file, 16 in flight", "read_file", "1 MiB x 16"),
    ("read a 1 KiB file, one at a time", "read_file", "1 KiB x 1"),
    ("stat, 128 in flight", "stat", "x 128"),
    ("stat, one at a time", "stat", "x 1"),
    ("Python no-op on the pool, 128 in flight", "noop", "x 128"),
    ("Python no-op on the pool, one at a time", "noop", "x 1"),
]
OURS = "uvworks on asyncio"
OTHERS = ["aiofiles on asyncio", "executor on asyncio", "node promises"]

Document = dict[str, Any]


def rates(document: Document, scenario: str, cell: str, peer: str) -> list[float]:
    """A peer's operations per second, round by round; empty where it did not take part."""
    rounds = document["scenarios"].get(scenario, {}).get("rounds", {}).get(cell, {})
    return [reply["rate"] for reply in rounds.get(peer, [])]


def thousands(values: list[float]) -> str:
    return f"{median(values) / 1000:.1f}" if values else "-"


def ratio(ours: list[float], theirs: list[float]) -> str:
    return f"{median(a / b for a, b in zip(ours, theirs, strict=True)):.1f}x" if ours and theirs else "-"


def how(document: Document) -> str:
    machine = "; ".join(f"{name} {fact}" for name, fact in document["machine"].items())
    return f"{document['rounds']} interleaved rounds, medians, pool of {document['pool']} for all. {machine}."


def headlines(document: Document) -> str:
    """The README's table: our rate in thousands a second, and how many times that of each other."""
    lines = [
        "| | uvworks, thousand/s | " + " | ".join(f"vs {other}" for other in OTHERS) + " |",
        "|---|---:|" + "---:|" * len(OTHERS),
    ]
    for text, scenario, cell in HEADLINES:
        ours = rates(document, scenario, cell, OURS)
        ratios = [ratio(ours, rates(document, scenario, cell, other)) for other in OTHERS]
        lines.append(f"| {text} | {thousands(ours)} | " + " | ".join(ratios) + " |")
    return "\n".join([*lines, "", *answer_behind_others(document), how(document)])


def answer_behind_others(document: Document) -> list[str]:
    """What the lanes are for, in one sentence; nothing when the scenario was not run."""
    rounds = document["scenarios"].get("fairness", {}).get("rounds", {}).get("64 pbkdf2 waiting", {})
    medians = {peer: median(reply["p50 ms"] for reply in replies) for peer, replies in rounds.items() if replies}
    if OURS not in medians:
        return []
    others = ", ".join(f"{medians[other]:.0f} ms for {other}" for other in OTHERS if other in medians)
    return [f"One `stat` while 64 `pbkdf2` of 20 ms wait: {medians[OURS]:.2f} ms at the median; {others}.", ""]


def everything(document: Document) -> str:
    """Every scenario's rates or metrics, and every missed target and loss."""
    lines = [how(document)]
    for name, scenario in document["scenarios"].items():
        lines += ["", f"### {name}", "", f"{scenario['about']}. In {scenario['unit']}.", ""]
        cells = scenario["rounds"]
        peers = list(dict.fromkeys(peer for cell in cells.values() for peer in cell))
        if any("rate" in reply for cell in cells.values() for replies in cell.values() for reply in replies):
            lines += ["| | " + " | ".join(cells) + " |", "|---|" + "---:|" * len(cells)]
            for peer in peers:
                lines.append(
                    f"| {peer} | " + " | ".join(thousands(rates(document, name, c, peer)) for c in cells) + " |"
                )
        else:
            for cell, replies in cells.items():
                metrics = list(next(iter(replies.values()))[0])
                lines += [f"| {cell} | " + " | ".join(metrics) + " |", "|---|" + "---:|" * len(metrics)]
                for peer, rounds in replies.items():
                    values = (median(reply[metric] for reply in rounds) for metric in metrics)
                    lines.append(f"| {peer} | " + " | ".join(f"{value:,.4g}" for value in values) + " |")
        lines.append("")
        for verdict in scenario["verdicts"]:
            if not verdict["ok"] or verdict["loss"]:
                wanted = f", wanted {verdict['target']:.3g}" if verdict["target"] is not None else ""
                kind = "Loss" if verdict["loss"] else "Missed"
                lines.append(f"- {kind}: {verdict['cell']}, {verdict['what']} is {verdict['value']:.2f}{wanted}")
    return "\n".join(lines)


def fill(page: Path, text: str) -> None:
    page.write_text(MARKS.sub(lambda found: found[1] + text + "\n" + found[2], page.read_text()))


def main() -> None:
    document = json.loads(Path(sys.argv[1]).read_text())
    fill(ROOT / "README.md", headlines(document))
    fill(ROOT / "docs" / "benchmarks.md", everything(document))


if __name__ == "__main__":
    main()
