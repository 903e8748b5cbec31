"""Builds uvworks._uv against libuv; everything declarative is in pyproject.toml.

Environment:
  UVWORKS_LIBUV     system: the machine's shared libuv; vendor: vendor/libuv, linked statically;
                    auto (the default): vendor when it holds sources, else system
  UVWORKS_SANITIZE  sanitizers to build with, such as "address,undefined" (read in csrc/ffi_build.py)
  UVWORKS_WERROR    1: a compiler warning fails the build (read in csrc/ffi_build.py)

libdeflate comes with the sources and is built into the module; zlib, brotli, zstd
and OpenSSL's libcrypto are the machine's.

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

OLDEST_LIBUV = (1, 44)
VENDORED_LIBUV = Path("vendor", "libuv")
LIBDEFLATE = Path("vendor", "libdeflate")
# What else is linked from the machine: a header that must be there, the names for pkg-config, the
# flags without it, and the Debian package.
SYSTEM_LIBRARIES = (
    ("zlib.h", ("zlib",), ("-lz",), "zlib1g-dev"),
    ("brotli/encode.h", ("libbrotlienc", "libbrotlidec"), ("-lbrotlienc", "-lbrotlidec"), "libbrotli-dev"),
    ("zstd.h", ("libzstd",), ("-lzstd",), "libzstd-dev"),
    ("openssl/decoder.h", ("libcrypto",), ("-lcrypto",), "libssl-dev"),  # a header that came with OpenSSL 3.0
)


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


def system_libuv(ext: Extension) -> None:
    """Link the machine's shared libuv (libuv.pc; Debian's libuv-static.pc names an archive that is not PIC)."""
    flags = pkg_config("--cflags", "libuv")
    probe = subprocess.run(
        [*compiler(), *flags, "-E", "-P", "-x", "c", "-"],
        input="#include <uv/version.h>\nUV_VERSION_MAJOR UV_VERSION_MINOR\n",
        capture_output=True,
        text=True,
    )
    advice = "install libuv's development package (Debian: apt-get install libuv1-dev) or use UVWORKS_LIBUV=vendor"
    if probe.returncode != 0:
        raise PlatformError(f"libuv's headers were not found: {advice}")
    version = tuple(map(int, probe.stdout.split()[-2:]))
    if version < OLDEST_LIBUV:
        found, needed = (".".join(map(str, each)) for each in (version, OLDEST_LIBUV))
        raise PlatformError(f"libuv {found} is too old, uvworks needs {needed} or newer: {advice}")
    ext.extra_compile_args += flags
    ext.extra_link_args += pkg_config("--libs", "libuv") or ["-luv"]


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
    def pre_run(self, ext: Extension, ffi: FFI) -> None:
        """cffi calls this before it generates the module's source."""
        self.force = True  # file times alone would miss a changed header, flag or libuv
        check_toolchain()
        has_sources = (VENDORED_LIBUV / "CMakeLists.txt").is_file()
        choice = os.environ.get("UVWORKS_LIBUV") or "auto"
        if choice == "auto":
            choice = "vendor" if has_sources else "system"
        if choice == "system":
            system_libuv(ext)
        elif choice != "vendor":
            raise PlatformError(f"UVWORKS_LIBUV is {choice!r}: it must be system, vendor or auto")
        elif not has_sources:
            raise PlatformError("vendor/libuv holds no sources: run git submodule update --init vendor/libuv")
        else:
            vendored_libuv(ext, Path(self.build_temp, "libuv"))
        for library in SYSTEM_LIBRARIES:
            system_library(ext, *library)
        ext.include_dirs.append(str(LIBDEFLATE))

    def build_extension(self, ext: Extension) -> None:
        """Builds vendor/libdeflate into the module: nothing but C files, and not to be held to our warnings."""
        sources = sorted(str(path) for pattern in ("lib/*.c", "lib/*/*.c") for path in LIBDEFLATE.glob(pattern))
        # It declares its functions visible, and another library's libdeflate would then take the place of this one;
        # the macro takes that declaration away.
        flags = ["-O2", "-std=gnu11", "-fvisibility=hidden", "-Dvisibility(x)=", "-w"]
        if sanitizers := os.environ.get("UVWORKS_SANITIZE"):
            flags += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g"]
        ext.extra_objects += self.compiler.compile(
            sources, output_dir=self.build_temp, include_dirs=[str(LIBDEFLATE)], extra_postargs=flags
        )
        super().build_extension(ext)


setup(cffi_modules=["csrc/ffi_build.py:ffibuilder"], cmdclass={"build_ext": BuildExt})
