"""The sums by hour are those of the records, on both databases, however the records came."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random
from time import time

import msgspec
import pytest
from llm_gateway_api import METERS, LedgerRecord, Metrics, Row, Store, Usage
from llm_gateway_ledger_store.hours import KEPT_DAYS, TenantHours, are_old, merge_old
from llm_gateway_ledger_store.ledger import DAY_MS, StoreLedger
from llm_gateway_ledger_store.rows import METER_COLUMNS, insert, row_of
from llm_gateway_ledger_store.tenantdata import HOUR_MS, TenantUsage
from llm_gateway_store_sqlite.store import SqliteStore

NOW = int(time() * 1000)
THEN = NOW // DAY_MS * DAY_MS
Sums = dict[tuple[object, ...], tuple[int, int, int]]
_ids = count()


def record(chance: Random, *, at: int | None = None, tenant: str | None = "a") -> LedgerRecord:
    """Of an answer that names every meter, of a failure, or of an answer out of a cache."""
    asked = chance.random() < 0.8
    usage = {meter: chance.randrange(1000) for meter in METERS}
    return LedgerRecord(
        id=f"led_{next(_ids)}",
        request_id="req",
        at=THEN + chance.randrange(-5 * HOUR_MS, 5 * HOUR_MS) if at is None else at,
        tenant=tenant,
        key_id=chance.choice(["k1", "k2"]) if tenant else None,
        model=chance.choice(["m1", "m2"]),
        operation="chat",
        provider="p",
        upstream_model="u",
        region=None,
        status=200,
        error=None,
        stream=False,
        cache=None,
        attempts=chance.randrange(1, 3) if asked else 0,
        duration_ms=1,
        first_content_ms=None,
        usage=msgspec.convert(usage, Usage) if chance.random() < 0.8 else None,
        cost_nano=chance.choice([None, 0, chance.randrange(10**9)]),
        saved_nano=None,
        price_version=None,
    )


def abandoned(of: LedgerRecord) -> LedgerRecord:
    return msgspec.structs.replace(
        of, status=0, error="abandoned", attempts=0, usage=None, cost_nano=None
    )


async def keep(store: Store, records: Sequence[LedgerRecord]) -> None:
    await insert(store, [row_of(each) for each in records])


async def sums(store: Store) -> Sums:
    return _sums(
        await store.fetch(
            "SELECT hour, tenant, key_id, model, SUM(requests) AS requests, SUM(tokens) AS tokens, "
            "SUM(cost_nano) AS cost FROM usage_hours GROUP BY hour, tenant, key_id, model"
        )
    )


async def of_records(store: Store) -> Sums:
    """The same, added up now."""
    return _sums(
        await store.fetch(
            f"SELECT at / {HOUR_MS} * {HOUR_MS} AS hour, COALESCE(tenant, '') AS tenant, "
            "COALESCE(key_id, '') AS key_id, model, "
            "SUM(CASE WHEN attempts > 0 THEN 1 ELSE 0 END) AS requests, "
            f"SUM({' + '.join(f'COALESCE({each}, 0)' for each in METER_COLUMNS)}) AS tokens, "
            "COALESCE(SUM(cost_nano), 0) AS cost FROM usage_records "
            "WHERE tenant IS NOT NULL OR key_id IS NOT NULL GROUP BY 1, 2, 3, 4"
        )
    )


def _sums(rows: Sequence[Row]) -> Sums:
    found = {
        (each["hour"], each["tenant"], each["key_id"], each["model"]): (
            int(str(each["requests"])),
            int(str(each["tokens"])),
            int(str(each["cost"])),
        )
        for each in rows
    }
    return {key: each for key, each in found.items() if any(each)}


@asynccontextmanager
async def another(store: Store, folder: Path) -> AsyncIterator[Store]:
    """As another host has it; on PostgreSQL each statement has a connection of its own anyway."""
    if store.dialect == "postgresql":
        yield store
        return
    made = SqliteStore(folder / "gateway.db", 20)
    async with made.open():
        yield made


@pytest.mark.parametrize("seed", range(3))
async def test_any_mixture_of_shipments_adds_up(store: Store, seed: int) -> None:
    """Some are shipped again, some twice at once, some were taken for abandoned before or after
    they had ended, and some belong to nobody."""
    chance = Random(seed)
    known = [record(chance, tenant=chance.choice(["a", "b", None])) for _ in range(300)]
    for _ in range(30):
        batch = chance.sample(known, chance.randrange(1, 60))
        batch = [abandoned(each) if chance.random() < 0.3 else each for each in batch]
        again = [] if store.dialect == "postgresql" else chance.sample(batch, len(batch) // 4)
        await keep(store, batch + again)

    found = await sums(store)
    assert found == await of_records(store)
    assert found and all(tenant for _, tenant, _, _ in found)
    (gone,) = await store.fetch("SELECT COUNT(*) AS n FROM usage_records WHERE status = 0")
    assert int(str(gone["n"])) > 0


async def test_the_end_of_a_request_counts_once_whatever_came_before(store: Store) -> None:
    ended = record(Random(1))
    ended = msgspec.structs.replace(ended, attempts=1, usage=Usage(input=3), cost_nano=5)
    seen = []
    for each in (abandoned(ended), ended, ended, abandoned(ended)):
        await keep(store, [each])
        seen.append([*(await sums(store)).values()])

    assert seen == [[], [(1, 3, 5)], [(1, 3, 5)], [(1, 3, 5)]]


async def test_hosts_that_ship_the_same_at_once_count_it_once(store: Store, tmp_path: Path) -> None:
    """In the order in which their requests ended, as a spool has them."""
    chance = Random(3)
    known = [record(chance) for _ in range(400)]
    async with another(store, tmp_path) as other:
        begins = [chance.randrange(360) for _ in range(20)]
        await asyncio.gather(
            *(keep(where, known[at : at + 40]) for at in begins for where in (store, other))
        )
        await asyncio.gather(keep(store, known), keep(other, known))

    assert await sums(store) == await of_records(store)
    assert sum(requests for requests, _, _ in (await sums(store)).values()) == sum(
        each.attempts > 0 for each in known
    )


async def test_a_shipment_waits_for_no_other_of_the_same_hour(store: Store) -> None:
    """SQLite has one writer at a time anyway."""
    if store.dialect != "postgresql":
        pytest.skip("of PostgreSQL")
    one, two = (msgspec.structs.replace(record(Random(4)), attempts=1) for _ in range(2))
    async with store.transaction() as queries:
        await queries.execute(
            "INSERT INTO usage_records (id, request_id, at, tenant, key_id, model, operation, "
            "status, stream, attempts, duration_ms) VALUES ('x', '', :at, 'a', :key, :model, "
            "'chat', 200, FALSE, 1, 1)",
            {"at": one.at, "key": one.key_id, "model": one.model},
        )
        await keep(store, [one])
    await keep(store, [msgspec.structs.replace(two, at=one.at)])

    rows = await store.fetch(
        "SELECT part, SUM(requests) AS n FROM usage_hours GROUP BY 1 ORDER BY 1"
    )
    assert [(each["part"], int(str(each["n"]))) for each in rows] == [(0, 2), (1, 1)]
    assert await sums(store) == await of_records(store)


async def test_amounts_corrected_by_hand_are_corrected_in_the_sums(store: Store) -> None:
    await keep(store, [record(Random(5)) for _ in range(50)])
    await store.execute(
        "UPDATE usage_records SET cost_nano = 7, reasoning_tokens = 9, attempts = 3"
    )

    assert await sums(store) == await of_records(store)


async def test_senseless_numbers_of_a_vendor_hold_up_no_other_record(
    store: Store, tmp_path: Path
) -> None:
    """The largest that a column takes, several times in one hour."""
    chance = Random(6)
    odd = Usage(input=2**63 - 1, output=2**63 - 1)
    known = [record(chance, at=THEN) for _ in range(6)]
    known = [msgspec.structs.replace(each, key_id="k1", model="m1") for each in known]
    ledger = StoreLedger(store, tmp_path / "spool", Metrics(), 1, None)
    await ledger._insert([row_of(each) for each in known[:3]])
    many = [msgspec.structs.replace(each, usage=odd, cost_nano=2**63 - 1) for each in known[3:]]
    await ledger._insert([row_of(each) for each in many])

    (rows,) = await store.fetch("SELECT COUNT(*) AS n FROM usage_records")
    (hour,) = await store.fetch("SELECT SUM(tokens) AS tokens FROM usage_hours")
    assert rows["n"] == 6
    assert float(str(hour["tokens"])) >= 6 * 2.0**62


async def test_what_retention_deletes_stays_in_the_sums(store: Store, tmp_path: Path) -> None:
    await keep(store, [record(Random(7), at=NOW - day * DAY_MS) for day in range(10)])
    before = await sums(store)

    await StoreLedger(store, tmp_path, Metrics(), 1, 3)._retire()

    (left,) = await store.fetch("SELECT COUNT(*) AS n FROM usage_records")
    assert left["n"] == 3
    assert await sums(store) == before


async def test_old_hours_become_one(store: Store, tmp_path: Path) -> None:
    """And what is recorded late for one of them joins it the next time."""
    chance = Random(8)
    old = [record(chance, at=NOW - day * DAY_MS) for day in range(KEPT_DAYS + 1, KEPT_DAYS + 200)]
    young = [record(chance, at=NOW - day * DAY_MS) for day in range(KEPT_DAYS)]
    ledger = StoreLedger(store, tmp_path, Metrics(), 1, None)
    for some in (old[::2], old[1::2]):
        await keep(store, [*some, *young])
        await ledger._retire()

    found, each = await sums(store), await of_records(store)
    edge = NOW - KEPT_DAYS * DAY_MS
    assert {hour for hour, *_ in found if int(str(hour)) < edge} == {0}
    assert {key: n for key, n in found.items() if key[0]} == {
        key: n for key, n in each.items() if int(str(key[0])) >= edge
    }
    assert _added(found) == _added(each)
    assert not await are_old(store, edge)


async def test_old_hours_are_merged_while_others_are_added(store: Store, tmp_path: Path) -> None:
    chance = Random(9)
    edge = THEN - KEPT_DAYS * DAY_MS
    known = [record(chance, at=edge - hour * HOUR_MS) for hour in range(1, 400)]
    async with another(store, tmp_path) as other:
        await keep(store, known[:200])
        await asyncio.gather(
            *(keep(store, known[at : at + 20]) for at in range(200, 400, 20)),
            *(merge_old(each, edge) for each in (store, other) * 3),
        )
        await merge_old(other, edge)

    assert {hour for hour, *_ in await sums(store)} == {0}
    assert _added(await sums(store)) == _added(await of_records(store))


def _added(found: Sums) -> Sums:
    """Whatever the hour."""
    added: Sums = {}
    for (_, *key), each in found.items():
        before = added.get(tuple(key), (0, 0, 0))
        added[tuple(key)] = (before[0] + each[0], before[1] + each[1], before[2] + each[2])
    return added


async def test_an_erased_tenant_leaves_sums_of_nobody(store: Store, tmp_path: Path) -> None:
    chance = Random(10)
    await keep(store, [record(chance, tenant=each) for each in ("a", "b") for _ in range(80)])
    await merge_old(store, THEN)  # some have no hour any more
    before = await sums(store)
    data = TenantHours(store)
    counted = await data.count("a")
    erased = await data.erase("a"), await data.erase("a")
    await TenantUsage(store, tmp_path).erase("a")

    after = await sums(store)
    mine = {key: each for key, each in before.items() if key[1] == "a"}
    nobodys = {key: each for key, each in after.items() if key[1] != "b"}
    assert erased == (counted, 0) and counted == len(mine) > 0
    assert {key[1:3] for key in nobodys} == {("", "")}
    assert {key: each for key, each in after.items() if key[1] == "b"} == {
        key: each for key, each in before.items() if key[1] == "b"
    }
    assert _hourly(mine) == nobodys
    assert await data.count("a") == 0


def _hourly(found: Sums) -> Sums:
    """Keys added up, so that each hour and model is there once."""
    added: Sums = {}
    for (hour, _, _, model), each in found.items():
        before = added.get((hour, "", "", model), (0, 0, 0))
        new = (before[0] + each[0], before[1] + each[1], before[2] + each[2])
        added[hour, "", "", model] = new
    return added


async def test_a_tenants_sums_are_exported_page_by_page(store: Store) -> None:
    chance = Random(11)
    await keep(store, [record(chance, tenant=each) for each in ("a", "b") for _ in range(80)])
    rows: list[dict[str, object]] = []
    after: str | None = ""
    while after is not None:
        page = await TenantHours(store).export("a", after, 7)
        rows += [dict(each) for each in page.rows]
        after = page.next

    exported = {
        (each["hour"], "a", each["key_id"], each["model"]): (
            each["requests"],
            each["tokens"],
            each["cost_nano"],
        )
        for each in rows
    }
    mine = {key: each for key, each in (await sums(store)).items() if key[1] == "a"}
    assert msgspec.json.decode(msgspec.json.encode(rows)) == rows
    assert {key: each for key, each in exported.items() if any(each)} == mine
    assert len(exported) == len(rows) > 7
