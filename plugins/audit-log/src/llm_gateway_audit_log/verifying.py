"""Verification: of a host's files, of the store's rows, and of the one against the other."""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import NamedTuple, TypeAlias

import msgspec
from llm_gateway_api import Row, SQLValue, Store

from llm_gateway_audit_log import files
from llm_gateway_audit_log.chain import Broken, Content, Record, Verifier, whole
from llm_gateway_audit_log.shipping import COLUMNS, mark, row_of

PAGE = 2000
# Long enough for a writer to end its line.
WRITING_SECONDS = 0.2
STORE = "store"


class InFile(NamedTuple):
    """Of a record in the files: its hash, whether it has content, and its time."""

    hash: str
    content: bool
    at: int


Found: TypeAlias = Mapping[tuple[str, int], InFile]


async def verified(
    key: bytes, store: Store | None, folder: Path, kept_from: int = 0
) -> list[Broken]:
    """What does not hold in the files, in any chain of the store, and where they differ. The
    store may lack what is older than the Unix milliseconds `kept_from`."""
    shipped = await asyncio.to_thread(mark, folder)
    broken, found = await asyncio.to_thread(_verified_files, key, folder)
    if store is None:
        return broken
    in_store, last = await _verified_store(key, store, found)
    return broken + in_store + list(_cut_off(shipped, last, found, kept_from))


def _verified_files(key: bytes, folder: Path) -> tuple[list[Broken], Found]:
    with files.maintenance(folder, wait=True):
        return verified_files(key, folder)


def verified_files(key: bytes, folder: Path) -> tuple[list[Broken], Found]:
    """What does not hold in the files, and which records they hold."""
    verifier = Verifier(key)
    found: dict[tuple[str, int], InFile] = {}
    for path in files.everything(folder):
        verifier.lines(_lines(path), path.name)
        for record in files.records(path):
            has_content = record.content is not None
            found[record.chain, record.seq] = InFile(record.hash, has_content, record.at)
    return verifier.finish(), found


def _lines(path: Path) -> Iterator[bytes]:
    """Every line; the last of the file that is written may not be whole yet."""
    with path.open("rb") as file:
        for each in file:
            if not each.endswith(b"\n"):
                sleep(WRITING_SECONDS)
                yield each + file.readline()
            else:
                yield each


async def _verified_store(
    key: bytes, store: Store, in_files: Found
) -> tuple[list[Broken], Mapping[str, int]]:
    """Every row, and the last number of each chain. The store may lack what is too old and what
    is not shipped yet, and nothing between."""
    broken: list[Broken] = []
    last: dict[str, int] = {}
    oldest: dict[str, int] = {}
    for name, number in in_files:
        oldest[name] = min(number, oldest.get(name, number))
    chain, seq, prev = "", 0, ""
    place: tuple[SQLValue, SQLValue] = "", 0
    while rows := await store.fetch(
        "SELECT * FROM audit_records WHERE chain > :chain OR (chain = :chain AND seq > :seq) "
        "ORDER BY chain, seq LIMIT :limit",
        {"chain": place[0], "seq": place[1], "limit": PAGE},
    ):
        found = [record_of(each) for each in rows]
        good = await asyncio.to_thread(_whole, found, rows, key)
        for record, holds in zip(found, good, strict=True):
            reason = _wrong(record, (chain, seq, prev), holds=holds)
            if not reason and record.seq >= oldest.get(record.chain, sys.maxsize):
                reason = _differing(record, in_files)
            if reason:
                broken.append(Broken(record.chain, record.seq, reason, STORE))
            chain, seq, prev = record.chain, record.seq, record.hash
            last[chain] = seq
        place = rows[-1]["chain"], rows[-1]["seq"]
    return broken, last


def _cut_off(
    shipped: tuple[str, int], last: Mapping[str, int], found: Found, kept_from: int
) -> Iterator[Broken]:
    """What the store had once and has no more, at the end of the chain."""
    chain, most = shipped
    first = last.get(chain, 0) + 1
    gone = [
        seq
        for seq in range(first, most + 1)
        if (known := found.get((chain, seq))) is not None and known.at >= kept_from
    ]
    if gone:
        reason = f"records {gone[0]} to {gone[-1]} are missing"
        yield Broken(chain, gone[0], reason, STORE)


def _whole(found: Sequence[Record], rows: Sequence[Row], key: bytes) -> list[bool]:
    """Whether each record is what its hash says, and its row as it was written to the letter."""
    return [
        whole(record, key) and _written(record, row)
        for record, row in zip(found, rows, strict=True)
    ]


def _written(record: Record, row: Row) -> bool:
    meant = row_of(record)
    return all(row[name] == meant[name] for name in COLUMNS)


def _wrong(record: Record, before: tuple[str, int, str], *, holds: bool) -> str:
    chain, seq, prev = before
    if not holds:
        return "the record was changed"
    if record.chain != chain:
        return ""
    if record.seq != seq + 1:
        return f"records {seq + 1} to {record.seq - 1} are missing"
    return "" if record.prev == prev else "the record before it is another one"


def _differing(record: Record, found: Found) -> str:
    known = found.get((record.chain, record.seq))
    if known is None:
        return "it is missing in the files"
    if known.hash != record.hash:
        return "the files and the store differ"
    if known.content and record.content is None:
        return "its content is gone here and not in the files"
    return ""


def record_of(row: Row) -> Record:
    content: Content | None = Content(
        actor=_text(row["actor"]),
        tenant=_text(row["tenant"]),
        subject=_text(row["subject"]),
        request_id=_text(row["request_id"]),
        peer=_text(row["peer"]),
        detail=_detail(row["detail"]),
    )
    if not row["salt"] and content == Content():
        content = None  # erased
    return Record(
        str(row["chain"]),
        _number(row["seq"]),
        str(row["prev"]),
        _number(row["at"]),
        str(row["kind"]),
        row["outcome"],  # type: ignore[arg-type]  # as it was written; else the hash differs
        str(row["body"]),
        str(row["salt"]),
        content,
        str(row["hash"]),
    )


def _number(value: object) -> int:
    """SQLite keeps whatever is put into a column; what is no number leads to another hash."""
    return value if isinstance(value, int) else -1


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _detail(value: object) -> Mapping[str, str]:
    """As it was written; what is none leads to another hash."""
    try:
        return msgspec.json.decode(str(value), type=dict[str, str])
    except msgspec.MsgspecError:
        return {"": str(value)}


def shown(broken: Sequence[Broken]) -> list[dict[str, object]]:
    return [
        {"chain": each.chain, "seq": each.seq, "reason": each.reason, "where": each.where}
        for each in broken
    ]
