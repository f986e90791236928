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
NAMED = {"name": "look"}


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


def choosing(choice: Any, **members: Any) -> dict[str, Any]:
    tools = [{"type": "function", "function": TOOL}]
    return chat(user({"type": "text", "text": "hi"}), tools=tools, tool_choice=choice, **members)


def answered(*parts: Any, **members: Any) -> dict[str, Any]:
    asked = {"role": "user", "content": "hi"}
    return chat(asked, {"role": "assistant", "content": parts or None, **members}, asked)


def allowed(entry: Any, **members: Any) -> dict[str, Any]:
    inner = {"mode": "auto", "tools": [{"type": "function", "function": NAMED, **entry}]}
    return {"type": "allowed_tools", "allowed_tools": inner | members}


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
    "a refusal": (
        answered({"type": "refusal", "refusal": "No.", **ODD}),
        "messages.x_odd",
    ),
    "the choice of a tool": (
        choosing({"type": "function", "function": NAMED, **ODD}),
        "tool_choice.x_odd",
    ),
    "the function chosen": (
        choosing({"type": "function", "function": {**NAMED, **ODD}}),
        "tool_choice.function.x_odd",
    ),
    "the custom tool chosen": (
        choosing({"type": "custom", "custom": {**NAMED, **ODD}}),
        "tool_choice.custom.x_odd",
    ),
    "the tools allowed": (
        choosing(allowed({}, **ODD)),
        "tool_choice.allowed_tools.x_odd",
    ),
    "the choice among the tools allowed": (
        choosing({**allowed({}), **ODD}),
        "tool_choice.x_odd",
    ),
}
# The same in forms that have become others, and where a translated request has no such place.
RESHAPED: dict[str, tuple[dict[str, Any], str]] = {
    "an old call": (
        chat(
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": None, "function_call": {**CALL, **ODD}},
            {"role": "function", "name": "look", "content": "Fog."},
        ),
        "messages.function.x_odd",
    ),
    "an old function": (
        chat({"role": "user", "content": "hi"}, functions=[{**TOOL, **ODD}]),
        "tools.function.x_odd",
    ),
    "the old choice": (
        chat({"role": "user", "content": "hi"}, functions=[TOOL], function_call={**NAMED, **ODD}),
        "tool_choice.function.x_odd",
    ),
    "a tool allowed": (choosing(allowed(ODD)), "tool_choice.tools.x_odd"),
    "an allowed tool's function": (
        choosing(allowed({"function": {**NAMED, **ODD}})),
        "tool_choice.tools.function.x_odd",
    ),
}
# What other vendors refuse.
SPOKEN: dict[str, dict[str, Any]] = {
    "an answer's audio": answered(audio={"id": "audio_1", **ODD}),
    "the audio wanted": chat(
        {"role": "user", "content": "hi"},
        modalities=["text", "audio"],
        audio={"voice": "ash", "format": "mp3", **ODD},
    ),
}
PLACES = ("messages", "tools", "tool_choice", "functions", "function_call", "audio")
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


def responded(*items: Any, **members: Any) -> dict[str, Any]:
    asked = {"role": "user", "content": "hi"}
    return {"model": "a/m", "input": [asked, *items, asked], **members}


def thought(**members: Any) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "summary": [HINT], **members}


def chosen(choice: Any) -> dict[str, Any]:
    return responded(tools=[{"type": "function", **TOOL}], tool_choice=choice)


HINT = {"type": "summary_text", "text": "Hm."}
RESPONSES: dict[str, tuple[dict[str, Any], str]] = {
    "a thought": (responded(thought(**ODD)), "messages.x_odd"),
    "a thought's summary": (
        responded(thought(summary=[{**HINT, **ODD}])),
        "messages.summary.x_odd",
    ),
    "a thought's content": (
        responded(thought(content=[{"type": "reasoning_text", "text": "Hm.", **ODD}])),
        "messages.content.x_odd",
    ),
    "a sealed thought": (
        responded(thought(encrypted_content="gAAAA", **ODD)),
        "messages.x_odd,reasoning",
    ),
    "a refusal": (
        responded(
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "refusal", "refusal": "No.", **ODD}],
            }
        ),
        "messages.x_odd",
    ),
    "the choice of a tool": (
        chosen({"type": "function", **NAMED, **ODD}),
        "tool_choice.x_odd",
    ),
    "the choice among the tools allowed": (
        chosen({"type": "allowed_tools", "tools": [{"type": "function", **NAMED}], **ODD}),
        "tool_choice.x_odd",
    ),
    "a tool allowed": (
        chosen({"type": "allowed_tools", "tools": [{"type": "function", **NAMED, **ODD}]}),
        "tool_choice.tools.x_odd",
    ),
}


