"""The journal on disk: an entry when a request is admitted, another when it has ended.

A segment is a file of its own worker process, held by a lock for as long as that process
lives. Its space is allocated before it is used, and a request is admitted only while there
is room for its end too: a full disk refuses requests and loses none.
"""

import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from llm_gateway_api import LedgerOpening, LedgerRecord

SEGMENT_BYTES = 4 * 1024 * 1024
# The longest entry: names a client may choose are cut to fit.
ENTRY_BYTES = 4096
READ_BYTES = 1024 * 1024
SUFFIX = ".spool"
# How long a segment may stay after all of it was shipped.
KEPT_SECONDS = 3600.0


ENDED = b'{"type":"ended"'
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LedgerOpening | LedgerRecord).decode


@dataclass(slots=True)
class Segment:
    """One file. `open_ids` began here and have not ended; `shipped` is where shipping goes on."""

    path: Path
    handle: int
    map: mmap.mmap
    written: int = 0
    shipped: int = 0
    open_ids: set[str] = field(default_factory=set)
    born: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> bool:
        return not self.open_ids and self.shipped >= self.written


class Spool:
    """The segments of this process. An entry is copied into the mapped file, without a call of
    the system: what is there outlives the process.

    Raises `OSError` from `begin` where the disk is full or gone.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segments: list[Segment] = []
        self._where: dict[str, Segment] = {}
        self._number = 0

    @property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(self._segments)

    def begin(self, opening: LedgerOpening) -> None:
        entry = _line(opening)
        segment = self._room(len(entry) + ENTRY_BYTES * (len(self._where) + 1))
        self._append(segment, entry)
        segment.open_ids.add(opening.id)
        self._where[opening.id] = segment

    def end(self, record: LedgerRecord) -> None:
        self._append(self._segments[-1], _line(record))
        began = self._where.pop(record.id, None)
        if began is not None:
            began.open_ids.discard(record.id)

    def read(self, segment: Segment, limit: int) -> tuple[list[bytes], int]:
        """Up to `limit` records that ended and were not shipped, as they are written, and
        where the next ones begin."""
        records: list[bytes] = []
        at = segment.shipped
        lines = segment.map[at : min(segment.written, at + READ_BYTES)].split(b"\n")
        lines.pop()  # what stands behind the last whole one
        for line in lines:
            at += len(line) + 1
            if line.startswith(ENDED):
                records.append(line)
                if len(records) == limit:
                    break
        return records, at

    def forget(self, segment: Segment) -> None:
        """Delete a segment that is done; the one in use stays."""
        if segment.done and segment is not self._segments[-1]:
            self._segments.remove(segment)
            release(segment)

    def turn(self, seconds: float = KEPT_SECONDS) -> None:
        """Delete the one in use too, where it is older than `seconds` and nothing is to come:
        what the store has is not kept here for long."""
        if self._where or not self._segments or not self._segments[-1].written:
            return
        last = self._segments[-1]
        if last.done and time.monotonic() - last.born >= seconds:
            self._segments.remove(last)
            release(last)

    def close(self) -> None:
        """Delete what is done; the rest is found by the next process."""
        for segment in self._segments:
            if segment.done:
                release(segment)
            else:
                leave(segment)
        self._segments.clear()

    def _append(self, segment: Segment, entry: bytes) -> None:
        end = segment.written + len(entry)
        segment.map[segment.written : end] = entry
        segment.written = end

    def _room(self, needed: int) -> Segment:
        """The segment to write to, a new one where the last has no room for `needed`."""
        if self._segments and len(self._segments[-1].map) - self._segments[-1].written >= needed:
            return self._segments[-1]
        self._number += 1
        name = f"{time.time_ns()}-{os.getpid()}-{self._number}{SUFFIX}"
        segment = create(self._folder / name, max(self._segment_bytes, 2 * needed))
        self._segments.append(segment)
        return segment


def create(path: Path, size: int) -> Segment:
    """A new segment, its space taken and its lock held by this process."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.posix_fallocate(handle, 0, size)
    except OSError:
        os.close(handle)
        path.unlink()
        raise
    return Segment(path, handle, mmap.mmap(handle, size))


def orphans(folder: Path) -> Iterator[tuple[Segment, list[bytes]]]:
    """Segments whose process is gone, each with its records.

    What began and never ended is a record too: ``abandoned``, without usage.
    """
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:  # another worker was quicker
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its process lives
            os.close(handle)
            continue
        data = os.pread(handle, os.fstat(handle).st_size, 0)
        yield Segment(path, handle, mmap.mmap(-1, 1), written=len(data)), recovered(data)


def recovered(data: bytes) -> list[bytes]:
    begun: dict[str, LedgerOpening] = {}
    records: list[bytes] = []
    for entry, length, at in entries(data):
        if isinstance(entry, LedgerOpening):
            begun[entry.id] = entry
        else:
            begun.pop(entry.id, None)
            records.append(data[at : at + length - 1])
    return records + [_encode(_abandoned(each)) for each in begun.values()]


def release(segment: Segment) -> None:
    """Delete the file, then let go of its lock."""
    segment.path.unlink(missing_ok=True)
    leave(segment)


def leave(segment: Segment) -> None:
    """Let go of the file: whoever comes next finds its records."""
    segment.map.close()
    os.close(segment.handle)


def entries(data: bytes) -> Iterator[tuple[LedgerOpening | LedgerRecord, int, int]]:
    """Whole entries, their lengths and places. A torn one, which only a dying process leaves,
    is the last; the space behind it was never written."""
    at = 0
    while (end := data.find(b"\n", at)) >= 0:
        try:
            entry = _decode(data[at:end])
        except msgspec.DecodeError:
            return
        yield entry, end + 1 - at, at
        at = end + 1


def _line(entry: LedgerOpening | LedgerRecord) -> bytes:
    """The line of `entry`; names that make it too long are cut."""
    line: bytes = _encode(entry) + b"\n"
    if len(line) <= ENTRY_BYTES:
        return line
    short = msgspec.structs.replace(entry, model=entry.model[:200])
    return _encode(short) + b"\n"


def _abandoned(begun: LedgerOpening) -> LedgerRecord:
    return LedgerRecord(
        id=begun.id,
        request_id=begun.request_id,
        at=begun.at,
        tenant=begun.tenant,
        key_id=begun.key_id,
        model=begun.model,
        operation=begun.operation,
        provider=None,
        upstream_model=None,
        region=None,
        status=0,
        error="abandoned",
        stream=False,
        cache=None,
        attempts=0,
        duration_ms=0,
        first_content_ms=None,
        usage=None,
        cost_nano=None,
        saved_nano=None,
        price_version=None,
    )
