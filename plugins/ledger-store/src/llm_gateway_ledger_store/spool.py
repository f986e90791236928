"""The journal on disk: an entry when a request is admitted, another when it has ended.

A segment is a file of its own worker process, held by a lock for as long as that process
lives. Its space is allocated before it is used, and a request is admitted only while there
is room for its end too: a full disk refuses requests and loses none.
"""

import fcntl
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
SUFFIX = ".spool"


class Begun(LedgerOpening, frozen=True, tag="begun"):
    pass


class Ended(LedgerRecord, frozen=True, tag="ended"):
    pass


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Begun | Ended).decode


@dataclass(slots=True)
class Segment:
    """One file. `open_ids` began here and have not ended; `shipped` is where shipping goes on."""

    path: Path
    handle: int
    size: int
    written: int = 0
    shipped: int = 0
    open_ids: set[str] = field(default_factory=set)

    @property
    def done(self) -> bool:
        return not self.open_ids and self.shipped >= self.written


class Spool:
    """The segments of this process; plain calls, each one `pwrite`.

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
        fields = {name: getattr(opening, name) for name in opening.__struct_fields__}
        entry = _cut(Begun(**fields))
        segment = self._room(len(entry) + ENTRY_BYTES * (len(self._where) + 1))
        self._append(segment, entry)
        segment.open_ids.add(opening.id)
        self._where[opening.id] = segment

    def end(self, record: LedgerRecord) -> None:
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        self._append(self._segments[-1], _cut(Ended(**fields)))
        began = self._where.pop(record.id, None)
        if began is not None:
            began.open_ids.discard(record.id)

    def read(self, segment: Segment, limit: int) -> tuple[list[LedgerRecord], int]:
        """Up to `limit` ended records that were not shipped, and where the next ones begin."""
        records: list[LedgerRecord] = []
        at = segment.shipped
        data = os.pread(segment.handle, segment.written - at, at)
        for entry, length in entries(data):
            if len(records) >= limit:
                break
            at += length
            if isinstance(entry, Ended):
                records.append(entry)
        else:
            at = segment.written
        return records, at

    def forget(self, segment: Segment) -> None:
        """Delete a segment that is done; the one in use stays."""
        if segment.done and segment is not self._segments[-1]:
            self._segments.remove(segment)
            release(segment)

    def close(self) -> None:
        """Delete what is done; the rest is found by the next process."""
        for segment in self._segments:
            if segment.done:
                release(segment)
            else:
                os.close(segment.handle)
        self._segments.clear()

    def _append(self, segment: Segment, entry: bytes) -> None:
        os.pwrite(segment.handle, entry, segment.written)
        segment.written += len(entry)

    def _room(self, needed: int) -> Segment:
        """The segment to write to, a new one where the last has no room for `needed`."""
        if self._segments and self._segments[-1].size - self._segments[-1].written >= needed:
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
    return Segment(path, handle, size)


def orphans(folder: Path) -> Iterator[tuple[Segment, list[LedgerRecord]]]:
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
        size = os.fstat(handle).st_size
        segment = Segment(path, handle, size, written=size)
        yield segment, recovered(os.pread(handle, size, 0))


def recovered(data: bytes) -> list[LedgerRecord]:
    begun: dict[str, Begun] = {}
    records: list[LedgerRecord] = []
    for entry, _ in entries(data):
        if isinstance(entry, Begun):
            begun[entry.id] = entry
        else:
            begun.pop(entry.id, None)
            records.append(entry)
    return records + [_abandoned(each) for each in begun.values()]


def release(segment: Segment) -> None:
    """Delete the file, then let go of its lock."""
    segment.path.unlink(missing_ok=True)
    os.close(segment.handle)


def entries(data: bytes) -> Iterator[tuple[Begun | Ended, int]]:
    """Whole entries and their lengths. A torn one, which only a dying process leaves, is the
    last; the space behind it was never written."""
    at = 0
    while (end := data.find(b"\n", at)) >= 0:
        line = data[at:end]
        try:
            entry = _decode(line.lstrip(b"\0"))
        except msgspec.DecodeError:
            return
        yield entry, end + 1 - at
        at = end + 1


def _cut(entry: Begun | Ended) -> bytes:
    """The line of `entry`; names that make it too long are cut."""
    line: bytes = _encode(entry) + b"\n"
    if len(line) <= ENTRY_BYTES:
        return line
    short = msgspec.structs.replace(entry, model=entry.model[:200])
    return _encode(short) + b"\n"


def _abandoned(begun: Begun) -> LedgerRecord:
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
