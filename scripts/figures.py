#!/usr/bin/env python3
"""Write the measured figures into README.md and docs/benchmarks.md: scripts/figures.py

They come from benchmarks/results/, one file for each scenario: what `python -m benchmarks --results` printed of it, as
it was. Rule: only the text between a "figures" mark and the next "end" changes, and tests/test_figures.py fails when
this script would change anything, so no page can say what was not measured.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", ROOT / "docs" / "benchmarks.md"]
MARKS = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
WORDS = re.compile(r"\S+(?: \S+)*")
NUMBER = re.compile(r"-?[\d,.]+(?:e[+-]?\d+)?[!<]?")

# README's tables: what a row says, the scenario, its cell; and the columns: what it says, the peers that stand there.
EXECUTOR = ("`run_in_executor`", ["executor on asyncio", "asyncio's own"])  # names are looked up in an executor, too
FILES = [
    ("read a 1 KiB file, 128 in flight", "read_file", "1 KiB x 128"),
    ("read a 64 KiB file, 128 in flight", "read_file", "64 KiB x 128"),
    ("read a 1 MiB file, 16 in flight", "read_file", "1 MiB x 16"),
    ("read a 1 KiB file, one at a time", "read_file", "1 KiB x 1"),
    ("`stat`, 128 in flight", "stat", "x 128"),
    ("`stat`, one at a time", "stat", "x 1"),
    ("Python no-op on the pool, 128 in flight", "noop", "x 128"),
    ("Python no-op on the pool, one at a time", "noop", "x 1"),
]
FILES_PEERS = [
    ("aiofiles", ["aiofiles on asyncio"]),
    EXECUTOR,
    ("Node promises", ["node promises"]),
    ("Node callbacks", ["node callbacks"]),
]
LOOP = [
    ("`call_soon`, one after another", "callbacks", "chain"),
    ("`await sleep(0)`", "callbacks", "sleep(0)"),
    ("a task of a `gather` of 100", "callbacks", "gather"),
    ("timer set and fired", "callbacks", "timers fire"),
    ("timer set and cancelled", "callbacks", "timers cancel"),
    ("`call_soon_threadsafe`", "callbacks", "threadsafe"),
    ("TCP echo, Protocol, 1 KiB, 10 connections", "tcp", "protocol 1 KiB x 10"),
    ("TCP echo, Protocol, 100 KiB, 100 connections", "tcp", "protocol 100 KiB x 100"),
    ("TCP echo, BufferedProtocol, 10 KiB, 100 connections", "tcp", "buffered 10 KiB x 100"),
    ("TCP echo, streams, 1 KiB, 10 connections", "streams", "1 KiB x 10"),
    ("TCP echo, `sock_recv`, 1 KiB, 10 connections", "sock", "1 KiB x 10"),
    ("TCP echo, `sock_recv`, 1 KiB, 1 connection", "sock", "1 KiB x 1"),
    ("UDP echo, 1 KiB, 10 clients", "udp", "1 KiB x 10"),
    ("HTTP by uvicorn, 64 connections", "http", "x 64"),
    ("HTTP by uvicorn, 1 connection", "http", "x 1"),
]
LOOP_PEERS = [(name, [name]) for name in ("asyncio", "uvloop", "rloop")] + [("plain C", ["plain C libuv"])]
POOL = [
    ("gzip of 1 KiB", "zlib", "gzip 1 KiB"),
    ("gzip of 1 MiB", "zlib", "gzip 1 MiB"),
    ("gunzip to 64 KiB", "zlib", "gunzip 64 KiB"),
    ("brotli of 64 KiB, quality 5", "zlib", "brotli_compress 64 KiB"),
    ("pbkdf2, 20,000 rounds of SHA-256", "crypto", "pbkdf2"),
    ("scrypt, n = 16384", "crypto", "scrypt"),
    ("ECDSA signature, P-256", "crypto", "sign ec"),
    ("RSA verification, 2048 bits", "crypto", "verify rsa"),
    ("64 random bytes", "crypto", "random 64 B"),
    ("lookup of `localhost`", "dns", "localhost x 16"),
]
POOL_PEERS = [EXECUTOR, ("Node callbacks", ["node callbacks"])]

Rows = list[tuple[str, str, str]]
Columns = list[tuple[str, list[str]]]
Table = list[list[str]]  # the first row is the header, the first column the names


@dataclass
class Result:
    """One result file. `tables` are by the first word of their header, turned so that cells are columns."""

    name: str
    rounds: int
    facts: dict[str, str] = field(default_factory=dict)
    about: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """Whom the first ratio is about."""
        return self.ratios[0][0].partition(" / ")[0]

    @property
    def rates(self) -> Table:
        return next(iter(self.tables.values()))

    @property
    def ratios(self) -> list[tuple[str, dict[str, tuple[str, str]]]]:
        """For each "ours / theirs" and cell the ratio with its mark, and the target or nothing."""
        [header, *rows] = self.tables["ratio"]
        found: list[tuple[str, dict[str, tuple[str, str]]]] = []
        for name, *values in rows:
            if name == "target":
                pair, cells = found[-1]
                found[-1] = pair, {cell: (cells[cell][0], value) for cell, value in zip(cells, values, strict=True)}
            else:
                found.append((name, {cell: (value, "") for cell, value in zip(header[1:], values, strict=True)}))
        return found

    def rate(self, cell: str) -> str:
        [header, *rows] = self.rates
        return next(row[header.index(cell)] for row in rows if row[0] == self.subject)

    def ratio(self, cell: str, peers: list[str]) -> str:
        """The ratio of our main figure to the first of these peers that took part, without its mark."""
        wanted = {f"{self.subject} / {peer}" for peer in peers}
        return next((cells[cell][0].rstrip("!<") for pair, cells in self.ratios if pair in wanted), "")


def is_header(cells: list[str]) -> bool:
    return len(cells) > 1 and not any(NUMBER.fullmatch(cell) for cell in cells[1:])


def tables_of(lines: list[str]) -> dict[str, Table]:
    """The tables among these lines; what was too wide for one follows as a further table with the same first word.

    Columns end where the words of the header end, because all but the first are flush right.
    """
    tables: dict[str, Table] = {}
    part: Table = []
    key, ends = "", [0]

    def keep() -> None:
        if key in tables and part:
            for row, more in zip(tables[key], part, strict=True):
                row += more[1:]
        elif part:
            tables[key] = part

    for line in [*lines, ""]:
        words = list(WORDS.finditer(line))
        if not words or is_header([word[0] for word in words]):
            keep()
            part = []
        if not words:
            continue
        if not part:
            ends = [word.end() for word in words]
            key = words[0][0].partition(" (")[0].partition(", ")[0]
        row = [words[0][0], *[""] * (len(ends) - 1)]
        for word in words[1:]:
            row[next(at for at, end in enumerate(ends) if end >= word.end())] = word[0]
        part.append(row)
    return tables


def parse(text: str) -> Result:
    """A result file: the title, the facts, what it is about, tables, verdicts; empty lines between them."""
    head, about, *rest = re.split(r"\n\n", text.strip(), maxsplit=2)
    title, *facts = head.splitlines()
    found = re.fullmatch(r"== (\S+), (\d+) rounds ==", title)
    assert found, title
    result = Result(found[1], int(found[2]), about=about)
    result.facts = {line[:12].rstrip(): line[12:].strip() for line in facts}
    tables, _, verdicts = "".join(rest).partition("\ntargets: ")
    result.tables = tables_of(tables.splitlines())
    result.verdicts = ["targets: " + line if not at else line for at, line in enumerate(verdicts.splitlines())]
    if any(" / " in word for word in result.tables.get("ratio", [[]])[0][1:]):
        result.tables = {
            key: table if key.startswith("ratio over") else [list(row) for row in zip(*table, strict=True)]
            for key, table in result.tables.items()
        }
    return result


def load() -> dict[str, Result]:
    """Every result by the name of its file."""
    return {path.stem: parse(path.read_text()) for path in sorted(RESULTS.glob("*.txt"))}


def markdown(table: Table) -> list[str]:
    [header, *rows] = ["| " + " | ".join(row).replace("  ", " ") + " |" for row in table]
    return [header.replace("|  |", "| |"), "|---|" + "---:|" * (len(table[0]) - 1), *rows]


def with_commas(number: str) -> str:
    return f"{int(number):,}" if number.isdigit() else number


def headlines(results: dict[str, Result], first: str, rows: Rows, columns: Columns) -> str:
    """One of README's tables: our rate in thousands a second, and how many times that of each other."""
    table = [[first, *[f"vs {name}" for name, _ in columns]]]
    for text, scenario, cell in rows:
        ratios = [results[scenario].ratio(cell, peers) for _, peers in columns]
        table.append([text, with_commas(results[scenario].rate(cell)), *[f"{r}x" if r else "-" for r in ratios]])
    table[0].insert(1, "uvworks, thousand/s")
    return "\n".join(markdown(table))


