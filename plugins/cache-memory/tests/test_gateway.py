"""A gateway with the cache: what is repeated, to whom, and what it is recorded as."""

import asyncio
import json
from typing import Any

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import Answer, Cut, ScriptedProvider, Stream

KEY = "sk-upstream"
OTHER = "another-key-0123456789abcdef"
DELAYED = "simulate:delay_ms=700 How deep?"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "How deep?"}]}


def config(provider: ScriptedProvider, **cache: Any) -> dict[str, Any]:
    base = f"{provider.url}/v1"
    return {
        "providers": {"up": {"kind": "openai", "api_key": KEY, "base_url": base}},
        "cache": {"backend": "memory", "max_size_mb": 8, **cache},
        "security": {"auth": {"api_keys": [API_KEY, OTHER]}},
    }


async def say(gateway: Gateway, key: str = API_KEY, cc: str | None = None, **more: Any) -> Reply:
    headers = {} if cc is None else {"cache-control": cc}
    url = f"{gateway.url}/v1/chat/completions"
    return await call(url, {**BODY, **more}, key=key, headers=headers)


def text(reply: Reply) -> str:
    """The words of an answer, streamed or not."""
    if not reply.body.startswith(b"data:"):
        content: str = json.loads(reply.body)["choices"][0]["message"]["content"]
        return content
    frames = [line[6:] for line in reply.body.decode().split("\n") if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    choices = [each for frame in frames[:-1] for each in json.loads(frame)["choices"]]
    return "".join(each["delta"].get("content") or "" for each in choices)


async def test_a_plain_answer_serves_a_stream() -> None:
    async with ScriptedProvider() as provider:
        provider.enqueue(openai.chat_answer("Four fathoms."))
        async with running_gateway(config(provider)) as gateway:
            first = await say(gateway)
            again = await say(gateway)
            streamed = await say(gateway, stream=True)
            page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()

    assert [each.headers["x-gateway-cache"] for each in (first, again, streamed)] == [
        "miss",
        "hit",
        "hit",
    ]
    assert first.json == again.json
    assert text(streamed) == "Four fathoms."
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert (again.headers["x-gateway-provider"], again.headers["age"]) == ("up", "0")
    assert len(provider.received) == 1
    assert "gateway_cache_hits_total 2" in page
    assert "gateway_cache_misses_total 1" in page
    assert 'gateway_provider_requests_total{provider="up"} 1' in page


async def test_a_stream_serves_a_plain_request() -> None:
    async with ScriptedProvider() as provider:
        provider.enqueue(Stream(openai.chat_stream()))
        async with running_gateway(config(provider)) as gateway:
            first = await say(gateway, stream=True)
            plain = await say(gateway)
            again = await say(gateway, stream=True)

    assert plain.headers["x-gateway-cache"] == again.headers["x-gateway-cache"] == "hit"
    assert text(first) == text(plain) == text(again) != ""


async def test_a_broken_stream_and_an_error_are_not_kept() -> None:
    async with ScriptedProvider() as provider:
        provider.enqueue(Cut("between", 2, Stream(openai.chat_stream())))
        provider.enqueue(Answer(400, body=b'{"error": {"message": "no"}}'))
        provider.enqueue(openai.chat_answer("Whole."))
        async with running_gateway(config(provider)) as gateway:
            await say(gateway, stream=True)
            refused = await say(gateway)
            third = await say(gateway)

    assert refused.status == 400
    assert (text(third), third.headers["x-gateway-cache"]) == ("Whole.", "miss")


async def test_other_callers_get_their_own() -> None:
    """Two keys without a tenant are two strangers."""
    async with ScriptedProvider() as provider:
        for words in ("for one", "for the other"):
            provider.enqueue(openai.chat_answer(words))
        async with running_gateway(config(provider)) as gateway:
            mine, theirs = await say(gateway), await say(gateway, OTHER)
            again = await say(gateway, OTHER)

    assert [text(each) for each in (mine, theirs, again)] == [
        "for one",
        "for the other",
        "for the other",
    ]


async def test_a_request_may_refuse_demand_and_renew_what_is_kept() -> None:
    async with ScriptedProvider() as provider:
        for words in ("first", "second", "third"):
            provider.enqueue(openai.chat_answer(words))
        async with running_gateway(config(provider)) as gateway:
            early = await say(gateway, cc="only-if-cached")
            bypass = await say(gateway, cc="no-store")
            unkept = await say(gateway, cc="only-if-cached")
            renewed = await say(gateway, cc="no-cache")
            kept = await say(gateway, cc="only-if-cached, max-age=60")
            old = await say(gateway, cc="max-age=0")

    assert [early.status, unkept.status] == [504, 504]
    assert early.json["error"]["code"] == "not_cached"
    assert (text(bypass), bypass.headers["x-gateway-cache"]) == ("first", "bypass")
    assert (text(renewed), text(kept), text(old)) == ("second", "second", "third")


async def test_a_hit_is_logged_and_counted_as_nobody_s_usage() -> None:
    async with ScriptedProvider() as provider:
        provider.enqueue(openai.chat_answer("Four."))
        async with running_gateway(config(provider)) as gateway:
            await say(gateway)
            await say(gateway)
            page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()
    lines = [json.loads(each) for each in gateway.log_lines() if each.startswith("{")]

    assert [each["cache"] for each in lines if each.get("cache")] == ["miss", "hit"]
    assert 'gateway_request_tokens_total{direction="input",provider="none"' not in page


async def test_identical_requests_under_way_share_one_answer() -> None:
    slow = {"model": "sim/simulated", "messages": [{"role": "user", "content": DELAYED}]}
    async with ScriptedProvider() as provider:
        settings = config(provider, coalesce=True)
        settings["providers"]["sim"] = {"kind": "simulated"}
        async with running_gateway(settings) as gateway:
            asking = [say(gateway, stream=each % 2 == 0, **slow) for each in range(6)]
            answers = await asyncio.gather(*asking)
            page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()

    assert {text(each) for each in answers} == {text(answers[0])}
    found = sorted(each.headers["x-gateway-cache"] for each in answers)
    assert found == ["hit"] * 5 + ["miss"]
    assert 'gateway_provider_requests_total{provider="sim"} 1' in page
    assert "gateway_cache_coalesced_total 5" in page
