"""One history for a database, however many hosts bring it up to date at once."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from llm_gateway_api import DatabaseSettings, MigrationSpec, Store, StoreError
from llm_gateway_migrations.files import Migration, collect, parse
from llm_gateway_migrations.plugin import SQL
from llm_gateway_migrations.runner import MigrationError, Runner
from llm_gateway_migrations.startup import AtStart
from llm_gateway_store_postgres.store import PostgresStore
from llm_gateway_store_sqlite.store import SqliteStore
from llm_gateway_testkit import servers

_numbers = itertools.count()


def file(version: int, up: str, down: str) -> Migration:
    text = f"-- migrate:up\n{up}\n-- migrate:down\n{down}\n"
    return parse("acme", f"2026010100000{version}_step_{version}.sql", text)


FIRST = file(1, "CREATE TABLE one (id BIGINT PRIMARY KEY);", "DROP TABLE one;")
SECOND = file(2, "CREATE TABLE two (id BIGINT);\nINSERT INTO two VALUES (7);", "DROP TABLE two;")
BROKEN = file(3, "CREATE TABLE three (id BIGINT);\nINSERT INTO nowhere VALUES (1);", "")


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def stores(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Store, Store]]:
    """Two hosts' stores on one database."""
    made: list[Store] = []
    if request.param == "sqlite":
        made = [SqliteStore(tmp_path / "gateway.db", 5) for _ in range(2)]
    else:
        server: servers.Server = request.getfixturevalue("server")
        name = f"migrated_{next(_numbers)}"
        admin = PostgresStore(DatabaseSettings(url=server.url, min_connections=1))
        async with admin.open():
            await admin.execute(f"CREATE DATABASE {name}")
        url = server.url.replace("/postgres", f"/{name}")
        settings = DatabaseSettings(url=url, min_connections=1, max_connections=4)
        made = [PostgresStore(settings) for _ in range(2)]
    async with made[0].open(), made[1].open():
        yield made[0], made[1]


async def test_pending_ones_are_applied_in_order_and_once(stores: tuple[Store, Store]) -> None:
    runner = Runner(stores[0], [FIRST, SECOND])

    assert [each.state for each in await runner.status()] == ["pending", "pending"]
    assert [each.name for each in await runner.run()] == ["step_1", "step_2"]
    assert await runner.run() == []
    assert [each.state for each in await runner.status()] == ["applied", "applied"]
    assert (await stores[0].fetch("SELECT id FROM two"))[0]["id"] == 7


async def test_two_hosts_at_once_apply_each_once(stores: tuple[Store, Store]) -> None:
    done = await asyncio.gather(*(Runner(each, [FIRST, SECOND]).run() for each in stores))

    assert sorted(len(each) for each in done) == [0, 2]


async def test_reverting_takes_back_the_last_and_running_brings_it_again(
    stores: tuple[Store, Store],
) -> None:
    runner = Runner(stores[0], [FIRST, SECOND])
    await runner.run()

    assert [each.name for each in await runner.revert(1)] == ["step_2"]
    assert [each.state for each in await runner.status()] == ["applied", "pending"]
    await runner.run()
    assert [each.name for each in await runner.revert(5)] == ["step_2", "step_1"]


async def test_a_changed_file_is_refused_before_anything_runs(
    stores: tuple[Store, Store],
) -> None:
    await Runner(stores[0], [FIRST]).run()
    changed = file(1, "CREATE TABLE one (id BIGINT, more TEXT);", "DROP TABLE one;")
    runner = Runner(stores[0], [changed, SECOND])

    with pytest.raises(MigrationError, match="20260101000001"):
        await runner.run()
    assert [each.state for each in await runner.status()] == ["changed", "pending"]


