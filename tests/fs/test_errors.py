"""Every error against the one that the standard library raises for the same call on the same tree: type, errno,
strerror, filename, filename2."""

import os
import shutil
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import async_error_of, error_of, facts, python
from uvworks import fs

Path_ = Any  # str or bytes


def _read(path: Path_) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: Path_, mode: str) -> None:
    with open(path, mode):
        pass


# name: (the path in the tree below, our call, the standard library's)
CASES: dict[str, tuple[str, Callable[[Path_], Awaitable[Any]], Callable[[Path_], Any]]] = {
    "stat missing": ("no", fs.stat, os.stat),
    "stat through a file": ("file/x", fs.stat, os.stat),
    "stat file with a slash": ("file/", fs.stat, os.stat),
    "stat loop": ("loop", fs.stat, os.stat),
    "stat dangling": ("dangling", fs.stat, os.stat),
    "lstat missing": ("no", fs.lstat, os.lstat),
    "lstat through a loop": ("loop/x", fs.lstat, os.lstat),
    "readdir missing": ("no", fs.readdir, os.listdir),
    "readdir file": ("file", fs.readdir, os.listdir),
    "readdir types missing": ("no", lambda p: fs.readdir(p, with_file_types=True), os.scandir),
    "read_file missing": ("no", fs.read_file, _read),
    "read_file directory": ("full", fs.read_file, _read),
    "read_file through a file": ("file/x", fs.read_file, _read),
    "read_file loop": ("loop", fs.read_file, _read),
    "read_file socket": ("socket", fs.read_file, _read),
    "write_file directory": ("full", lambda p: fs.write_file(p, b"x"), lambda p: _write(p, "wb")),
    "write_file in nothing": ("no/x", lambda p: fs.write_file(p, b"x"), lambda p: _write(p, "wb")),
    "write_file through a file": ("file/x", lambda p: fs.write_file(p, b"x"), lambda p: _write(p, "wb")),
    "write_file loop": ("loop", lambda p: fs.write_file(p, b"x"), lambda p: _write(p, "wb")),
    "write_file socket": ("socket", lambda p: fs.write_file(p, b"x"), lambda p: _write(p, "wb")),
    "atomic directory": ("full", lambda p: fs.write_file(p, b"x", atomic=True), lambda p: _write(p, "wb")),
    "atomic in nothing": ("no/x", lambda p: fs.write_file(p, b"x", atomic=True), lambda p: _write(p, "wb")),
    "atomic through a file": ("file/x", lambda p: fs.write_file(p, b"x", atomic=True), lambda p: _write(p, "wb")),
    "atomic loop": ("loop", lambda p: fs.write_file(p, b"x", atomic=True), lambda p: _write(p, "wb")),
    "append_file directory": ("full", lambda p: fs.append_file(p, b"x"), lambda p: _write(p, "ab")),
    "append_file in nothing": ("no/x", lambda p: fs.append_file(p, b"x"), lambda p: _write(p, "ab")),
    "mkdir existing": ("full", fs.mkdir, os.mkdir),
    "mkdir over a file": ("file", fs.mkdir, os.mkdir),
    "mkdir over a dangling link": ("dangling", fs.mkdir, os.mkdir),
    "mkdir in nothing": ("no/x", fs.mkdir, os.mkdir),
    "mkdir in a file": ("file/x", fs.mkdir, os.mkdir),
    "mkdir parents over a file": ("file", lambda p: fs.mkdir(p, parents=True), lambda p: os.makedirs(p, exist_ok=True)),
    "rmdir missing": ("no", fs.rmdir, os.rmdir),
    "rmdir file": ("file", fs.rmdir, os.rmdir),
    "rmdir link to a directory": ("link", fs.rmdir, os.rmdir),
    "rmdir not empty": ("full", fs.rmdir, os.rmdir),
    "unlink missing": ("no", fs.unlink, os.unlink),
    "unlink directory": ("full", fs.unlink, os.unlink),
    "rm missing": ("no", fs.rm, os.unlink),
    "rm recursive missing": ("no", lambda p: fs.rm(p, recursive=True), os.unlink),
    "rm directory": ("full", fs.rm, os.unlink),
    "rm force directory": ("full", lambda p: fs.rm(p, force=True), os.unlink),
    "readlink missing": ("no", fs.readlink, os.readlink),
    "readlink file": ("file", fs.readlink, os.readlink),
    "chmod missing": ("no", lambda p: fs.chmod(p, 0o600), lambda p: os.chmod(p, 0o600)),
    "chmod dangling": ("dangling", lambda p: fs.chmod(p, 0o600), lambda p: os.chmod(p, 0o600)),
    "truncate missing": ("no", fs.truncate, lambda p: os.truncate(p, 0)),
    "truncate directory": ("full", fs.truncate, lambda p: os.truncate(p, 0)),
    "truncate beyond the file system": (
        "file",
        lambda p: fs.truncate(p, 2**63 - 1),
        lambda p: os.truncate(p, 2**63 - 1),
    ),
    # os.utime leaves the file name out of its errors; ours name it as all others do.
    "utimes missing": ("no", fs.utimes, os.stat),
    "utimes dangling": ("dangling", lambda p: fs.utimes(p, 1, 1), os.stat),
    "symlink over a file": ("file", lambda p: fs.symlink("target", p), lambda p: os.symlink("target", p)),
    "symlink in nothing": ("no/x", lambda p: fs.symlink(b"target", p), lambda p: os.symlink(b"target", p)),
    "link missing": ("no", lambda p: fs.link(p, p), lambda p: os.link(p, p)),
    "link over a file": ("file", lambda p: fs.link(p, p), lambda p: os.link(p, p)),
    "link of a directory": ("full", lambda p: fs.link(p, "unused"), lambda p: os.link(p, "unused")),
    "rename missing": ("no", lambda p: fs.rename(p, p), lambda p: os.rename(p, p)),
}
# name: (source and destination in the tree below)
RENAMES = {
    "directory over a file": ("full", "file"),
    "file over a directory": ("file", "full"),
    "directory over a full one": ("empty", "full"),
    "into nothing": ("file", "no/x"),
    "into itself": ("full", "full/inside/deeper"),
    "missing": ("no", "other"),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "full" / "inside").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("full")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    return tmp_path


