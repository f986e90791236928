"""SQL on one SQLite file: readers beside one writer, each connection on a thread of its own.

Write-ahead logging lets several worker processes share the file; a writer that finds it
locked waits, up to the time limit.
"""

import asyncio
import fcntl
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from llm_gateway_api import (
    NO_PARAMS,
    ConflictError,
    MissingTableError,
    Queries,
    Row,
    SQLParams,
    SQLRow,
    StoreError,
    UnstorableError,
)

from llm_gateway_store_sqlite.many import Many

log = logging.getLogger("llm_gateway_store_sqlite")
T = TypeVar("T")
LOCK_POLL_SECONDS = 0.05
# The last is for what a statement may have to take back, which is a file otherwise.
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY")
MAX_MANY = 256  # statements for many rows that are taken apart once


class Session:
    """One connection on one thread; calls queue up behind one another."""

    def __init__(self, path: Path, seconds: float, *, read_only: bool) -> None:
        self._path = path
        self._seconds = seconds
        self._limit: float | None = seconds
        self._read_only = read_only
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        self._connection: sqlite3.Connection
        self._many: dict[str, Many] = {}

    async def open(self) -> None:
        await self._run(self._open)

    async def close(self) -> None:
        try:
            await self._run(lambda: self._connection.close())
        finally:
            self._threads.shutdown(wait=False)

    async def fetch(self, sql: str, params: SQLParams = NO_PARAMS) -> list[Row]:
        def work() -> list[Row]:
            cursor = self._connection.execute(sql, dict(params))
            names = [each[0] for each in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        return await self._run(work)

    async def execute(self, sql: str, params: SQLParams = NO_PARAMS) -> int:
        return await self._run(lambda: self._connection.execute(sql, dict(params)).rowcount)

    async def execute_many(self, sql: str, rows: Sequence[SQLRow]) -> None:
        if (many := self._many.get(sql)) is None:
            if len(self._many) >= MAX_MANY:
                self._many.clear()
            many = self._many[sql] = Many(sql)

        def work() -> None:
            own = not self._connection.in_transaction
            if own:
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in many.statements(rows):
                    self._connection.execute(statement, values)
            except BaseException:
                if own:
                    self._connection.execute("ROLLBACK")
                raise
            if own:
                self._connection.execute("COMMIT")

        await self._run(work)

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Calls within may take as long as they take."""
        self._limit = None
        try:
            yield
        finally:
            self._limit = self._seconds

    async def _run(self, work: Callable[[], T]) -> T:
        """`work` on the thread. A statement that takes too long is interrupted, and so is one
        whose caller was cancelled: nothing runs on that nobody waits for.

        Raises:
            ConflictError: a constraint does not hold.
            UnstorableError: a value that its column does not take.
            StoreError: whatever else went wrong.
        """
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, work)
        try:
            async with asyncio.timeout(self._limit):
                return await asyncio.shield(running)
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"The database refuses it: {error}.") from error
        except (sqlite3.DataError, OverflowError) as error:
            raise UnstorableError(f"The database does not take it: {error}.") from error
        except sqlite3.Error as error:
            log.warning("store.failed error=%s", error)
            if str(error).startswith(("no such table", "no such column")):
                raise MissingTableError() from error
            raise StoreError("The database cannot be used now.", retry_after=1.0) from error
        except (TimeoutError, asyncio.CancelledError) as error:
            await self._interrupt(running)
            if isinstance(error, TimeoutError):
                raise StoreError("The database is too slow.", retry_after=1.0) from error
            raise

    async def _interrupt(self, running: "asyncio.Future[T]") -> None:
        """Until `running` has ended: the thread must be free for the next call."""
        while not running.done():
            self._connection.interrupt()
            await asyncio.wait({running}, timeout=LOCK_POLL_SECONDS)
        running.exception()

    def _open(self) -> None:
        self._connection = sqlite3.connect(
            self._path, timeout=self._seconds, isolation_level=None, check_same_thread=False
        )
        for pragma in PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}")
        if self._read_only:
            self._connection.execute("PRAGMA query_only=ON")


class SqliteStore:
    """Meets `Store`. Statements that read run beside the one that writes."""

    dialect = "sqlite"

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._reader = Session(path, seconds, read_only=True)
        self._writer = Session(path, seconds, read_only=False)
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open the file; it is made, readable by its owner only, where there is none."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        await self._writer.open()
        await self._reader.open()
        try:
            yield
        finally:
            await self._reader.close()
            await self._writer.close()

    async def healthy(self) -> bool:
        try:
            return await self.fetch("SELECT 1 AS one") == [{"one": 1}]
        except StoreError:
            return False

    async def fetch(self, sql: str, params: SQLParams = NO_PARAMS) -> list[Row]:
        if sql.lstrip()[:6].upper() in ("SELECT", "VALUES"):
            return await self._reader.fetch(sql, params)
        async with self._write():
            return await self._writer.fetch(sql, params)

    async def execute(self, sql: str, params: SQLParams = NO_PARAMS) -> int:
        async with self._write():
            return await self._writer.execute(sql, params)

    async def execute_many(self, sql: str, rows: Sequence[SQLRow]) -> None:
        async with self._write():
            await self._writer.execute_many(sql, rows)

    @asynccontextmanager
    async def transaction(self, *, limited: bool = True) -> AsyncIterator[Queries]:
        async with self._write():
            await self._writer.execute("BEGIN IMMEDIATE")
            with nullcontext() if limited else self._writer.patient():
                try:
                    yield self._writer
                except BaseException:
                    await self._writer.execute("ROLLBACK")
                    raise
                await self._writer.execute("COMMIT")

    @asynccontextmanager
    async def lock(self, name: str, seconds: float) -> AsyncIterator[None]:
        """A lock on a file beside the database: it ends with the process that holds it."""
        path = self._path.with_name(f"{self._path.name}.{name}.lock")
        until = asyncio.get_running_loop().time() + seconds
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            while not _locked(handle):
                if asyncio.get_running_loop().time() >= until:
                    raise StoreError(f"The lock {name} is held by another process.")
                await asyncio.sleep(LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(handle)

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[None]:
        """One writer at a time in this process; the wait for it is limited, too."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._writing.acquire()
        except TimeoutError as error:
            raise StoreError("The database is too busy.", retry_after=1.0) from error
        try:
            yield
        finally:
            self._writing.release()


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
