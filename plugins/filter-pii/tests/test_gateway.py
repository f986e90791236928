"""Over the wire: the provider sees placeholders, the caller its own words again."""

import json
from typing import Any

import pytest
from llm_gateway_testkit import anthropic_dialect as anthropic
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import ScriptedProvider
from llm_gateway_testkit.steps import Stream

KEY, MAIL = "sk-test-upstream", "ada@example.org"
ASKED = {"model": "up/m", "messages": [{"role": "user", "content": f"Write to {MAIL}."}]}


def config(provider: ScriptedProvider, kind: str = "openai", **pii: Any) -> dict[str, Any]:
    base = f"{provider.url}/v1" if kind == "openai" else provider.url
    return {
        "providers": {"up": {"kind": kind, "api_key": KEY, "base_url": base}},
        "plugins": {"filter_pii": pii},
    }


@pytest.mark.parametrize("chunk_size", [None, 1])
async def test_openai_round_trip(chunk_size: int | None) -> None:
    calls = [openai.ToolCall("c", "send", ['{"to":"[EMA', 'IL_1]"}'])]
    async with ScriptedProvider(validator=openai.strict(KEY)) as provider:
        provider.enqueue(
            Stream(openai.chat_stream(["Sent to [EM", "AIL_1]."]), chunk_size=chunk_size),
            openai.chat_answer("Sent to [EMAIL_1].", tool_calls=calls),
        )
        settings = config(provider, kinds={"email": "reversible"})
        async with running_gateway(settings) as gateway:
            url = f"{gateway.url}/v1/chat/completions"
            streamed = await call(url, {**ASKED, "stream": True}, key=gateway.api_key)
            whole = await call(url, ASKED, key=gateway.api_key)
        sent = [each.json["messages"] for each in provider.received]

    assert sent == [[{"role": "user", "content": "Write to [EMAIL_1]."}]] * 2
    frames = [json.loads(x[6:]) for x in streamed.body.decode().split("\n") if x[:7] == "data: {"]
    deltas = [frame["choices"][0]["delta"] for frame in frames if frame["choices"]]
    assert "".join(each.get("content") or "" for each in deltas) == f"Sent to {MAIL}."
    message = whole.json["choices"][0]["message"]
    assert message["content"] == f"Sent to {MAIL}."
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"to": MAIL}


async def test_anthropic_round_trip() -> None:
    asked = {**ASKED, "max_tokens": 9, "stream": True}
    said = anthropic.message_stream(
        anthropic.text("Sent to [EMAIL_1]."), anthropic.tool_use("c", "send", to="[EMAIL_1]")
    )
    async with ScriptedProvider(validator=anthropic.strict(KEY)) as provider:
        provider.enqueue(Stream(said, chunk_size=1))
        settings = config(provider, "anthropic", kinds={"email": "reversible"})
        async with running_gateway(settings) as gateway:
            headers = {"anthropic-version": "2023-06-01"}
            reply = await call(
                f"{gateway.url}/v1/messages", asked, key=gateway.api_key, headers=headers
            )
        (received,) = provider.received

    assert MAIL.encode() not in received.body
    frames = [json.loads(x[6:]) for x in reply.body.decode().split("\n") if x[:7] == "data: {"]
    deltas = [each["delta"] for each in frames if each["type"] == "content_block_delta"]
    assert "".join(each.get("text", "") for each in deltas) == f"Sent to {MAIL}."
    assert json.loads("".join(each.get("partial_json", "") for each in deltas)) == {"to": MAIL}


async def test_one_connection_keeps_its_callers_values_apart() -> None:
    """Placeholders of the request before mean nothing in the next one."""
    async with ScriptedProvider(validator=openai.strict(KEY)) as provider:
        provider.enqueue(openai.chat_answer("[EMAIL_1]"), openai.chat_answer("[EMAIL_1]"))
        settings = config(provider, kinds={"email": "reversible", "card": "block"})
        async with running_gateway(settings) as gateway:
            url = f"{gateway.url}/v1/chat/completions"
            first = await call(url, ASKED, key=gateway.api_key)
            clean = {**ASKED, "messages": [{"role": "user", "content": "hi"}]}
            second = await call(url, clean, key=gateway.api_key)
            card = [{"role": "user", "content": "4111 1111 1111 1111"}]
            blocked = await call(url, {**ASKED, "messages": card}, key=gateway.api_key)

    assert first.json["choices"][0]["message"]["content"] == MAIL
    assert second.json["choices"][0]["message"]["content"] == "[EMAIL_1]"
    assert (blocked.status, blocked.json["error"]["code"]) == (400, "personal_data")
    assert blocked.json["error"]["param"] == "messages[0]"


async def test_without_a_word_lines_are_masked_and_prompts_are_not() -> None:
    """The default installation: what a caller invents is hidden in lines; the relay lane and
    the prompt are what they are without the plugin."""
    invented = {**ASKED, "model": f"up/{MAIL}"}
    for wanted in (True, False):
        async with ScriptedProvider(validator=openai.strict(KEY)) as provider:
            provider.enqueue(openai.chat_answer("fine"))
            settings = config(provider)
            del settings["plugins"]
            settings["telemetry"] = {"logging": {"pii_redaction": wanted}}
            async with running_gateway(settings) as gateway:
                url = f"{gateway.url}/v1/chat/completions"
                await call(url, invented, key=gateway.api_key)
            (sent,) = provider.received
        text = "\n".join(gateway.log_lines())

        assert MAIL in sent.json["messages"][0]["content"]
        assert "relay openai" in text
        assert ("up/[EMAIL]" in text, MAIL in text) == (wanted, not wanted)
