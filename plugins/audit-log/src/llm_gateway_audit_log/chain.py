"""The chain: each record holds the hash of the one before it, so that none can be changed,
removed or added in between without showing.

A record commits to its content by a salted hash and is itself hashed without it. So a content
can be erased and the chain still holds; that it was erased must stand in the chain too.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import msgspec
from llm_gateway_api import AuditEvent

GENESIS = "0" * 64
ERASED, RETIRED = "audit.erased", "audit.retired"
SALT_BYTES = 16
# Ranges of records that one event of an erasure names.
RANGES = 1000


class Content(msgspec.Struct, frozen=True):
    """What of an event may lead to a person; it can be erased."""

    actor: str | None = None
    tenant: str | None = None
    subject: str | None = None
    request_id: str | None = None
    peer: str | None = None
    detail: Mapping[str, str] = {}


class Record(msgspec.Struct, frozen=True):
    """An event in its place: `seq` counts from 1 within `chain`, `body` is the hash of its
    content. An erased one has neither content nor salt."""

    chain: str
    seq: int
    prev: str
    at: int
    kind: str
    outcome: Literal["ok", "refused", "failed"]
    body: str
    salt: str
    content: Content | None
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """Where the chain does not hold, and why; `where` is a file or ``store``."""

    chain: str
    seq: int
    reason: str
    where: str = ""


_encode = msgspec.json.Encoder(order="sorted").encode
decode = msgspec.json.Decoder(Record).decode


def line(record: Record) -> bytes:
    return _encode(record) + b"\n"


def following(last: Record | None, event: AuditEvent, key: bytes) -> Record:
    """The record of `event` behind `last`; a new chain where there is none."""
    content = Content(
        event.actor, event.tenant, event.subject, event.request_id, event.peer, event.detail
    )
    salt = secrets.token_hex(SALT_BYTES)
    record = Record(
        last.chain if last is not None else secrets.token_hex(8),
        last.seq + 1 if last is not None else 1,
        last.hash if last is not None else GENESIS,
        event.at,
        event.kind,
        event.outcome,
        commitment(content, salt, key),
        salt,
        content,
    )
    return msgspec.structs.replace(record, hash=digest(record, key))


def erased(record: Record) -> Record:
    return msgspec.structs.replace(record, content=None, salt="")


def commitment(content: Content, salt: str, key: bytes) -> str:
    return _hash(salt.encode() + _encode(content), key)


def digest(record: Record, key: bytes) -> str:
    """The hash of a record without its content and its own; sealed with `key` where there is
    one."""
    return _hash(_encode(msgspec.structs.replace(erased(record), hash="")), key)


def _hash(data: bytes, key: bytes) -> str:
    if key:
        return hmac.new(key, data, hashlib.sha256).hexdigest()
    return hashlib.sha256(data).hexdigest()


@dataclass(slots=True)
class Verifier:
    """Takes one host's records in turn, out of however many files; `finish` at the end.

    A chain may begin late where records were retired, and lack contents that were erased, if a
    later record says so.
    """

    key: bytes
    broken: list[Broken] = field(default_factory=list)
    _chain: str = ""
    _seq: int = 0
    _prev: str = GENESIS
    _begin: tuple[int, str] = (0, GENESIS)
    _retired: set[tuple[int, str]] = field(default_factory=set)
    _empty: dict[int, str] = field(default_factory=dict)
    _allowed: list[tuple[int, int]] = field(default_factory=list)

    def lines(self, found: Iterable[bytes], where: str) -> None:
        for each in found:
            try:
                record = decode(each.removesuffix(b"\n"))
            except (msgspec.MsgspecError, UnicodeError):
                self._tell(self._chain, self._seq + 1, "the record cannot be read", where)
                self._seq += 1
                self._prev = ""
                continue
            altered = each != line(record)
            self.record(record, where, altered=altered)

    def record(self, record: Record, where: str, *, altered: bool = False) -> None:
        self._in_place(record, where)
        if altered or not whole(record, self.key):
            self._tell(record.chain, record.seq, "the record was changed", where)
        elif record.content is None:
            self._empty[record.seq] = where
        else:
            self._learn(record, record.content)
        self._chain, self._seq, self._prev = record.chain, record.seq, record.hash

    def finish(self) -> list[Broken]:
        seq, prev = self._begin
        if seq and (seq, prev) not in self._retired:
            self._tell(self._chain, 1, f"records 1 to {seq} are missing", "")
        for each, where in self._empty.items():
            if not any(first <= each <= last for first, last in self._allowed):
                reason = "its content is gone, and no erasure on record says so"
                self._tell(self._chain, each, reason, where)
        return sorted(self.broken, key=lambda each: each.seq)

    def _in_place(self, record: Record, where: str) -> None:
        if not self._chain and not self.broken:
            self._begin = (record.seq - 1, record.prev)
            if record.seq == 1 and record.prev != GENESIS:
                self._tell(record.chain, 1, "the record was changed", where)
        elif self._chain and record.chain != self._chain:
            reason = f"it belongs to another chain than {self._chain}"
            self._tell(record.chain, record.seq, reason, where)
        elif record.seq != self._seq + 1:
            first, last = self._seq + 1, record.seq - 1
            self._tell(record.chain, first, f"records {first} to {last} are missing", where)
        elif self._prev and record.prev != self._prev:
            self._tell(record.chain, record.seq, "the record before it is another one", where)

    def _learn(self, record: Record, content: Content) -> None:
        if record.kind == RETIRED and content.detail.get("up_to", "").isdecimal():
            self._retired.add((int(content.detail["up_to"]), content.detail.get("hash", "")))
        elif record.kind == ERASED:
            self._allowed += ranges_of(content.detail.get("records", ""))

    def _tell(self, chain: str, seq: int, reason: str, where: str) -> None:
        self.broken.append(Broken(chain, seq, reason, where))


def whole(record: Record, key: bytes) -> bool:
    """Whether a record is what its hash says, and its content what the record commits to."""
    if digest(record, key) != record.hash:
        return False
    if record.content is None:
        return record.salt == ""
    return commitment(record.content, record.salt, key) == record.body


def ranges(numbers: Iterable[int]) -> Iterator[str]:
    """``1-3,7`` for each `RANGES` runs of ascending `numbers`."""
    runs: list[str] = []
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        runs.append(f"{run[0]}-{run[-1]}")
    for at in range(0, len(runs), RANGES):
        yield ",".join(runs[at : at + RANGES])


def ranges_of(text: str) -> list[tuple[int, int]]:
    found = []
    for each in text.split(","):
        first, _, last = each.partition("-")
        if first.isdecimal() and last.isdecimal():
            found.append((int(first), int(last)))
    return found
