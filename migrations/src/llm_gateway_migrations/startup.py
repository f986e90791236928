"""Migrations at start: applied, or demanded; later where the database is not there yet."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from llm_gateway_api import GatewayError, MigrationSpec, Store, StoreError

from llm_gateway_migrations.files import collect
from llm_gateway_migrations.runner import MigrationError, Runner

log = logging.getLogger("llm_gateway_migrations")
RETRY_SECONDS = 5.0


class AtStart:
    """A service that is done once the tables are up to date."""

    def __init__(self, store: Store, series: Sequence[MigrationSpec], apply: bool) -> None:
        self._store = store
        self._series = series
        self._apply = apply

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """An unreachable database stops no start: it is tried again until it is there.

        Raises:
            MigrationError: the history does not fit, or migrations are pending although
                ``database.auto_migrate`` is false.
        """
        later: asyncio.Task[None] | None = None
        try:
            await self._migrate()
        except StoreError:
            if await self._store.healthy():
                raise
            log.warning("migration.waiting the database cannot be reached; trying again")
            later = asyncio.get_running_loop().create_task(self._when_there(), name="migrate")
        try:
            yield
        finally:
            if later is not None:
                later.cancel()
                await asyncio.wait({later})

    async def _when_there(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._migrate()
            except StoreError:
                continue
            except GatewayError as error:
                log.error("migration.refused %s", error)
            return

    async def _migrate(self) -> None:
        runner = Runner(self._store, collect(self._series, self._store.dialect))
        pending = [each for each in await runner.status() if each.state == "pending"]
        if pending and not self._apply:
            names = ", ".join(f"{each.version}_{each.name}" for each in pending)
            raise MigrationError(f"Migrations are pending ({names}): `llm-gateway migrate run`.")
        for each in await runner.run() if pending else ():
            log.info("migration.applied version=%s name=%s", each.version, each.name)
