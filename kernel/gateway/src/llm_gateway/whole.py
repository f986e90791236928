"""Lines of several processes on one stream stay whole: each block is written under a lock.

A pipe takes at most 4 KiB in one piece; longer writes of two processes would mix.
"""

import fcntl
import logging
import os
from pathlib import Path
from typing import IO


class WholeLines:
    """A binary stream that other workers write to as well."""

    def __init__(self, stream: IO[bytes], lock: Path) -> None:
        self._stream = stream
        # opened anew for each stream: the lock belongs to the open file
        self._lock = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def write(self, block: bytes) -> int:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._stream.write(block)
            self._stream.flush()
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        return len(block)

    def flush(self) -> None:
        return None


class WholeHandler(logging.Handler):
    """Log records on such a stream, a traceback in one piece."""

    def __init__(self, lines: WholeLines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.write(self.format(record).encode(errors="replace") + b"\n")
        except Exception:
            self.handleError(record)


def locks(directory: Path) -> tuple[Path, Path]:
    """The locks of stdout and stderr; the same one where both are the same file."""
    out, err = os.fstat(1), os.fstat(2)
    same = (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)
    first = directory / "stdout.lock"
    return first, first if same else directory / "stderr.lock"
