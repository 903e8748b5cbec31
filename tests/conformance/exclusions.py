"""Reads exclusions.txt, the one list of tests that do not apply to a loop other than asyncio's own.

A line is `KIND | VERSIONS | PATTERN | REASON`. KIND is one of KINDS. VERSIONS is a Python version or a range:
"3.11", "3.11-3.12", "3.12+", "*". PATTERN is a test's name with fnmatch's wild cards after the module's name.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from dataclasses import dataclass
from pathlib import Path

PATH = Path(__file__).with_name("exclusions.txt")
KINDS = {
    "private": "uses a private name of asyncio's selector loop or of its transports",
    "mock": "replaces something inside asyncio's modules by a mock and looks at the calls",
    "base": "uses the private interface of BaseEventLoop",
}


@dataclass(frozen=True)
class Exclusion:
    kind: str
    versions: str
    pattern: str
    reason: str
    line: int

    @property
    def module(self) -> str:
        return self.pattern.partition(".")[0]

    def matches(self, name: str) -> bool:
        return fnmatch.fnmatchcase(name, self.pattern)


def _applies(versions: str, version: tuple[int, int]) -> bool:
    if versions == "*":
        return True
    found = re.fullmatch(r"3\.(\d+)(\+|-3\.(\d+))?", versions)
    if not found:
        raise ValueError(f"not a range of versions: {versions!r}")
    first = (3, int(found[1]))
    last = (3, int(found[3])) if found[3] else (3, 999) if found[2] else first
    return first <= version <= last


def load(path: Path = PATH, version: tuple[int, int] = sys.version_info[:2]) -> list[Exclusion]:
    """The exclusions for a Python VERSION; ValueError for a line that is not one."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("|", 3)]
        if len(fields) != 4 or not all(fields) or fields[0] not in KINDS or "*" in fields[2].partition(".")[0]:
            raise ValueError(f"{path.name}:{number}: not an exclusion: {line}")
        exclusion = Exclusion(*fields, line=number)
        if _applies(exclusion.versions, version):
            found.append(exclusion)
    return found
