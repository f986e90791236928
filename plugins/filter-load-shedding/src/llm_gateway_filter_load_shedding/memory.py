"""How much memory is in use, and how much there may be: of the container, else of this process.

Inside a container its limit ends all workers at once, so what counts is what all of them use;
the page cache, which the kernel gives back, does not. Reads a few lines of ``/proc`` and
``/sys``; where there are none (no Linux), nothing is known and memory refuses nobody.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# Version 1 says "no limit" with a number close to what 64 bits hold.
UNLIMITED = 1 << 60
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """`used` is read again at each call; both are bytes."""

    limit: int
    used: Callable[[], int]


def watched(
    limit_mb: int | None, workers: int, cgroup: Path = Path("/sys/fs/cgroup")
) -> Memory | None:
    """What is to be watched: this worker against its part of the configured limit, or the
    container's limit; None where there is neither."""
    if limit_mb is not None:
        return Memory(limit_mb * MIB // max(1, workers), resident)
    for limit, used, inactive in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        found = _number(cgroup / limit)
        if found is not None and found < UNLIMITED:
            return Memory(found, partial(_working_set, cgroup / used, inactive))
    return None


def _working_set(used: Path, inactive: str) -> int:
    return (_number(used) or 0) - _row(used.with_name("memory.stat"), inactive)


def resident(proc: Path = Path("/proc")) -> int:
    """Bytes of this process that are in memory."""
    try:
        return int((proc / "self/statm").read_text().split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not there, or the word "max"
        return None


def _row(path: Path, name: str) -> int:
    try:
        rows = (line.split() for line in path.read_text().splitlines())
        return next((int(row[1]) for row in rows if row[0] == name), 0)
    except (OSError, ValueError, IndexError):
        return 0
