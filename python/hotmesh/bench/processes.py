"""What the system says of processes on this machine. Everything is None where it can't be known."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")


def own_memory() -> int | None:
    """Bytes of this process that are in memory."""
    pages = _read(_PROC / "self" / "statm")
    if pages:
        return int(pages.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return _peak_memory()


def own_written() -> int | None:
    """Bytes that this process has had written to disks."""
    for line in _read(_PROC / "self" / "io").splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    return None


def family_cpu(parent: int, name: str) -> float | None:
    """CPU seconds of a process, of its children, and of those that it has reaped.

    Args:
        parent: Its id.
        name: What its command must be called: the id may be one of another machine.
    """
    if _read(_PROC / str(parent) / "comm").strip() != name:
        return None
    own = _times(parent, reaped=True)
    return None if own is None else own + sum(_times(child) or 0.0 for child in _children(parent))


def parent_of(pid: int) -> int | None:
    """The id of a process's parent."""
    fields = _fields(pid)
    return int(fields[1]) if fields else None


def _peak_memory() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _children(parent: int) -> Iterable[int]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and parent_of(int(entry.name)) == parent:
            yield int(entry.name)


def _times(pid: int, *, reaped: bool = False) -> float | None:
    fields = _fields(pid)
    if not fields:
        return None
    ticks = sum(int(each) for each in fields[11 : 15 if reaped else 13])
    return ticks / os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: the name before may hold anything."""
    return _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
