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
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from llm_gateway_state_host.cells import Cell

WORKERS = 32
RECORDS = 16_384
PROBES = 64
_HEAD = struct.Struct("<16s36sII")
_USED_AT = _HEAD.size  # a byte for each column: somebody has had it since it was last cleared
_FIRST = _USED_AT + WORKERS
_RECORD = struct.Struct(f"<16sddd{WORKERS}H")
_KNOWN = struct.Struct("<16sddd")
_NUMBERS = struct.Struct("<ddd")
_HELD = struct.Struct(f"<{WORKERS}H")
_MINE = struct.Struct("<H")
_HELD_AT = _KNOWN.size
_LOCK = struct.Struct("hhqqi4x")  # the system's struct flock
_MAGIC = b"llm-gateway-st-2"
_NOBODY = (0,) * WORKERS
_EMPTY = bytes(16)
_NOWHERE = (_FIRST, b"", Cell())  # of a key that was not looked for yet
# A place, its cell, and whether the slots of the cell were read.
Found: TypeAlias = tuple[int, Cell, bool]


class TableFullError(Exception):
    """No record is free near the key's place; the caller's fail policy decides."""


class Table:
    """The mapped file. `worker` is this process's column, held by a lock on one byte."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._workers = os.open(folder / "workers", os.O_CREAT | os.O_RDWR, 0o600)
        self._handle = os.open(folder / "table", os.O_CREAT | os.O_RDWR, 0o600)
        # Of each key its place, its digest, and the cell that it is read into every time.
        self._places: dict[str, tuple[int, bytes, Cell]] = {}
        with self.locked():
            self._map = self._mapped()
        self.worker = self._column()

    def lock(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def unlock(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_UN)

    @contextmanager
    def locked(self) -> Iterator[None]:
        self.lock()
        try:
            yield
        finally:
            self.unlock()

    def find(self, keys: Sequence[str], slots: Container[int], now: float) -> list[Found]:
        """The places and cells of `keys`, new ones where there are none; `slots` are the places
        among `keys` whose slots matter. Under the lock.

        Raises:
            TableFullError: there is no room.
        """
        found: list[Found] = []
        mapped, places = self._map, self._places
        for at, key in enumerate(keys):
            place, digest, cell = places.get(key, _NOWHERE)
            known, value, stamp, until = _KNOWN.unpack_from(mapped, place)
            if known != digest:  # somebody else's by now, or not looked for yet
                place, _, cell = self._find(key, now, [each[0] for each in found])
                _, value, stamp, until = _KNOWN.unpack_from(mapped, place)
            cell.value, cell.stamp, cell.until = value, stamp, until
            if counted := at in slots:
                held = _HELD.unpack_from(mapped, place + _HELD_AT)
                cell.held, cell.mine = sum(held), held[self.worker]
            found.append((place, cell, counted))
        return found

    def _find(self, key: str, now: float, taken: Sequence[int]) -> tuple[int, bytes, Cell]:
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        start = int.from_bytes(digest[:8], "little")
        free = -1
        for step in range(PROBES):
            place = _FIRST + (start + step) % RECORDS * _RECORD.size
            known = self._map[place : place + 16]
            if known == digest:
                return self._remembered(key, digest, place)
            if free < 0 and (known == _EMPTY or (place not in taken and self._idle(place, now))):
                free = place
            if known == _EMPTY:
                break
        if free < 0:
            raise TableFullError(f"{RECORDS} records are not enough")
        _RECORD.pack_into(self._map, free, digest, 0.0, 0.0, 0.0, *_NOBODY)
        return self._remembered(key, digest, free)

    def _idle(self, place: int, now: float) -> bool:
        until = _NUMBERS.unpack_from(self._map, place + 16)[2]
        return bool(until <= now) and not any(_HELD.unpack_from(self._map, place + _HELD_AT))

    def _remembered(self, key: str, digest: bytes, place: int) -> tuple[int, bytes, Cell]:
        """Where a key was last; a hint, since another key may have been put there."""
        if len(self._places) >= RECORDS:
            self._places.clear()
        found = self._places[key] = place, digest, Cell()
        return found

    def write(self, found: Sequence[Found]) -> None:
        """Of the slots only this worker's change. Under the lock."""
        mapped = self._map
        for place, cell, counted in found:
            _NUMBERS.pack_into(mapped, place + 16, cell.value, cell.stamp, cell.until)
            if counted:
                mine = min(cell.mine, 65535)
                _MINE.pack_into(mapped, place + _HELD_AT + 2 * self.worker, mine)

    def bury(self) -> None:
        """Give back the slots of workers that have died: their columns' locks are free."""
        for worker in range(WORKERS):
            used = worker != self.worker and self._map[_USED_AT + worker]
            if used and self._try_column(worker):
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
        size = _FIRST + RECORDS * _RECORD.size
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
                self._map[_USED_AT + worker] = 1
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
        """Whose column it is holds its lock."""
        at = _HELD_AT + 2 * worker
        with self.locked():
            low, high = (self._map[_FIRST + at + n :: _RECORD.size] for n in (0, 1))
            for record in range(RECORDS) if any(low) or any(high) else ():
                place = _FIRST + record * _RECORD.size + at
                self._map[place : place + 2] = b"\0\0"
            self._map[_USED_AT + worker] = 0
