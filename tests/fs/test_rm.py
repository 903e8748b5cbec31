"""rm: files, trees deep and wide, links that are not followed, force, and what a cancel leaves."""

import asyncio
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import until
from uvworks import fs, pool


async def test_rm_of_a_file_and_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "kept").touch()
    (tmp_path / "link").symlink_to("directory")
    os.mkfifo(tmp_path / "fifo")
    for name in ("file", "link", "fifo"):
        assert await fs.rm(tmp_path / name) is None
    assert os.listdir(tmp_path) == ["directory"] and os.listdir(tmp_path / "directory") == ["kept"]


@pytest.mark.parametrize("force", [False, True])
async def test_recursive_takes_files_links_and_trees(tmp_path: Path, force: bool) -> None:
    outside = tmp_path / "outside"
    (outside / "kept").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("outside")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / os.fsdecode(b"\xff")).touch()
    (tree / "link out").symlink_to(outside)
    (tree / "a" / "dangling").symlink_to("no")
    (tree / "a" / "loop").symlink_to("..")
    os.mkfifo(tree / "a" / "fifo")
    (tree / "not writable").touch(0o400)
    for name in ("file", "link", "tree"):
        await fs.rm(tmp_path / name, recursive=True, force=force)
    assert os.listdir(tmp_path) == ["outside"] and os.listdir(outside) == ["kept"]


async def test_force_ignores_only_a_missing_path(tmp_path: Path) -> None:
    assert await fs.rm(tmp_path / "no", force=True) is None
    assert await fs.rm(tmp_path / "no" / "no", force=True) is None
    assert await fs.rm(tmp_path / "no", recursive=True, force=True) is None
    with pytest.raises(IsADirectoryError):
        await fs.rm(tmp_path, force=True)


async def test_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    await fs.rm(tmp_path / "x", recursive=True)
    assert os.listdir(tmp_path) == []


@pytest.fixture
def few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def dig(top: Path, depth: int) -> None:
    """Deeper than a path can be long, so step by step."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for level in range(depth):
        os.mkdir("down", dir_fd=here)
        if level % 100 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open("down", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


async def test_a_tree_deeper_than_a_path_is_long_and_than_files_may_be_open(tmp_path: Path, few_files: None) -> None:
    dig(tmp_path / "deep", 2000)
    try:
        await fs.rm(tmp_path / "deep", recursive=True)
        assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)  # pytest's own tidying would choke on it


def spread(top: Path, folders: int, files: int) -> None:
    for folder in range(folders):
        (top / str(folder)).mkdir(parents=True)
        for file in range(files):
            os.close(os.open(top / str(folder) / str(file), os.O_CREAT | os.O_WRONLY))


async def test_a_wide_tree(tmp_path: Path) -> None:
    spread(tmp_path / "wide", 1, 5000)
    await fs.rm(tmp_path / "wide", recursive=True)
    assert os.listdir(tmp_path) == []


async def test_two_at_once_on_one_tree_leave_nothing(tmp_path: Path) -> None:
    spread(tmp_path / "tree", 40, 25)
    await asyncio.gather(*(fs.rm(tmp_path / "tree", recursive=True, force=True) for _ in range(4)))
    assert os.listdir(tmp_path) == []


async def test_a_cancel_stops_it_half_way(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    spread(tree, 100, 60)
    task = asyncio.create_task(fs.rm(tree, recursive=True))
    await until(lambda: task.done() or len(os.listdir(tree)) < 100)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: pool.statistics().busy == 0)
    left = os.listdir(tree)
    assert left
    await fs.rm(tree, recursive=True)
    assert os.listdir(tmp_path) == []


async def test_a_long_rm_gives_way_to_others(tmp_path: Path) -> None:
    spread(tmp_path / "tree", 40, 50)
    task = asyncio.create_task(fs.rm(tmp_path / "tree", recursive=True))
    for _ in range(20):
        await fs.stat(tmp_path)
    await task
    assert os.listdir(tmp_path) == []


async def test_an_error_deep_inside_names_a_path(tmp_path: Path) -> None:
    """/proc refuses to let go of its files, whoever asks."""
    with pytest.raises(OSError) as caught:
        await fs.rm("/proc/self/fdinfo", recursive=True)
    assert str(caught.value.filename).startswith("/proc/self/fdinfo")
