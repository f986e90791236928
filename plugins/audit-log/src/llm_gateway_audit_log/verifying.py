"""Verification: of a host's files, of the store's rows, and of the one against the other."""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import sleep

import msgspec
from llm_gateway_api import Row, Store

from llm_gateway_audit_log import files
from llm_gateway_audit_log.chain import Broken, Content, Record, Verifier, whole

PAGE = 2000
# Long enough for a writer to end its line.
WRITING_SECONDS = 0.2
STORE = "store"


async def verified(key: bytes, store: Store | None, folder: Path) -> list[Broken]:
    """What does not hold in the files, in any chain of the store, and where they differ."""
    broken, hashes = await asyncio.to_thread(_verified_files, key, folder)
    if store is None:
        return broken
    return broken + await _verified_store(key, store, hashes)


def _verified_files(
    key: bytes, folder: Path
) -> tuple[list[Broken], dict[tuple[str, int], tuple[str, bool]]]:
    with files.maintenance(folder, wait=True):
        return verified_files(key, folder)


def verified_files(
    key: bytes, folder: Path
) -> tuple[list[Broken], dict[tuple[str, int], tuple[str, bool]]]:
    """What does not hold in the files; the hash of each record, and whether it has content."""
    verifier = Verifier(key)
    hashes: dict[tuple[str, int], tuple[str, bool]] = {}
    for path in files.everything(folder):
        verifier.lines(_lines(path), path.name)
        for record in files.records(path):
            hashes[record.chain, record.seq] = (record.hash, record.content is not None)
    return verifier.finish(), hashes


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
    key: bytes, store: Store, hashes: Mapping[tuple[str, int], tuple[str, bool]]
) -> list[Broken]:
    """Every row. The store may lack what is too old and what is not shipped yet, and nothing
    between."""
    broken: list[Broken] = []
    oldest: dict[str, int] = {}
    for name, number in hashes:
        oldest[name] = min(number, oldest.get(name, number))
    chain, seq, prev = "", 0, ""
    while rows := await store.fetch(
        "SELECT * FROM audit_records WHERE chain > :chain OR (chain = :chain AND seq > :seq) "
        "ORDER BY chain, seq LIMIT :limit",
        {"chain": chain, "seq": seq, "limit": PAGE},
    ):
        found = [record_of(each) for each in rows]
        good = await asyncio.to_thread(_whole, found, key)
        for record, holds in zip(found, good, strict=True):
            reason = _wrong(record, (chain, seq, prev), holds=holds)
            if not reason and record.seq >= oldest.get(record.chain, sys.maxsize):
                reason = _differing(record, hashes)
            if reason:
                broken.append(Broken(record.chain, record.seq, reason, STORE))
            chain, seq, prev = record.chain, record.seq, record.hash
    return broken


def _whole(found: Sequence[Record], key: bytes) -> list[bool]:
    return [whole(each, key) for each in found]


def _wrong(record: Record, before: tuple[str, int, str], *, holds: bool) -> str:
    chain, seq, prev = before
    if not holds:
        return "the record was changed"
    if record.chain != chain:
        return ""
    if record.seq != seq + 1:
        return f"records {seq + 1} to {record.seq - 1} are missing"
    return "" if record.prev == prev else "the record before it is another one"


def _differing(record: Record, hashes: Mapping[tuple[str, int], tuple[str, bool]]) -> str:
    known = hashes.get((record.chain, record.seq))
    if known is None:
        return "it is missing in the files"
    if known[0] != record.hash:
        return "the files and the store differ"
    if known[1] and record.content is None:
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
        int(str(row["seq"])),
        str(row["prev"]),
        int(str(row["at"])),
        str(row["kind"]),
        row["outcome"],  # type: ignore[arg-type]  # as it was written; else the hash differs
        str(row["body"]),
        str(row["salt"]),
        content,
        str(row["hash"]),
    )


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
