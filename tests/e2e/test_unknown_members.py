"""A member of a request that nobody knows, wherever it stands, is passed on or told of."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from llm_gateway_testkit import anthropic_dialect as claude
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.invariants import PIXEL
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import ScriptedProvider

KEY = "sk-upstream"
ODD = {"x_odd": 1}
URL = f"data:image/png;base64,{PIXEL}"
TOOL = {"name": "look", "parameters": {"type": "object", "properties": {}}}
SCHEMA = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
WORDS = {"type": "text", "media_type": "text/plain"}
CALL = {"name": "look", "arguments": "{}"}


def chat(*turns: Any, **members: Any) -> dict[str, Any]:
    return {"model": "a/m", "max_tokens": 9, "messages": turns, **members}


def user(*parts: Any, **members: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts, **members}


def called(**call: Any) -> list[dict[str, Any]]:
    made = {"id": "call_1", "type": "function", "function": CALL, **call}
    return [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Fog."},
    ]


# What a client of OpenAI's dialect sends, and how a vendor's provider of another names it.
CHATS: dict[str, tuple[dict[str, Any], str]] = {
    "a turn": (chat(user({"type": "text", "text": "hi"}, **ODD)), "messages.x_odd"),
    "a text": (chat(user({"type": "text", "text": "hi", **ODD})), "messages.x_odd"),
    "a picture": (
        chat(user({"type": "image_url", "image_url": {"url": URL}, **ODD})),
        "messages.x_odd",
    ),
    "a picture's address": (
        chat(user({"type": "image_url", "image_url": {"url": URL, **ODD}})),
        "messages.image_url.x_odd",
    ),
    "a call": (chat(*called(**ODD)), "messages.x_odd"),
    "a call's function": (chat(*called(function={**CALL, **ODD})), "messages.function.x_odd"),
    "a tool": (
        chat(
            user({"type": "text", "text": "hi"}),
            tools=[{"type": "function", "function": TOOL, **ODD}],
        ),
        "tools.x_odd",
    ),
    "a tool's function": (
        chat(
            user({"type": "text", "text": "hi"}),
            tools=[{"type": "function", "function": {**TOOL, **ODD}}],
        ),
        "tools.function.x_odd",
    ),
}
MESSAGES: dict[str, dict[str, Any]] = {
    "a turn": chat({"role": "user", "content": "hi", **ODD}),
    "a text": chat(user({"type": "text", "text": "hi", **ODD})),
    "a picture's source": chat(
        user(
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PIXEL, **ODD},
            }
        )
    ),
    "a tool": chat({"role": "user", "content": "hi"}, tools=[{**SCHEMA, **ODD}]),
    "a document of words": chat(
        user({"type": "document", "source": {**WORDS, "data": "Low tide at 9."}, **ODD})
    ),
    "a document of pieces": chat(
        user({"type": "document", "source": {"type": "content", "content": "Low."}, **ODD})
    ),
    "what was found": chat(
        user({"type": "search_result", "source": "a", "title": "Tides", "content": [], **ODD})
    ),
    "a thought": chat(
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", **ODD}]},
        {"role": "user", "content": "and?"},
    ),
    "a result's document": chat(
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}],
        },
        user(
            {
                "type": "tool_result",
                "tool_use_id": "t1",
                "content": [{"type": "document", "source": {**WORDS, "data": "Fog."}, **ODD}],
            }
        ),
    ),
    "the choice of a tool": chat(
        {"role": "user", "content": "hi"}, tools=[SCHEMA], tool_choice={"type": "auto", **ODD}
    ),
}


@asynccontextmanager
async def served(kind: str, **config: Any) -> AsyncIterator[tuple[Gateway, ScriptedProvider]]:
    async with ScriptedProvider() as provider:
        provider.default = (
            claude.message_answer(claude.text("Fog."))
            if kind == "anthropic"
            else openai.chat_answer("fine")
        )
        base = provider.url if kind == "anthropic" else f"{provider.url}/v1"
        config["providers"] = {"a": {"kind": kind, "api_key": KEY, "base_url": base}}
        async with running_gateway(config) as gateway:
            yield gateway, provider


async def ask(gateway: Gateway, path: str, body: Any) -> Reply:
    headers = {"anthropic-version": "2023-06-01"}
    reply = await call(f"{gateway.url}/v1/{path}", body, key=gateway.api_key, headers=headers)
    assert reply.status == 200, reply.body
    return reply


async def test_translated_for_another_vendor_it_is_named() -> None:
    async with served("anthropic") as (gateway, _):
        told = {
            where: (await ask(gateway, "chat/completions", body)).headers.get("x-gateway-dropped")
            for where, (body, _) in CHATS.items()
        }

    assert told == {where: name for where, (_, name) in CHATS.items()}


async def test_relayed_to_the_dialects_own_vendor_it_arrives() -> None:
    async with served("openai") as (gateway, provider):
        replies = [await ask(gateway, "chat/completions", body) for body, _ in CHATS.values()]

    assert [each for each in replies if "x-gateway-dropped" in each.headers] == []
    for (body, _), received in zip(CHATS.values(), provider.received, strict=True):
        assert json.loads(received.body)["messages"] == json.loads(json.dumps(body["messages"]))


async def test_translated_for_the_dialects_own_vendor_it_stays_in_its_place() -> None:
    """A filter of content puts the request on the translate lane."""
    async with served("openai", plugins={"filter_pii": {}}) as (gateway, provider):
        replies = [await ask(gateway, "chat/completions", body) for body, _ in CHATS.values()]

    assert [each for each in replies if "x-gateway-dropped" in each.headers] == []
    for (body, _), received in zip(CHATS.values(), provider.received, strict=True):
        sent = json.loads(received.body)
        assert [sent["messages"], sent.get("tools")] == json.loads(
            json.dumps([body["messages"], body.get("tools")])
        )


async def test_anthropics_clients_are_told_too() -> None:
    async with served("openai") as (gateway, _):
        told = {
            where: (await ask(gateway, "messages", body)).headers.get("x-gateway-dropped", "")
            for where, body in MESSAGES.items()
        }

    assert [where for where, names in told.items() if not names.endswith("x_odd")] == []


async def test_a_name_that_is_no_header_harms_nobody() -> None:
    async with served("anthropic") as (gateway, _):
        for name in ("x\r\nset-cookie: a=b", "x\u2603", "y" * 5000):
            turns = [user({"type": "text", "text": "hi"}, **{name: 1, "x_odd": 1})]
            reply = await ask(gateway, "chat/completions", chat(*turns, x_top=1))

            told = reply.headers["x-gateway-dropped"]
            assert told.startswith("x_top")
            assert told.isascii() and len(told) <= 4096
            assert "set-cookie" not in reply.headers
