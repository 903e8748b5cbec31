"""Types of uvworks._core (csrc/core): the GIL-keeping path between event loops and the engine."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Generator
from typing import Any, Final, final

ACCESS: Final[int]
APPEND: Final[int]
CHMOD: Final[int]
COPY: Final[int]
LSTAT: Final[int]
MKDIR: Final[int]
MKDTEMP: Final[int]
READ: Final[int]
READDIR: Final[int]
READLINK: Final[int]
REALPATH: Final[int]
RENAME: Final[int]
RM: Final[int]
RMDIR: Final[int]
STAT: Final[int]
SYMLINK: Final[int]
TRUNCATE: Final[int]
UNLINK: Final[int]
UTIMES: Final[int]
WRITE: Final[int]

EXCLUSIVE: Final[int]
PARENTS: Final[int]
RECURSIVE: Final[int]
FORCE: Final[int]
TYPES: Final[int]
ATOMIC: Final[int]
SYNC: Final[int]

@final
class Job:
    @property
    def waiting(self) -> bool: ...
    def __await__(self) -> Generator[Any, None, Any]: ...
    def __iter__(self) -> Job: ...
    def __next__(self) -> Any: ...
    def send(self, value: object, /) -> Any: ...
    def throw(self, *exception: Any) -> Any: ...
    def close(self) -> None: ...
    def cancel(self) -> bool: ...
    def resume(self) -> None: ...

@final
class Port:
    def __new__(cls, loop: AbstractEventLoop | None = None, owner: int = 0) -> Port: ...
    @property
    def pending(self) -> bool: ...
    @property
    def loop(self) -> Any: ...
    def dispatch(self) -> None: ...
    def close(self) -> None: ...
    def fileno(self) -> int: ...

def setup(
    *,
    attach: Callable[[AbstractEventLoop], Port],
    start: Callable[[], None],
    park: Callable[[AbstractEventLoop, Job, int, str], Callable[[], object]],
    saturated: type[Exception],
    same_file: type[Exception],
    special_file: type[Exception],
    get_running_loop: Callable[[], AbstractEventLoop],
) -> None: ...
def fs(*args: Any) -> Job: ...
def call(lane: str, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job: ...
def call_executor(future: Any, lane: str, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job: ...
def call_port(port: Port, callback: Callable[..., Any] | None, lane: str, func: Callable[..., Any], /) -> Job: ...
def check_deadlock(lane: str, /) -> None: ...
