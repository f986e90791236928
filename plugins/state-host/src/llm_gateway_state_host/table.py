"""Cells in a file that the workers of a host map into memory: exact, and no server to run.

Every access is under the file's lock, for microseconds; the system frees it when its holder
dies. A record is found by the hash of its key; one that says no more than a new one is used
again. The file is made anew after a restart of the machine, whose clock it uses.

The file counts its changes, so that a worker knows whether another one made the last: if not,
what it read or wrote itself is what there is, and nothing has to be read.
"""

import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llm_gateway_state_host.cells import Cell

NAME = "cells"  # of the file; another one for another form, as two releases may run at once
WORKERS = 32
RECORDS = 16_384
PROBES = 64
_HEAD = struct.Struct("<16s36sII")
_CHANGES = struct.Struct("<Q")
_CHANGES_AT = _HEAD.size + -_HEAD.size % 8
_USED_AT = _CHANGES_AT + 8  # a byte for each column: somebody has had it since its last clearing
_FIRST = _USED_AT + WORKERS
_RECORD = struct.Struct(f"<16sddd{WORKERS}H")
_NUMBERS = struct.Struct("<ddd")
_NUMBERS_AT = 16
_HELD = struct.Struct(f"<{WORKERS}H")
_MINE = struct.Struct("<H")
_HELD_AT = _NUMBERS_AT + _NUMBERS.size
_LOCK = struct.Struct("hhqqi4x")  # the system's struct flock
_MAGIC = b"llm-gateway-st-3"
_NOBODY = (0,) * WORKERS
_EMPTY = bytes(16)
_LENT = -1


class TableFullError(Exception):
    """No record is free near the key's place; the caller's fail policy decides."""


class Placed(Cell):
    """A cell and where it is kept: as it was at the `age` of the table, and with what number of
    `own` slots. While it is lent out it is of no age, and is read again unless it is written."""

    __slots__ = ("age", "digest", "own", "place")

    def __init__(self, place: int, digest: bytes) -> None:
        super().__init__()
        self.place = place
        self.digest = digest
        self.age = _LENT
        self.own = 0


class Table:
    """The mapped file. `worker` is this process's column, held by a lock on one byte."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._workers = os.open(folder / "workers", os.O_CREAT | os.O_RDWR, 0o600)
        self._handle = os.open(folder / NAME, os.O_CREAT | os.O_RDWR, 0o600)
        self._cells: dict[str, Placed] = {}
        self._changes = 0  # that this worker knows of
        self._age = 0  # grows when there are others
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

    def lend(self, keys: Iterable[str], now: float) -> list[Placed]:
        """The cells of `keys`, new ones where there are none. Under the lock.

        Raises:
            TableFullError: there is no room.
        """
        (changes,) = _CHANGES.unpack_from(self._map, _CHANGES_AT)
        if changes != self._changes:  # another worker's
            self._changes = changes
            self._age += 1
        found: list[Placed] = []
        known = self._cells
        for key in keys:
            cell = known.get(key)
            if cell is None or cell.age != self._age:
                cell = self._read(key, cell, now, found)
            cell.age = _LENT
            found.append(cell)
        return found

    def write(self, cells: Iterable[Placed]) -> None:
        """What was lent, changed; of the slots only this worker's. Under the lock."""
        self._change()
        mapped, age = self._map, self._age
        for cell in cells:
            at = cell.place
            _NUMBERS.pack_into(mapped, at + _NUMBERS_AT, cell.value, cell.stamp, cell.until)
            if cell.mine != cell.own:
                cell.own = cell.mine
                _MINE.pack_into(mapped, at + _HELD_AT + 2 * self.worker, min(cell.mine, 65535))
            cell.age = age

    def _change(self) -> None:
        """Told before it is made: who dies in between has made others read once more."""
        self._changes += 1
        _CHANGES.pack_into(self._map, _CHANGES_AT, self._changes)

    def _read(self, key: str, cell: Placed | None, now: float, lent: Sequence[Placed]) -> Placed:
        mapped = self._map
        if cell is None or mapped[cell.place : cell.place + 16] != cell.digest:
            cell = self._find(key, now, lent)  # not looked for yet, or somebody else's by now
        at = cell.place
        cell.value, cell.stamp, cell.until = _NUMBERS.unpack_from(mapped, at + _NUMBERS_AT)
        held = _HELD.unpack_from(mapped, at + _HELD_AT)
        cell.held = sum(held)
        cell.mine = cell.own = held[self.worker]
        return cell

    def _find(self, key: str, now: float, lent: Sequence[Placed]) -> Placed:
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        start = int.from_bytes(digest[:8], "little")
        free = -1
        for step in range(PROBES):
            place = _FIRST + (start + step) % RECORDS * _RECORD.size
            known = self._map[place : place + 16]
            if known == digest:
                return self._remembered(key, digest, place)
            if free < 0 and (known == _EMPTY or self._idle(place, now, lent)):
                free = place
            if known == _EMPTY:
                break
        if free < 0:
            raise TableFullError(f"{RECORDS} records are not enough")
        self._change()
        self._age += 1  # who had it in this process has to look for another place
        _RECORD.pack_into(self._map, free, digest, 0.0, 0.0, 0.0, *_NOBODY)
        return self._remembered(key, digest, free)

    def _idle(self, place: int, now: float, lent: Sequence[Placed]) -> bool:
        """Whether a record says no more than a new one, and is not in use just now."""
        if any(each.place == place for each in lent):
            return False
        until = _NUMBERS.unpack_from(self._map, place + _NUMBERS_AT)[2]
        return bool(until <= now) and not any(_HELD.unpack_from(self._map, place + _HELD_AT))

    def _remembered(self, key: str, digest: bytes, place: int) -> Placed:
        if len(self._cells) >= RECORDS:
            self._cells.clear()
        cell = self._cells[key] = Placed(place, digest)
        return cell

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
            (self._changes,) = _CHANGES.unpack_from(self._map, _CHANGES_AT)
            self._change()
            self._age += 1
            low, high = (self._map[_FIRST + at + n :: _RECORD.size] for n in (0, 1))
            for record in range(RECORDS) if any(low) or any(high) else ():
                place = _FIRST + record * _RECORD.size + at
                self._map[place : place + 2] = b"\0\0"
            self._map[_USED_AT + worker] = 0