async def test_one_that_fails_leaves_nothing_behind(stores: tuple[Store, Store]) -> None:
    runner = Runner(stores[0], [FIRST, BROKEN])

    with pytest.raises(StoreError):
        await runner.run()
    assert [each.state for each in await runner.status()] == ["applied", "pending"]
    with pytest.raises(StoreError):
        await stores[0].fetch("SELECT * FROM three")


async def test_what_another_release_applied_stays(stores: tuple[Store, Store]) -> None:
    await Runner(stores[0], [FIRST, SECOND]).run()
    older = Runner(stores[0], [FIRST])

    assert [each.state for each in await older.status()] == ["applied", "unknown"]
    assert await older.run() == []
    with pytest.raises(MigrationError, match="no down part"):
        await older.revert(1)


async def test_foreign_tables_survive_a_revert_of_everything(
    stores: tuple[Store, Store],
) -> None:
    await stores[0].execute("CREATE TABLE foreigner (id BIGINT)")
    runner = Runner(stores[0], collect([MigrationSpec("gateway", SQL)], stores[0].dialect))
    applied = await runner.run()
    await runner.revert(len(applied))

    assert await stores[0].fetch("SELECT * FROM foreigner") == []


async def test_the_sums_of_hours_begin_with_the_records_there_are(
    stores: tuple[Store, Store],
) -> None:
    """Counted once, whether recorded before the sums were kept or after."""
    store = stores[0]
    every = collect([MigrationSpec("gateway", SQL)], store.dialect)
    hours = next(at for at, each in enumerate(every) if each.name == "usage_hours")

    async def recorded(*numbers: int) -> None:
        await store.execute_many(
            "INSERT INTO usage_records (id, request_id, at, tenant, key_id, model, operation, "
            "status, stream, attempts, duration_ms, cost_nano, input_tokens, reasoning_tokens) "
            "VALUES (:id, 'r', :at, :tenant, NULL, 'm', 'chat', 200, FALSE, :attempts, 1, :cost, "
            "7, :reasoning)",
            [
                {
                    "id": f"led_{n}",
                    "at": 7_200_000 + n * 600_000,
                    "tenant": None if n == 3 else "acme",
                    "attempts": n % 2,
                    "cost": None if n == 5 else 10**n,
                    "reasoning": None if n == 6 else n,
                }
                for n in numbers
            ],
        )

    async def sums() -> list[tuple[int, ...]]:
        rows = await store.fetch("SELECT * FROM usage_hours ORDER BY hour")
        names = ("hour", "requests", "tokens", "cost_nano")
        assert {(each["tenant"], each["key_id"], each["model"]) for each in rows} == {
            ("acme", "", "m")
        }
        return [tuple(int(str(each[name])) for name in names) for each in rows]

    await Runner(store, every[:hours]).run()
    await recorded(*range(8))
    runner = Runner(store, every)
    await runner.run()
    filled = await sums()
    await recorded(8, 9)
    more = await sums()
    await runner.revert(len(every) - hours)
    await runner.run()

    assert filled == [(7_200_000, 2, 47, 10_111), (10_800_000, 1, 21, 11_000_000)]
    assert more == [filled[0], (10_800_000, 2, 52, 1_111_000_000)] == await sums()


async def test_without_auto_migrate_the_start_is_refused(stores: tuple[Store, Store]) -> None:
    service = AtStart(stores[0], [MigrationSpec("gateway", SQL)], apply=False)

    with pytest.raises(MigrationError, match="migrate run"):
        async with service.open():
            pass
    async with AtStart(stores[0], [MigrationSpec("gateway", SQL)], apply=True).open():
        pass
    async with service.open():
        pass


async def test_an_unreachable_database_stops_no_start() -> None:
    url = f"postgresql://nobody@127.0.0.1:{servers.free_port()}/none"
    store = PostgresStore(DatabaseSettings(url=url, min_connections=1, timeout_seconds=1))
    async with store.open(), AtStart(store, [MigrationSpec("gateway", SQL)], True).open():
        assert not await store.healthy()
