"""A budget at a real gateway: set by command, kept under a crowd, reported to the cent."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import Answer, ScriptedProvider

ADMIN = "admin-key-0123456789abcdef"
CLIENTS = 200
T = TypeVar("T")
PRICES = """
from decimal import Decimal
import llm_gateway_api as gw

class Catalog:
    def models(self, kind): return []
    def info(self, kind, model): return None
    def price(self, kind, model, at):
        if model == "cheap": return gw.Price("list-1", {"input": Decimal(1), "output": Decimal(1)})
        if model != "simulated": return None
        return gw.Price("list-1", {"input": Decimal(100), "output": Decimal(1000)})

@gw.hookimpl
def llm_gateway_catalogs():
    return [gw.CatalogSpec("prices_of_tests", lambda: Catalog())]
"""
CONFIG: dict[str, Any] = {
    "providers": {"sim": {"kind": "simulated", "latency_ms": 5}},
    "plugins": {"ledger_store": {"ship_seconds": 0.1}},
}


def body(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "count these words"}]
    return {"model": "simulated", "messages": messages, "max_tokens": 40, **more}


@pytest.fixture
def prices(tmp_path: Path) -> dict[str, str]:
    """The environment of a gateway in which a stranger's price list is installed."""
    folder = tmp_path / "prices"
    info = folder / "prices_of_tests-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "prices_of_tests.py").write_text(PRICES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: prices-of-tests\nVersion: 1.0\n")
    entry = "[llm_gateway.plugins]\nprices_of_tests = prices_of_tests\n"
    (info / "entry_points.txt").write_text(entry)
    return {
        "PYTHONPATH": str(folder),
        "LLM_GATEWAY_DATA_DIR": str(tmp_path / "data"),
        "LLM_GATEWAY_ADMIN_KEY": ADMIN,
    }


