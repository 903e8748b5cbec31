"""Builds uvworks._uv against libuv and libdeflate; everything declarative is in pyproject.toml.

Environment:
  UVWORKS_LIBUV       system: the machine's shared libuv; vendor: vendor/libuv, linked statically;
                      auto (the default): vendor when it holds sources, else system
  UVWORKS_LIBDEFLATE  the same for libdeflate and vendor/libdeflate
  UVWORKS_SANITIZE    sanitizers to build with, such as "address,undefined" (read in csrc/ffi_build.py)
  UVWORKS_WERROR      1: a compiler warning fails the build (read in csrc/ffi_build.py)

zlib, brotli, zstd and OpenSSL's libcrypto are always the machine's. What the build took is in the module's exported
string uvw_built_with.

Rule: whatever the machine lacks is named in one sentence, with the Debian package that brings it.
"""

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

from cffi import FFI
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import PlatformError

VENDORED_LIBUV = Path("vendor", "libuv")
VENDORED_LIBDEFLATE = Path("vendor", "libdeflate")
# The two that may be vendored, as the machine's: the name for pkg-config (libuv.pc; Debian's libuv-static.pc names an
# archive that is not PIC), the header with the version, how its macros begin, the oldest that will do, the package.
SYSTEM_LIBUV = ("libuv", "uv/version.h", "UV_VERSION", (1, 44), "libuv1-dev")
SYSTEM_LIBDEFLATE = ("libdeflate", "libdeflate.h", "LIBDEFLATE_VERSION", (1, 14), "libdeflate-dev")
# What else is linked from the machine: a header that must be there, the names for pkg-config, the
# flags without it, and the Debian package.
SYSTEM_LIBRARIES = (
    ("zlib.h", ("zlib",), ("-lz",), "zlib1g-dev"),
    ("brotli/encode.h", ("libbrotlienc", "libbrotlidec"), ("-lbrotlienc", "-lbrotlidec"), "libbrotli-dev"),
    ("zstd.h", ("libzstd",), ("-lzstd",), "libzstd-dev"),
    ("openssl/decoder.h", ("libcrypto",), ("-lcrypto",), "libssl-dev"),  # a header that came with OpenSSL 3.0
)

BUILT_WITH = """\
#include <libdeflate.h>
#include <uv/version.h>
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
extern const char uvw_built_with[];
__attribute__((visibility("default"))) const char uvw_built_with[] =
    "{libuv} libuv " TEXT(UV_VERSION_MAJOR) "." TEXT(UV_VERSION_MINOR) "." TEXT(UV_VERSION_PATCH)
    ", {libdeflate} libdeflate " LIBDEFLATE_VERSION_STRING;
"""


