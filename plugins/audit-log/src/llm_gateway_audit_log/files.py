"""The files of a host's chain: the one that is written, and full ones before it.

All workers of the host append to `audit.jsonl` under one lock, which is held for one record.
A full file is renamed to `audit-NNNNNN.jsonl`, and only maintenance (retention, erasure), under
a lock of its own, touches it again.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from llm_gateway_api import AuditEvent

from llm_gateway_audit_log import chain
from llm_gateway_audit_log.chain import Record

CURRENT, FULL = "audit.jsonl", "audit-*.jsonl"
_TAIL_BYTES = 1024 * 1024
_DAY_MS = 24 * 3600 * 1000


class ChainFiles:
    """Appends to the chain of this host. Raises `OSError` where the disk is full or gone.

    A file is full with `max_bytes`, or when its first record is `max_days` old.
    """

    def __init__(
        self, folder: Path, key: bytes, max_bytes: int = 64 * 1024 * 1024, max_days: float = 1.0
    ) -> None:
        self._folder = folder
        self._path = folder / CURRENT
        self._key = key
        self._max_bytes = max_bytes
        self._max_ms = max_days * _DAY_MS
        self._lock = self._handle = -1
        self._inode = self._end = 0
        self._first_at: int | None = None
        self._last: Record | None = None

    def open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._folder / "append.lock", os.O_CREAT | os.O_RDWR, 0o600)
        self._reopen()

    def close(self) -> None:
        os.close(self._handle)
        os.close(self._lock)
        self._handle = self._lock = -1

    def append(self, event: AuditEvent) -> Record:
        """The record of `event`, written; durable after the next `sync`."""
        with self._locked():
            record = chain.following(self._newest(), event, self._key)
            data = chain.line(record)
            if self._full(len(data), event.at):
                self._turn()
            written = os.write(self._handle, data)
            if written != len(data):
                os.ftruncate(self._handle, self._end)
                raise OSError("the disk is full")
            self._end += written
            self._last = record
            if self._first_at is None:
                self._first_at = record.at
        return record

    def turn(self) -> None:
        """Begin a new file, where the present one holds anything."""
        with self._locked():
            self._newest()
            if self._end:
                self._turn()

    def sync(self) -> None:
        os.fdatasync(self._handle)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._follow()
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _follow(self) -> None:
        """To the file that is there now: another worker may have begun a new one."""
        try:
            same = os.stat(self._path).st_ino == self._inode
        except FileNotFoundError:
            same = False
        if not same:
            os.close(self._handle)
            self._reopen()

    def _reopen(self) -> None:
        self._handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        self._inode = os.fstat(self._handle).st_ino
        self._end, self._last, self._first_at = -1, None, None

    def _full(self, more: int, at: int) -> bool:
        if not self._end:
            return False
        old = self._first_at is not None and at - self._first_at >= self._max_ms
        return old or self._end + more > self._max_bytes

    def _turn(self) -> None:
        numbers = [int(each.stem.rpartition("-")[2]) for each in full(self._folder)]
        os.fdatasync(self._handle)
        self._path.rename(self._folder / f"audit-{max(numbers, default=0) + 1:06d}.jsonl")
        last = self._last
        os.close(self._handle)
        self._reopen()
        self._end, self._last = 0, last

    def _newest(self) -> Record | None:
        """The last record, which another worker may have written. A torn line, which only a
        dying process leaves, is cut off. Behind one that cannot be read a new chain begins,
        which verification tells."""
        size = os.fstat(self._handle).st_size
        if size == self._end:
            return self._last
        start = max(0, size - _TAIL_BYTES)
        data = os.pread(self._handle, size - start, start)
        end = data.rfind(b"\n") + 1
        if start + end < size:
            os.ftruncate(self._handle, start + end)
        self._end = start + end
        if self._end:
            self._last = _read(data[:end].splitlines()[-1])
            first = _read(os.pread(self._handle, _TAIL_BYTES, 0).partition(b"\n")[0])
            self._first_at = first.at if first is not None else None
        else:
            before = full(self._folder)
            self._last = newest_of(before[-1]) if before else None
        return self._last


def full(folder: Path) -> list[Path]:
    """The files that are no more written, oldest first."""
    return sorted(each for each in folder.glob(FULL) if each.stem[6:].isdecimal())


def everything(folder: Path) -> list[Path]:
    """All files, in the order of the chain."""
    current = folder / CURRENT
    return [*full(folder), *([current] if current.exists() else [])]


def newest_of(path: Path) -> Record | None:
    """The last record of a file; None where it cannot be read."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        lines = file.read().splitlines()
    return _read(lines[-1]) if lines else None


def records(path: Path) -> Iterator[Record]:
    """What can be read of a file."""
    with path.open("rb") as file:
        for each in file:
            if (record := _read(each)) is not None:
                yield record


def _read(data: bytes) -> Record | None:
    try:
        return chain.decode(data)
    except (msgspec.MsgspecError, UnicodeError):
        return None


@contextlib.contextmanager
def maintenance(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Whether this process has the full files to itself; without `wait` it may not get them."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder / "maintenance.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        if wait:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield wait or locked(handle)
    finally:
        os.close(handle)


def locked(handle: int) -> bool:
    """Whether the lock of the file `handle` is ours, from now on until it is closed."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def rewritten(path: Path, lines: Iterator[bytes]) -> None:
    """`lines` in the place of the file at `path`, whole or not at all."""
    beside = path.with_name(f".{path.name}")
    handle = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
