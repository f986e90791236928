"""Keeping and rotation on both databases, and a store that is down when it is read."""

import asyncio
import base64
import os
from pathlib import Path
from time import time

import msgspec
import pytest
from llm_gateway_api import DatabaseSettings, Metrics, MigrationSpec, Store, StoreError
from llm_gateway_migrations.files import collect
from llm_gateway_migrations.plugin import SQL
from llm_gateway_migrations.runner import Runner
from llm_gateway_secrets_store import repository
from llm_gateway_secrets_store.envelope import Keyring, keyring
from llm_gateway_secrets_store.keeping import DAY_MS, SecretKeeper
from llm_gateway_secrets_store.sources import SNAPSHOT, StoreSource
from llm_gateway_store_postgres.store import PostgresStore
from llm_gateway_testkit import servers

CANARY = "canary-5f0c1d2e3b4a"


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def keeper(store: Store, keys: Keyring, days: int = 90) -> SecretKeeper:
    return SecretKeeper(keys, store, days, Metrics())


def nobody(_: int) -> None:
    pass


async def test_the_two_newest_versions_are_kept(store: Store) -> None:
    keys = keyring(new_key())
    own = keeper(store, keys)
    versions = [await own.set("a", f"{CANARY}-{n}", nobody) for n in range(1, 5)]
    rows = await repository.everything(store)

    assert versions == [1, 2, 3, 4]
    assert [keys.open(row) for row in rows] == [f"{CANARY}-4", f"{CANARY}-3"]


async def test_what_cannot_be_recorded_is_not_done(store: Store) -> None:
    def full(_: int) -> None:
        raise OSError("the disk is full")

    own = keeper(store, keyring(new_key()))
    await own.set("a", CANARY, nobody)
    with pytest.raises(OSError, match="full"):
        await own.set("a", "other", full)
    with pytest.raises(OSError, match="full"):
        await own.delete("a", full)

    assert [row.version for row in await repository.everything(store)] == [1]


async def test_a_reader_finds_every_secret_readable_at_every_moment_of_a_rotation(
    store: Store,
) -> None:
    old, new = new_key(), new_key()
    both = keyring(f"{new},{old}")
    before = keeper(store, keyring(old))
    for n in range(30):
        await before.set(f"s{n}", f"{CANARY}-{n}", nobody)
    done = asyncio.Event()

    async def read() -> int:
        reads = 0
        while not done.is_set():
            rows = await repository.everything(store)
            assert {both.open(row) for row in rows} == {f"{CANARY}-{n}" for n in range(30)}
            reads += 1
        return reads

    reading = asyncio.create_task(read())
    two_workers = (keeper(store, both), keeper(store, both))
    results = await asyncio.gather(*(each.due() for each in two_workers))
    done.set()

    assert await reading > 0
    assert sum(each.rotated for each in results) == 30
    assert (await keeper(store, both).due()).left == 0
    only_new = keyring(new)
    assert len([only_new.open(row) for row in await repository.everything(store)]) == 30


async def test_an_old_encryption_is_renewed_and_told_a_week_before(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    keys = keyring(new_key())
    now = int(time() * 1000)
    for name, days in (("fresh", 1), ("near", 85), ("due", 91)):
        sealed = keys.seal(name, 1, CANARY, now - 200 * DAY_MS, now - days * DAY_MS)
        await repository.add(store, sealed)
    own = keeper(store, keys)

    assert (await own.due()).rotated == 1
    assert (await own.due()).rotated == 0
    ages = {row.name: (now - row.sealed_at) // DAY_MS for row in await repository.everything(store)}
    assert (ages["fresh"], ages["near"], ages["due"] <= 0) == (1, 85, True)
    assert [r.getMessage() for r in caplog.records if "rotation_near" in r.getMessage()] == [
        "secrets.rotation_near name=near: it is encrypted anew within a week"
    ]


async def test_the_database_alone_shows_no_value(store: Store) -> None:
    await keeper(store, keyring(new_key())).set("a", CANARY, nobody)
    rows = await repository.everything(store)

    assert CANARY.encode() not in msgspec.msgpack.encode(rows)


async def test_a_store_that_is_down_is_read_from_the_last_snapshot(tmp_path: Path) -> None:
    keys = keyring(new_key())
    with servers.postgres() as server:
        url = DatabaseSettings(url=server.url, min_connections=1, timeout_seconds=2)

        def source(folder: Path) -> StoreSource:
            return StoreSource(keys, PostgresStore(url), folder, 3)

        made = PostgresStore(url)
        async with made.open():
            await Runner(made, collect([MigrationSpec("gateway", SQL)], made.dialect)).run()
            await keeper(made, keys).set("a", CANARY, nobody)
        up = await asyncio.to_thread(source(tmp_path).read, {"a", "a@1", "b"})
        server.stop()
        down = await asyncio.to_thread(source(tmp_path).read, {"a"})
        with pytest.raises((StoreError, OSError, TimeoutError)):
            await asyncio.to_thread(source(tmp_path / "other").read, {"a"})
    snapshot = tmp_path / SNAPSHOT

    assert {name: value.get_secret_value() for name, value in up.items()} == {
        "a": CANARY,
        "a@1": CANARY,
    }
    assert down["a"].get_secret_value() == CANARY
    assert CANARY.encode() not in snapshot.read_bytes()
    assert snapshot.stat().st_mode & 0o777 == 0o600
