"""From the files to the store: in order, each record once, by one worker of the host."""

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from llm_gateway_api import SQLParams, Store

from llm_gateway_audit_log import files
from llm_gateway_audit_log.chain import Record, decode

log = logging.getLogger("llm_gateway_audit_log")
COLUMNS = (
    "chain",
    "seq",
    "at",
    "kind",
    "outcome",
    "actor",
    "tenant",
    "subject",
    "request_id",
    "peer",
    "detail",
    "prev",
    "body",
    "salt",
    "hash",
)
INSERT = (
    f"INSERT INTO audit_records ({', '.join(COLUMNS)}) "
    f"VALUES ({', '.join(':' + each for each in COLUMNS)}) ON CONFLICT (chain, seq) DO NOTHING"
)
BATCH = 500
MARK = "shipped"  # how far the store was once, in the folder of the files


class Shipping:
    """Knows how far the store is; asks it at the beginning of each chain."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._chain = ""
        self._shipped = 0
        self._past: set[str] = set()
        # Where reading goes on: a file, by its number in the file system, and a place in it.
        self._at = (0, 0)
        self._read = 0
        # Records behind a gap, for which all files were looked through already.
        self._gaps: set[int] = set()

    def has(self, record: Record) -> bool:
        """Whether the store has a record."""
        if record.chain == self._chain:
            return record.seq <= self._shipped
        return record.chain in self._past

    async def ship(self) -> int:
        """Ship what the store lacks; how many records that were."""
        count = 0
        while batch := await asyncio.to_thread(self._next):
            records, place = batch
            if records[0].chain != self._chain:
                await self._begin(records[0].chain)
            fresh = [each for each in records if each.seq > self._shipped]
            if fresh:
                await self._store.execute_many(INSERT, [row_of(each) for each in fresh])
                self._shipped = fresh[-1].seq
                await asyncio.to_thread(_mark, self._folder, self._chain, self._shipped)
            self._at, self._read = place, records[-1].seq
            count += len(fresh)
        return count

    async def _begin(self, chain: str) -> None:
        sql = "SELECT MAX(seq) AS seq FROM audit_records WHERE chain = :chain"
        found = (await self._store.fetch(sql, {"chain": chain}))[0]["seq"]
        self._past.add(self._chain)
        self._chain = chain
        self._shipped = int(str(found)) if found is not None else 0
        marked, most = await asyncio.to_thread(mark, self._folder)
        if marked == chain and most > self._shipped:
            log.warning("audit.store_lacks from=%d to=%d", self._shipped + 1, most)

    def _next(self) -> tuple[Sequence[Record], tuple[int, int]] | None:
        """The next records of one chain, and where those after them begin."""
        paths = files.everything(self._folder)
        inode, place = self._at
        for number, each in enumerate(paths):
            if each.stat().st_ino == inode and (found := _some(paths[number:], place)):
                if self._follows(found[0][0]):
                    return found
                break  # not the file that it was: maintenance wrote files anew
            if each.stat().st_ino == inode and place <= each.stat().st_size:
                return None
        return _some(paths, 0) if self._behind(paths) else None

    def _follows(self, first: Record) -> bool:
        if first.chain != self._chain or first.seq == self._read + 1 or first.seq in self._gaps:
            return True
        self._gaps.add(first.seq)
        return False

    def _behind(self, paths: Sequence[Path]) -> bool:
        """Whether there may be records that the store lacks; all files were read till then."""
        newest = next((r for p in reversed(paths) if (r := files.newest_of(p))), None)
        return newest is not None and not self.has(newest)


def mark(folder: Path) -> tuple[str, int]:
    """The chain that was shipped last, and how much of it the store has had."""
    try:
        chain, _, seq = (folder / MARK).read_text().partition(" ")
        return chain, int(seq)
    except (OSError, ValueError):
        return "", 0


def _mark(folder: Path, chain: str, seq: int) -> None:
    """A crash before it leaves an older one, which says less."""
    made = folder / f"{MARK}.new"
    made.touch(0o600)
    made.write_text(f"{chain} {seq}")
    os.replace(made, folder / MARK)


def _some(paths: Sequence[Path], place: int) -> tuple[Sequence[Record], tuple[int, int]] | None:
    """Up to `BATCH` records of one file and one chain, from `place` in the first file on."""
    for path in paths:
        taken: list[Record] = []
        for record, end in _from(path, place):
            if record is not None and taken and record.chain != taken[0].chain:
                break
            place = end
            if record is not None:
                taken.append(record)
            if len(taken) == BATCH:
                break
        if taken:
            return taken, (path.stat().st_ino, place)
        place = 0
    return None


def _from(path: Path, place: int) -> Iterator[tuple[Record | None, int]]:
    """Records behind `place`, each with where it ends; None for what cannot be read. A line
    without an end is not written yet."""
    with path.open("rb") as file:
        file.seek(place)
        for each in file:
            if not each.endswith(b"\n"):
                return
            place += len(each)
            try:
                yield decode(each), place
            except (msgspec.MsgspecError, UnicodeError):
                yield None, place


def row_of(record: Record) -> SQLParams:
    content = record.content
    row: dict[str, str | int | None] = {
        name: getattr(content, name, None)
        for name in ("actor", "tenant", "subject", "request_id", "peer")
    }
    detail = content.detail if content is not None else {}
    return {
        **row,
        "chain": record.chain,
        "seq": record.seq,
        "at": record.at,
        "kind": record.kind,
        "outcome": record.outcome,
        "detail": msgspec.json.encode(detail, order="sorted").decode(),
        "prev": record.prev,
        "body": record.body,
        "salt": record.salt,
        "hash": record.hash,
    }
