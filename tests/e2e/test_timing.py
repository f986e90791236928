"""``Server-Timing`` for who asks: the parts add up, and each attempt is in it."""

import re
from typing import Any

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.pair import Pair, own, paired
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import Answer, Hang, ScriptedProvider, Stream

SLOW = Answer(body=openai.chat_answer().body, delay_s=0.2)
STREAM = Stream(openai.chat_stream())


def parts(reply: Reply) -> dict[str, float]:
    """Milliseconds by name, of attempts with the provider's name behind."""
    found = {}
    for each in reply.headers["server-timing"].split(", "):
        match = re.fullmatch(r'(\w+);dur=(\d+\.\d{3})(?:;desc="([\w.-]+)")?', each)
        assert match, each
        found[" ".join(filter(None, (match[1], match[3])))] = float(match[2])
    return found


async def ask(pair: Pair, model: str = "both", timing: bool = True, **members: Any) -> Reply:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **members}
    headers = {"x-gateway-timing": "on"} if timing else {}
    url = f"{pair.gateway.url}/v1/chat/completions"
    return await call(url, body, key=pair.gateway.api_key, headers=headers)


async def test_who_does_not_ask_is_told_nothing() -> None:
    async with paired() as pair:
        pair.first.enqueue(openai.chat_answer())
        reply = await ask(pair, timing=False)

    assert "server-timing" not in reply.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_the_gateway_and_its_providers_add_up_to_all(stream: bool) -> None:
    """A provider that failed and the one that answered; a stream's time is that to its head."""
    async with paired({"max_retries": 0}) as pair:
        pair.first.enqueue(openai.error_answer(500))
        pair.second.enqueue(STREAM if stream else SLOW)
        found = parts(await ask(pair, stream=stream))

    assert found.keys() == {"total", "gateway", "provider", "attempt1 first", "attempt2 second"}
    assert found["total"] == pytest.approx(found["gateway"] + found["provider"], abs=0.01)
    attempts = found["attempt1 first"] + found["attempt2 second"]
    assert found["provider"] == pytest.approx(attempts, abs=0.01)
    assert stream or found["attempt2 second"] >= 200


async def test_an_answer_from_the_cache_and_a_refusal_are_the_gateways_alone() -> None:
    async with paired(cache={"backend": "memory"}) as pair:
        pair.first.enqueue(openai.chat_answer())
        await ask(pair)
        kept, refused = await ask(pair), await ask(pair, "nobody/x")

    assert (kept.headers["x-gateway-cache"], refused.status) == ("hit", 404)
    for reply in (kept, refused):
        found = parts(reply)
        assert found.keys() == {"total", "gateway", "provider"} and found["provider"] == 0
        assert found["total"] == found["gateway"] > 0


async def test_attempts_beside_each_other_take_no_longer_than_the_time_that_passed() -> None:
    """A hedge; traces go on beside it."""
    tracing = {"otlp_endpoint": "http://127.0.0.1:1", "timeout_seconds": 1}
    hedging = {"hedging": {"delay_ms": 50, "budget_percent": 100}}
    async with paired(resilience=hedging, telemetry={"tracing": tracing}) as pair:
        pair.first.enqueue(Hang(of=openai.chat_answer()))
        pair.second.enqueue(SLOW)
        reply = await ask(pair)
        asked = [each.received[0].headers["traceparent"] for each in (pair.first, pair.second)]
    found = parts(reply)

    assert reply.headers["x-gateway-hedge"] == "won"
    assert found["attempt1 first"] > found["attempt2 second"] >= 200
    assert found["total"] == pytest.approx(found["gateway"] + found["provider"], abs=0.01)
    assert found["provider"] < found["attempt1 first"] + found["attempt2 second"]
    assert len({each.split("-")[1] for each in asked}) == 1
    assert len({each.split("-")[2] for each in asked}) == 2


async def test_the_name_of_a_provider_cannot_break_the_header() -> None:
    async with ScriptedProvider() as provider:
        provider.enqueue(openai.chat_answer())
        config = {"providers": {'a "b", c': {**own(provider), "models": ["m-1"]}}}
        async with running_gateway(config) as gateway:
            body = {"model": "m-1", "messages": [{"role": "user", "content": "hi"}]}
            url, headers = f"{gateway.url}/v1/chat/completions", {"x-gateway-timing": "on"}
            reply = await call(url, body, key=gateway.api_key, headers=headers)

    assert set(parts(reply)) == {"total", "gateway", "provider", "attempt1 a__b___c"}
