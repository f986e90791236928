"""A store of each kind with all tables, and a Redis, for the tests of any package."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from llm_gateway_api import DatabaseSettings, MigrationSpec, Store
from llm_gateway_migrations.files import collect
from llm_gateway_migrations.plugin import SQL
from llm_gateway_migrations.runner import Runner
from llm_gateway_store_postgres.store import PostgresStore
from llm_gateway_store_sqlite.store import SqliteStore
from llm_gateway_testkit import servers

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Server]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.Server]:
    with servers.redis() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Empty and open; on PostgreSQL each test has a database of its own."""
    async with AsyncExitStack() as stack:
        made: Store
        if request.param == "sqlite":
            made = SqliteStore(tmp_path / "gateway.db", 5)
        else:
            made = await _database(request.getfixturevalue("postgres_server").url)
        await stack.enter_async_context(made.open())
        await Runner(made, collect([MigrationSpec("gateway", SQL)], made.dialect)).run()
        yield made


async def _database(url: str) -> Store:
    admin = PostgresStore(DatabaseSettings(url=url, min_connections=1))
    name = f"test_{next(_numbers)}"
    async with admin.open():
        await admin.execute(f"CREATE DATABASE {name}")
    return PostgresStore(
        DatabaseSettings(url=url.replace("/postgres", f"/{name}"), min_connections=1)
    )
