"""Every flag of the commands that report money, tokens and time, asked of a gateway with real
traffic: what it prints is what SQL finds in the database, on SQLite and on PostgreSQL."""

import asyncio
import csv
import io
import json
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result
from llm_gateway.cli import cli
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Received, ScriptedProvider, Step, Stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = "admin-key-0123456789abcdef"
HOUR_MS = 3_600_000
METERS = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input")
METERS += ("output", "reasoning", "audio_output")
LABELS = {
    "provider": "COALESCE(provider, '-')",
    "model": "COALESCE(upstream_model, model)",
    "tenant": "COALESCE(tenant, '-')",
    "key": "COALESCE(key_id, '-')",
}
SUMS = {
    "requests": "COUNT(*)",
    "cost_usd": "COALESCE(SUM(cost_nano), 0)",
    "unpriced": "SUM(CASE WHEN status = 200 AND cost_nano IS NULL THEN 1 ELSE 0 END)",
    "input": "COALESCE(SUM(input_tokens + cache_read_tokens), 0)",
    "output": "COALESCE(SUM(output_tokens + reasoning_tokens), 0)",
    **{f"{each}_tokens": f"COALESCE(SUM({each}_tokens), 0)" for each in METERS},
}
COST = ("requests", "cost_usd", "unpriced")
TOKENS = ("requests", "input", "output")
ALL_METERS = tuple(f"{each}_tokens" for each in METERS)


def answer(request: Received) -> Step:
    """Fails who asks it to; else as many tokens as the number that it is asked for."""
    asked = request.json
    words = asked["messages"][0]["content"]
    if words == "fail":
        return openai.error_answer(500)
    if asked.get("stream"):
        return Stream(openai.chat_stream(include_usage=True))
    number = int(words)
    usage = openai.usage(200 + number, 20 + number, cached=number, reasoning=number % 7)
    return openai.chat_answer(usage=usage)


@dataclass(frozen=True)
class Site:
    gateway: Gateway
    dialect: str
    database: str
    keys: tuple[str, ...]  # of acme, of beta, of nobody

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        if self.dialect == "postgresql":
            with psycopg.connect(self.database) as postgres:
                cursor = postgres.execute(text.encode())
                return cursor.fetchall() if cursor.description else []
        with sqlite3.connect(self.database) as sqlite:
            return sqlite.execute(text).fetchall()

    async def run(self, *arguments: str) -> Result:
        whole = ["-u", self.gateway.url, "-k", ADMIN, *arguments]
        return await asyncio.to_thread(CliRunner().invoke, cli, whole)

    async def told(self, *arguments: str, code: int = 0) -> Any:
        done = await self.run("--json", *arguments)
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("data")
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(ScriptedProvider())
        provider.default = answer
        env = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN}
        database = str(folder / "gateway.db")
        if request.param == "postgresql":
            database = env["DATABASE_URL"] = stack.enter_context(servers.postgres()).url
        upstream = {"kind": "openai", "api_key": "k", "base_url": f"{provider.url}/v1"}
        first = {**upstream, "models": ["gpt-4o", "gpt-4o-mini"], "max_retries": 0}
        config = {
            "providers": {"first": first, "second": {**upstream, "models": ["of-ours"]}},
            "plugins": {"ledger_store": {"ship_seconds": 0.1}},
            "resilience": {"circuit_breaker": {"enabled": False}},
        }
        gateway = await stack.enter_async_context(running_gateway(config, env))
        keys = [await key_of(gateway, each) for each in ("acme", "beta")]
        made = Site(gateway, request.param, database, (*keys, API_KEY))
        await traffic(made)
        yield made


async def key_of(gateway: Gateway, tenant: str) -> str:
    url = f"{gateway.url}/admin/v1"
    await call(f"{url}/tenants", {"id": tenant}, key=ADMIN)
    made = await call(f"{url}/keys", {"tenant": tenant, "name": f"of {tenant}"}, key=ADMIN)
    return str(made.json["key"])


