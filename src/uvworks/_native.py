"""Loads the two modules that live in one shared object.

`_uv` is CFFI's module, `_core` the one written against CPython's C API. Both
must come from the same file, for that file holds the one libuv, the one pool
and the one set of lanes of this process; a copy of it would be a second pool.
"""

import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import _uv

__all__ = ["core", "ffi", "lib", "text"]

ffi = _uv.ffi
lib = _uv.lib


def text(pointer: Any) -> str:
    """A C string as str."""
    value: bytes = ffi.string(pointer)
    return value.decode()


def _load_core() -> ModuleType:
    name = "uvworks._core"
    path = _uv.__file__
    spec = spec_from_file_location(name, path, loader=ExtensionFileLoader(name, path))
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {name} from {path}", name=name, path=path)
    module = module_from_spec(spec)
    sys.modules[name] = module  # before exec, so that nobody loads it a second time
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


if TYPE_CHECKING:
    from . import _core as core
else:
    core = _load_core()
