"""Declares the one extension module, uvworks._uv, to cffi.

Rules: the cdef is the text of engine/engine_api.h, a real C header; every C file below csrc/ is part of the module,
found by a glob; how libuv is found and linked is the business of setup.py, not of this file.
"""

import os
from itertools import chain
from pathlib import Path

from cffi import FFI

# Functions that C may call and Python implements (`@ffi.def_extern()`). They stand here and not in engine_api.h,
# because that file must stay valid C.
PYTHON_CALLBACKS = ("void uvw_on_turn(void *);",)

PREAMBLE = """\
#include "engine.h"
/* What cffi generates below does not use every parameter; our own files have no such exception. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
"""

csrc = Path(__file__).parent
folders = [csrc, csrc / "engine", csrc / "core", csrc / "asyncio"]

compile_args = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra"]
link_args = []
if os.environ.get("UVWORKS_WERROR") == "1":
    compile_args.append("-Werror")
if sanitizers := os.environ.get("UVWORKS_SANITIZE"):
    # Asserts count in a sanitizer build, and Python's own flags may switch them off.
    compile_args += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g", "-O1", "-UNDEBUG"]
    link_args.append(f"-fsanitize={sanitizers}")

ffibuilder = FFI()
ffibuilder.cdef((csrc / "engine" / "engine_api.h").read_text())
for declaration in PYTHON_CALLBACKS:
    ffibuilder.cdef(f'extern "Python" {declaration}')
ffibuilder.set_source(
    "uvworks._uv",
    PREAMBLE,
    py_limited_api=False,  # PyInit__core lives in the same file and needs the whole C API
    sources=sorted(str(path) for path in chain.from_iterable(folder.glob("*.c") for folder in folders)),
    include_dirs=[str(folder) for folder in folders],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
)
