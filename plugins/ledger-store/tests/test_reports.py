"""The reports say what the records say, on both databases."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from time import time
from typing import cast

import msgspec
import pytest
from llm_gateway_api import (
    METERS,
    LedgerOpening,
    LedgerRecord,
    MalformedBodyError,
    Metrics,
    SQLParams,
    Store,
    StoreError,
    Usage,
)
from llm_gateway_ledger_store import reports, tenantdata
from llm_gateway_ledger_store.ledger import StoreLedger
from llm_gateway_ledger_store.rows import insert, row_of
from llm_gateway_ledger_store.tenantdata import TenantUsage

NOW = int(time() * 1000)


def records(many: int) -> list[LedgerRecord]:
    chance = Random(7)
    found = []
    for number in range(many):
        good = chance.random() < 0.9
        found.append(
            LedgerRecord(
                id=f"led_{number}",
                request_id=f"req_{number}",
                at=NOW - chance.randrange(3 * 24 * reports.HOUR_MS),
                tenant=chance.choice(["a", "b", None]),
                key_id="k",
                model="public",
                operation="chat",
                provider=chance.choice(["p1", "p2"]) if good else None,
                upstream_model=chance.choice(["m1", "m2"]) if good else None,
                region=None,
                status=200 if good else 502,
                error=None if good else "upstream_error",
                stream=False,
                cache=None,
                attempts=1,
                duration_ms=chance.randrange(1, 5000),
                first_content_ms=chance.randrange(1, 500) if good else None,
                usage=Usage(input=chance.randrange(100), output=7, reasoning=3) if good else None,
                cost_nano=chance.choice([None, chance.randrange(10**9)]) if good else None,
                saved_nano=None,
                price_version=None,
            )
        )
    return found


async def keep(store: Store, records: Sequence[LedgerRecord]) -> None:
    await insert(store, [row_of(each) for each in records])


async def test_cost_is_the_exact_sum_of_the_records(store: Store) -> None:
    kept = records(500)
    await keep(store, kept)
    since = NOW - 24 * reports.HOUR_MS
    asked = reports.Asked(since, None, None, "a")

    rows = await reports.cost(store, asked, ("provider", "model"), breakdown=False)

    for each in rows:
        mine = [
            kept_one
            for kept_one in kept
            if kept_one.at >= since
            and kept_one.tenant == "a"
            and (kept_one.provider or "-") == each["provider"]
            and (kept_one.upstream_model or "public") == each["model"]
        ]
        assert each["requests"] == len(mine)
        assert each["cost_usd"] == reports.usd(sum(one.cost_nano or 0 for one in mine))
        used = [one for one in mine if one.status == 200 or one.usage is not None]
        assert each["unpriced"] == sum(one.cost_nano is None for one in used)
    assert len(rows) == 5


@pytest.mark.parametrize(("model", "found"), [("m1", {"m1"}), ("public", {"m1", "m2", "public"})])
async def test_a_model_has_the_name_asked_for_and_the_deployments(
    store: Store, model: str, found: set[str]
) -> None:
    await keep(store, records(100))

    rows = await reports.cost(store, reports.Asked(0, None, model, None), ("model",), False)

    assert {each["model"] for each in rows} == found


async def test_hours_and_days_are_groups_in_order(store: Store) -> None:
    await keep(store, records(300))
    asked = reports.Asked(0, None, None, None)

    days = await reports.cost(store, asked, ("day",), breakdown=True)

    names = [str(each["day"]) for each in days]
    assert names == sorted(names)
    assert all(name.endswith("T00:00:00Z") for name in names)
    assert sum(int(str(each["requests"])) for each in days) == 300


async def test_tokens_add_up(store: Store) -> None:
    kept = records(200)
    await keep(store, kept)
    asked = reports.Asked(0, "p1", None, None)

    rows = await reports.tokens(store, asked, ("model",), detailed=True)

    mine = [each for each in kept if each.provider == "p1"]
    total = sum(each.usage.input_total + each.usage.output_total for each in mine if each.usage)
    assert sum(int(str(each["total"])) for each in rows) == total
    assert all(each["reasoning_tokens"] == 3 * int(str(each["requests"])) for each in rows)


async def test_percentiles_are_values_that_were_measured(store: Store) -> None:
    """Nearest rank, checked against a sorted list."""
    kept = [each for each in records(400) if each.status == 200]
    await keep(store, kept)

    rows = await reports.latency(store, reports.Asked(0, None, None, None))

    assert len(rows) == 4
    for each in rows:
        mine = sorted(
            one.duration_ms
            for one in kept
            if (one.provider, one.upstream_model) == (each["provider"], each["model"])
        )
        for percent in reports.PERCENTILES:
            rank = -(-len(mine) * percent // 100)
            assert each[f"p{percent}_ms"] == mine[rank - 1]
        assert "ttft_p99_ms" in each


async def test_the_same_record_twice_is_one_row(store: Store) -> None:
    kept = records(10)
    later = [msgspec.structs.replace(each, status=500) for each in kept]
    await keep(store, kept)
    await keep(store, later)

    rows = await store.fetch("SELECT COUNT(*) AS n FROM usage_records")
    assert rows[0]["n"] == 10


async def test_the_end_of_a_request_goes_before_its_absence(store: Store) -> None:
    """Of two files of a dead worker, either may be found first: the one in which a request
    began, or the one in which it ended."""
    ended = records(2)
    gone = [msgspec.structs.replace(each, status=0, error="abandoned") for each in ended]
    for first, second in ((gone[0], ended[0]), (ended[1], gone[1])):
        await keep(store, [first])
        await keep(store, [second])

    rows = await store.fetch("SELECT * FROM usage_records ORDER BY id")
    found = [(each["status"], each["error"], each["cost_nano"]) for each in rows]
    assert found == [(each.status, each.error, each.cost_nano) for each in ended]


@pytest.mark.parametrize("window", ["", "h", "5", "5y", "-1h", "1h "])
def test_what_is_no_window_is_named(window: str) -> None:
    with pytest.raises(MalformedBodyError, match="1h"):
        reports.Asked.of({"window": window}, "1h")


def test_what_is_no_grouping_is_named() -> None:
    with pytest.raises(MalformedBodyError, match="colour"):
        reports.groups_of("provider,colour", ())


def test_money_is_written_exactly() -> None:
    assert [reports.usd(each) for each in (0, 1, 1_500_000_000, 10**12)] == [
        "0",
        "0.000000001",
        "1.5",
        "1000",
    ]


async def test_a_record_that_no_database_takes_holds_up_no_other(
    store: Store, tmp_path: Path
) -> None:
    """PostgreSQL keeps no NUL in a text; such a record is kept in a file instead."""
    ledger = StoreLedger(store, tmp_path / "spool", Metrics(), 0.05, None)
    async with ledger.open():
        for number, each in enumerate(records(7)):
            model = "a\0b" if number == 3 else "m"
            kept = msgspec.structs.replace(each, model=model)
            names = LedgerOpening.__struct_fields__
            ledger.begin(LedgerOpening(*(getattr(kept, name) for name in names)))
            ledger.end(kept)
    found = await store.fetch("SELECT COUNT(*) AS n FROM usage_records")
    rejected = tmp_path / "spool" / "rejected.jsonl"
    lines = rejected.read_text().splitlines() if rejected.exists() else []

    assert (found[0]["n"], len(lines)) == ((7, 0) if store.dialect == "sqlite" else (6, 1))


async def test_what_is_too_old_is_deleted_in_pieces(store: Store, tmp_path: Path) -> None:
    """And nothing where no bound is set."""
    (one,) = records(1)
    day = 24 * reports.HOUR_MS
    ages = [0.5 * day, 1.5 * day, 3 * day] * 3500
    kept = [
        msgspec.structs.replace(one, id=f"led_{number}", at=NOW - int(age))
        for number, age in enumerate(ages)
    ]
    await keep(store, kept)

    async def left(days: int | None) -> int:
        ledger = StoreLedger(store, tmp_path, Metrics(), 0.05, days)
        await ledger._retire()
        (row,) = await store.fetch("SELECT COUNT(*) AS n FROM usage_records")
        return int(str(row["n"]))

    assert [await left(days) for days in (None, 2, 1)] == [10_500, 7000, 3500]
    (oldest,) = await store.fetch("SELECT MIN(at) AS at FROM usage_records")
    assert oldest["at"] == NOW - int(0.5 * day)


class Flaky:
    """A store that fails at its first statements, and says each time that it is well again."""

    def __init__(self, store: Store, failures: int) -> None:
        self._store = store
        self._failures = failures
        self.dialect = store.dialect

    async def healthy(self) -> bool:
        return True

    async def execute(self, sql: str, params: SQLParams) -> int:
        self._fail()
        return await self._store.execute(sql, params)

    async def execute_many(self, sql: str, rows: Sequence[SQLParams]) -> None:
        self._fail()
        await self._store.execute_many(sql, rows)

    def _fail(self) -> None:
        self._failures -= 1
        if self._failures >= 0:
            raise StoreError("The database is too slow.", retry_after=1.0)


async def test_a_failure_that_passes_rejects_no_record(store: Store, tmp_path: Path) -> None:
    """A statement may fail at the very moment in which the database comes back."""
    ledger = StoreLedger(cast(Store, Flaky(store, 3)), tmp_path, Metrics(), 0.02, None)
    async with ledger.open():
        for each in records(3):
            names = LedgerOpening.__struct_fields__
            ledger.begin(LedgerOpening(*(getattr(each, name) for name in names)))
            ledger.end(each)
        async with asyncio.timeout(10):
            while len(await store.fetch("SELECT id FROM usage_records")) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    assert not (tmp_path / "rejected.jsonl").exists()


async def test_a_record_keeps_all_that_its_price_was_computed_from(store: Store) -> None:
    """What the vendor charges by other sums than it counts stands beside its counts."""
    usage = Usage(400, 10, 1, 2, 3, 40, 5, 6, billed_input=30, billed_output=0, search_units=2)
    made = msgspec.structs.replace(records(1)[0], usage=usage)
    await insert(store, [row_of(made)])

    (row,) = await store.fetch("SELECT * FROM usage_records")
    kept = {name: row[f"{name}_tokens"] for name in (*METERS, "billed_input", "billed_output")}
    kept["search_units"] = row["search_units"]
    assert kept == {name: getattr(usage, name) for name in kept}


async def test_an_erased_tenants_records_are_anonymous_and_add_up(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces, exactly once; the others' records are as they were."""
    monkeypatch.setattr(tenantdata, "ROWS", 40)
    kept = records(500)
    await keep(store, kept)
    asked = reports.Asked(0, None, None, None)
    groups = ("provider", "model", "day")
    before = await reports.cost(store, asked, groups, breakdown=True)
    others = "SELECT * FROM usage_records WHERE tenant = 'b' ORDER BY id"
    neighbours = await store.fetch(others)
    usage = TenantUsage(store, tmp_path)
    mine = [each for each in kept if each.tenant == "a"]

    pages = [await usage.export("a", "", 70)]
    while pages[-1].next is not None:
        pages.append(await usage.export("a", pages[-1].next, 70))
    erased, again = await usage.erase("a"), await usage.erase("a")
    rows = await store.fetch("SELECT * FROM usage_records")

    exported = [row["id"] for page in pages for row in page.rows]
    assert sorted(map(str, exported)) == sorted(each.id for each in mine)
    assert (erased, again, await usage.count("a")) == (len(mine), 0, 0)
    left = {row["id"]: row for row in rows if row["id"] in {each.id for each in mine}}
    assert all(row["key_id"] is None and row["request_id"] == "" for row in left.values())
    assert await store.fetch(others) == neighbours
    assert await reports.cost(store, asked, groups, breakdown=True) == before


async def test_refused_records_of_an_erased_tenant_are_anonymous_too(
    store: Store, tmp_path: Path
) -> None:
    usage, path = TenantUsage(store, tmp_path), tmp_path / tenantdata.REJECTED
    kept = records(20)
    for each in kept:
        tenantdata.reject(path, row_of(each))
    with path.open("ab") as file:
        file.write(b"torn\n")
    erased = await usage.erase("a")

    lines = path.read_bytes().splitlines()
    found = [msgspec.json.decode(each) for each in lines[:-1]]
    assert erased == sum(each.tenant == "a" for each in kept)
    assert [each["id"] for each in found] == [each.id for each in kept]
    assert {each["tenant"] for each in found} == {None, "b"}
    assert lines[-1] == b"torn"