@pytest.mark.parametrize("spell", [str, os.fsencode], ids=["str", "bytes"])
@pytest.mark.parametrize(("name", "ours", "theirs"), CASES.values(), ids=CASES.keys())
async def test_the_error_is_the_standard_librarys(tree: Path, spell: Any, name: str, ours: Any, theirs: Any) -> None:
    path = spell(f"{tree}/{name}")
    before = sorted(tree.rglob("*"))
    expected = error_of(lambda: theirs(path))
    assert facts(await async_error_of(ours(path))) == facts(expected)
    assert sorted(tree.rglob("*")) == before
    assert (tree / "file").read_bytes() == b"content"


@pytest.mark.parametrize("spell", [str, os.fsencode], ids=["str", "bytes"])
@pytest.mark.parametrize(("source", "destination"), RENAMES.values(), ids=RENAMES.keys())
async def test_renames_error_names_both(tree: Path, spell: Any, source: str, destination: str) -> None:
    paths = spell(f"{tree}/{source}"), spell(f"{tree}/{destination}")
    expected = error_of(lambda: os.rename(*paths))
    assert facts(await async_error_of(fs.rename(*paths))) == facts(expected)


@pytest.mark.parametrize("mode", [os.F_OK, os.R_OK, os.W_OK, os.X_OK, os.R_OK | os.W_OK | os.X_OK])
@pytest.mark.parametrize("name", ["file", "full", "no", "file/x", "loop", "dangling"])
async def test_access_raises_where_os_access_says_no(tree: Path, name: str, mode: int) -> None:
    path = f"{tree}/{name}"
    if os.access(path, mode):
        assert await fs.access(path, mode) is None
        return
    error = await async_error_of(fs.access(path, mode))
    if os.path.exists(path):
        assert facts(error) == (PermissionError, 13, os.strerror(13), path, None)
    else:
        assert facts(error) == facts(error_of(lambda: os.stat(path)))


async def test_access_refuses_an_unknown_mode(tree: Path) -> None:
    error = await async_error_of(fs.access(tree / "file", 8))
    assert isinstance(error, (OSError, ValueError))


@pytest.mark.parametrize("name", ["no", "file/x", "loop", "dangling"])
async def test_realpath_is_strict(tree: Path, name: str) -> None:
    path = f"{tree}/{name}"
    kind, code, text, _, _ = facts(error_of(lambda: os.path.realpath(path, strict=True)))
    assert facts(await async_error_of(fs.realpath(path))) == (kind, code, text, path, None)


@pytest.mark.parametrize("name", ["no", "file/x", "loop", "dangling"])
async def test_exists_is_false_where_os_path_exists_is(tree: Path, name: str) -> None:
    assert await fs.exists(tree / name) is os.path.exists(tree / name) is False


async def test_mkdtemp_in_nothing(tree: Path) -> None:
    prefix = f"{tree}/no/x-"
    error = await async_error_of(fs.mkdtemp(prefix))
    assert facts(error)[:3] == (FileNotFoundError, 2, os.strerror(2))
    assert error.filename.startswith(prefix)  # type: ignore[attr-defined]


async def test_mkdir_parents_through_a_file(tree: Path) -> None:
    error = await async_error_of(fs.mkdir(tree / "file" / "x" / "y", parents=True))
    assert facts(error)[:3] == facts(error_of(lambda: os.makedirs(tree / "file" / "x" / "y")))[:3]
    assert str(error.filename).startswith(str(tree / "file"))  # type: ignore[attr-defined]


COPIES = {
    "missing source": ("no", "new"),
    "directory source": ("full", "new"),
    "directory destination": ("file", "full"),
    "destination in nothing": ("file", "no/new"),
    "loop": ("loop", "new"),
}


