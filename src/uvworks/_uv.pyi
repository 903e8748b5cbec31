"""Types of uvworks._uv: CFFI's module. What `lib` holds is declared in csrc/engine/engine_api.h."""

from typing import Any

ffi: Any
lib: Any
