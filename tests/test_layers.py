"""The rules between the layers, read from the sources: who may touch what, and that what is public is documented."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import uvworks
from uvworks import crypto, dns, errors, fs, pool, uv, zlib

SOURCES = Path(__file__).parent.parent
PYTHON = sorted((SOURCES / "src" / "uvworks").rglob("*.py"))
BINDING = {"_native.py", "_engine.py", "pool.py", "uv.py"}
# fs names its jobs to the engine through _engine.core; it sees neither ffi nor lib.
PUBLIC = [crypto, dns, fs, pool, uv, zlib, errors]


def names_used(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found.update({node.module or "", *(alias.name for alias in node.names)})
    return found


def test_there_are_sources_to_look_at() -> None:
    assert BINDING <= {path.name for path in PYTHON}
    assert list((SOURCES / "csrc" / "engine").glob("*.c"))


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_only_the_binding_touches_ffi_and_lib(path: Path) -> None:
    used = names_used(path) & {"ffi", "lib", "_uv", "_native"}
    assert path.name in BINDING or not used


@pytest.mark.parametrize("path", sorted((SOURCES / "csrc" / "engine").glob("*.[ch]")), ids=lambda path: path.name)
def test_the_engine_knows_no_python(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"^\s*#\s*include.*Python|\bPy[A-Z]\w*\(|\bPyObject\b", text, re.MULTILINE)


def test_the_cdef_has_declarations_only() -> None:
    text = (SOURCES / "csrc" / "engine" / "engine_api.h").read_text()
    assert not re.search(r"^\s*#", text, re.MULTILINE) and "<<" not in text


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_a_file_opens_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "path",
    sorted([*(SOURCES / "csrc").rglob("*.[ch]"), *(SOURCES / "tests").rglob("*.py")]),
    ids=lambda path: path.name,
)
def test_a_c_file_or_test_opens_with_a_comment(path: Path) -> None:
    assert path.read_text().lstrip().startswith(("/*", "//", '"""', "#"))


def public(module: object) -> list[tuple[str, object]]:
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    return [(name, getattr(module, name)) for name in names]


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_everything_public_has_a_docstring(module: object) -> None:
    bare = []
    for name, value in public(module):
        if inspect.isclass(value):
            if not value.__doc__:
                bare.append(name)
            bare += [
                f"{name}.{attribute}"
                for attribute, member in vars(value).items()
                if not attribute.startswith("_")
                and (inspect.isfunction(member) or isinstance(member, property))
                and not inspect.getdoc(getattr(value, attribute))
            ]
        elif callable(value) and not inspect.getdoc(value):
            bare.append(name)
    assert not bare


def test_fs_has_the_functions_of_its_first_part() -> None:
    wanted = """access append_file chmod copy_file exists lstat mkdir mkdtemp read_file readdir readlink realpath rename
        rm rmdir stat symlink truncate unlink utimes write_file""".split()
    assert set(wanted) <= set(fs.__all__)
    assert all(inspect.iscoroutinefunction(getattr(fs, name)) for name in wanted)


def test_what_the_package_exports() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", uvworks.__version__)
    assert uvworks.PoolSaturated is errors.PoolSaturated
    for name in ("crypto", "dns", "fs", "pool", "uv", "errors"):
        assert getattr(uvworks, name) is importlib.import_module(f"uvworks.{name}")
    for module in PUBLIC:
        for name, value in public(module):
            if inspect.isclass(value) or inspect.isfunction(value):
                assert value.__module__.startswith("uvworks"), name


def test_public_functions_say_they_are_from_where_people_import_them() -> None:
    """Tracebacks and help() then show uvworks.fs.stat, not where the file happens to lie."""
    for name, value in public(fs):
        if inspect.isfunction(value) or inspect.isclass(value):
            assert not value.__module__.rpartition(".")[2].startswith("__"), name
            assert value.__qualname__ == name


def test_every_module_can_be_imported_by_itself() -> None:
    names = ["uvworks." + module.name for module in pkgutil.iter_modules(uvworks.__path__) if module.name[0] != "_"]
    assert {"uvworks.fs", "uvworks.pool", "uvworks.uv", "uvworks.errors"} <= set(names)
    for name in names:
        subprocess.run([sys.executable, "-W", "error", "-c", f"import {name}"], check=True, timeout=30)


def test_one_shared_object_only() -> None:
    """A second copy of the file would be a second libuv and a second pool."""
    from uvworks import _core, _uv  # type: ignore[attr-defined]

    assert _core.__file__ == _uv.__file__
    with open("/proc/self/maps") as maps:
        files = {line.split()[-1] for line in maps if "/uvworks/_uv." in line}
    assert len(files) == 1


@pytest.mark.parametrize("name", ["_core", "_uv"])
def test_the_stubs_name_what_the_modules_have(name: str) -> None:
    stub = ast.parse((SOURCES / "src" / "uvworks" / f"{name}.pyi").read_text())
    declared = {node.name for node in stub.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    declared |= {node.target.id for node in stub.body if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]
    real = {found for found in vars(sys.modules[f"uvworks.{name}"]) if not found.startswith("_")}
    assert declared == real
