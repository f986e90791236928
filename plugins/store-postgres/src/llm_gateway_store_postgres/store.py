"""SQL on PostgreSQL: a pool of connections, every wait under a limit."""

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, cast

import psycopg
from llm_gateway_api import (
    NO_PARAMS,
    ConflictError,
    DatabaseSettings,
    MissingTableError,
    Queries,
    Row,
    SQLParams,
    SQLRow,
    StoreError,
    UnstorableError,
)
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

log = logging.getLogger("llm_gateway_store_postgres")
Connection = psycopg.AsyncConnection[dict[str, Any]]
LOCK_POLL_SECONDS = 0.1
REPEAT_SECONDS = 60.0
# A statement gets a little less than its caller waits, so that the server ends it first.
SERVER_SHARE = 0.9
_NAME = re.compile(rb"%\((\w+)\)s")


class OnceAMinute(logging.Filter):
    """Drops a line that was said within the last minute: for as long as there is no server, the
    pool says so at each of its attempts."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text, now = record.getMessage(), record.created
        self._said = {each: at for each, at in self._said.items() if now - at < REPEAT_SECONDS}
        if text in self._said:
            return False
        self._said[text] = now
        return True


logging.getLogger("psycopg.pool").addFilter(OnceAMinute())


class Session:
    """Meets `Queries` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, params: SQLParams = NO_PARAMS) -> list[Row]:
        cursor = await self._run(sql, params)
        return cast("list[Row]", await cursor.fetchall()) if cursor.description else []

    async def execute(self, sql: str, params: SQLParams = NO_PARAMS) -> int:
        return (await self._run(sql, params)).rowcount

    async def execute_many(self, sql: str, rows: Sequence[SQLRow]) -> None:
        async with self._connection.transaction(), self._connection.cursor() as cursor:
            await cursor.executemany(translated(sql), _named(sql, rows))

    async def _run(self, sql: str, params: SQLParams) -> psycopg.AsyncCursor[dict[str, Any]]:
        """Without parameters the text goes as it is: percent signs are nothing special then."""
        if params:
            return await self._connection.execute(translated(sql), params)
        return await self._connection.execute(sql.encode())


