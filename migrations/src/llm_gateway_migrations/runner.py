"""Brings a database up to date, or back: one process at a time, each migration whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import Literal

from llm_gateway_api import GatewayError, Queries, Row, Store

from llm_gateway_migrations.files import Migration, Part

LOCK_SECONDS = 60.0
TABLE = """CREATE TABLE IF NOT EXISTS schema_migrations (
    version VARCHAR(128) PRIMARY KEY,
    series TEXT,
    name TEXT,
    checksum TEXT,
    applied_at BIGINT
)"""
State = Literal["applied", "pending", "changed", "unknown"]


class MigrationError(GatewayError):
    """The database's history does not fit this installation; nothing was changed."""

    code = "migration_refused"


@dataclass(frozen=True, slots=True)
class Status:
    """One migration as the database sees it; `unknown` ones were applied by another release."""

    version: str
    name: str
    series: str
    state: State
    applied_at: int | None = None


class Runner:
    """The migrations of an installation on one store."""

    def __init__(self, store: Store, migrations: Sequence[Migration]) -> None:
        self._store = store
        self._migrations = migrations

    async def status(self) -> list[Status]:
        """All that is known here or applied there, oldest first. Changes nothing but to make
        the table of the history."""
        await self._store.execute(TABLE)
        applied = {str(row["version"]): row for row in await self._history()}
        known = [_status(each, applied.pop(each.version, None)) for each in self._migrations]
        gone = [
            Status(version, str(row["name"]), str(row["series"]), "unknown", _time(row))
            for version, row in applied.items()
        ]
        return sorted([*known, *gone], key=lambda each: each.version)

    async def run(self) -> list[Status]:
        """Apply what is pending; return it.

        Raises:
            MigrationError: an applied file has changed since.
            StoreError: the lock was not free, or a migration failed and left nothing behind.
        """
        async with self._store.lock("migrations", LOCK_SECONDS):
            status = await self.status()
            if changed := [each.version for each in status if each.state == "changed"]:
                raise MigrationError(
                    f"Applied and changed since: {', '.join(changed)}. Restore the files, and put "
                    "what is new in a migration of its own."
                )
            pending = [each for each in status if each.state == "pending"]
            wanted = {each.version for each in pending}
            for migration in self._migrations:
                if migration.version in wanted:
                    await self._apply(migration)
        return pending

    async def revert(self, steps: int) -> list[Status]:
        """Run the down parts of the last `steps` applied; return them, newest first.

        Raises:
            MigrationError: one of them is not known here, or has no down part.
        """
        async with self._store.lock("migrations", LOCK_SECONDS):
            status = await self.status()
            last = [each for each in status if each.state != "pending"][::-1][:steps]
            known = {each.version: each for each in self._migrations}
            for each in last:
                if each.version not in known or not known[each.version].down.statements:
                    raise MigrationError(
                        f"{each.version}_{each.name} cannot be reverted: this installation has "
                        "no down part for it."
                    )
            for each in last:
                await self._take_back(known[each.version])
        return last

    async def _apply(self, migration: Migration) -> None:
        await self._do(
            migration.up,
            "INSERT INTO schema_migrations (version, series, name, checksum, applied_at) "
            "VALUES (:version, :series, :name, :checksum, :at)",
            {
                "version": migration.version,
                "series": migration.series,
                "name": migration.name,
                "checksum": migration.checksum,
                "at": int(time() * 1000),
            },
        )

    async def _take_back(self, migration: Migration) -> None:
        sql = "DELETE FROM schema_migrations WHERE version = :version"
        await self._do(migration.down, sql, {"version": migration.version})

    async def _do(
        self, part: Part, record: str, params: dict[str, str | int | bool | bytes | None]
    ) -> None:
        if part.whole:
            async with self._store.transaction(limited=False) as transaction:
                await _all(transaction, part)
                await transaction.execute(record, params)
        else:
            await _all(self._store, part)
            await self._store.execute(record, params)

    async def _history(self) -> list[Row]:
        return await self._store.fetch(
            "SELECT version, series, name, checksum, applied_at FROM schema_migrations"
        )


async def _all(queries: Queries, part: Part) -> None:
    for statement in part.statements:
        await queries.execute(statement)


def _status(migration: Migration, row: Row | None) -> Status:
    state: State = "pending"
    if row is not None:
        # A row that another tool wrote has no checksum to compare.
        state = "applied" if row["checksum"] in (None, migration.checksum) else "changed"
    return Status(migration.version, migration.name, migration.series, state, _time(row))


def _time(row: Row | None) -> int | None:
    at = row["applied_at"] if row is not None else None
    return at if isinstance(at, int) else None
