"""The chain: each record holds the hash of the one before it, so that none can be changed,
removed or added in between without showing.

One file for the workers of a host, a JSON object a line, appended under the file's lock.
"""

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from llm_gateway_api import AuditEvent

GENESIS = "0" * 64
_TAIL_BYTES = 1024 * 1024


class Record(msgspec.Struct, frozen=True):
    """An event in its place: `seq` counts from 1 within `chain`."""

    chain: str
    seq: int
    prev: str
    event: AuditEvent
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """Where the chain does not hold, and why."""

    chain: str
    seq: int
    reason: str


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Record).decode


class ChainFile:
    """Appends to the chain of this host. Raises `OSError` where the disk is full or gone."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key
        self._handle = -1
        self._end = 0
        self._last: Record | None = None

    def open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)

    def close(self) -> None:
        os.close(self._handle)
        self._handle = -1

    def append(self, event: AuditEvent) -> Record:
        """The record of `event`, written; durable after the next `sync`."""
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            last = self._newest()
            if last is None:
                record = Record(secrets.token_hex(8), 1, GENESIS, event)
            else:
                record = Record(last.chain, last.seq + 1, last.hash, event)
            record = msgspec.structs.replace(record, hash=digest(record, self._key))
            line = _encode(record) + b"\n"
            written = os.write(self._handle, line)
            if written != len(line):
                os.ftruncate(self._handle, self._end)
                raise OSError("the disk is full")
            self._end += written
            self._last = record
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)
        return record

    def sync(self) -> None:
        os.fdatasync(self._handle)

    def read(self, start: int) -> tuple[list[Record], int]:
        """Whole records from the byte `start` on, and where the next ones begin."""
        size = os.fstat(self._handle).st_size
        data = os.pread(self._handle, size - start, start)
        end = data.rfind(b"\n") + 1
        return [_decode(line) for line in data[:end].splitlines()], start + end

    def _newest(self) -> Record | None:
        """The last record, which another worker may have written. A torn line, which only a
        dying process leaves, is cut off."""
        size = os.fstat(self._handle).st_size
        if size == self._end:
            return self._last
        start = max(0, size - _TAIL_BYTES)
        data = os.pread(self._handle, size - start, start)
        end = data.rfind(b"\n") + 1
        if start + end < size:
            os.ftruncate(self._handle, start + end)
        self._end = start + end
        lines = data[:end].splitlines()
        self._last = _decode(lines[-1]) if lines else None
        return self._last


def digest(record: Record, key: bytes) -> str:
    """The hash of a record without its own; sealed with `key` where there is one."""
    body = _encode(msgspec.structs.replace(record, hash=""))
    if key:
        return hmac.new(key, body, hashlib.sha256).hexdigest()
    return hashlib.sha256(body).hexdigest()


def lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def readable(found: Iterable[bytes]) -> Iterator[Record]:
    for each in found:
        with contextlib.suppress(msgspec.DecodeError):
            yield _decode(each)


def verify(found: Iterable[bytes | Record], key: bytes) -> Iterator[Broken]:
    """Every place where the chain does not hold: a record that was changed, one that is
    missing, one that cannot be read."""
    chain, seq, prev = "", 0, GENESIS
    for each in found:
        try:
            record = each if isinstance(each, Record) else _decode(each)
        except msgspec.DecodeError:
            yield Broken(chain, seq + 1, "the record cannot be read")
            seq += 1
            prev = ""
            continue
        if chain and record.chain != chain:
            yield Broken(record.chain, record.seq, f"it belongs to another chain than {chain}")
        elif record.seq != seq + 1:
            yield Broken(
                record.chain, seq + 1, f"records {seq + 1} to {record.seq - 1} are missing"
            )
        elif prev and record.prev != prev:
            yield Broken(record.chain, record.seq, "the record before it is another one")
        altered = isinstance(each, bytes) and each.rstrip(b"\n") != _encode(record)
        if altered or digest(record, key) != record.hash:
            yield Broken(record.chain, record.seq, "the record was changed")
        chain, seq, prev = record.chain, record.seq, record.hash
