"""The embedded store keeps the contract of stores, and its file to itself."""

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from llm_gateway_api import ConfigurationError, DatabaseSettings, StoreError
from llm_gateway_store_sqlite.plugin import located, make
from llm_gateway_store_sqlite.store import SqliteStore
from llm_gateway_testkit.stores import StoreSuite


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "gateway.db", 5)
    async with store.open():
        yield store


class TestSqlite(StoreSuite):
    pass


async def test_the_file_is_its_owners_alone(store: SqliteStore, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "gateway.db").stat().st_mode) == 0o600


async def test_a_slow_statement_is_interrupted(tmp_path: Path) -> None:
    """The time limit holds inside SQLite too: the next call finds a free thread."""
    slow = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    store = SqliteStore(tmp_path / "gateway.db", 0.2)
    async with store.open():
        with pytest.raises(StoreError, match="too slow"):
            await store.fetch(slow)
        assert await store.healthy()


async def test_a_transaction_without_a_limit_takes_as_long_as_it_takes(tmp_path: Path) -> None:
    """And those after it are under the limit again."""
    many = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n{}) SELECT count(*) FROM n"
    )
    store = SqliteStore(tmp_path / "gateway.db", 0.2)
    async with store.open():
        async with store.transaction(limited=False) as queries:
            rows = await queries.fetch(many.format(" WHERE x < 3000000"))
        with pytest.raises(StoreError, match="too slow"):
            async with store.transaction() as queries:
                await queries.fetch(many.format(""))
    assert rows == [{"count(*)": 3_000_000}]


async def test_two_processes_write_one_file(store: SqliteStore, tmp_path: Path) -> None:
    """Two stores stand for two workers: each waits for the other's write."""
    await store.execute("CREATE TABLE t (id INTEGER)")
    other = SqliteStore(tmp_path / "gateway.db", 5)
    async with other.open():
        sql = "INSERT INTO t VALUES (:id)"
        calls = [each.execute(sql, {"id": n}) for n in range(50) for each in (store, other)]
        await asyncio.gather(*calls)

    assert (await store.fetch("SELECT count(*) AS n FROM t"))[0]["n"] == 100


def test_a_url_names_the_file(tmp_path: Path) -> None:
    assert located(None, tmp_path) == tmp_path / "gateway.db"
    assert located("sqlite:///own.db", tmp_path) == tmp_path / "own.db"
    assert located("sqlite:////var/own%20data.db", tmp_path) == Path("/var/own data.db")
    with pytest.raises(ConfigurationError, match="sqlite:///FILE"):
        located("sqlite://host", tmp_path)


def test_making_opens_nothing(tmp_path: Path) -> None:
    make(DatabaseSettings(), tmp_path)

    assert list(tmp_path.iterdir()) == []
