"""Several gateways, one limit: exact under pressure, and no slot lost with a client that left."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

GATEWAYS = 4
ADMIN = "admin-key-0123456789abcdef"
CLIENTS = 200  # at each moment, over all gateways
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}
pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


@pytest.fixture(scope="module")
def redis() -> Iterator[servers.Server]:
    with servers.redis() as server:
        yield server


@pytest.fixture(params=["host", "redis"])
def state(request: pytest.FixtureRequest) -> Any:
    if request.param == "host":
        return {"backend": "host"}
    return {"redis_url": request.getfixturevalue("redis").url}


@asynccontextmanager
async def gateways(folder: Path, latency_ms: int, **config: Any) -> AsyncIterator[list[Gateway]]:
    providers = {"sim": {"kind": "simulated", "latency_ms": latency_ms}}
    env = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN}
    async with AsyncExitStack() as stack:
        running = [
            running_gateway({"providers": providers, **config}, env) for _ in range(GATEWAYS)
        ]
        yield [await stack.enter_async_context(each) for each in running]


async def asked(gateway: Gateway, key: str = API_KEY) -> int:
    return (await call(f"{gateway.url}/v1/chat/completions", BODY, key=key)).status


async def admin(gateway: Gateway, method: str, path: str, body: Any = None) -> Any:
    answer = await call(f"{gateway.url}/admin/v1/{path}", body, key=ADMIN, method=method)
    assert answer.status < 300, answer.body
    return answer.json


async def tenant_keys(gateway: Gateway, **document: Any) -> list[str]:
    """A key for each gateway, all of one tenant."""
    await admin(gateway, "POST", "tenants", {"id": "acme", **document})
    made = [await admin(gateway, "POST", "keys", {"tenant": "acme"}) for _ in range(GATEWAYS)]
    return [each["key"] for each in made]


async def metric(gateway: Gateway, name: str) -> float:
    page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()
    lines = [line for line in page.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def test_a_limit_admits_exactly_its_number(tmp_path: Path, state: Any) -> None:
    """Of all keys of a tenant together. Exactly: what a minute allows, and what has flowed in
    since."""
    limit, rate = 120, 12
    async with gateways(tmp_path, 1, state=state) as running:
        limits = {"requests_per_minute": rate, "burst_size": limit}
        keys = await tenant_keys(running[0], limits=limits)
        began = time.monotonic()

        async def client(number: int) -> list[int]:
            key = keys[number // GATEWAYS % GATEWAYS]
            return [await asked(running[(number + n) % GATEWAYS], key) for n in range(4)]

        answers = await asyncio.gather(*(client(number) for number in range(CLIENTS)))
        flowed = (time.monotonic() - began) * rate / 60
        alone = sum([await metric(each, "gateway_limit_rate_degraded_total") for each in running])

    statuses = [status for each in answers for status in each]
    assert set(statuses) == {200, 429}
    assert limit <= statuses.count(200) <= limit + flowed
    assert alone == 0


async def test_a_budget_is_never_exceeded(tmp_path: Path, state: Any) -> None:
    """Each request holds what it may cost at most, so the bound is the budget itself. Then the
    records of all gateways, added up by SQL, are what the clients were told."""
    prices = {"kind": "simulated", "id": "simulated", "prices": {"input": 100, "output": 1000}}
    plugins = {
        "catalog_models": {"models": [prices]},
        "ledger_store": {"ship_seconds": 0.1},
    }
    amount = Decimal(2)
    body = {**BODY, "max_tokens": 20}
    costs: list[Decimal] = []
    statuses: set[int] = set()
    async with gateways(tmp_path, 1, state=state, plugins=plugins) as running:
        keys = await tenant_keys(running[0])
        whole = {"level": "tenant", "owner": "acme", "amount_usd": "2", "period": "day"}
        await admin(running[0], "PUT", "budgets", whole)
        await asyncio.sleep(5)  # the bound for news of a change

        async def client(number: int) -> None:
            for n in range(4):
                url = f"{running[(number + n) % GATEWAYS].url}/v1/chat/completions"
                answer = await call(url, body, key=keys[number // GATEWAYS % GATEWAYS])
                statuses.add(answer.status)
                if answer.status == 200:
                    costs.append(Decimal(answer.headers["x-gateway-cost"]))

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
        async with asyncio.timeout(20):
            while True:
                (shown,) = (await admin(running[1], "GET", "budgets"))["budgets"]
                if Decimal(shown["spent_usd"]) == sum(costs) and shown["held_usd"] == "0":
                    break
                await asyncio.sleep(0.1)

    with sqlite3.connect(tmp_path / "gateway.db") as database:
        query = "SELECT SUM(cost_nano), SUM(status = 200) FROM usage_records"
        nano, answered = database.execute(query).fetchone()
    assert statuses == {200, 402}
    assert amount * 9 / 10 < sum(costs) <= amount
    assert (Decimal(nano) / 10**9, answered) == (sum(costs), len(costs))


async def test_clients_that_leave_take_no_slot_with_them(tmp_path: Path, state: Any) -> None:
    """However they leave: before, while, or after they get their slot."""
    slots = 40
    rate = {"requests_per_minute": None, "burst_size": None, "max_concurrent": slots}
    async with gateways(tmp_path, 300, state=state, security={"rate_limit": rate}) as running:

        async def leaving(number: int) -> None:
            with suppress(TimeoutError, OSError, EOFError):
                async with asyncio.timeout(0.002 * number):
                    await asked(running[number % GATEWAYS])

        await asyncio.gather(*(leaving(number) for number in range(CLIENTS)))
        async with asyncio.timeout(10):
            while True:
                many = range(slots + 20)
                answers = await asyncio.gather(*(asked(running[n % GATEWAYS]) for n in many))
                if answers.count(200) >= slots:
                    break

    assert answers.count(200) == slots
    assert answers.count(429) == 20


async def test_slots_of_a_killed_gateway_come_back(tmp_path: Path) -> None:
    """On one host within seconds, whoever held them."""
    slots = 8
    rate = {"requests_per_minute": None, "burst_size": None, "max_concurrent": slots}
    security, state = {"rate_limit": rate}, {"backend": "host"}
    async with gateways(tmp_path, 2000, state=state, security=security) as running:
        held = [asyncio.ensure_future(asked(running[0])) for _ in range(slots + 1)]
        await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)  # the one too many
        told = await asked(running[1])
        running[0].process.kill()
        await running[0].process.wait()
        await asyncio.gather(*held, return_exceptions=True)
        async with asyncio.timeout(10):
            while True:
                answers = await asyncio.gather(*(asked(running[1]) for _ in range(slots)))
                if answers == [200] * slots:
                    break
                await asyncio.sleep(0.1)

    assert told == 429