def compiler() -> list[str]:
    """The C compiler's command, as setuptools will run it."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def check_toolchain() -> None:
    if shutil.which(compiler()[0]) is None:
        raise PlatformError(f"no C compiler {compiler()[0]!r} was found: install one (Debian: apt-get install gcc)")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise PlatformError("Python.h was not found: install Python's headers (Debian: apt-get install python3-dev)")


def pkg_config(*arguments: str) -> list[str]:
    """What pkg-config says; nothing when it or the library is unknown, as a plain -l may still work."""
    try:
        answer = subprocess.run(["pkg-config", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return shlex.split(answer.stdout)


def choice(variable: str, folder: Path, marker: str) -> str:
    """What an environment variable asks for, system or vendor; auto is vendor when the folder holds sources."""
    has_sources = (folder / marker).is_file()
    asked = os.environ.get(variable) or "auto"
    if asked not in ("system", "vendor", "auto"):
        raise PlatformError(f"{variable} is {asked!r}: it must be system, vendor or auto")
    if asked == "vendor" and not has_sources:
        raise PlatformError(f"{folder} holds no sources: run scripts/vendor.sh")
    return asked if asked != "auto" else "vendor" if has_sources else "system"


def versioned_library(
    ext: Extension, name: str, header: str, macro: str, oldest: tuple[int, int], package: str
) -> None:
    """Link SYSTEM_LIBUV or SYSTEM_LIBDEFLATE, the shared library."""
    flags = pkg_config("--cflags", name)
    probe = subprocess.run(
        [*compiler(), *flags, "-E", "-P", "-x", "c", "-"],
        input=f"#include <{header}>\n{macro}_MAJOR {macro}_MINOR\n",
        capture_output=True,
        text=True,
    )
    variable = f"UVWORKS_{name.upper()}"
    advice = f"install {name}'s development package (Debian: apt-get install {package}) or use {variable}=vendor"
    if probe.returncode != 0:
        raise PlatformError(f"{name}'s headers were not found: {advice}")
    version = tuple(map(int, probe.stdout.split()[-2:]))
    if version < oldest:
        found, needed = (".".join(map(str, each)) for each in (version, oldest))
        raise PlatformError(f"{name} {found} is too old, uvworks needs {needed} or newer: {advice}")
    ext.extra_compile_args += flags
    ext.extra_link_args += pkg_config("--libs", name) or [f"-l{name.removeprefix('lib')}"]


def system_library(
    ext: Extension, header: str, names: tuple[str, ...], fallback: tuple[str, ...], package: str
) -> None:
    """Link one of SYSTEM_LIBRARIES."""
    flags = pkg_config("--cflags", *names)
    probe = subprocess.run(
        [*compiler(), *flags, "-E", "-o", os.devnull, "-x", "c", "-"],
        input=f"#include <{header}>\n",
        capture_output=True,
        text=True,
    )
    if probe.returncode != 0:
        raise PlatformError(f"<{header}> was not found: install it (Debian: apt-get install {package})")
    ext.extra_compile_args += flags
    ext.extra_link_args += pkg_config("--libs", *names) or fallback


def vendored_libuv(ext: Extension, build: Path) -> None:
    """Build vendor/libuv with its own CMake files as a static archive and link it so that no symbol of it shows."""
    if shutil.which("cmake") is None:
        raise PlatformError("vendor/libuv is built with cmake: install it (Debian: apt-get install cmake)")
    options = {
        "CMAKE_BUILD_TYPE": "RelWithDebInfo",
        "CMAKE_POSITION_INDEPENDENT_CODE": "ON",
        "CMAKE_C_VISIBILITY_PRESET": "hidden",
        "CMAKE_C_FLAGS": f"-fsanitize={sanitizers}" if (sanitizers := os.environ.get("UVWORKS_SANITIZE")) else "",
        "BUILD_TESTING": "OFF",
    }
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    subprocess.run(["cmake", "-S", VENDORED_LIBUV, "-B", build, *definitions], check=True)
    subprocess.run(["cmake", "--build", build, "--target", "uv_a", "--parallel"], check=True)
    [archive] = build.glob("*.a")  # libuv.a or, before 1.45, libuv_a.a
    ext.include_dirs.append(str(VENDORED_LIBUV / "include"))
    ext.extra_objects.append(str(archive))
    # UV_EXTERN marks libuv's API visible whatever the preset says, so the linker has to hide it.
    ext.extra_link_args += ["-Wl,--exclude-libs,ALL", "-lpthread", "-ldl", "-lrt"]


class BuildExt(build_ext):
    libuv = libdeflate = "system"

    def pre_run(self, ext: Extension, ffi: FFI) -> None:
        """cffi calls this before it generates the module's source."""
        self.force = True  # file times alone would miss a changed header, flag or libuv
        check_toolchain()
        self.libuv = choice("UVWORKS_LIBUV", VENDORED_LIBUV, "CMakeLists.txt")
        self.libdeflate = choice("UVWORKS_LIBDEFLATE", VENDORED_LIBDEFLATE, "libdeflate.h")
        if self.libuv == "vendor":
            vendored_libuv(ext, Path(self.build_temp, "libuv"))
        else:
            versioned_library(ext, *SYSTEM_LIBUV)
        if self.libdeflate == "vendor":
            ext.include_dirs.append(str(VENDORED_LIBDEFLATE))
        else:
            versioned_library(ext, *SYSTEM_LIBDEFLATE)
        for library in SYSTEM_LIBRARIES:
            system_library(ext, *library)

    def build_extension(self, ext: Extension) -> None:
        ext.extra_objects += self.built_with(ext)
        if self.libdeflate == "vendor":
            ext.extra_objects += self.vendored_libdeflate()
        super().build_extension(ext)

    def vendored_libdeflate(self) -> list[str]:
        """Compile vendor/libdeflate: nothing but C files, and not to be held to our warnings."""
        sources = sorted(
            str(path) for pattern in ("lib/*.c", "lib/*/*.c") for path in VENDORED_LIBDEFLATE.glob(pattern)
        )
        # It declares its functions visible, and another library's libdeflate would then take the place of this one;
        # the macro takes that declaration away.
        flags = ["-O2", "-std=gnu11", "-fvisibility=hidden", "-Dvisibility(x)=", "-w"]
        if sanitizers := os.environ.get("UVWORKS_SANITIZE"):
            flags += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g"]
        objects: list[str] = self.compiler.compile(
            sources, output_dir=self.build_temp, include_dirs=[str(VENDORED_LIBDEFLATE)], extra_postargs=flags
        )
        return objects

    def built_with(self, ext: Extension) -> list[str]:
        """Compile uvw_built_with: figures mean little without the versions behind them (benchmarks/harness)."""
        source = Path(self.build_temp, "built_with.c")
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(BUILT_WITH.format(libuv=self.libuv, libdeflate=self.libdeflate))
        objects: list[str] = self.compiler.compile(
            [str(source)],
            output_dir=self.build_temp,
            include_dirs=ext.include_dirs,
            extra_postargs=ext.extra_compile_args,
        )
        return objects


setup(cffi_modules=["csrc/ffi_build.py:ffibuilder"], cmdclass={"build_ext": BuildExt})
