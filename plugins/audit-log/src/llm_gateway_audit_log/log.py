"""The auditor: appends to the chain at once, ships to the store beside the requests."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

import msgspec
from llm_gateway_api import AuditEvent, GatewayError, Metrics, Row, SQLParams, SQLValue, Store

from llm_gateway_audit_log.chain import Broken, ChainFile, Record, lines, readable, verify
from llm_gateway_audit_log.settings import AuditSettings

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
    "hash",
)
INSERT = (
    f"INSERT INTO audit_records ({', '.join(COLUMNS)}) "
    f"VALUES ({', '.join(':' + each for each in COLUMNS)}) ON CONFLICT (chain, seq) DO NOTHING"
)
DAY_MS = 24 * 3600 * 1000
RETIRE_SECONDS = 3600.0
CLOSE_SECONDS = 5.0
BATCH = 500


class AuditLog:
    """Meets `Auditor`. Between an event and the store lies the file, so that a stopped store
    loses nothing."""

    def __init__(
        self, settings: AuditSettings, store: Store | None, folder: Path, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._store = store
        self._chain = ChainFile(file_in(folder), key_of(settings))
        self._shipped = 0
        self._records = metrics.counter(
            "gateway_audit_log_records_total", "events on record"
        ).value()
        self._lost = metrics.counter(
            "gateway_audit_log_lost_total", "events that could not be recorded"
        ).value()

    def record(self, event: AuditEvent) -> None:
        """Raises `OSError` where it cannot be written and ``fail`` is ``closed``."""
        try:
            self._chain.append(event)
        except OSError:
            self._lost.inc()
            if self._settings.fail == "closed":
                raise
            log.exception("audit.lost kind=%s", event.kind)
        else:
            self._records.inc()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self._chain.open()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._ship_always(), name="ship audit")]
        if self._store is not None and self._settings.retention_days is not None:
            tasks.append(loop.create_task(self._retire_always(), name="retire audit"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._last()
            self._chain.close()

    async def _ship_always(self) -> None:
        while True:
            try:
                await self._ship()
            except (GatewayError, OSError) as error:
                log.warning("audit.waiting %s", error)
            except Exception:  # a store's bug must not end the shipping for good
                log.exception("audit.failed")
            await asyncio.sleep(self._settings.ship_seconds)

    async def _ship(self) -> None:
        """What the store lacks; after a start all is offered, and what is there stays as it is."""
        records, end = self._chain.read(self._shipped)
        if not records:
            return
        await asyncio.to_thread(self._chain.sync)
        if self._store is not None:
            for at in range(0, len(records), BATCH):
                await self._store.execute_many(INSERT, [_row(r) for r in records[at : at + BATCH]])
        self._shipped = end

    async def _last(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ship()
        except (GatewayError, OSError, TimeoutError):
            log.warning("audit.left records stay in the file for the next start")

    async def _retire_always(self) -> None:
        store, days = self._store, self._settings.retention_days
        assert store is not None
        assert days is not None
        while True:
            before = int(time() * 1000) - days * DAY_MS
            try:
                await store.execute("DELETE FROM audit_records WHERE at < :at", {"at": before})
            except GatewayError as error:
                log.warning("audit.waiting %s", error)
            await asyncio.sleep(RETIRE_SECONDS)


def file_in(folder: Path) -> Path:
    return folder / "audit" / "audit.jsonl"


def key_of(settings: AuditSettings) -> bytes:
    return settings.key.get_secret_value().encode() if settings.key is not None else b""


async def verified(settings: AuditSettings, store: Store | None, folder: Path) -> list[Broken]:
    """What does not hold in the file, and where the store and the file are not the same."""
    file = file_in(folder)
    broken = await asyncio.to_thread(lambda: list(verify(lines(file), key_of(settings))))
    if store is None:
        return broken
    records = await asyncio.to_thread(lambda: list(readable(lines(file))))
    if not records:
        return broken
    chain = records[-1].chain
    sql = "SELECT seq, hash FROM audit_records WHERE chain = :chain ORDER BY seq"
    rows = await store.fetch(sql, {"chain": chain})
    return broken + compared(chain, {each.seq: each.hash for each in records}, rows)


def compared(chain: str, hashes: Mapping[int, str], rows: Sequence[Row]) -> list[Broken]:
    """The store may lack what is too old and what is not shipped yet, and nothing between."""
    broken: list[Broken] = []
    expected: int | None = None
    for row in rows:
        seq = int(str(row["seq"]))
        if expected is not None and seq != expected:
            broken.append(Broken(chain, expected, f"missing in the store up to {seq - 1}"))
        if hashes.get(seq) != row["hash"]:
            reason = "the file and the store differ" if seq in hashes else "missing in the file"
            broken.append(Broken(chain, seq, reason))
        expected = seq + 1
    return broken


async def search(store: Store, query: SQLParams, limit: int) -> list[Row]:
    """The newest records that fit all of `query` (columns, and ``since``), newest first."""
    wanted = {name: value for name, value in query.items() if value not in (None, "")}
    parts = [
        "at >= :since" if name == "since" else _matching(name, value)
        for name, value in wanted.items()
    ]
    where = f"WHERE {' AND '.join(parts)} " if parts else ""
    return await store.fetch(
        f"SELECT {', '.join(COLUMNS)} FROM audit_records {where}"
        "ORDER BY at DESC, seq DESC LIMIT :limit",
        {**wanted, "limit": limit},
    )


def _matching(name: str, value: SQLValue) -> str:
    """A kind may end in ``.*``."""
    if name == "kind" and str(value).endswith(".*"):
        return "kind LIKE REPLACE(:kind, '*', '%')"
    return f"{name} = :{name}"


def _row(record: Record) -> SQLParams:
    event = record.event
    return {
        "chain": record.chain,
        "seq": record.seq,
        "at": event.at,
        "kind": event.kind,
        "outcome": event.outcome,
        "actor": event.actor,
        "tenant": event.tenant,
        "subject": event.subject,
        "request_id": event.request_id,
        "peer": event.peer,
        "detail": msgspec.json.encode(event.detail, order="sorted").decode(),
        "prev": record.prev,
        "hash": record.hash,
    }


def kept(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Rows as they are answered: the detail as an object."""
    return [{**row, "detail": msgspec.json.decode(str(row["detail"]))} for row in rows]