def placed(body: Any) -> Any:
    """What of a body stands in one of the `PLACES`, as JSON has it."""
    return json.loads(json.dumps({name: body[name] for name in PLACES if name in body}))


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
    cases = CHATS | RESHAPED
    async with served("anthropic") as (gateway, _):
        told = {
            where: (await ask(gateway, "chat/completions", body)).headers.get("x-gateway-dropped")
            for where, (body, _) in cases.items()
        }

    assert told == {where: name for where, (_, name) in cases.items()}


async def test_relayed_to_the_dialects_own_vendor_it_arrives() -> None:
    bodies = [body for body, _ in (CHATS | RESHAPED).values()] + [*SPOKEN.values()]
    async with served("openai") as (gateway, provider):
        replies = [await ask(gateway, "chat/completions", body) for body in bodies]

    assert [each for each in replies if "x-gateway-dropped" in each.headers] == []
    for body, received in zip(bodies, provider.received, strict=True):
        assert placed(json.loads(received.body)) == placed(body)


async def test_translated_for_the_dialects_own_vendor_it_stays_in_its_place() -> None:
    """A filter of content puts the request on the translate lane."""
    bodies = [body for body, _ in CHATS.values()] + [*SPOKEN.values()]
    async with served("openai", plugins={"filter_pii": {}}) as (gateway, provider):
        replies = [await ask(gateway, "chat/completions", body) for body in bodies]

    assert [each for each in replies if "x-gateway-dropped" in each.headers] == []
    for body, received in zip(bodies, provider.received, strict=True):
        assert placed(json.loads(received.body)) == placed(body)


async def test_what_changes_its_form_takes_it_along_or_tells_of_it() -> None:
    async with served("openai", plugins={"filter_pii": {}}) as (gateway, provider):
        replies = {
            where: await ask(gateway, "chat/completions", body)
            for where, (body, _) in RESHAPED.items()
        }

    told = [each.headers.get("x-gateway-dropped", "") for each in replies.values()]
    sent = [b"x_odd" in each.body for each in provider.received]
    lost = [
        where
        for where, header, kept in zip(replies, told, sent, strict=True)
        if header.endswith("x_odd") == kept
    ]
    assert lost == []


async def test_clients_of_responses_are_told_too() -> None:
    async with served("anthropic") as (gateway, _):
        told = {
            where: (await ask(gateway, "responses", body)).headers.get("x-gateway-dropped")
            for where, (body, _) in RESPONSES.items()
        }

    assert told == {where: names for where, (_, names) in RESPONSES.items()}


async def test_anthropics_clients_are_told_too() -> None:
    async with served("openai") as (gateway, _):
        told = {
            where: (await ask(gateway, "messages", body)).headers.get("x-gateway-dropped", "")
            for where, body in MESSAGES.items()
        }

    assert [where for where, names in told.items() if not names.endswith("x_odd")] == []


async def test_anthropics_own_vendor_gets_the_choice_of_a_tool_whole() -> None:
    body = MESSAGES["the choice of a tool"]
    async with served("anthropic", plugins={"filter_pii": {}}) as (gateway, provider):
        reply = await ask(gateway, "messages", body)

    assert "x-gateway-dropped" not in reply.headers
    assert json.loads(provider.received[0].body)["tool_choice"] == body["tool_choice"]


async def test_a_name_that_is_no_header_harms_nobody() -> None:
    async with served("anthropic") as (gateway, _):
        for name in ("x\r\nset-cookie: a=b", "x\u2603", "y" * 5000):
            turns = [user({"type": "text", "text": "hi"}, **{name: 1, "x_odd": 1})]
            reply = await ask(gateway, "chat/completions", chat(*turns, x_top=1))

            told = reply.headers["x-gateway-dropped"]
            assert told.startswith("x_top")
            assert told.isascii() and len(told) <= 4096
            assert "set-cookie" not in reply.headers
