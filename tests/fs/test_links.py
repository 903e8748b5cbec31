"""link, symlink, readlink and realpath against os.link, os.symlink, os.readlink and os.path.realpath(strict=True)."""

import os
from pathlib import Path

import pytest

from uvworks import fs

TARGETS = ["file", "/", "no/such/thing", "..", os.fsdecode(b"\xff\xfe"), "é", "x" * 255 + "/" + "y" * 255, "a" * 4000]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: ascii(target)[:20])
async def test_a_link_says_what_it_was_told(tmp_path: Path, target: str) -> None:
    link = tmp_path / "link"
    assert await fs.symlink(target, link) is None
    assert os.readlink(link) == await fs.readlink(link) == target
    assert await fs.readlink(os.fsencode(link)) == os.fsencode(target)


async def test_a_hard_link_is_the_same_file(tmp_path: Path) -> None:
    file, other, third = tmp_path / "file", tmp_path / "other", tmp_path / "third"
    file.write_bytes(b"contents")
    assert await fs.link(file, os.fsencode(other)) is None
    assert os.path.samestat(file.stat(), other.stat()) and file.stat().st_nlink == 2
    third.symlink_to("file")
    await fs.link(third, tmp_path / "fourth")
    assert os.readlink(tmp_path / "fourth") == "file"  # the symbolic link itself has got another name


async def test_readlink_of_proc_whose_size_is_zero() -> None:
    assert await fs.readlink("/proc/self/exe") == os.readlink("/proc/self/exe")


async def test_target_and_path_may_be_of_different_types(tmp_path: Path) -> None:
    await fs.symlink(b"file", str(tmp_path / "one"))
    await fs.symlink(Path("file"), os.fsencode(tmp_path / "two"))
    assert os.readlink(tmp_path / "one") == os.readlink(tmp_path / "two") == "file"


@pytest.fixture
def maze(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    (tmp_path / "to b").symlink_to("a/b")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "absolute").symlink_to(tmp_path / "to b" / "file")
    previous = "a/b/file"
    for number in range(39):  # the kernel follows forty
        (tmp_path / f"chain{number}").symlink_to(previous)
        previous = f"chain{number}"
    return tmp_path


WAYS = ["", "a/b/file", "to b/file", "a/up/a/up/to b", "absolute", "chain38", "a/b/../../to b/..", ".//a/.//b/"]


@pytest.mark.parametrize("way", WAYS)
async def test_realpath(maze: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{maze}/{way}"
    assert await fs.realpath(path) == os.path.realpath(path, strict=True)
    assert await fs.realpath(os.fsencode(path)) == os.fsencode(os.path.realpath(path))
    monkeypatch.chdir(maze / "a")
    assert await fs.realpath("up/to b") == os.path.realpath("up/to b") == str(Path(os.path.realpath(maze)) / "a" / "b")
