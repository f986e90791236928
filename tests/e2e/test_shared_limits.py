"""Several gateways, one limit: exact under pressure, and no slot lost with a client that left."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

GATEWAYS = 4
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
    env = {"LLM_GATEWAY_DATA_DIR": str(folder)}
    async with AsyncExitStack() as stack:
        running = [
            running_gateway({"providers": providers, **config}, env) for _ in range(GATEWAYS)
        ]
        yield [await stack.enter_async_context(each) for each in running]


async def asked(gateway: Gateway) -> int:
    answer = await call(f"{gateway.url}/v1/chat/completions", BODY, key=API_KEY)
    return answer.status


async def metric(gateway: Gateway, name: str) -> float:
    page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()
    lines = [line for line in page.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def test_a_limit_admits_exactly_its_number(tmp_path: Path, state: Any) -> None:
    """Exactly: what a minute allows, and what has flowed in since."""
    limit = 120
    rate = {"requests_per_minute": limit, "burst_size": limit}
    security = {"rate_limit": rate}
    async with gateways(tmp_path, 1, state=state, security=security) as running:
        began = time.monotonic()

        async def client(number: int) -> list[int]:
            return [await asked(running[(number + n) % GATEWAYS]) for n in range(4)]

        answers = await asyncio.gather(*(client(number) for number in range(CLIENTS)))
        flowed = (time.monotonic() - began) * limit / 60
        alone = sum([await metric(each, "gateway_limit_rate_degraded_total") for each in running])

    statuses = [status for each in answers for status in each]
    assert set(statuses) == {200, 429}
    assert limit <= statuses.count(200) <= limit + flowed
    assert alone == 0


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
