"""Cells in a file that the workers of a host map into memory: exact, and no server to run.

Every access is under the file's lock, for microseconds; the system frees it when its holder
dies. A record is found by the hash of its key; one that says no more than a new one is used
again. The file is made anew after a restart of the machine, whose clock it uses.
"""

import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from llm_gateway_state_host.cells import Cell

WORKERS = 32
RECORDS = 16_384
PROBES = 64
_HEAD = struct.Struct("<16s36sII")
_RECORD = struct.Struct(f"<16sddd{WORKERS}H")
_LOCK = struct.Struct("hhqqi4x")  # the system's struct flock
_MAGIC = b"llm-gateway-st-1"
_NOBODY = (0,) * WORKERS
_EMPTY = bytes(16)


class TableFullError(Exception):
    """No record is free near the key's place; the caller's fail policy decides."""


class Table:
    """The mapped file. `worker` is this process's column, held by a lock on one byte."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._workers = os.open(folder / "workers", os.O_CREAT | os.O_RDWR, 0o600)
        self._handle = os.open(folder / "table", os.O_CREAT | os.O_RDWR, 0o600)
        with self.locked():
            self._map = self._mapped()
        self.worker = self._column()

    @contextmanager
    def locked(self) -> Iterator[None]:
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def find(self, keys: Sequence[str], now: float) -> list[tuple[int, Cell]]:
        """The places and cells of `keys`, new ones where there are none. Under the lock.

        Raises:
            TableFullError: there is no room.
        """
        found: dict[int, Cell] = {}
        for key in keys:
            digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
            place, cell = self._find(digest, now, found)
            found[place] = cell
        return list(found.items())

    def _find(self, digest: bytes, now: float, taken: Mapping[int, Cell]) -> tuple[int, Cell]:
        start = int.from_bytes(digest[:8], "little")
        free = -1
        for step in range(PROBES):
            place = _HEAD.size + (start + step) % RECORDS * _RECORD.size
            known, value, stamp, until, *held = _RECORD.unpack_from(self._map, place)
            if known == digest:
                return place, Cell(value, stamp, until, held)
            idle = until <= now and not any(held) and place not in taken
            if free < 0 and (known == _EMPTY or idle):
                free = place
            if known == _EMPTY:
                break
        if free < 0:
            raise TableFullError(f"{RECORDS} records are not enough")
        _RECORD.pack_into(self._map, free, digest, 0.0, 0.0, 0.0, *_NOBODY)
        return free, Cell(held=_NOBODY)

    def write(self, place: int, cell: Cell) -> None:
        digest = self._map[place : place + 16]
        held = [min(each, 65535) for each in cell.held]
        _RECORD.pack_into(self._map, place, digest, cell.value, cell.stamp, cell.until, *held)

    def bury(self) -> None:
        """Give back the slots of workers that have died: their columns' locks are free."""
        for worker in range(WORKERS):
            if worker != self.worker and self._try_column(worker):
                try:
                    self._clear(worker)
                finally:
                    self._lock_column(worker, fcntl.F_UNLCK)

    def close(self) -> None:
        self._clear(self.worker)
        self._map.close()
        os.close(self._handle)
        os.close(self._workers)

    def _mapped(self) -> mmap.mmap:
        size = _HEAD.size + RECORDS * _RECORD.size
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()[:36]
        head = _HEAD.pack(_MAGIC, boot, WORKERS, RECORDS)
        if os.pread(self._handle, _HEAD.size, 0) != head:
            os.ftruncate(self._handle, 0)
            os.ftruncate(self._handle, size)
            os.pwrite(self._handle, head, 0)
        return mmap.mmap(self._handle, size)

    def _column(self) -> int:
        for worker in range(WORKERS):
            if self._try_column(worker):
                self._clear(worker)
                return worker
        raise OSError(f"more than {WORKERS} workers share this data directory")

    def _try_column(self, worker: int) -> bool:
        try:
            self._lock_column(worker, fcntl.F_WRLCK)
        except BlockingIOError:
            return False
        return True

    def _lock_column(self, worker: int, how: int) -> None:
        """One byte of the file, locked for this opening of it and not for the whole process."""
        wanted = _LOCK.pack(how, os.SEEK_SET, worker, 1, 0)
        fcntl.fcntl(self._workers, fcntl.F_OFD_SETLK, wanted)

    def _clear(self, worker: int) -> None:
        at = 16 + 3 * 8 + 2 * worker
        with self.locked():
            for record in range(RECORDS):
                place = _HEAD.size + record * _RECORD.size + at
                if self._map[place] or self._map[place + 1]:
                    self._map[place : place + 2] = b"\0\0"
