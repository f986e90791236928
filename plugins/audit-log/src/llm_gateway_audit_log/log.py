"""The auditor: appends to the chain at once, ships to the store beside the requests."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

import msgspec
from llm_gateway_api import AuditEvent, GatewayError, Metrics, Row, SQLParams, SQLValue, Store

from llm_gateway_audit_log import chain, files
from llm_gateway_audit_log.files import ChainFiles
from llm_gateway_audit_log.settings import AuditSettings
from llm_gateway_audit_log.shipping import COLUMNS, Shipping

log = logging.getLogger("llm_gateway_audit_log")
DAY_MS = 24 * 3600 * 1000
RETIRE_SECONDS = 3600.0
# By then the shipping has told how far the store is.
RETIRE_DELAY = 60.0
CLOSE_SECONDS = 5.0
PIECE = 5000
_BEHIND = (
    "(at > :after_at OR (at = :after_at AND (chain > :after_chain"
    " OR (chain = :after_chain AND seq > :after_seq))))"
)
_SHOWN = tuple(each for each in COLUMNS if each not in ("body", "salt"))


class AuditLog:
    """Meets `Auditor`. Between an event and the store lie the files, so that a stopped store
    loses nothing."""

    def __init__(
        self, settings: AuditSettings, store: Store | None, folder: Path, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._store = store
        self._folder = folder_in(folder)
        self._files = chain_files(settings, folder)
        self._leader = -1
        self._shipping = Shipping(store, self._folder) if store is not None else None
        self._records = metrics.counter(
            "gateway_audit_log_records_total", "events on record"
        ).value()
        self._lost = metrics.counter(
            "gateway_audit_log_lost_total", "events that could not be recorded"
        ).value()

    def record(self, event: AuditEvent) -> None:
        """Raises `OSError` where it cannot be written and ``fail`` is ``closed``."""
        try:
            self._files.append(event)
        except OSError:
            self._lost.inc()
            if self._settings.fail == "closed":
                raise
            log.exception("audit.lost kind=%s", event.kind)
        else:
            self._records.inc()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self._files.open()
        self._leader = os.open(self._folder / "ship.lock", os.O_CREAT | os.O_RDWR, 0o600)
        loop = asyncio.get_running_loop()
        seconds = self._settings.ship_seconds
        tasks = [loop.create_task(self._always(self._ship, seconds), name="ship audit")]
        if self._settings.retention_days is not None:
            tasks.append(
                loop.create_task(
                    self._always(self._retire, RETIRE_SECONDS, RETIRE_DELAY), name="retire audit"
                )
            )
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._last()
            os.close(self._leader)
            self._files.close()

    async def _always(
        self, work: Callable[[], Awaitable[None]], seconds: float, delay: float = 0.0
    ) -> None:
        await asyncio.sleep(delay)
        while True:
            try:
                await work()
            except (GatewayError, OSError) as error:
                log.warning("audit.waiting %s", error)
            except Exception:  # a store's bug must not end the work for good
                log.exception("audit.failed")
            await asyncio.sleep(seconds)

    async def _ship(self) -> None:
        """One worker of the host does it, for as long as it lives."""
        await asyncio.to_thread(self._files.sync)
        if self._shipping is None or not files.locked(self._leader):
            return
        with files.maintenance(self._folder, wait=False) as quiet:
            if quiet:
                await self._shipping.ship()

    async def _last(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ship()
        except (GatewayError, OSError, TimeoutError):
            log.warning("audit.left records stay in the file for the next start")

    async def _retire(self) -> None:
        """Delete what is too old: rows in pieces, files as a whole."""
        before = kept_from(self._settings)
        await asyncio.to_thread(self._retire_files, before)
        deleted = PIECE if self._store is not None else 0
        while deleted == PIECE and self._store is not None:
            deleted = await self._store.execute(
                "DELETE FROM audit_records WHERE (chain, seq) IN "
                f"(SELECT chain, seq FROM audit_records WHERE at < :at LIMIT {PIECE})",
                {"at": before},
            )

    def _retire_files(self, before: int) -> None:
        with files.maintenance(self._folder, wait=True):
            retired = retire(self._folder, self._files, before, self._in_store)
        if retired:
            log.info("audit.retired files=%d", len(retired))

    def _in_store(self, record: chain.Record) -> bool:
        """Whether the store has a record, or there is none that should; what waits for the
        store stays, however old."""
        return self._shipping is None or self._shipping.has(record)


def retire(
    folder: Path, writer: ChainFiles, before: int, done: Callable[[chain.Record], bool]
) -> Sequence[Path]:
    """Delete the oldest full files whose records are all older than `before`. That they go is
    put on record first, or a chain without its beginning would look tampered with."""
    old: list[Path] = []
    last: chain.Record | None = None
    for path in files.full(folder):
        newest = files.newest_of(path)
        if newest is None or newest.at >= before or not done(newest):
            break
        old.append(path)
        last = newest
    if last is not None:
        detail = {"up_to": str(last.seq), "hash": last.hash}
        writer.append(AuditEvent(int(time() * 1000), chain.RETIRED, "ok", detail=detail))
        writer.sync()
        for path in old:
            path.unlink()
    return old


def kept_from(settings: AuditSettings) -> int:
    """Unix milliseconds before which nothing need be there."""
    days = settings.retention_days
    return int(time() * 1000) - days * DAY_MS if days is not None else 0


def folder_in(data_dir: Path) -> Path:
    return data_dir / "audit"


def chain_files(settings: AuditSettings, data_dir: Path) -> ChainFiles:
    size = settings.max_file_mb * 1024 * 1024
    return ChainFiles(folder_in(data_dir), key_of(settings), size, settings.max_file_days)


def key_of(settings: AuditSettings) -> bytes:
    return settings.key.get_secret_value().encode() if settings.key is not None else b""


async def search(
    store: Store, query: SQLParams, limit: int, after: tuple[int, str, int] | None = None
) -> list[Row]:
    """The newest records that fit all of `query` (columns, and ``since``), newest first; or
    those behind the time, chain and number in `after`, oldest first."""
    wanted = {name: value for name, value in query.items() if value not in (None, "")}
    parts = [
        "at >= :since" if name == "since" else _matching(name, value)
        for name, value in wanted.items()
    ]
    order = "at DESC, seq DESC"
    if after is not None:
        order = "at, chain, seq"
        parts.append(_BEHIND)
        wanted |= {"after_at": after[0], "after_chain": after[1], "after_seq": after[2]}
    where = f"WHERE {' AND '.join(parts)} " if parts else ""
    return await store.fetch(
        f"SELECT {', '.join(_SHOWN)} FROM audit_records {where}ORDER BY {order} LIMIT :limit",
        {**wanted, "limit": limit},
    )


def place(text: str) -> tuple[int, str, int]:
    """Where a page begins: the ``next`` of the one before; empty is the beginning.

    Raises:
        ValueError: it is none.
    """
    at, chain_id, seq = text.split(":") if text else ("0", "", "0")
    return int(at), chain_id, int(seq)


def following(rows: Sequence[Row], limit: int) -> str | None:
    """The ``next`` of a page; None after the last."""
    if len(rows) < limit:
        return None
    last = rows[-1]
    return f"{last['at']!s}:{last['chain']!s}:{last['seq']!s}"


def _matching(name: str, value: SQLValue) -> str:
    """A kind may end in ``.*``."""
    if name == "kind" and str(value).endswith(".*"):
        return "kind LIKE REPLACE(:kind, '*', '%')"
    return f"{name} = :{name}"


def kept(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Rows as they are answered: the detail as an object."""
    return [{**row, "detail": msgspec.json.decode(str(row["detail"]))} for row in rows]
