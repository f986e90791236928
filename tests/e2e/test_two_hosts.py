"""Two hosts of two workers on one Redis and one PostgreSQL: one service, and no harm when one
host is cut off from both and comes back."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.ways import Way

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
ADMIN = "admin-key-0123456789abcdef"
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}
FAILING = {"model": "simulated", "messages": [{"role": "user", "content": "simulate:error=503"}]}
REVOKED_WITHIN = 5.0  # seconds: filter-identity's README
BREAKER_NEWS_WITHIN = 2.0
BUSY = 5.0  # what a machine that also runs the test may add
CONFIG: dict[str, Any] = {
    "providers": {"sim": {"kind": "simulated", "latency_ms": 1}},
    "plugins": {"ledger_store": {"ship_seconds": 0.1}},
    "resilience": {
        "circuit_breaker": {"failure_threshold": 3, "timeout_seconds": 60},
        "retry": {"enabled": False},
    },
}


@dataclass(frozen=True, slots=True)
class Host:
    """Two workers with a data directory and ways of their own."""

    gateway: Gateway
    ways: tuple[Way, Way]

    async def ask(self, body: dict[str, Any] = BODY, key: str = API_KEY) -> Reply:
        return await call(f"{self.gateway.url}/v1/chat/completions", body, key=key)

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        answer = await call(f"{self.gateway.url}/admin/v1/{path}", body, key=ADMIN, method=method)
        assert answer.status < 300, answer.body
        return answer.json

    async def down(self) -> list[str]:
        return (await call(f"{self.gateway.url}/health/ready")).json.get("down", [])

    async def metric(self, name: str) -> list[float]:
        page = (await call(f"{self.gateway.metrics_url}/metrics")).body.decode()
        return [float(each) for each in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.M)]

    async def two_workers(self) -> bool:
        document = (await call(f"{self.gateway.url}/health?detailed=true", key=ADMIN)).json
        return list(document["workers"].values()).count("ready") == 2


@pytest.fixture(scope="module")
def redis() -> Iterator[servers.Server]:
    with servers.redis() as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[servers.Server]:
    with servers.postgres() as server:
        yield server


@pytest.fixture
async def hosts(
    tmp_path: Path, redis: servers.Server, postgres: servers.Server
) -> AsyncIterator[Callable[..., Awaitable[list[Host]]]]:
    """Makes the hosts; the first one brings the tables up to date for both."""
    async with AsyncExitStack() as stack:

        async def made(**security: Any) -> list[Host]:
            return [
                await stack.enter_async_context(
                    host(tmp_path / name, redis.url, postgres.url, security)
                )
                for name in ("a", "b")
            ]

        yield made


@asynccontextmanager
async def host(
    folder: Path, redis_url: str, postgres_url: str, security: dict[str, Any]
) -> AsyncIterator[Host]:
    async with Way(redis_url).open() as state, Way(postgres_url).open() as database:
        config = {
            **CONFIG,
            "state": {"redis_url": state.url},
            "database": {"url": database.url, "timeout_seconds": 1.0, "min_connections": 1},
            "security": security,
        }
        env = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN}
        async with running_gateway(config, env, args=("--workers", "2")) as gateway:
            made = Host(gateway, (state, database))
            await until(made.two_workers)
            yield made


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # what another process does is no event here
            await asyncio.sleep(0.05)


async def statuses(hosts: list[Host], count: int, **more: Any) -> Counter[int]:
    """Of `count` requests at once on new connections, spread over hosts and workers."""
    asked = (hosts[number % len(hosts)].ask(**more) for number in range(count))
    return Counter(each.status for each in await asyncio.gather(*asked))


async def test_a_limit_is_one_over_hosts_and_workers(
    hosts: Callable[..., Awaitable[list[Host]]],
) -> None:
    loop = asyncio.get_running_loop()
    both = await hosts(rate_limit={"requests_per_minute": 60, "burst_size": 60})
    began = loop.time()
    found = await statuses(both, 240)
    flowed = loop.time() - began  # one a second

    assert set(found) == {200, 429}
    assert 60 <= found[200] <= 60 + flowed


async def test_what_one_host_learns_of_a_provider_the_other_knows(
    hosts: Callable[..., Awaitable[list[Host]]],
) -> None:
    """Three failures at one worker open the breaker in all four."""
    first, second = await hosts()
    for _ in range(5):  # three of them at the same worker
        assert (await first.ask(FAILING)).status == 503

    async def known() -> bool:
        return await second.metric("gateway_circuit_breaker_state") == [2.0]

    await until(known, BREAKER_NEWS_WITHIN + BUSY)
    refused = [await second.ask() for _ in range(8)]  # several of both workers

    assert {each.status for each in refused} == {503}
    assert {each.json["error"]["code"] for each in refused} == {"circuit_open"}


async def test_a_key_is_revoked_everywhere_in_time(
    hosts: Callable[..., Awaitable[list[Host]]],
) -> None:
    first, second = await hosts()
    await first.admin("POST", "tenants", {"id": "acme"})
    made = await first.admin("POST", "keys", {"tenant": "acme", "name": "ci"})
    assert await statuses([first, second], 16, key=made["key"]) == {200: 16}

    await first.admin("POST", f"keys/{made['id']}/revoke")

    async def refused() -> bool:
        return set(await statuses([first, second], 8, key=made["key"])) == {401}

    await until(refused, REVOKED_WITHIN + BUSY)
    assert await statuses([first, second], 32, key=made["key"]) == {401: 32}


async def test_a_host_that_is_cut_off_serves_and_comes_back_without_harm(
    hosts: Callable[..., Awaitable[list[Host]]],
) -> None:
    """Cut off from Redis and PostgreSQL it answers known keys, refuses no one for what it cannot
    know; afterwards every request of both is in the ledger once and revoked keys are refused."""
    both = await hosts(rate_limit={"requests_per_minute": 60000})
    first, second = both
    await first.admin("POST", "tenants", {"id": "cut-off"})
    kept, revoked = [
        await first.admin("POST", "keys", {"tenant": "cut-off", "name": name})
        for name in ("kept", "revoked")
    ]
    for each in (kept, revoked):
        assert await statuses(both, 16, key=each["key"]) == {200: 16}

    for way in second.ways:
        way.cut()
    during = await statuses(both, 40, key=kept["key"])

    async def noticed() -> bool:
        return await second.down() == ["database", "state"]

    await until(noticed)
    unknown = await second.ask(key="sk-gw-unknown-0123456789abcdef")
    await first.admin("POST", f"keys/{revoked['id']}/revoke")
    still = await statuses([second], 8, key=kept["key"])
    alone = await statuses([first], 8, key=kept["key"])
    for way in second.ways:
        way.mend()

    async def well() -> bool:
        return await second.down() == []

    async def caught_up() -> bool:
        return set(await statuses([second], 8, key=revoked["key"])) == {401}

    async def recorded() -> bool:
        report = await first.admin("GET", "token-usage?window=1d&tenant=cut-off")
        return sum(int(each["requests"]) for each in report["rows"]) >= served

    await until(well)
    await until(caught_up)
    served = 16 + 16 + 40 + 8 + 8
    await until(recorded)
    again = await statuses(both, 40)
    report = await first.admin("GET", "token-usage?window=1d&tenant=cut-off")

    assert during == {200: 40}
    assert (still, alone) == ({200: 8}, {200: 8})
    assert unknown.status in (401, 503)
    assert again == {200: 40}
    total = sum(int(each["requests"]) for each in report["rows"])
    assert total >= served  # and what the revoked key was granted until the news arrived