class PostgresStore:
    """Meets `Store`. Without a server it opens all the same and answers `StoreError`: the
    pool connects again by itself when the server is back."""

    dialect = "postgresql"

    def __init__(self, settings: DatabaseSettings) -> None:
        self._seconds = settings.timeout_seconds
        limit = int(settings.timeout_seconds * SERVER_SHARE * 1000)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            settings.url or "",
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": max(2, int(settings.timeout_seconds)),
                "options": f"-c statement_timeout={limit}",
            },
            min_size=min(settings.min_connections, settings.max_connections),
            max_size=settings.max_connections,
            timeout=settings.timeout_seconds,
            check=AsyncConnectionPool.check_connection,
            reconnect_timeout=settings.timeout_seconds,
            open=False,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        await self._pool.open(wait=False)
        try:
            yield
        finally:
            await self._pool.close(timeout=self._seconds)

    async def healthy(self) -> bool:
        try:
            return await self.fetch("SELECT 1 AS one") == [{"one": 1}]
        except StoreError:
            return False

    async def fetch(self, sql: str, params: SQLParams = NO_PARAMS) -> list[Row]:
        async with self._session() as session:
            return await session.fetch(sql, params)

    async def execute(self, sql: str, params: SQLParams = NO_PARAMS) -> int:
        async with self._session() as session:
            return await session.execute(sql, params)

    async def execute_many(self, sql: str, rows: Sequence[SQLRow]) -> None:
        async with self._session() as session:
            await session.execute_many(sql, rows)

    @asynccontextmanager
    async def transaction(self, *, limited: bool = True) -> AsyncIterator[Queries]:
        async with self._connection(limited=limited) as connection, connection.transaction():
            session = Session(connection)
            if not limited:
                await session.execute("SET LOCAL statement_timeout = 0")
            yield session

    @asynccontextmanager
    async def lock(self, name: str, seconds: float) -> AsyncIterator[None]:
        """An advisory lock of the session, tried again and again: one that waits inside the
        server would deadlock with ``CREATE INDEX CONCURRENTLY``."""
        digest = hashlib.blake2b(f"llm-gateway {name}".encode(), digest_size=8).digest()
        key = {"key": int.from_bytes(digest, "big", signed=True)}
        until = asyncio.get_running_loop().time() + seconds
        async with self._connection(limited=False) as connection:
            session = Session(connection)
            while not await self._try_lock(session, key):
                if asyncio.get_running_loop().time() >= until:
                    raise StoreError(f"The lock {name} is held by another process.")
                await asyncio.sleep(LOCK_POLL_SECONDS)
            try:
                yield
            finally:
                await session.execute("SELECT pg_advisory_unlock(:key)", key)

    async def _try_lock(self, session: Session, key: SQLParams) -> bool:
        row = (await session.fetch("SELECT pg_try_advisory_lock(:key) AS got", key))[0]
        return bool(row["got"])

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        async with self._connection() as connection:
            yield Session(connection)

    @asynccontextmanager
    async def _connection(self, *, limited: bool = True) -> AsyncIterator[Connection]:
        """A connection of the pool, for at most the time limit where `limited`.

        Raises:
            ConflictError: a constraint does not hold.
            UnstorableError: a value that its column does not take.
            MissingTableError: a table or a column is not there.
            StoreError: whatever else went wrong.
        """
        connected = False
        try:
            async with (
                asyncio.timeout(self._seconds if limited else None),
                self._pool.connection() as connection,
            ):
                connected = True
                yield connection
        except psycopg.IntegrityError as error:
            reason = error.diag.message_primary or "a constraint does not hold"
            raise ConflictError(f"The database refuses it: {reason}.") from error
        except psycopg.DataError as error:
            reason = error.diag.message_primary or str(error)
            raise UnstorableError(f"The database does not take it: {reason}.") from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            log.warning("store.failed error=%s", error.diag.message_primary)
            raise MissingTableError() from error
        except PoolTimeout as error:
            raise self._unreached() from error
        except psycopg.Error as error:
            log.warning("store.failed error=%s", type(error).__name__)
            raise StoreError("The database cannot be used now.", retry_after=1.0) from error
        except TimeoutError as error:
            if not connected:
                raise self._unreached() from error
            raise StoreError("The database is too slow.", retry_after=1.0) from error

    def _unreached(self) -> StoreError:
        """The pool has logged why, where the server is not there or refuses."""
        return StoreError(
            f"No connection to the database was free within {self._seconds:g} s: its server is"
            " not reached, or database.max_connections are all in use.",
            retry_after=1.0,
        )


def _named(sql: str, rows: Sequence[Any]) -> Sequence[SQLParams]:
    """`rows` by name, in which way psycopg takes them here."""
    if not rows or not isinstance(rows[0], tuple):
        return rows
    names = [each.decode() for each in _NAME.findall(translated(sql))]
    return [dict(zip(names, each, strict=True)) for each in rows]


@lru_cache(maxsize=512)
def translated(sql: str) -> bytes:
    """``:name`` as psycopg's ``%(name)s``, outside of quotes, comments and ``::`` casts."""
    out: list[str] = []
    at = 0
    while at < len(sql):
        char = sql[at]
        if char in "'\"":
            end = sql.find(char, at + 1)
            end = len(sql) if end < 0 else end + 1
            out.append(sql[at:end].replace("%", "%%"))
            at = end
        elif sql.startswith("--", at):
            end = sql.find("\n", at)
            at = len(sql) if end < 0 else end
        elif sql.startswith("::", at):
            out.append("::")
            at += 2
        elif char == ":" and sql[at + 1 : at + 2].isidentifier():
            end = at + 1
            while end < len(sql) and (sql[end].isalnum() or sql[end] == "_"):
                end += 1
            out.append(f"%({sql[at + 1 : end]})s")
            at = end
        else:
            out.append("%%" if char == "%" else char)
            at += 1
    return "".join(out).encode()