async def traffic(site: Site) -> None:
    """Of several callers, models and outcomes; then some of it is moved into the past."""
    asked = 0
    for number, key in enumerate(site.keys * 3):
        for model in ("gpt-4o", "gpt-4o-mini", "of-ours"):
            for words, stream in ((str(number), False), ("1", True), ("fail", False)):
                if words == "fail" and model != "gpt-4o":
                    continue
                body = {"model": model, "messages": [{"role": "user", "content": words}]}
                url = f"{site.gateway.url}/v1/chat/completions"
                await call(url, {**body, "stream": stream}, key=key)
                asked += 1
    async with asyncio.timeout(30):
        while site.sql("SELECT COUNT(*) FROM usage_records")[0][0] < asked:
            await asyncio.sleep(0.1)
    third = "SELECT id FROM usage_records ORDER BY at LIMIT {} OFFSET {}"
    for hours, at in ((3, 0), (30, asked // 3)):
        rows = third.format(asked // 3, at)
        moved = f"at - {hours * HOUR_MS}"
        site.sql(f"UPDATE usage_records SET at = {moved} WHERE id IN ({rows})")


def label(site: Site, name: str) -> str:
    """What a group is called, by the database's own calendar."""
    if name in LABELS:
        return LABELS[name]
    if site.dialect == "postgresql":
        moment = "to_timestamp(at / 1000) AT TIME ZONE 'UTC'"
        return f"to_char(date_trunc('{name}', {moment}), 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
    clock = "%H:00:00" if name == "hour" else "00:00:00"
    return f"strftime('%Y-%m-%dT{clock}Z', at / 1000, 'unixepoch')"


def expected(
    site: Site, groups: Sequence[str], sums: Sequence[str], hours: float, where: str
) -> set[tuple[object, ...]]:
    columns = [label(site, each) for each in groups] + [SUMS[each] for each in sums]
    now = (
        "CAST(strftime('%s', 'now') AS INTEGER) * 1000"
        if site.dialect == "sqlite"
        else "CAST(extract(epoch FROM now()) * 1000 AS BIGINT)"
    )
    rows = site.sql(
        f"SELECT {', '.join(columns)} FROM usage_records "
        f"WHERE at >= {now} - {round(hours * HOUR_MS)} AND {where} "
        f"GROUP BY {', '.join(str(n + 1) for n in range(len(groups)))}"
    )
    return {tuple(plain(each) for each in row) for row in rows}


def plain(value: object) -> object:
    return int(value) if isinstance(value, Decimal | int) else value


def found(rows: Sequence[dict[str, Any]], groups: Sequence[str], sums: Sequence[str]) -> Any:
    def value(row: dict[str, Any], name: str) -> object:
        return int(Decimal(row[name]) * 10**9) if name == "cost_usd" else row[name]

    return {(*(row[each] for each in groups), *(value(row, each) for each in sums)) for row in rows}


PAIR = ("provider", "model")
# The flags, and what they mean: groups, sums, hours, condition.
CASES: list[tuple[tuple[str, ...], Sequence[str], Sequence[str], float, str]] = [
    (("cost",), PAIR, COST, 24, "1 = 1"),
    (("cost", "-w", "1h"), PAIR, COST, 1, "1 = 1"),
    (("cost", "--window", "7d"), PAIR, COST, 168, "1 = 1"),
    (("cost", "-p", "first"), PAIR, COST, 24, "provider = 'first'"),
    (("cost", "--model", "gpt-4o-mini"), PAIR, COST, 24, "upstream_model = 'gpt-4o-mini'"),
    (("cost", "-t", "acme"), PAIR, COST, 24, "tenant = 'acme'"),
    (("cost", "--breakdown"), PAIR, (*COST, *ALL_METERS), 24, "1 = 1"),
    *(
        (("cost", "-w", "7d", "-g", each), (each,), COST, 168, "1 = 1")
        for each in (*LABELS, "hour", "day")
    ),
    (
        ("cost", "-w", "7d", "--group-by", "tenant,model,day"),
        ("tenant", "model", "day"),
        COST,
        168,
        "1 = 1",
    ),
    (("token-usage",), PAIR, TOKENS, 24, "1 = 1"),
    (("token-usage", "-w", "1h", "-t", "beta"), PAIR, TOKENS, 1, "tenant = 'beta'"),
    (("token-usage", "-p", "second"), PAIR, TOKENS, 24, "provider = 'second'"),
    (
        ("token-usage", "-m", "gpt-4o"),
        PAIR,
        TOKENS,
        24,
        "COALESCE(upstream_model, model) = 'gpt-4o'",
    ),
    (("token-usage", "--detailed"), PAIR, (*TOKENS, *ALL_METERS), 24, "1 = 1"),
    *(
        (("token-usage", "-w", "7d", "-g", each), (each,), TOKENS, 168, "1 = 1")
        for each in (*LABELS, "hour", "day")
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[" ".join(each[0]) for each in CASES])
async def test_a_report_is_what_sql_finds(site: Site, case: Any) -> None:
    arguments, groups, sums, hours, where = case

    rows = await site.told(*arguments)

    assert found(rows, groups, sums) == expected(site, groups, sums, hours, where)
    assert len(rows) > 0
    if arguments[0] == "token-usage":
        assert all(row["total"] == row["input"] + row["output"] for row in rows)


@pytest.mark.parametrize(
    ("flags", "hours", "provider", "model"),
    [
        ((), 1, None, None),
        (("-w", "7d"), 168, None, None),
        (("--window", "24h", "-p", "first"), 24, "first", None),
        (("-w", "7d", "-m", "gpt-4o-mini"), 168, None, "gpt-4o-mini"),
    ],
)
async def test_latency_is_what_was_measured(
    site: Site, flags: tuple[str, ...], hours: int, provider: str | None, model: str | None
) -> None:
    """Values at the nearest rank, of answers that came whole."""
    rows = await site.told("latency", "--percentiles", *flags)
    short = await site.told("latency", *flags)

    measured: dict[Any, list[Any]] = defaultdict(list)
    oldest = max(at for (at,) in site.sql("SELECT at FROM usage_records")) - hours * HOUR_MS
    for at, *key, whole, first in site.sql(
        "SELECT at, provider, upstream_model, duration_ms, first_content_ms "
        "FROM usage_records WHERE status = 200"
    ):
        wanted = provider in (None, key[0]) and model in (None, key[1])
        if wanted and at >= oldest:
            measured[tuple(key)].append((whole, first))
    assert {(row["provider"], row["model"]) for row in rows} == set(measured)
    for row in rows:
        for name, number in (("", 0), ("ttft_", 1)):
            known = [each[number] for each in measured[row["provider"], row["model"]]]
            values = sorted(each for each in known if each is not None)
            assert name or row["requests"] == len(values)
            assert row[f"{name}mean_ms"] == sum(values) // len(values)
            for percent in (50, 75, 90, 95, 99):
                rank = -(-len(values) * percent // 100)
                assert row[f"{name}p{percent}_ms"] == values[rank - 1]
    kept = ("provider", "model", "requests", "mean_ms", "p50_ms", "p95_ms")
    assert short == [{name: row[name] for name in kept} for row in rows]


@pytest.mark.parametrize("name", ["cost", "token-usage"])
async def test_people_and_spreadsheets_see_the_same(site: Site, name: str) -> None:
    """The table, the CSV and the JSON."""
    rows = await site.told(name, "-w", "7d", "-g", "tenant")
    table = await site.run(name, "-w", "7d", "-g", "tenant")
    sheet = await site.run(name, "-w", "7d", "-g", "tenant", "--csv")

    lines = list(csv.DictReader(io.StringIO(sheet.stdout)))
    assert lines == [{key: str(value) for key, value in row.items()} for row in rows]
    for row in rows:
        line = next(each for each in table.stdout.splitlines() if row["tenant"] in each)
        assert str(row["requests"]) in line
        assert str(row["cost_usd" if name == "cost" else "total"]) in line


async def test_nothing_in_the_window_is_said(site: Site) -> None:
    nothing = await site.run("cost", "-t", "nobody")

    assert (nothing.exit_code, nothing.stdout) == (1, "Nothing in the last 24h.\n")
    assert (await site.run("cost", "-w", "soon")).exit_code != 0


async def test_the_vendors_own_count_agrees(site: Site, tmp_path: Path) -> None:
    """And a difference is shown, unless it is within what is tolerated."""
    rows = site.sql(
        "SELECT upstream_model, COUNT(*), SUM(input_tokens + cache_read_tokens), "
        "SUM(output_tokens + reasoning_tokens), "
        f"{label(site, 'day')} AS day FROM usage_records WHERE provider = 'first' "
        "AND status = 200 GROUP BY upstream_model, day"
    )
    fails = dict(
        site.sql(
            f"SELECT {label(site, 'day')}, COUNT(*) FROM usage_records "
            "WHERE provider = 'first' AND status <> 200 GROUP BY 1"
        )
    )
    lines = ["when,model,requests,input,output"]
    for model, many, given, made, day in rows:
        many += fails.get(day, 0) if model == "gpt-4o" else 0
        lines.append(f"{day[:10]},{model},{many},{given},{made}")
    file = tmp_path / "usage.csv"
    file.write_text("\n".join(lines))
    more = tmp_path / "more.csv"
    head, first, *rest = lines
    more.write_text("\n".join([head, f"{first[: first.rindex(',')]},1000000", *rest]))

    same = await site.told("reconcile", str(file), "-p", "first", "--column", "day=when")
    options = ("-p", "first", "--column", "day=when")
    other = await site.told("reconcile", str(more), *options, code=1)
    tolerated = await site.run("reconcile", str(more), *options, "--tolerance", "100")

    assert {row["differs"] for row in same} == {"-"} and len(same) == len(rows)
    assert [row["differs"] for row in other].count("output") == 1
    assert tolerated.exit_code == 0


async def test_keys_and_tenants_are_those_of_the_database(site: Site) -> None:
    keys = await site.told("keys", "list", "-t", "acme")
    tenants = await site.told("tenants", "list")

    rows = site.sql("SELECT id, name, role FROM api_keys WHERE tenant = 'acme'")
    assert {(each["id"], each["name"], each["role"]) for each in keys} == set(rows)
    assert {(each["id"],) for each in tenants} >= set(site.sql("SELECT id FROM tenants"))


RIGHTS = ("--model", "gpt-4o", "--provider", "first", "--region", "eu", "--rpm", "60")
RIGHTS += ("--tpm", "7000", "--concurrent", "5", "--set", 'metadata={"cost_centre": "17"}')
RIGHTS_KEPT = {
    "models": ["gpt-4o"],
    "providers": ["first"],
    "regions": ["eu"],
    "limits": {"requests_per_minute": 60, "tokens_per_minute": 7000, "max_concurrent": 5},
    "metadata": {"cost_centre": "17"},
}


async def test_all_that_is_said_of_a_tenant_is_kept(site: Site) -> None:
    """By `create`, and by `update`, which leaves alone what it does not name."""
    name = ("-n", "All of it", "--rename", "fast=gpt-4o-mini")
    await site.told("tenants", "create", "whole", *name, *RIGHTS)
    (made,) = site.sql("SELECT document, disabled FROM tenants WHERE id = 'whole'")
    await site.told("tenants", "update", "whole", "--disable", "--rpm", "0", "--model", "of-ours")
    (changed,) = site.sql("SELECT document, disabled FROM tenants WHERE id = 'whole'")
    shown = await site.told("tenants", "show", "whole")
    await site.told("tenants", "delete", "whole", "--force")

    whole = {**RIGHTS_KEPT, "name": "All of it", "renamed": {"fast": "gpt-4o-mini"}}
    assert (json.loads(made[0]), bool(made[1])) == (whole, False)
    limits = {**RIGHTS_KEPT["limits"], "requests_per_minute": 0}  # type: ignore[dict-item]
    after = json.loads(changed[0])
    assert after == {**whole, "limits": limits, "models": ["of-ours"], "disabled": True}
    assert shown["limits"] == limits
    assert bool(changed[1])
    assert site.sql("SELECT COUNT(*) FROM tenants WHERE id = 'whole' AND deleted_at IS NULL") == [
        (0,)
    ]


async def test_all_that_is_said_of_a_key_is_kept(site: Site) -> None:
    more = ("--endpoint", "/v1/*", "--address", "127.0.0.0/8", "--expires", "24h")
    owner = ("-t", "beta", "-n", "whole", "-r", "operator")
    made = await site.told("keys", "create", *owner, *more, *RIGHTS)
    columns = "tenant, name, role, document, expires_at - created_at"
    query = f"SELECT {columns} FROM api_keys WHERE id = '{made['id']}'"
    ((tenant, name, role, document, valid),) = site.sql(query)
    await site.told("keys", "update", made["id"], "-n", "other", "--address", "10.0.0.0/8")
    ((_, renamed, _, changed, _),) = site.sql(query)
    rotated = await site.told("keys", "rotate", made["id"], "--grace", "90s")
    ((grace,),) = site.sql(
        f"SELECT previous_until - updated_at FROM api_keys WHERE id = '{made['id']}'"
    )
    revoked = await site.told("keys", "revoke", made["id"])

    whole = {**RIGHTS_KEPT, "endpoints": ["/v1/*"], "addresses": ["127.0.0.0/8"]}
    assert (tenant, name, role) == ("beta", "whole", "operator")
    assert json.loads(document) == whole
    assert abs(valid - 24 * HOUR_MS) < 60_000
    assert (renamed, json.loads(changed)) == ("other", {**whole, "addresses": ["10.0.0.0/8"]})
    assert rotated["id"] == made["id"] and rotated["key"] != made["key"]
    assert abs(grace - 90_000) < 5_000
    assert revoked["state"] == "revoked"


async def test_all_that_is_said_of_a_budget_is_kept(site: Site) -> None:
    """And what it says is spent is what the records of its window add up to."""
    ids = {name: key.split("_")[1] for name, key in zip(("acme", "beta"), site.keys, strict=False)}
    options = ("--zone", "Asia/Kolkata", "--soft", "1.5", "-m", "gpt-4o")
    made = await site.told("budgets", "set", "2.25", "-t", "acme", "--period", "total", *options)
    await site.told("budgets", "set", "7", "--key", ids["beta"], "--period", "total")
    (row,) = site.sql(
        "SELECT level, owner, model, amount_nano, soft_nano, period, zone FROM budgets "
        f"WHERE id = '{made['id']}'"
    )
    (whose,) = await site.told("budgets", "list", "-t", "acme")
    (other,) = await site.told("budgets", "list", "--key", ids["beta"])
    deleted = await site.run("budgets", "delete", made["id"])

    zone = ("total", "Asia/Kolkata")
    assert row == ("tenant", "acme", "gpt-4o", 2_250_000_000, 1_500_000_000, *zone)
    spent = "SELECT SUM(cost_nano) FROM usage_records WHERE {}"
    for shown, where in (
        (whose, "tenant = 'acme' AND model = 'gpt-4o'"),
        (other, f"key_id = '{ids['beta']}'"),
    ):
        assert Decimal(shown["spent_usd"]) * 10**9 == site.sql(spent.format(where))[0][0] > 0
    assert deleted.exit_code == 0
    assert await site.told("budgets", "list", "-t", "acme") == []


@pytest.mark.parametrize("unit", ["tokens", "requests"])
async def test_all_that_is_said_of_a_quota_is_kept(site: Site, unit: str) -> None:
    options = ("--zone", "Asia/Kolkata", "--soft", "8", "-m", "gpt-4o-mini", "--period", "total")
    made = await site.told("quotas", "set", "9000", "--unit", unit, "-t", "beta", *options)
    (row,) = site.sql(
        "SELECT level, owner, model, unit, amount_nano, soft_nano, period, zone FROM budgets "
        f"WHERE id = '{made['id']}'"
    )
    (shown,) = await site.told("quotas", "list", "-t", "beta")
    await site.told("quotas", "delete", made["id"])

    zone = ("total", "Asia/Kolkata")
    assert row == ("tenant", "beta", "gpt-4o-mini", unit, 9000, 8, *zone)
    sums = " + ".join(f"COALESCE(SUM({each}_tokens), 0)" for each in METERS)
    used = sums if unit == "tokens" else "COUNT(*)"
    where = "tenant = 'beta' AND model = 'gpt-4o-mini'"
    ((expected,),) = site.sql(f"SELECT {used} FROM usage_records WHERE {where}")
    assert (shown["unit"], shown["amount"], shown["used"]) == (unit, 9000, expected)
    assert expected > 0 and await site.told("quotas", "list", "-t", "beta") == []
