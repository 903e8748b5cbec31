"""keep_heap(): memory that was freed is not mapped anew; and nothing of ours does that unasked."""

from __future__ import annotations

import os
import platform

import pytest

import uvworks
from tests.support import python

FAULTS = """
import asyncio, resource, uvworks
async def main():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        [bytes(100_000) for _ in range(%d)]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
%s
uvworks.run(main())
"""


def faults(setting: str, blocks: int = 10) -> int:
    return int(python(FAULTS % (blocks, setting)).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.skipif(
    any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ), reason="set"
)
def test_what_is_freed_stays_only_when_asked_for() -> None:
    assert faults("uvworks.keep_heap()") < 5_000 < faults("")
    most = faults("uvworks.keep_heap(64 << 20)", 500)  # 50 MB: 12,000 pages, touched anew each time or once
    assert most < 50_000


@pytest.mark.parametrize("size", [256 << 10, 64 << 20])
def test_the_least_and_the_most_that_can_be_asked_for(size: int) -> None:
    assert python(f"import uvworks; uvworks.keep_heap({size})").returncode == 0


@pytest.mark.parametrize("size", [0, 1000, 1 << 40])
def test_sizes(size: int) -> None:
    with pytest.raises(ValueError, match="size must be"):
        uvworks.keep_heap(size)
