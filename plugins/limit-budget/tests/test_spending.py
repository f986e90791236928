"""The sum of a window is that of its records, and costs the same however many they are."""

from itertools import count
from random import Random
from time import time
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_limit_budget.periods import Window, window
from llm_gateway_limit_budget.spending import HOUR, spent, statement

ZONES = (
    "UTC",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
)
# A day on which Lord Howe's clocks go back by half an hour.
NOW = 1_775_311_200 + 7200
METERS = [f"{each}_tokens" for each in gw.METERS]
_ids = count()


def row(chance: Random, at: int) -> dict[str, Any]:
    tokens = {each: chance.choice([None, chance.randrange(100)]) for each in METERS}
    return {
        "id": f"led_{next(_ids)}",
        "at": at,
        "tenant": chance.choice(["acme", "zenith", None]),
        "key_id": chance.choice(["k1", "k2"]),
        "model": chance.choice(["m", "n"]),
        "attempts": chance.randrange(3),
        "cost_nano": chance.choice([None, chance.randrange(10**9)]),
        **tokens,
    }


async def recorded(store: gw.Store, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    await store.execute_many(
        f"INSERT INTO usage_records (request_id, operation, status, stream, duration_ms, "
        f"{', '.join(names)}) VALUES ('r', 'chat', 200, FALSE, 1, "
        f"{', '.join(f':{each}' for each in names)})",
        rows,
    )


def added(rows: list[dict[str, Any]], of: Window) -> int:
    owner = {"tenant": "tenant", "key": "key_id"}[of.budget.level]
    mine = [
        each
        for each in rows
        if each[owner] == of.owner
        and of.start * 1000 <= each["at"]
        and (of.end is None or each["at"] < of.end * 1000)
        and of.budget.model in (None, each["model"])
    ]
    if of.budget.unit == "usd":
        return sum(each["cost_nano"] or 0 for each in mine)
    if of.budget.unit == "requests":
        return sum(each["attempts"] > 0 for each in mine)
    return sum(each[meter] or 0 for each in mine for meter in METERS)


def windows(now: float) -> list[Window]:
    periods: Any = ("day", "week", "month", "total")
    units: Any = ("usd", "tokens", "requests")
    return [
        window(gw.Budget("b", level, 1, period, zone, unit=unit, model=model), owner, now)
        for zone in ZONES
        for period in periods
        for unit in units
        for level, owner in (("tenant", "acme"), ("key", "k1"))
        for model in (None, "m")
    ]


async def test_a_window_has_what_began_in_it_to_the_millisecond(store: gw.Store) -> None:
    """In zones of half and quarter hours too, and where a clock is put back by half an hour."""
    chance = Random(1)
    every = windows(NOW)
    edges = {each for of in every for each in (of.start, of.end) if each}
    near = (0, 1, -1, 900_000, -900_000, 1_799_999, -1_800_001, HOUR * 1000, -HOUR * 1000)
    times = [edge * 1000 + shift for edge in sorted(edges) for shift in near]
    times += [NOW * 1000 - chance.randrange(40 * 86_400_000) for _ in range(500)]
    rows = [row(chance, at) for at in times for _ in range(2)]
    await recorded(store, rows)

    found = {of: await spent(store, of) for of in every}

    assert found == {of: added(rows, of) for of in every}
    assert any(of.start % HOUR for of in every) and any(of.end and of.end % HOUR for of in every)
    assert all(found.values())


async def test_a_sum_needs_none_of_its_records(store: gw.Store) -> None:
    """What retention deleted stays spent, and state that was lost is filled with it."""
    chance = Random(2)
    now = time()
    rows = [row(chance, int(now * 1000) - chance.randrange(60_000)) for _ in range(2000)]
    await recorded(store, rows)
    month = window(gw.Budget("b", "tenant", 1, "total"), "acme", now)
    before = await spent(store, month)
    (hours,) = await store.fetch("SELECT COUNT(*) AS n FROM usage_hours")
    await store.execute("DELETE FROM usage_records")

    assert before == await spent(store, month) == added(rows, month) > 0
    assert int(str(hours["n"])) <= 2 * 3 * 2 * 2


@pytest.mark.parametrize("level", ["tenant", "key"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
async def test_no_table_is_read_as_a_whole(store: gw.Store, level: str, zone: str) -> None:
    """With years of records of many, a month of one of them is found by an index."""
    now = int(time() * 1000)
    series = (
        "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 30000) "
        "SELECT n FROM s"
    )
    await store.execute(
        "INSERT INTO usage_records (id, request_id, at, tenant, key_id, model, operation, status, "
        "stream, attempts, duration_ms, cost_nano) SELECT 'led_' || n, 'r', "
        f"{now} - CAST(n AS BIGINT) * 3600000, 't' || (n % 300), 'k' || (n % 300), 'm', 'chat', "
        f"200, FALSE, 1, 1, 5 FROM ({series}) AS many"
    )
    if store.dialect == "postgresql":  # does it by itself; SQLite does not
        await store.execute("ANALYZE")
    column, owner = {"tenant": ("tenant", "t7"), "key": ("key_id", "k7")}[level]
    sql, params = statement(window(gw.Budget("b", level, 1, "month", zone), owner, now / 1000))

    if store.dialect == "postgresql":
        plan = [str(each["QUERY PLAN"]) for each in await store.fetch(f"EXPLAIN {sql}", params)]
        whole, found = "Seq Scan", f"(({column} = "
    else:
        async with store.transaction() as queries:
            shown = await queries.fetch(f"EXPLAIN QUERY PLAN {sql}", params)
        plan = [str(each["detail"]) for each in shown]
        whole, found = "SCAN usage", f" ({column}=? AND hour>?"
    assert not any(whole in each for each in plan), plan
    assert any(found in each for each in plan), plan
    assert ("usage_records" in sql) == (zone != "UTC")