def files(results: dict[str, Result]) -> str:
    table = headlines(results, "", FILES, FILES_PEERS)
    return table.replace("uvworks, thousand/s", f"{results['read_file'].subject}, thousand/s", 1)


def loop(results: dict[str, Result]) -> str:
    [_, *rows] = results["idle"].tables["protocol x 10,000"]
    kib = {peer: f"{float(memory):.2f}" for peer, memory, *_ in rows}
    return "\n".join(
        [
            headlines(results, "The loop", LOOP, LOOP_PEERS),
            "",
            f"An idle connection takes {kib['uvworks']} KiB (uvloop {kib['uvloop']}, asyncio {kib['asyncio']}).",
        ]
    )


def pool(results: dict[str, Result]) -> str:
    return headlines(results, "The pool's other modules, 16 in flight", POOL, POOL_PEERS)


def every(results: dict[str, Result]) -> str:
    """The page's tables: how the runs came about, then each scenario's own."""
    runs: dict[str, list[str]] = {}
    for name, result in results.items():
        facts = (result.facts.get(fact) for fact in ("python", "built with", "peers", "note"))
        runs.setdefault("; ".join(fact for fact in facts if fact), []).append(name)
    lines = [f"- {', '.join(f'`{name}`' for name in names)}: {facts}." for facts, names in runs.items()]
    for name, result in results.items():
        source = f"[every figure](../benchmarks/results/{name}.txt)"
        lines += ["", f"### {name}", "", f"{result.rounds} rounds, {source}: {result.about}.", ""]
        lines += by_ratio(result) if "ratio" in result.tables else by_metric(result)
    return "\n".join(lines)


