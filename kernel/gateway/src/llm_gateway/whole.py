"""Lines on stdout and stderr: whole where several processes write, and never waited for.

A pipe takes at most 4 KiB in one piece; longer writes of two processes would mix, so each block
is written under a lock. A pipe that nobody reads takes nothing more: a line that would have to
wait is left to a thread, and requests go on.
"""

import contextlib
import fcntl
import logging
import os
import queue
import select
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import IO

from llm_gateway_api import Value

MOST_RECORDS = 10_000  # that wait for a reader
LAST_SECONDS = 2.0  # that the end of the process waits for them


class WholeLines:
    """The descriptor of a stream; with a `lock` other processes write to it as well.

    Written to without Python's buffer, whose lock a thread that waits for the reader would
    hold at the end of the process.
    """

    def __init__(self, stream: IO[bytes], lock: Path | None = None) -> None:
        self._descriptor = stream.fileno()
        # opened anew for each stream: the lock belongs to the open file
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
        self._lock = os.open(lock, flags, 0o600) if lock is not None else None
        self._quick = _quick(self._descriptor)

    def write(self, block: bytes) -> int:
        """All of it, however long the reader takes."""
        with self._alone(fcntl.LOCK_EX):
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        return len(block)

    def offer(self, block: bytes) -> bool:
        """Whether it was written, because that took no wait; otherwise nothing was."""
        if self._quick is None:
            return False
        if self._quick != self._descriptor and len(block) > select.PIPE_BUF:
            return False
        try:
            with self._alone(fcntl.LOCK_EX | fcntl.LOCK_NB):
                rest = memoryview(block)
                while rest:  # of a pipe all or nothing
                    rest = rest[os.write(self._quick, rest) :]
        except BlockingIOError:
            return False
        return True

    def flush(self) -> None:
        return None

    @contextlib.contextmanager
    def _alone(self, how: int) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        fcntl.flock(self._lock, how)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def _quick(descriptor: int) -> int | None:
    """A descriptor of the same file that never waits: files do not, of a pipe one is opened
    anew, since the mode would hold for whoever gave us ours. None where there is none."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(mode):
        with contextlib.suppress(OSError):
            return os.open(
                f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
        return None
    return descriptor if stat.S_ISREG(mode) or stat.S_ISCHR(mode) else None


class LogHandler(logging.Handler):
    """Log records on `lines`, a traceback in one piece, in their order.

    One that would have to wait is written by a thread; what finds `most` of them waiting is
    lost, and adds to `dropped`.
    """

    def __init__(self, lines: WholeLines, most: int = MOST_RECORDS) -> None:
        super().__init__()
        self._lines = lines
        self._most = most
        self._waiting: queue.Queue[bytes] = queue.Queue()
        self._thread: threading.Thread | None = None
        self.dropped = Value()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            block = self.format(record).encode(errors="replace") + b"\n"
            waiting = self._waiting.unfinished_tasks
            if not waiting and self._lines.offer(block):
                return
        except Exception:
            self.handleError(record)
            return
        if waiting >= self._most:
            self.dropped.inc()
            return
        self._waiting.put(block)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="log", daemon=True)
            self._thread.start()

    def flush(self) -> None:
        """Wait for what waits, but not for ever."""
        until = monotonic() + LAST_SECONDS
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks and (left := until - monotonic()) > 0:
                self._waiting.all_tasks_done.wait(left)

    def _write(self) -> None:
        while True:
            block = self._waiting.get()
            try:
                self._lines.write(block)
            except OSError:
                self.dropped.inc()
            finally:
                self._waiting.task_done()


def logged_to(lines: WholeLines) -> None:
    """The process's log from now on."""
    form = "%(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, handlers=[LogHandler(lines)], format=form, force=True)


def counted_in(dropped: Value) -> None:
    """Records that are lost add to `dropped`, those too that are lost already."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler) and handler.dropped is not dropped:
            dropped.inc(handler.dropped.value)
            handler.dropped = dropped


def locks(directory: Path) -> tuple[Path, Path]:
    """The locks of stdout and stderr; the same one where both are the same file."""
    out, err = os.fstat(1), os.fstat(2)
    same = (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)
    first = directory / "stdout.lock"
    return first, first if same else directory / "stderr.lock"
