"""Over the wire: what breaks a rule is refused, and stops a stream before it is said."""

import json
from typing import Any

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.rawclient import call, exchange
from llm_gateway_testkit.scripted import ScriptedProvider
from llm_gateway_testkit.steps import Answer, Hang, Stream

KEY = "sk-test-upstream"
WORDS = {"name": "words", "deny": ["secret plan"]}


def asking(text: str, **members: Any) -> dict[str, Any]:
    return {"model": "up/m", "messages": [{"role": "user", "content": text}], **members}


def config(provider: ScriptedProvider, **guardrail: Any) -> dict[str, Any]:
    base = f"{provider.url}/v1"
    return {
        "providers": {"up": {"kind": "openai", "api_key": KEY, "base_url": base}},
        "plugins": {"filter_guardrail": guardrail},
        "security": {"egress": {"allow_private": ["127.0.0.1"]}},
    }


async def test_requests_and_answers() -> None:
    """The provider is asked once for each answer: what a rule stopped is not tried again."""
    long = ["All calm. " * 60, "The sec", "ret pl", "an is"]
    async with ScriptedProvider(validator=openai.strict(KEY)) as provider:
        provider.enqueue(
            openai.chat_answer("the secret plan"),
            Stream(openai.chat_stream(["the secret", " plan."])),
            Hang("between", 2, Stream(openai.chat_stream(long))),
            openai.chat_answer("Low tide."),
        )
        async with running_gateway(config(provider, rules=[WORDS])) as gateway:
            url = f"{gateway.url}/v1/chat/completions"
            refused = await call(url, asking("a Secret Plan"), key=gateway.api_key)
            whole = await call(url, asking("hi"), key=gateway.api_key)
            early = await call(url, asking("hi", stream=True), key=gateway.api_key)
            streaming = asking("hi", stream=True)
            async with exchange(url, streaming, key=gateway.api_key) as late:
                begun = await late.until(b"calm")
                provider.release()
                rest = await late.body()
            good = await call(url, asking("hi"), key=gateway.api_key)

    assert (refused.status, refused.json["error"]["code"]) == (403, "request_blocked")
    assert "words" in refused.json["error"]["message"]
    assert (whole.status, whole.json["error"]["code"]) == (403, "answer_blocked")
    assert b"answer_blocked" in early.body
    assert b"secret" not in early.body
    assert late.status == 200
    assert b"answer_blocked" in rest
    assert b"secret" not in begun + rest
    assert b"[DONE]" not in rest
    assert good.json["choices"][0]["message"]["content"] == "Low tide."
    assert len(provider.received) == 4


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_refused_answer_is_paid_for(stream: bool) -> None:
    """Its vendor has written it, whoever may not read it."""
    said = Stream(openai.chat_stream(["All calm. " * 60, "The secret plan is"]))
    secret = Hang("between", 3, said)
    async with ScriptedProvider(validator=openai.strict(KEY)) as provider:
        provider.enqueue(secret if stream else openai.chat_answer("the secret plan"))
        async with running_gateway(config(provider, rules=[WORDS])) as gateway:
            url = f"{gateway.url}/v1/chat/completions"
            refused = await call(url, asking("hi", stream=stream), key=gateway.api_key)
            lines = gateway.log_lines
        (line,) = [each for each in lines() if refused.headers["x-request-id"] in each]

    tokens = json.loads(line)["tokens"]
    assert b"answer_blocked" in refused.body
    assert tokens["output"] >= (600 / 3.5 if stream else 2)
    assert tokens["input"] >= 9


async def test_a_service_that_hangs() -> None:
    """`fail` decides, within the time-out; the answer waits for nobody else."""
    async with (
        ScriptedProvider() as judge,
        ScriptedProvider(validator=openai.strict(KEY)) as provider,
    ):
        judge.enqueue(Answer(body=b'{"allow":false}'), Hang(), Hang())
        provider.enqueue(openai.chat_answer("Low tide."))
        service = {"name": "judge", "url": judge.url, "key": "k-1", "timeout_seconds": 0.3}
        for fail, expected in (("closed", [403, 403]), ("open", [200])):
            settings = config(provider, external=[{**service, "fail": fail}])
            async with running_gateway(settings) as gateway:
                url = f"{gateway.url}/v1/chat/completions"
                got = [await call(url, asking("hi"), key=gateway.api_key) for _ in expected]
            assert [each.status for each in got] == expected
        first = judge.received[0]

    assert first.headers["authorization"] == "Bearer k-1"
    asked = json.loads(first.body)
    assert (asked["rule"], asked["texts"]) == ("judge", ["hi"])
    assert asked["route"] == "/v1/chat/completions"
