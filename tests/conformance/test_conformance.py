"""CPython's own asyncio suite passes on uvworks: one test here for each of its modules.

`python -m tests.conformance` does the same from the command line, with more to choose from.
"""

import os

import pytest

from tests.conformance import suite

try:
    MODULES = suite.modules()
    WHY_NOT = ""
except suite.NoSuite as error:
    MODULES, WHY_NOT = ["test_asyncio"], str(error)


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("module", MODULES)
def test_module(module: str) -> None:
    report = suite.run("uvworks", [module], retries=1, jobs=min(4, os.cpu_count() or 1))
    problems = [f"{result.outcome} {result.name}\n{result.text}" for result in report.failures]
    assert report.ok, "\n".join([report.summary(), *report.stale, *problems])
