"""The journal on disk: an entry when a request is admitted, another when it has ended.

An entry is a line of JSON: an object that says what began, or an array, the values of the row
of what has ended.

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

from llm_gateway_ledger_store.rows import COLUMNS, MODEL, Row, Value, row_of

SEGMENT_BYTES = 4 * 1024 * 1024
# The longest entry: names a client may choose are cut to fit, to so many characters.
ENTRY_BYTES = 4096
NAME_LENGTH = 200
READ_BYTES = 1024 * 1024
SUFFIX = ".ledger"
# Of an earlier release, in whose files what has ended is an object too.
FORMER_SUFFIX = ".spool"
# How long a segment may stay after all of it was shipped.
KEPT_SECONDS = 3600.0

ENDED = b"["
_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(LedgerOpening | LedgerRecord).decode
_decode_array = msgspec.json.Decoder(list[Value]).decode
_decode_rows = msgspec.json.Decoder(list[Row]).decode


@dataclass(slots=True)
class Segment:
    """One file. `open` requests began here and have not ended; `shipped` is where shipping goes
    on."""

    path: Path
    handle: int
    map: mmap.mmap
    size: int
    written: int = 0
    shipped: int = 0
    open: int = 0
    born: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> bool:
        return not self.open and self.shipped >= self.written


class Spool:
    """The segments of this process. An entry is copied into the mapped file, without a call of
    the system: what is there outlives the process.

    Raises `OSError` from `begin` where the disk is full or gone.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segments: list[Segment] = []
        self._last: Segment | None = None
        self._where: dict[str, Segment] = {}
        self._number = 0

    @property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(self._segments)

    def begin(self, opening: LedgerOpening) -> None:
        entry: bytes = _encode(opening) + b"\n"
        if len(entry) > ENTRY_BYTES:
            entry = _encode(msgspec.structs.replace(opening, model=_cut(opening.model))) + b"\n"
        needed = len(entry) + ENTRY_BYTES * (len(self._where) + 1)
        segment = self._last
        if segment is None or segment.size - segment.written < needed:
            segment = self._another(needed)
        end = segment.written + len(entry)
        segment.map[segment.written : end] = entry
        segment.written = end
        segment.open += 1
        self._where[opening.id] = segment

    def end(self, record: LedgerRecord) -> None:
        row = row_of(record)
        entry: bytes = _encode(row) + b"\n"
        if len(entry) > ENTRY_BYTES:
            row = (*row[:MODEL], _cut(record.model), *row[MODEL + 1 :])
            entry = _encode(row) + b"\n"
        segment = self._last
        assert segment is not None, "what ends has begun"
        end = segment.written + len(entry)
        segment.map[segment.written : end] = entry
        segment.written = end
        began = self._where.pop(record.id, None)
        if began is not None:
            began.open -= 1

    def read(self, segment: Segment) -> tuple[list[Row], int]:
        """Rows that ended and were not shipped, and where the next ones begin: about as many as
        fit into `READ_BYTES`."""
        start = segment.shipped
        data = segment.map[start : min(segment.written, start + READ_BYTES)]
        end = data.rfind(b"\n")
        ended = [line for line in data[:end].split(b"\n") if line.startswith(ENDED)]
        return _decode_rows(b"[" + b",".join(ended) + b"]"), start + end + 1

    def forget(self, segment: Segment) -> None:
        """Delete a segment that is done; the one in use stays."""
        if segment.done and segment is not self._last:
            self._segments.remove(segment)
            release(segment)

    def turn(self, seconds: float = KEPT_SECONDS) -> None:
        """Delete the one in use too, where it is older than `seconds` and nothing is to come:
        what the store has is not kept here for long."""
        last = self._last
        if self._where or last is None or not last.written:
            return
        if last.done and time.monotonic() - last.born >= seconds:
            self._last = None
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
        self._last = None

    def _another(self, needed: int) -> Segment:
        """A new segment to write to, since the last one has no room for `needed`."""
        self._number += 1
        name = f"{time.time_ns()}-{os.getpid()}-{self._number}{SUFFIX}"
        segment = create(self._folder / name, max(self._segment_bytes, 2 * needed))
        self._segments.append(segment)
        self._last = segment
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
    return Segment(path, handle, mmap.mmap(handle, size), size)


def orphans(folder: Path) -> Iterator[tuple[Segment, list[Row]]]:
    """Segments whose process is gone, each with its rows.

    What began and never ended is a row too: ``abandoned``, without usage.
    """
    found = [*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*{FORMER_SUFFIX}")]
    for path in sorted(found):
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
        yield Segment(path, handle, mmap.mmap(-1, 1), 1, written=len(data)), recovered(data)


def recovered(data: bytes) -> list[Row]:
    begun: dict[Value, LedgerOpening] = {}
    rows: list[Row] = []
    for entry in entries(data):
        if isinstance(entry, LedgerOpening):
            begun[entry.id] = entry
        else:
            begun.pop(entry[0], None)
            rows.append(entry)
    return rows + [row_of(_abandoned(each)) for each in begun.values()]


def release(segment: Segment) -> None:
    """Delete the file, then let go of its lock."""
    segment.path.unlink(missing_ok=True)
    leave(segment)


def leave(segment: Segment) -> None:
    """Let go of the file: whoever comes next finds its records."""
    segment.map.close()
    os.close(segment.handle)


def entries(data: bytes) -> Iterator[LedgerOpening | Row]:
    """Whole entries. A torn one, which only a dying process leaves, is the last; the space
    behind it was never written."""
    at = 0
    while (end := data.find(b"\n", at)) >= 0:
        try:
            yield _entry(data[at:end])
        except msgspec.DecodeError:
            return
        at = end + 1


def _entry(line: bytes) -> LedgerOpening | Row:
    if line.startswith(ENDED):
        return _row(line)
    entry = _decode_object(line)
    return row_of(entry) if isinstance(entry, LedgerRecord) else entry


def _row(line: bytes) -> Row:
    """Of a release with fewer columns, or with more behind those of this one."""
    values = _decode_array(line)[: len(COLUMNS)]
    return (*values, *(None,) * (len(COLUMNS) - len(values)))


def _cut(name: str) -> str:
    return name[:NAME_LENGTH]


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
