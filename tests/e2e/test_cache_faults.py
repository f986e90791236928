"""What a cache needs fails: every request is answered all the same, after a few nobody waits, and
what was kept is there again when it is back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import Hang, ScriptedProvider
from llm_gateway_testkit.ways import Way

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "sk-test-upstream"
SECONDS = 30.0
THRESHOLD = 3


def config(provider: ScriptedProvider, **cache: Any) -> dict[str, Any]:
    up = {"kind": "openai", "api_key": KEY, "base_url": f"{provider.url}/v1"}
    return {"providers": {"up": up}, "cache": cache}


async def ask(gateway: Gateway, text: str = "how deep is the water here") -> Reply:
    body = {"model": "up/gpt-6-sol", "messages": [{"role": "user", "content": text}]}
    return await call(f"{gateway.url}/v1/chat/completions", body, key=gateway.api_key)


async def counted(gateway: Gateway, series: str) -> float:
    page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()
    values = [line.rpartition(" ")[2] for line in page.split("\n") if line.startswith(series + " ")]
    return sum(map(float, values))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await holds():  # what another process does is no event here
            await asyncio.sleep(0.05)


# --- Redis -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with servers.redis() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind(server: servers.Server) -> AsyncIterator[tuple[Gateway, Way]]:
    """A gateway whose Redis is reached by a way that may be made slow."""
    async with (
        ScriptedProvider(validator=openai.strict(KEY)) as provider,
        Way(server.url).open() as way,
    ):
        provider.default = openai.chat_answer("Four fathoms.")
        redis = {"url": way.url, "timeout_seconds": 0.2, "failure_threshold": THRESHOLD}
        given = config(provider, backend="redis", redis={**redis, "max_pause_seconds": 1})
        async with running_gateway(given) as gateway:
            yield gateway, way


@pytest.mark.parametrize("fault", ["killed", "slow", "frozen"])
async def test_a_cache_in_redis_fails_open_and_comes_back(
    behind: tuple[Gateway, Way], server: servers.Server, fault: str
) -> None:
    gateway, way = behind
    breaker = "gateway_cache_redis_breaker_open"
    errors = 'gateway_cache_errors_total{cache="redis"}'

    async def hits() -> bool:
        return (await ask(gateway)).headers["x-gateway-cache"] == "hit"

    async def closed() -> bool:
        return await hits() and await counted(gateway, breaker) == 0.0

    await until(closed)
    before = await counted(gateway, errors), await counted(gateway, SKIPPED)
    if fault == "slow":
        way.delay = 2.0
    else:
        await asyncio.to_thread(server.stop if fault == "killed" else server.freeze)
    try:
        replies = [await ask(gateway) for _ in range(THRESHOLD + 10)]
        opened = await counted(gateway, breaker)
        errors_now, skipped_now = await counted(gateway, errors), await counted(gateway, SKIPPED)
    finally:
        way.delay = 0.0
        await asyncio.to_thread(server.start if fault == "killed" else server.thaw)
    await until(closed)

    assert [each.status for each in replies] == [200] * len(replies)
    assert {each.headers["x-gateway-cache"] for each in replies} == {"miss"}
    assert opened == 1.0
    assert errors_now - before[0] >= THRESHOLD
    assert skipped_now > before[1]


SKIPPED = "gateway_cache_redis_skipped_total"


# --- vectors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["failing", "silent"])
async def test_a_semantic_cache_fails_open_and_comes_back(fault: str) -> None:
    """While the embedding model fails, questions are answered by the provider; then a like one
    is answered from what was kept before."""
    vector = openai.embeddings_answer([[1.0, 0.0]])
    step = openai.error_answer(500) if fault == "failing" else Hang()
    skipped = 'gateway_cache_semantic_total{outcome="skipped"}'
    async with (
        ScriptedProvider(validator=openai.strict(KEY)) as provider,
        ScriptedProvider() as vectors,
    ):
        provider.default = openai.chat_answer("Four fathoms.")
        vectors.default = vector
        semantic = {
            "model": "vectors/some-embedding",
            "timeout_seconds": 0.2,
            "failure_threshold": THRESHOLD,
            "max_pause_seconds": 0.5,
        }
        given = config(provider, backend="memory", semantic_cache=semantic)
        given["providers"]["vectors"] = {
            "kind": "openai",
            "api_key": "k",
            "base_url": f"{vectors.url}/v1",
            "max_retries": 0,
        }
        async with running_gateway(given) as gateway:
            await ask(gateway, "how deep is the water at the old pier")
            alike = await ask(gateway, "how deep is the water at the  old pier ")
            vectors.default = step
            asked = len(vectors.received)
            texts = [f"which boat is number {each} in the row" for each in range(THRESHOLD + 10)]
            replies = [await ask(gateway, text) for text in texts]
            opened = await counted(gateway, "gateway_cache_semantic_breaker_open")
            kept_out = await counted(gateway, skipped)
            asked = len(vectors.received) - asked
            vectors.default = vector

            async def again() -> bool:
                reply = await ask(gateway, "how deep is the  water at the old pier")
                return reply.headers["x-gateway-cache"] == "hit"

            await until(again)

    assert alike.headers["x-gateway-cache"] == "hit"
    assert [each.status for each in replies] == [200] * len(replies)
    assert {each.headers["x-gateway-cache"] for each in replies} == {"miss"}
    assert opened == 1.0
    assert kept_out > 0
    assert asked < len(texts)
