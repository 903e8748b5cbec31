"""setup.py: whatever the machine lacks is named in one sentence, with the Debian package that brings it."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

import uvworks._uv

ROOT = Path(__file__).parent.parent

# A compiler that lacks one header, or has it in another version: setup.py asks the preprocessor for both.
COMPILER = """\
#!/bin/sh
[ "$1" != -c ] || exec cc "$@"
source=$(cat)
case $source in
*"<$LACKS>"*) exit 1 ;;
*"<$OLD>"*) echo 1 2; exit 0 ;;
esac
printf '%s\\n' "$source" | exec cc "$@"
"""


def sentence(tmp_path: Path, **environment: str) -> str:
    """What a build in that environment ends with, before anything is compiled."""
    compiler = tmp_path / "compiler"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", f"--build-temp={tmp_path}", f"--build-lib={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "CC": str(compiler), "LACKS": "", "OLD": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last.removeprefix("error: ")


SYSTEM = {"UVWORKS_LIBUV": "system", "UVWORKS_LIBDEFLATE": "system"}


@pytest.mark.parametrize(
    ("header", "package"),
    [
        ("uv/version.h", "libuv1-dev"),
        ("libdeflate.h", "libdeflate-dev"),
        ("zlib.h", "zlib1g-dev"),
        ("brotli/encode.h", "libbrotli-dev"),
        ("zstd.h", "libzstd-dev"),
        ("openssl/decoder.h", "libssl-dev"),
    ],
)
def test_a_missing_library_is_named_with_its_package(tmp_path: Path, header: str, package: str) -> None:
    said = sentence(tmp_path, LACKS=header, **SYSTEM)
    assert "found: install" in said and f"apt-get install {package})" in said


@pytest.mark.parametrize(
    ("name", "header", "oldest"), [("libuv", "uv/version.h", "1.44"), ("libdeflate", "libdeflate.h", "1.14")]
)
def test_an_old_library_is_refused(tmp_path: Path, name: str, header: str, oldest: str) -> None:
    said = sentence(tmp_path, OLD=header, **SYSTEM)
    assert said.startswith(
        f"{name} 1.2 is too old, uvworks needs {oldest} or newer: install {name}'s development package"
    )


@pytest.mark.parametrize("name", ["libuv", "libdeflate"])
def test_vendored_or_the_systems_and_nothing_else(tmp_path: Path, name: str) -> None:
    variable = f"UVWORKS_{name.upper()}"
    said = sentence(tmp_path, **SYSTEM | {variable: "both"})
    assert said == f"{variable} is 'both': it must be system, vendor or auto"
    if not list((ROOT / "vendor" / name).iterdir()):
        said = sentence(tmp_path, **SYSTEM | {variable: "vendor"})
        assert said == f"vendor/{name} holds no sources: run scripts/vendor.sh"


def test_the_repository_holds_no_sources_of_others() -> None:
    listed = subprocess.run(["git", "ls-files", "--stage", "vendor"], cwd=ROOT, capture_output=True, text=True)
    if not listed.stdout:
        pytest.skip("not a clone")
    modes = {line.split()[3]: line.split()[0] for line in listed.stdout.splitlines()}
    assert modes == {"vendor/README.md": "100644", "vendor/libdeflate": "160000", "vendor/libuv": "160000"}


def test_the_module_says_what_it_was_built_with() -> None:
    text = ctypes.string_at(ctypes.CDLL(uvworks._uv.__file__).uvw_built_with).decode()
    libuv, libdeflate = (part.split() for part in text.split(", "))
    assert (libuv[1], libdeflate[1]) == ("libuv", "libdeflate")
    for how, _, version in (libuv, libdeflate):
        assert how in ("system", "vendor") and version[:2] == "1."
