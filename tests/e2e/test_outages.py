"""Redis and PostgreSQL down, slow and frozen: what clients see, what readiness says."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.ways import Way

ADMIN = "admin-key-0123456789abcdef"
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}
CONFIG: dict[str, Any] = {
    "providers": {"sim": {"kind": "simulated", "latency_ms": 1}},
    "plugins": {"ledger_store": {"ship_seconds": 0.1}},
}


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # what another process does is no event here
            await asyncio.sleep(0.05)


async def ready(gateway: Gateway) -> tuple[int, list[str]]:
    answer = await call(f"{gateway.url}/health/ready")
    return answer.status, answer.json.get("down", [])


def running(folder: Path, **config: Any) -> Any:
    env = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN}
    return running_gateway({**CONFIG, **config}, env)


async def test_readiness_names_what_is_down_and_stays_ready(tmp_path: Path) -> None:
    with servers.redis() as server:
        async with running(tmp_path, state={"redis_url": server.url}) as gateway:
            server.stop()
            await until(lambda: says(gateway, ["state"]))
            during = await ready(gateway)
            document = (await call(f"{gateway.url}/health?detailed=true", key=ADMIN)).json
            answer = await call(f"{gateway.url}/v1/chat/completions", BODY, key=API_KEY)
            server.start()
            await until(lambda: says(gateway, []))

    assert during == (200, ["state"])
    assert document["status"] == "degraded"
    assert document["dependencies"] == {"database": {"state": "ok"}, "state": {"state": "down"}}
    assert answer.status == 200


async def says(gateway: Gateway, down: list[str]) -> bool:
    return (await ready(gateway))[1] == down


FAULTS = ("", "down", "slow", "frozen")
# The rest of the pairs are in the long run.
QUICKLY = {("down", ""), ("", "down"), ("frozen", "frozen"), ("slow", "down")}
PAIRS = [
    pytest.param(*pair, marks=() if pair in QUICKLY else pytest.mark.slow)
    for pair in product(FAULTS, FAULTS)
    if any(pair)
]
DATABASE_SECONDS = 1.0
# What the first requests may wait for Redis (its time-out 0.25 s, twice and a quarter), on a
# machine that is busy with the test itself.
FIRST_SECONDS = 0.65 + 1.0
LATER_SECONDS = 0.5


class Behind:
    """A server and the way to it; one fault at a time."""

    def __init__(self, server: servers.Server, way: Way) -> None:
        self.server = server
        self.way = way

    async def suffer(self, fault: str) -> None:
        if fault == "down":
            await asyncio.to_thread(self.server.stop)
        elif fault == "frozen":
            self.server.freeze()
        elif fault == "slow":
            self.way.delay = 3.0

    async def recover(self, fault: str) -> None:
        if fault == "down":
            await asyncio.to_thread(self.server.start)
        elif fault == "frozen":
            self.server.thaw()
        self.way.delay = 0.0


@pytest.fixture(scope="module")
def redis_server() -> Iterator[servers.Server]:
    with servers.redis() as server:
        yield server


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[servers.Server]:
    with servers.postgres() as server:
        yield server


async def asked(gateway: Gateway) -> tuple[int, float]:
    """The status, and how long it took."""
    began = time.monotonic()
    answer = await call(f"{gateway.url}/v1/chat/completions", BODY, key=API_KEY)
    return answer.status, time.monotonic() - began


async def recorded(gateway: Gateway) -> int:
    """Requests in the report; -1 where there is none now."""
    answer = await call(f"{gateway.url}/admin/v1/token-usage?window=1d", key=ADMIN)
    if answer.status == 503:
        assert answer.headers["retry-after"]
        return -1
    return sum(int(each["requests"]) for each in answer.json["rows"])


@pytest.mark.timeout(120)
@pytest.mark.slow
@pytest.mark.parametrize(("redis_fault", "postgres_fault"), PAIRS)
async def test_clients_see_no_outage(
    tmp_path: Path,
    redis_server: servers.Server,
    postgres_server: servers.Server,
    redis_fault: str,
    postgres_fault: str,
) -> None:
    """Requests are answered within the bounds that outages.md states; readiness names what is
    gone; all is counted once it is back."""
    async with (
        Way(redis_server.url).open() as to_redis,
        Way(postgres_server.url).open() as to_postgres,
    ):
        redis, postgres = Behind(redis_server, to_redis), Behind(postgres_server, to_postgres)
        config = {
            "state": {"redis_url": to_redis.url},
            "database": {
                "url": to_postgres.url,
                "timeout_seconds": DATABASE_SECONDS,
                "min_connections": 1,
            },
            "security": {"rate_limit": {"requests_per_minute": 6000}},
        }
        async with running(tmp_path, **config) as gateway:
            before = await recorded(gateway)
            well = await asked(gateway)
            down = [
                name
                for name, fault in (("database", postgres_fault), ("state", redis_fault))
                if fault
            ]
            try:
                await asyncio.gather(redis.suffer(redis_fault), postgres.suffer(postgres_fault))
                first = await asyncio.gather(*(asked(gateway) for _ in range(10)))
                await until(lambda: says(gateway, down))
                later = [await asked(gateway) for _ in range(10)]
                status, _ = await ready(gateway)
                report = await recorded(gateway)
            finally:
                await asyncio.gather(redis.recover(redis_fault), postgres.recover(postgres_fault))
            await until(lambda: says(gateway, []))
            again = await asked(gateway)

            async def all_recorded() -> bool:
                return await recorded(gateway) == before + 22

            await until(all_recorded)

    answers = [well, *first, *later, again]
    assert [answer for answer, _ in answers] == [200] * 22
    assert max(seconds for _, seconds in first) < FIRST_SECONDS
    assert max(seconds for _, seconds in later) < LATER_SECONDS
    assert status == 200
    assert (report == -1) == bool(postgres_fault)


async def test_a_limit_that_must_hold_closes_the_door(
    tmp_path: Path, redis_server: servers.Server
) -> None:
    """With `fail: closed` nobody passes uncounted; it is told as what passes, and passes."""
    rate = {"requests_per_minute": 6000, "fail": "closed"}
    config = {"state": {"redis_url": redis_server.url}, "security": {"rate_limit": rate}}
    async with running(tmp_path, **config) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        redis_server.stop()
        answer = await call(url, BODY, key=API_KEY)
        redis_server.start()

        async def open_again() -> bool:
            return (await call(url, BODY, key=API_KEY)).status == 200

        await until(open_again)

    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json["error"]["code"] == "limiter_unavailable"


@pytest.mark.slow
async def test_it_starts_without_shared_state(tmp_path: Path) -> None:
    """It answers, and says what it lacks."""
    config = {
        "state": {"redis_url": f"redis://127.0.0.1:{servers.free_port()}/0"},
        "security": {"rate_limit": {"requests_per_minute": 6000}},
    }
    async with running(tmp_path, **config) as gateway:
        answer = await asked(gateway)
        await until(lambda: says(gateway, ["state"]))

    assert answer[0] == 200