async def command(gateway: Gateway, *args: str, code: int = 0) -> Any:
    whole = [sys.executable, "-m", "llm_gateway", "--json", "-u", gateway.url, "-k", ADMIN, *args]
    done = await asyncio.to_thread(
        subprocess.run, whole, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


async def ask(gateway: Gateway, key: str, **more: Any) -> Reply:
    return await call(f"{gateway.url}/v1/chat/completions", body(**more), key=key)


async def until(ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """The first answer that is `good`."""
    async with asyncio.timeout(10):
        while not good(found := await ask()):  # noqa: ASYNC110  # another process's doing
            await asyncio.sleep(0.1)
    return found


async def recorded(gateway: Gateway, many: int) -> dict[str, Any]:
    """The cost report of the tenant, once the ledger has `many` answers of it."""
    async with asyncio.timeout(20):
        while True:
            url = f"{gateway.url}/admin/v1/cost?tenant=acme&group_by=tenant"
            rows = (await call(url, key=ADMIN)).json["rows"]
            if rows and rows[0]["requests"] >= many:
                break
            await asyncio.sleep(0.1)
    found: dict[str, Any] = (await command(gateway, "cost", "-t", "acme", "-g", "tenant"))[0]
    return found


async def test_a_crowd_spends_no_more_than_there_is(prices: dict[str, str], tmp_path: Path) -> None:
    """Each request holds all it may cost, so the bound is the budget; and the numbers that the
    commands print are those of the database."""
    async with running_gateway(CONFIG, prices) as gateway:
        await command(gateway, "tenants", "create", "acme")
        keys = [(await command(gateway, "keys", "create", "-t", "acme"))["key"] for _ in range(2)]
        set_ = await command(gateway, "budgets", "set", "1.5", "-t", "acme", "--soft", "0.5")
        await asyncio.sleep(0.1)
        answers = await asyncio.gather(*(ask(gateway, keys[n % 2]) for n in range(CLIENTS)))
        good = [each for each in answers if each.status == 200]
        while (one := await ask(gateway, keys[0])).status == 200:
            good.append(one)
        report = await recorded(gateway, len(good))
        (shown,) = await command(gateway, "budgets", "list", "-t", "acme")
        page = await call(f"{gateway.metrics_url}/metrics")
        no_owner = await command(gateway, "budgets", "set", "1", "-t", "nobody", code=1)
    async with running_gateway(CONFIG, prices) as gateway:
        again = await ask(gateway, keys[0])
        await command(gateway, "budgets", "delete", set_["id"])
        none = await command(gateway, "budgets", "list")
        free = await ask(gateway, keys[0])

    with sqlite3.connect(tmp_path / "data/gateway.db") as database:
        query = "SELECT SUM(cost_nano), COUNT(*) FROM usage_records WHERE tenant = 'acme'"
        (nano, requests) = database.execute(query).fetchone()
    spent = sum(Decimal(each.headers["x-gateway-cost"]) for each in good)
    refused = [each for each in answers if each.status != 200]
    assert {each.status for each in refused} == {402}
    assert refused[0].json["error"]["code"] == "insufficient_quota"
    assert "of this tenant" in refused[0].json["error"]["message"]
    assert refused[0].headers["x-should-retry"] == "false"
    assert Decimal("1.4") < spent <= Decimal("1.5")
    assert Decimal(report["cost_usd"]) == spent == Decimal(shown["spent_usd"])
    assert shown["held_usd"] == "0"
    assert b'gateway_limit_budget_alerts_total{level="tenant",kind="soft"} 1' in page.body
    assert "404" in no_owner and "nobody" in no_owner
    assert (one.status, again.status) == (402, 402)
    assert none == [] and free.status == 200
    last = Decimal(free.headers["x-gateway-cost"])
    assert Decimal(nano) / 10**9 == spent + last
    assert requests == len(good) + 1


async def test_a_fallback_waits_for_the_budget_of_its_dearer_model(
    prices: dict[str, str], tmp_path: Path
) -> None:
    """It is asked where the budget allows that; else the failure that led to it is told."""
    async with ScriptedProvider() as provider:
        down = {"kind": "openai", "api_key": "k", "models": ["cheap"], "max_retries": 0}
        down["base_url"] = f"{provider.refused_url()}/v1"
        providers = {**CONFIG["providers"], "down": down}
        routing = {"fallbacks": {"cheap": ["sim/simulated"]}}
        config = {**CONFIG, "providers": providers, "routing": routing}
        async with running_gateway(config, prices) as gateway:
            await command(gateway, "tenants", "create", "acme")
            key = (await command(gateway, "keys", "create", "-t", "acme"))["key"]
            await command(gateway, "budgets", "set", "0.03", "-t", "acme")  # it may cost 0.04
            refused = await ask(gateway, key, model="cheap")
            await command(gateway, "budgets", "set", "5", "-t", "acme")
            answer = await until(  # it hears of the new budget
                lambda: ask(gateway, key, model="cheap"), lambda found: found.status == 200
            )
            (shown,) = await until(
                lambda: command(gateway, "budgets", "list"),
                lambda found: found[0]["held_usd"] == "0",
            )

    assert (refused.status, refused.json["error"]["code"]) == (502, "upstream_unreachable")
    assert answer.headers["x-gateway-provider"] == "sim"
    assert shown["spent_usd"] == answer.headers["x-gateway-cost"] != "0"


async def test_a_webhook_is_told_of_each_limit(prices: dict[str, str]) -> None:
    """At a private address, since the configuration allows that one; and once each."""
    async with ScriptedProvider() as hook:
        hook.default = Answer(204)
        config = {
            **CONFIG,
            "plugins": {
                **CONFIG["plugins"],
                "limit_budget": {"webhook_url": f"{hook.url}/budgets?token=hidden-away"},
            },
            "security": {"egress": {"allow_private": ["127.0.0.1"]}},
        }
        async with running_gateway(config, prices) as gateway:
            await command(gateway, "tenants", "create", "acme")
            key = (await command(gateway, "keys", "create", "-t", "acme"))["key"]
            await command(gateway, "budgets", "set", "0.2", "-t", "acme", "--soft", "0.05")
            statuses = {(await ask(gateway, key)).status for _ in range(30)}
            await hook.wait_received(2)
            metrics = await call(f"{gateway.metrics_url}/metrics")
            log = "\n".join(gateway.log_lines())

    told = {each.json["event"]: each.json for each in hook.received}
    assert statuses == {200, 402}
    assert len(hook.received) == 2 and set(told) == {"budget.warned", "budget.exhausted"}
    assert (told["budget.warned"]["soft_usd"], told["budget.warned"]["owner"]) == ("0.05", "acme")
    assert told["budget.exhausted"]["amount_usd"] == "0.2"
    for kind in (b"soft", b"hard"):
        line = b'gateway_limit_budget_alerts_total{level="tenant",kind="%b"} 1' % kind
        assert line in metrics.body
    assert "budget.warned" in log and "budget.exhausted" in log and "hidden-away" not in log


async def test_on_postgresql_two_gateways_share_a_budget(
    prices: dict[str, str], tmp_path: Path
) -> None:
    """Their shared state is that of the host."""
    config = {**CONFIG, "state": {"backend": "host"}}
    with servers.postgres() as server:
        env = {**prices, "DATABASE_URL": server.url}
        async with running_gateway(config, env) as one, running_gateway(config, env) as two:
            await command(one, "tenants", "create", "acme")
            key = (await command(two, "keys", "create", "-t", "acme"))["key"]
            await command(one, "budgets", "set", "0.4", "--key", key.split("_")[1])
            await asyncio.sleep(3)  # news reach the second at once, or its next look does
            answers = await asyncio.gather(*(ask((one, two)[n % 2], key) for n in range(60)))
            stream = await ask(one, key, stream=True, max_tokens=10_000)
            unknown = await ask(one, key, model="sim/of-no-price")
            (shown,) = await command(two, "budgets", "list")

    good = [each for each in answers if each.status == 200]
    spent = sum(Decimal(each.headers["x-gateway-cost"]) for each in good)
    assert {each.status for each in answers} == {200, 402}
    assert 0 < spent <= Decimal("0.4")
    assert "of this key" in next(e for e in answers if e.status == 402).json["error"]["message"]
    assert (stream.status, unknown.status) == (402, 403)
    assert unknown.json["error"]["code"] == "price_unknown"
    assert shown["amount_usd"] == "0.4"
