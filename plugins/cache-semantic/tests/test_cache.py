"""The semantic cache compares within a partition, serves what agrees, and forgets in time."""

import asyncio
from typing import Any, cast

import llm_gateway_api as gw
import pytest
from llm_gateway_cache_semantic.cache import SemanticCache
from llm_gateway_cache_semantic.settings import SemanticSettings
from llm_gateway_testkit.gateway import API_KEY, running_gateway
from llm_gateway_testkit.openai_dialect import embeddings_answer
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import ScriptedProvider


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def letters(
    text: str, model: str | None, seconds: float, asked: gw.Asked | None = None
) -> tuple[float, ...]:
    """A vector that knows which words there are, and nothing else."""
    found = [0.0] * 64
    for word in text.lower().split():
        found[sum(word.encode()) % 64] += 1.0
    return tuple(found)


def cache(clock: Clock | None = None, **settings: Any) -> SemanticCache:
    given = {"similarity_threshold": 0.8, **settings}
    return SemanticCache(
        SemanticSettings.model_validate(given), letters, clock or Clock(), gw.Metrics()
    )


def lookup(text: str, partition: str = "p", tenant: str | None = "t") -> gw.Lookup:
    request = gw.ChatRequest("m", ())
    return gw.Lookup(f"{partition} {text}", tenant, partition, text, request)


def answer(text: str) -> gw.CachedAnswer:
    return gw.CachedAnswer((gw.TextDelta(text), gw.Finished("stop")), "m", "p", "m", None, 1.0)


async def test_a_like_question_is_answered_and_an_unlike_one_is_not() -> None:
    kept = cache()
    await kept.put(lookup("how do I reset my password"), answer("so"), 60)

    assert await kept.get(lookup("how do I reset my old password")) == answer("so")
    assert await kept.get(lookup("what is the weather like today")) is None


async def test_nothing_crosses_a_partition() -> None:
    kept = cache()
    await kept.put(lookup("how do I reset my password", "tenant a"), answer("so"), 60)

    assert await kept.get(lookup("how do I reset my password", "tenant b")) is None
    assert await kept.get(lookup("how do I reset my password", "")) is None


async def test_likeness_without_agreement_serves_nothing() -> None:
    kept = cache()
    await kept.put(lookup("convert 100 dollars into euros please"), answer("92"), 60)

    assert await kept.get(lookup("convert 500 dollars into euros please")) is None


async def test_shadow_only_counts() -> None:
    kept = cache(shadow=True)
    await kept.put(lookup("how do I reset my password"), answer("so"), 60)

    assert await kept.get(lookup("how do I reset my password")) is None
    assert kept._shadowed.value == 1


async def test_answers_expire_and_the_oldest_go_first() -> None:
    clock = Clock()
    kept = cache(clock, max_entries=2)
    for text in ("alpha beta gamma", "delta epsilon zeta", "eta theta iota"):
        await kept.put(lookup(text), answer(text), 60)
    assert (await kept.stats(None)).entries == 2
    assert await kept.get(lookup("alpha beta gamma")) is None
    clock.now += 61

    assert await kept.get(lookup("eta theta iota")) is None


async def test_a_tenant_is_looked_into_and_cleared_alone() -> None:
    kept = cache()
    await kept.put(lookup("alpha beta gamma", "a", "a"), answer("1"), 60)
    await kept.put(lookup("alpha beta gamma", "b", "b"), answer("2"), 60)

    assert (await kept.stats("a")).entries == 1
    assert await kept.clear(gw.CacheSelection(tenant="a")) == 1
    assert [each.tenant for each in await kept.entries(gw.CacheSelection(), 10)] == ["b"]