def by_ratio(result: Result) -> list[str]:
    """A row for each cell: our rate, our processor time, our ratios, and below what the others of ours miss or lose."""
    ours = [
        (pair.partition(" / ")[2], cells) for pair, cells in result.ratios if pair.startswith(f"{result.subject} /")
    ]
    [unit, *cells] = result.rates[0]
    costs = next(row for row in result.tables["processor time"] if row[0] == result.subject)
    table = [["", f"{result.subject}, {unit}", "µs of processor time", *[f"vs {peer}" for peer, _ in ours]]]
    for at, cell in enumerate(cells, 1):
        table.append(
            [
                cell,
                with_commas(result.rate(cell)),
                with_commas(costs[at]),
                *[judged(*by_cell[cell]) for _, by_cell in ours],
            ]
        )
    if "ratio over all cells" in result.tables:
        [_, *means] = result.tables["ratio over all cells"]
        by_pair = {pair: (mean, target) for pair, mean, target, *_ in means}
        table.append(["geometric mean", "", ""])
        for peer, _ in ours:
            mean, target = by_pair[f"{result.subject} / {peer}"]
            missed = any(f"geometric mean: {result.subject} / {peer} is" in line for line in result.verdicts)
            table[-1].append(judged(mean + "!" * missed, target))
    lines = [*markdown(table), "", f"{result.verdicts[0].capitalize()}.", ""]
    for line in result.verdicts:
        if line.startswith("  LOSS    ") and not line.startswith(f"  LOSS    {result.subject} /"):
            pair, _, cells_lost = line.removeprefix("  LOSS    ").partition(": ")
            lines.append(f"- Below 1, too: {pair}, {cells_lost}.")
    return lines if lines[-1] else lines[:-1]


def judged(ratio: str, target: str) -> str:
    """A ratio as the page shows it; a missed target stands beside it."""
    value = ratio.rstrip("!<")
    return f"**{value}**, wanted {target}" if ratio.endswith("!") else value


def by_metric(result: Result) -> list[str]:
    lines: list[str] = []
    for table in result.tables.values():
        lines += [*markdown(table), ""]
    return [*lines, f"{result.verdicts[0].capitalize()}."]


BLOCKS = {"files": files, "loop": loop, "pool": pool, "every": every}


def filled(page: Path, results: dict[str, Result]) -> str:
    """The page's text with the figures of these results."""
    return MARKS.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](results)}\n{found[3]}", page.read_text())


def main() -> None:
    results = load()
    for page in PAGES:
        page.write_text(filled(page, results))


if __name__ == "__main__":
    main()
