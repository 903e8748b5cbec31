"""The facts a figure means nothing without: cores, kernel, file system, load, Python, libuv and libdeflate."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import time
from importlib.util import find_spec
from pathlib import Path


def describe(directory: Path) -> dict[str, str]:
    """The machine as a run sees it. Called before and after a run too, for the load others put on it."""
    return {
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}, {_processor()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "built with": _built_with(),
        "files on": f"{_file_system(directory)}",
        "load before": load(),
    }


def load() -> str:
    """The load of the last minute: above ~0.3 before a run, somebody else is measured too."""
    return f"{os.getloadavg()[0]:.2f}"


def others_seconds(mine: set[int]) -> float:
    """Processor seconds that went to all other processes so far, those that ended and a hypervisor's share included."""
    ticks = int(Path("/proc/stat").read_text().split(maxsplit=9)[8])  # stolen time
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in mine:
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended: its parent has its time by now
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def own_seconds(process: int) -> float:
    """Processor seconds that one process has used, all its threads together."""
    try:
        return time.clock_gettime(~process << 3 | 2)  # what clock_getcpuclockid(3) gives, finer than /proc's ticks
    except OSError:  # it has ended, which the next request to it will tell
        return 0.0


def two_cores() -> tuple[int, int] | None:
    """A core for a server and another for its load generator; None where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[-1]) if len(cores) > 1 else None


def _built_with() -> str:
    """Which libuv and libdeflate uvworks was built with, as the module itself says: the system's or the vendored."""
    found = find_spec("uvworks._uv")
    assert found is not None and found.origin is not None, "uvworks is not built"
    return ctypes.string_at(ctypes.CDLL(found.origin).uvw_built_with).decode()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or sys.platform


def _file_system(directory: Path) -> str:
    """The type of the mount with the longest prefix of the directory's path."""
    best, kind = "", "unknown"
    real = os.path.realpath(directory)
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return kind
    for line in mounts:
        _, point, name, *_ = line.split()
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, name
    return kind
