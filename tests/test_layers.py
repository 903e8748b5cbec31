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
from uvworks._engine import core

SOURCES = Path(__file__).parent.parent
PYTHON = sorted((SOURCES / "src" / "uvworks").rglob("*.py"))
CSRC = SOURCES / "csrc"

# Who may use the binding: `core`, which is csrc/core and csrc/asyncio, and `ffi` and `lib`, which are the engine. A new
# file is added here on purpose; one that needs it no more has to go.
USERS = {
    "_uv": {"_native.py"},
    "_native": {"_engine.py", "pool.py", "uv.py"},
    "ffi": {"_native.py", "pool.py", "uv.py"},
    "lib": {"_engine.py", "_native.py", "pool.py", "uv.py"},
    "core": {
        "_engine.py",
        "_native.py",
        "crypto/_hash.py",
        "crypto/_kdf.py",
        "crypto/_keys.py",
        "crypto/_random.py",
        "crypto/_sign.py",
        "dns/_lookup.py",
        "fs/_directories.py",
        "fs/_files.py",
        "fs/_paths.py",
        "loop/__init__.py",
        "loop/debug.py",
        "loop/exceptions.py",
        "loop/pipes.py",
        "loop/resolve.py",
        "loop/sendfile.py",
        "loop/signals.py",
        "loop/subprocesses.py",
        "loop/tasks.py",
        "loop/tls.py",
        "pool.py",
        "uv.py",
        "zlib/_errors.py",
        "zlib/_options.py",
        "zlib/_files.py",
        "zlib/_streams.py",
        "zlib/_whole.py",
    },
}
# What each layer of csrc may include files of.
BELOW = {"engine": {"engine"}, "core": {"core", "engine"}, "asyncio": {"asyncio", "core", "engine"}}
MOST_LINES = 600
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
    assert len(PYTHON) > 40
    assert all(list((CSRC / layer).glob("*.c")) for layer in BELOW)


@pytest.mark.parametrize("name", USERS)
def test_who_uses_the_binding(name: str) -> None:
    found = {path.relative_to(SOURCES / "src" / "uvworks").as_posix() for path in PYTHON if name in names_used(path)}
    assert found == USERS[name]


def layer_of(path: Path) -> str:
    return path.relative_to(CSRC).parts[0]


def included(path: Path) -> set[Path]:
    """The files of csrc that a file of csrc includes, found as the compiler does: beside it first."""
    found = set()
    for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(), re.MULTILINE):
        places = [path.parent, CSRC, *(CSRC / layer for layer in BELOW)]
        existing = [(place / name).resolve() for place in places if (place / name).exists()]
        assert existing, f"{path.name} includes {name}, which is nowhere in csrc"
        found.add(existing[0])
    return found


@pytest.mark.parametrize("layer", BELOW)
def test_a_layer_includes_only_what_is_below(layer: str) -> None:
    upward = {
        f"{path.name} includes {header.relative_to(CSRC)}"
        for path in (CSRC / layer).glob("*.[ch]")
        for header in included(path)
        if layer_of(header) not in BELOW[layer]
    }
    assert not upward


def test_one_maker_of_os_errors() -> None:
    """All of core's come from errors.c, and no others have a path: so their texts and classes are the same."""
    others = {
        f"{layer}/{path.name}: {call}"
        for layer, pattern in (("core", r"\bPyErr_SetFromErrno\w*"), ("asyncio", r"\bPyErr_SetFromErrnoWith\w*"))
        for path in (CSRC / layer).glob("*.c")
        if (layer, path.name) != ("core", "errors.c")
        for call in re.findall(pattern, path.read_text())
    }
    assert not others


def test_no_source_file_is_long() -> None:
    folders = "src csrc tests benchmarks examples scripts".split()
    files = [path for folder in folders for path in (SOURCES / folder).rglob("*") if path.is_file()]
    long = {}
    for path in [*files, SOURCES / "setup.py"]:
        if path.suffix in {".py", ".pyi", ".c", ".h", ".mjs", ".sh"}:
            lines = path.read_text().count("\n")
            if lines > MOST_LINES:
                long[str(path.relative_to(SOURCES))] = lines
    assert not long


def test_no_source_of_others_is_in_the_repository() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--stage", "vendor"], cwd=SOURCES, capture_output=True, text=True, timeout=30
    )
    if listed.returncode != 0:
        pytest.skip("this is no clone")
    modes = {line.split()[3]: line.split()[0] for line in listed.stdout.splitlines()}
    assert modes == {"vendor/README.md": "100644", "vendor/libdeflate": "160000", "vendor/libuv": "160000"}


@pytest.mark.parametrize("path", sorted((CSRC / "engine").glob("*.[ch]")), ids=lambda path: path.name)
def test_the_engine_knows_no_python(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"^\s*#\s*include.*Python|\bPy[A-Z]\w*\(|\bPyObject\b", text, re.MULTILINE)


def test_the_cdef_has_declarations_only() -> None:
    text = (CSRC / "engine" / "engine_api.h").read_text()
    assert not re.search(r"^\s*#", text, re.MULTILINE) and "<<" not in text


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_a_file_opens_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "path",
    sorted([*CSRC.rglob("*.[ch]"), *(SOURCES / "tests").rglob("*.py")]),
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
    declared = {found for found in declared if not found.startswith("_")}  # types that only the stub has
    real = {found for found in vars(sys.modules[f"uvworks.{name}"]) if not found.startswith("_")}
    assert declared == real


@pytest.mark.parametrize("path", sorted((SOURCES / "src" / "uvworks" / "fs").glob("*.py")), ids=lambda path: path.name)
def test_fs_names_operations_and_flags_that_there_are(path: Path) -> None:
    """The stub lets any name pass: the engine's table has them."""
    used = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_fs"
    }
    assert used <= set(dir(core.fs))
    assert used or "core.fs" not in path.read_text()


def test_no_two_static_functions_of_the_lower_layers_have_one_name() -> None:
    """A name leads to one place, in a debugger and in a search."""
    places: dict[str, list[str]] = {}
    for layer in ("engine", "core"):
        for path in sorted((CSRC / layer).glob("*.c")):
            for name in set(re.findall(r"^static [^;={]*?\b(\w+)\(", path.read_text(), re.MULTILINE)):
                places.setdefault(name, []).append(f"{layer}/{path.name}")
    assert len(places) > 300
    assert not {name: found for name, found in places.items() if len(found) > 1}