class Failing:
    """Meets `Embed`; raises while it has an `error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0

    async def __call__(
        self, text: str, model: str | None, seconds: float, asked: gw.Asked | None = None
    ) -> tuple[float, ...]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return await letters(text, model, seconds)


async def test_after_a_few_failures_nobody_waits_until_one_has_worked() -> None:
    """The pauses double; the first vector that comes ends them, and what was kept is there."""
    embed, clock = Failing(), Clock()
    settings = SemanticSettings(similarity_threshold=0.8, failure_threshold=2)
    metrics = gw.Metrics()
    kept = SemanticCache(settings, embed, clock, metrics)
    asked = lookup("how do I reset my password")
    await kept.put(asked, answer("so"), 600)
    embed.error = TimeoutError()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await kept.get(asked)
    calls = embed.calls
    meanwhile = [await kept.get(asked) for _ in range(50)]
    await kept.put(lookup("another question that was asked"), answer("x"), 600)
    opened, quiet = kept._open.value, embed.calls - calls
    clock.now += 0.6
    with pytest.raises(TimeoutError):
        await kept.get(asked)
    again = await kept.get(asked)
    embed.error, clock.now = None, clock.now + 1.1

    assert (meanwhile, again) == ([None] * 50, None)
    assert (opened, quiet) == (1.0, 0)
    assert await kept.get(asked) == answer("so")
    assert kept._open.value == 0.0


async def test_no_more_vectors_are_waited_for_at_once_than_may_be() -> None:
    """A model that falls silent holds up so many requests, and no other."""
    silent, asked = asyncio.Event(), 0

    async def embed(
        text: str, model: str | None, seconds: float, asked_by: gw.Asked | None = None
    ) -> tuple[float, ...]:
        nonlocal asked
        asked += 1
        await silent.wait()
        return (1.0, 0.0)

    settings = SemanticSettings(max_concurrent=3)
    kept = SemanticCache(settings, embed, Clock(), gw.Metrics())
    waiting = [
        asyncio.create_task(kept.get(lookup(f"question number {each} of many")))
        for each in range(3)
    ]
    await asyncio.sleep(0)
    others = [await kept.get(lookup(f"another question {each}")) for each in range(20)]
    silent.set()

    assert others == [None] * 20
    assert await asyncio.gather(*waiting) == [None] * 3
    assert asked == 3
    assert await kept.get(lookup("one more question")) is None
    assert asked == 4


async def test_a_text_that_may_not_go_there_is_neither_compared_nor_a_failure() -> None:
    embed = Failing()
    kept = SemanticCache(SemanticSettings(failure_threshold=1), embed, Clock(), gw.Metrics())
    embed.error = gw.PermissionDeniedError("its region us is none of the caller's")
    for _ in range(3):
        await kept.put(lookup("how do I reset my password"), answer("so"), 60)
        assert await kept.get(lookup("how do I reset my password")) is None

    assert embed.calls == 6
    assert (kept._barred.value, kept._open.value) == (6, 0.0)


async def test_a_tenants_texts_stay_in_its_regions() -> None:
    """The embedding model is elsewhere: one who is bound to a region is answered, and its words
    are sent to nobody else; a neighbour's are compared."""
    admin = "admin-key-0123456789abcdef"
    async with ScriptedProvider() as far:
        far.default = embeddings_answer([[1.0, 0.0]])
        vectors = {"kind": "openai", "api_key": "k", "base_url": f"{far.url}/v1", "region": "us"}
        config = {
            "providers": {
                "near": {"kind": "simulated", "region": "eu-west"},
                "far": vectors,
            },
            "cache": {"backend": "memory", "semantic_cache": {"model": "far/some-embedding"}},
            "plugins": {"limit_budget": {"unknown_price": "allow"}},
        }
        sent: dict[str, int] = {}
        async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": admin}) as gateway:
            for tenant, regions in (("bound", ["eu"]), ("free", None)):
                url = f"{gateway.url}/admin/v1"
                await call(f"{url}/tenants", {"id": tenant, "regions": regions}, key=admin)
                made = await call(f"{url}/keys", {"tenant": tenant}, key=admin)
                said = {"role": "user", "content": f"the secret of the {tenant} one"}
                body = {"model": "near/simulated", "messages": [said]}
                url = f"{gateway.url}/v1/chat/completions"
                assert (await call(url, body, key=made.json["key"])).status == 200
                sent[tenant] = len(far.received)
            page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()

    assert sent == {"bound": 0, "free": 1}
    assert b"the secret of the free one" in far.received[0].body
    assert 'gateway_cache_semantic_total{outcome="barred"} ' in page


@pytest.mark.parametrize("stream", [False, True])
async def test_through_a_gateway(stream: bool) -> None:
    """Asked again in other words, the answer comes from the cache, at no cost."""
    config = {
        "providers": {"sim": {"kind": "simulated"}},
        "cache": {
            "backend": "memory",
            "semantic_cache": {"similarity_threshold": 0.5, "model": "sim/simulated-embedding"},
        },
    }

    def body(text: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": text}]
        return {"model": "simulated", "messages": messages, "stream": stream}

    async with running_gateway(config) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        first = await call(url, body("how do I reset my password"), key=API_KEY)
        again = await call(url, body("how do I reset my password "), key=API_KEY)
        other = await call(url, body("how do I reset my 2 passwords"), key=API_KEY)

    caches = [each.headers["x-gateway-cache"] for each in (first, again, other)]
    assert caches == ["miss", "hit", "miss"]


class Known:
    """Targets of which one embeds, unless `capabilities` say otherwise."""

    def __init__(self, *capabilities: str) -> None:
        self._info = gw.ModelInfo("m", capabilities=frozenset(capabilities))

    def exists(self, name: str) -> bool:
        return name == "here/embed"

    def deployments(self) -> list[gw.Target]:
        return [gw.Target("here", "m")]

    def info(self, target: gw.Target) -> gw.ModelInfo:
        return self._info


@pytest.mark.parametrize(
    ("settings", "capability", "told"),
    [
        ({}, "embeddings", []),
        ({}, "chat", ["no provider is known to embed"]),
        ({"model": "here/embed"}, "chat", []),
        ({"model": "there/embed"}, "embeddings", ["nothing is called 'there/embed'"]),
    ],
)
def test_what_can_compare_nothing_is_warned_about(
    settings: dict[str, Any], capability: str, told: list[str]
) -> None:
    found = cache(**settings).warnings(cast(gw.Targets, Known(capability)))

    assert len(found) == len(told)
    assert all(part in each for part, each in zip(told, found, strict=True))