@pytest.mark.parametrize(("source", "destination"), COPIES.values(), ids=COPIES.keys())
async def test_copy_file_names_the_path_at_fault(tree: Path, source: str, destination: str) -> None:
    paths = f"{tree}/{source}", f"{tree}/{destination}"
    expected = error_of(lambda: shutil.copyfile(*paths))
    error = await async_error_of(fs.copy_file(*paths))
    assert facts(error)[:3] == facts(expected)[:3]
    assert expected.filename in (error.filename, error.filename2)  # type: ignore[attr-defined]


async def test_unix_socket_address_is_not_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert facts(await async_error_of(fs.read_file(path))) == facts(error_of(lambda: _read(path)))


def test_an_error_prints_as_the_standard_librarys(run: Any, tree: Path) -> None:
    for ours, theirs in (
        (fs.stat(f"{tree}/no"), lambda: os.stat(f"{tree}/no")),
        (fs.rename(f"{tree}/no", f"{tree}/x"), lambda: os.rename(f"{tree}/no", f"{tree}/x")),
    ):
        assert str(run(async_error_of(ours))) == str(error_of(theirs))


def test_no_permission_is_the_standard_librarys_error(tmp_path: Path) -> None:
    """Root may do anything, so this runs as nobody where the suite runs as root."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:  # pytest's own directories are for the user alone
        if parent.stat().st_uid == os.geteuid() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    python(
        """
        import asyncio, os, sys
        from uvworks import fs

        root = sys.argv[1]
        os.chdir(root)
        os.umask(0)
        if os.geteuid() == 0:
            os.chmod(root, 0o777)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        os.makedirs("shut/inside")
        os.makedirs("sealed/inside")
        with open("secret", "wb") as file:
            file.write(b"old")
        os.chmod("secret", 0)
        os.chmod("shut", 0)
        os.chmod("sealed", 0o555)

        def read(path):
            with open(path, "rb"): pass
        def write(path, mode="wb"):
            with open(path, mode): pass

        cases = [
            (lambda: fs.read_file("secret"), lambda: read("secret")),
            (lambda: fs.write_file("secret", b"new"), lambda: write("secret")),
            (lambda: fs.append_file("secret", b"new"), lambda: write("secret", "ab")),
            (lambda: fs.write_file("sealed/new", b"new"), lambda: write("sealed/new")),
            (lambda: fs.write_file("shut/new", b"new", atomic=True), lambda: write("shut/new")),
            (lambda: fs.stat("shut/inside"), lambda: os.stat("shut/inside")),
            (lambda: fs.readdir("shut"), lambda: os.listdir("shut")),
            (lambda: fs.mkdir("sealed/new"), lambda: os.mkdir("sealed/new")),
            (lambda: fs.mkdir("sealed/new", parents=True), lambda: os.mkdir("sealed/new")),
            (lambda: fs.rmdir("sealed/inside"), lambda: os.rmdir("sealed/inside")),
            (lambda: fs.unlink("shut/inside"), lambda: os.unlink("shut/inside")),
            (lambda: fs.rm("shut/inside", force=True), lambda: os.unlink("shut/inside")),
            (lambda: fs.truncate("secret"), lambda: os.truncate("secret", 0)),
            (lambda: fs.symlink("x", "sealed/new"), lambda: os.symlink("x", "sealed/new")),
            (lambda: fs.rename("sealed/inside", "y"), lambda: os.rename("sealed/inside", "y")),
            (lambda: fs.chmod("/", 0o755), lambda: os.chmod("/", 0o755)),
            (lambda: fs.utimes("/", 1, 1), lambda: os.chmod("/", 0o755)),
        ]

        def facts(error):
            return type(error), error.errno, error.strerror, error.filename, error.filename2

        async def main():
            for ours, theirs in cases:
                try:
                    theirs()
                except OSError as error:
                    expected = facts(error)
                else:
                    raise AssertionError("the standard library raised nothing")
                try:
                    await ours()
                except OSError as error:
                    assert facts(error) == expected, (facts(error), expected)
                else:
                    raise AssertionError(f"nothing raised, expected {expected}")
            assert await fs.exists("shut/inside") is False
            for call in (fs.realpath("shut/inside"), fs.mkdtemp("sealed/x"), fs.access("secret", os.R_OK),
                         fs.rm("sealed", recursive=True), fs.rm("shut", recursive=True, force=True),
                         fs.write_file("sealed/new", b"x", atomic=True), fs.copy_file("secret", "copy"),
                         fs.copy_file("/etc/passwd", "sealed/new")):
                try:
                    await call
                except PermissionError as error:
                    assert error.filename and error.strerror == os.strerror(error.errno)
                else:
                    raise AssertionError(f"{call} raised nothing")
            assert sorted(os.listdir(".")) == ["sealed", "secret", "shut"] and os.listdir("sealed") == ["inside"]

        asyncio.run(main())
        os.chmod("shut", 0o777)
        os.chmod("sealed", 0o777)
        """,
        str(tmp_path),
    )
