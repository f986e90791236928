"""The PostgreSQL store keeps the contract of stores, and outlives its server."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from llm_gateway_api import DatabaseSettings, StoreError
from llm_gateway_store_postgres.store import PostgresStore, translated
from llm_gateway_testkit import servers
from llm_gateway_testkit.stores import StoreSuite

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with servers.postgres() as server:
        yield server


def opened(url: str, seconds: float = 5) -> PostgresStore:
    return PostgresStore(
        DatabaseSettings(url=url, min_connections=1, max_connections=8, timeout_seconds=seconds)
    )


@pytest.fixture
async def store(server: servers.Server) -> AsyncIterator[PostgresStore]:
    name = f"suite_{next(_numbers)}"
    admin = opened(server.url)
    async with admin.open():
        await admin.execute(f"CREATE DATABASE {name}")
    store = opened(server.url.replace("/postgres", f"/{name}"))
    async with store.open():
        yield store


class TestPostgres(StoreSuite):
    bytes_type = "BYTEA"


async def test_a_slow_statement_is_ended_by_the_server(server: servers.Server) -> None:
    store = opened(server.url, 2)
    async with store.open():
        with pytest.raises(StoreError):
            await store.fetch("SELECT pg_sleep(10)")
        assert await store.healthy()


async def test_a_transaction_without_a_limit_takes_as_long_as_it_takes(
    server: servers.Server,
) -> None:
    """And those after it on the same connection are under the limit again."""
    store = PostgresStore(
        DatabaseSettings(url=server.url, min_connections=1, max_connections=1, timeout_seconds=1)
    )
    async with store.open():
        async with store.transaction(limited=False) as queries:
            rows = await queries.fetch("SELECT 1 AS one FROM pg_sleep(1.5)")
        with pytest.raises(StoreError):
            await store.fetch("SELECT pg_sleep(10)")
    assert rows == [{"one": 1}]


async def test_a_stopped_server_is_an_error_and_its_return_is_noticed() -> None:
    with servers.postgres() as server:
        store = opened(server.url, 2)
        async with store.open():
            assert await store.healthy()
            server.stop()
            with pytest.raises(StoreError):
                await store.fetch("SELECT 1")
            server.start()
            assert await store.healthy()


async def test_a_frozen_server_is_an_error_in_time(server: servers.Server) -> None:
    store = opened(server.url, 1)
    async with store.open():
        assert await store.healthy()
        server.freeze()
        try:
            with pytest.raises(StoreError, match=r"too slow|cannot be used|is not reached"):
                await store.fetch("SELECT 1")
        finally:
            server.thaw()


async def test_without_a_server_it_opens_and_says_503(caplog: pytest.LogCaptureFixture) -> None:
    store = opened(f"postgresql://nobody@127.0.0.1:{servers.free_port()}/none", 2)
    async with store.open():
        with pytest.raises(StoreError, match="its server is not reached") as raised:
            await store.fetch("SELECT 1")
    assert raised.value.status == 503
    assert caplog.text.count("Connection refused") == 1  # of several attempts


def test_parameters_are_found_outside_of_quotes_and_casts() -> None:
    sql = "SELECT ':a', \"b:c\", x::text, y % 2 FROM t -- :d\nWHERE z = :e_1"

    assert translated(sql) == (b"SELECT ':a', \"b:c\", x::text, y %% 2 FROM t \nWHERE z = %(e_1)s")
