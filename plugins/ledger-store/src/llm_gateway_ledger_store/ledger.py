"""The ledger: spooled on the request's way, shipped to the store beside it."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

from llm_gateway_api import ConflictError, GatewayError, Metrics, Store, UnstorableError

from llm_gateway_ledger_store.hours import KEPT_DAYS, are_old, merge_old
from llm_gateway_ledger_store.rows import Row, insert
from llm_gateway_ledger_store.spool import Segment, Spool, leave, orphans, release
from llm_gateway_ledger_store.tenantdata import REJECTED, reject

log = logging.getLogger("llm_gateway_ledger_store")
BATCH = 500
CLOSE_SECONDS = 5.0
DAY_MS = 24 * 3600 * 1000
RETENTION_SECONDS = 3600.0
RETENTION_ROWS = 5000


class StoreLedger:
    """Meets `Ledger`. Its service ships what has ended, syncs the spool, and deletes what is
    older than `retention_days`."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        metrics: Metrics,
        ship_seconds: float,
        retention_days: int | None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._spool = Spool(folder)
        self._ship_seconds = ship_seconds
        self._retention_days = retention_days
        self._waiting = metrics.gauge(
            "gateway_ledger_store_spooled_bytes", "bytes of records that the store lacks"
        ).value()
        self._shipped = metrics.counter(
            "gateway_ledger_store_shipped_total", "records that reached the store"
        ).value()
        self.begin = self._spool.begin
        self.end = self._spool.end

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        tasks = [
            loop.create_task(self._always(self._ship_all, self._ship_seconds), name="ship ledger"),
            loop.create_task(self._always(self._retire, RETENTION_SECONDS), name="retire ledger"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._last()

    async def _always(self, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        """A store that is down is asked again; the spool keeps everything meanwhile."""
        while True:
            try:
                await work()
            except (GatewayError, OSError) as error:
                log.warning("ledger.waiting %s", error)
            except Exception:  # a store's bug must not end the shipping for good
                log.exception("ledger.failed")
            await asyncio.sleep(seconds)

    async def _last(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ship_all()
        except (GatewayError, OSError, TimeoutError):
            log.warning("ledger.left records stay in the spool for the next start")
        self._spool.close()

    async def _ship_all(self) -> None:
        for segment, rows in await asyncio.to_thread(_orphans, self._folder):
            try:
                await self._insert(rows)
            except BaseException:
                leave(segment)
                raise
            release(segment)
        self._waiting.value = sum(each.written - each.shipped for each in self._spool.segments)
        for segment in self._spool.segments:
            await self._ship(segment)
        self._spool.turn()
        self._waiting.value = sum(each.written - each.shipped for each in self._spool.segments)

    async def _ship(self, segment: Segment) -> None:
        if segment.shipped < segment.written:
            await asyncio.to_thread(os.fdatasync, segment.handle)
        until = segment.written  # what comes meanwhile waits, to be many again
        while segment.shipped < until:
            rows, end = self._spool.read(segment)
            await self._insert(rows)
            segment.shipped = end
        self._spool.forget(segment)

    async def _insert(self, rows: Sequence[Row]) -> None:
        for at in range(0, len(rows), BATCH):
            await self._insert_batch(rows[at : at + BATCH])

    async def _insert_batch(self, rows: Sequence[Row]) -> None:
        """One that the database takes from nobody must not hold up the others: it is found by
        halving, and kept in a file for a person to see. Any other error is the database's own,
        and all wait until it has passed."""
        try:
            await insert(self._store, rows)
        except (ConflictError, UnstorableError):
            if len(rows) == 1:
                self._reject(rows[0])
                return
            half = len(rows) // 2
            await self._insert_batch(rows[:half])
            await self._insert_batch(rows[half:])
        else:
            self._shipped.inc(len(rows))

    def _reject(self, row: Row) -> None:
        log.error("ledger.rejected the record is kept in %s", self._folder / REJECTED)
        reject(self._folder / REJECTED, row)

    async def _retire(self) -> None:
        """Merge old hours and delete in pieces what is too old: one host at a time, no long lock
        on a table."""
        now = int(time() * 1000)
        old = now - KEPT_DAYS * DAY_MS
        merge = await are_old(self._store, old)
        if not merge and self._retention_days is None:
            return
        async with self._store.lock("usage_retention", 1.0):
            if merge:
                await merge_old(self._store, old)
            if self._retention_days is None:
                return
            before = now - self._retention_days * DAY_MS
            deleted = RETENTION_ROWS
            while deleted == RETENTION_ROWS:
                deleted = await self._store.execute(
                    "DELETE FROM usage_records WHERE id IN "
                    "(SELECT id FROM usage_records WHERE at < :before LIMIT :rows)",
                    {"before": before, "rows": RETENTION_ROWS},
                )


def _orphans(folder: Path) -> list[tuple[Segment, list[Row]]]:
    return list(orphans(folder))
