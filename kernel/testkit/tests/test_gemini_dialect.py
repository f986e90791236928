"""The scripted Gemini is right: the vendor's own types agree, and its SDK is at home with it."""

import json
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from llm_gateway_testkit import gemini_dialect as dialect
from llm_gateway_testkit import gemini_rules as rules
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import ScriptedProvider, Stream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, on import
    from google import genai
    from google.genai import errors, types

KEY = "AIza-scripted"
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(each[:1].upper() + each[1:] for each in rest)


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider(validator=dialect.strict(KEY)) as running:
        yield running


@asynccontextmanager
async def client(provider: ScriptedProvider, key: str = KEY) -> AsyncIterator[Any]:
    options = types.HttpOptions(base_url=provider.url, api_version="v1beta")
    made = genai.Client(api_key=key, http_options=options)
    try:
        yield made.aio.models
    finally:
        await made.aio.aclose()
        made.close()


@pytest.fixture
async def sdk(provider: ScriptedProvider) -> AsyncIterator[Any]:
    async with client(provider) as models:
        yield models


@pytest.mark.parametrize("name", sorted(rules.MESSAGES))
def test_messages_have_the_fields_of_the_vendors_types(name: str) -> None:
    theirs = {camel(each) for each in getattr(types, name).model_fields}

    assert {field for field, _ in rules.fields_of(name)} == theirs


async def test_sdk_reads_a_whole_answer(provider: ScriptedProvider, sdk: Any) -> None:
    provider.enqueue(dialect.chat_answer([dialect.text("Low tide")]))

    found = await sdk.generate_content(
        model="gemini-3.5-flash",
        contents="Tide?",
        config=types.GenerateContentConfig(
            system_instruction="Be brief.",
            max_output_tokens=9,
            stop_sequences=["END"],
            thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW),
        ),
    )

    assert found.text == "Low tide"
    assert found.usage_metadata.total_token_count == 11


async def test_sdk_reads_a_stream(provider: ScriptedProvider, sdk: Any) -> None:
    provider.enqueue(Stream(dialect.chat_stream()))

    stream = await sdk.generate_content_stream(model="gemini-3.5-flash", contents="Tide?")

    assert [each.text async for each in stream] == ["Low", " tide"]


async def test_sdk_raises_on_both_forms_of_an_error_in_a_stream(
    provider: ScriptedProvider, sdk: Any
) -> None:
    first = dialect.chat_stream()[:1]
    for last in (dialect.sse(dialect.error_body(503)), dialect.bare_error(503)):
        provider.enqueue(Stream([*first, last]))
        stream = await sdk.generate_content_stream(model="gemini-3.5-flash", contents="Tide?")
        with pytest.raises(errors.ServerError):
            _ = [each async for each in stream]


async def test_sdk_goes_round_with_tools(provider: ScriptedProvider, sdk: Any) -> None:
    declared = types.FunctionDeclaration(
        name="tide_at",
        parameters_json_schema={"type": "object", "properties": {"port": {"type": "string"}}},
    )
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    provider.enqueue(
        dialect.chat_answer([dialect.call("tide_at", {"port": "Brest"}, "fc_1", dialect.SIGNATURE)])
    )
    provider.enqueue(dialect.chat_answer([dialect.text("4.2 m")]))
    asked = types.Content(role="user", parts=[types.Part(text="Tide?")])

    first = await sdk.generate_content(model="gemini-3.5-flash", contents=[asked], config=config)
    [made] = first.function_calls
    result = types.Part(
        function_response=types.FunctionResponse(
            id=made.id, name=made.name, response={"output": "4.2 m"}
        )
    )
    contents = [asked, first.candidates[0].content, types.Content(role="user", parts=[result])]
    second = await sdk.generate_content(model="gemini-3.5-flash", contents=contents, config=config)

    assert second.text == "4.2 m"


async def test_sdk_embeds_and_counts(provider: ScriptedProvider, sdk: Any) -> None:
    provider.enqueue(dialect.embeddings_answer([(1.0, 2.0), (3.0, 4.0)]), dialect.count_answer(7))

    found = await sdk.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    counted = await sdk.count_tokens(model="gemini-3.5-flash", contents="Tide?")

    assert [each.values for each in found.embeddings] == [[1.0, 2.0], [3.0, 4.0]]
    assert counted.total_tokens == 7


async def test_sdk_lists_models(provider: ScriptedProvider, sdk: Any) -> None:
    provider.enqueue(dialect.models_answer("gemini-3.5-flash"))

    pager = await sdk.list()

    assert [each.name for each in pager.page] == ["models/gemini-3.5-flash"]


async def test_a_refused_key_is_a_400(provider: ScriptedProvider) -> None:
    async with client(provider, "wrong") as sdk:
        with pytest.raises(errors.ClientError) as found:
            await sdk.generate_content(model="gemini-3.5-flash", contents="x")

    assert found.value.code == 400


TEXT = [{"role": "user", "parts": [{"text": "x"}]}]
CALL = {"functionCall": {"name": "f", "args": {}}}
SIGNED = {**CALL, "thoughtSignature": "c2ln"}


def result(**more: Any) -> dict[str, Any]:
    inner = {"name": "f", "response": {}, **more}
    return {"role": "user", "parts": [{"functionResponse": inner}]}


def turn(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("gemini-3", {}, "contents is not specified"),
        ("gemini-3", {"contents": TEXT, "messages": []}, 'Unknown name "messages"'),
        ("gemini-3", {"contents": TEXT, "maxOutputTokens": 1}, 'Unknown name "maxOutputTokens"'),
        ("gemini-3", {"contents": TEXT, "labels": {}}, 'Unknown name "labels"'),
        (
            "gemini-3",
            {"contents": TEXT, "tools": [{"function_declarations": [{"strict": True}]}]},
            "at 'tools[0].function_declarations[0]'",
        ),
        ("gemini-3", {"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "valid role"),
        ("gemini-3", {"contents": [*TEXT, turn(CALL)]}, "thought_signature"),
        ("gemini-3", {"contents": [*TEXT, turn(SIGNED, CALL), result()]}, "number of function"),
        ("gemini-3", {"contents": [*TEXT, turn(SIGNED), result(response=[])]}, "struct"),
        ("gemini-3", {"contents": [turn(SIGNED)]}, "immediately after a user turn"),
        ("gemini-2.5-pro", {"contents": [*TEXT, turn(CALL), result(id="1")]}, '"id"'),
        (
            "gemini-3",
            {"contents": TEXT, "generationConfig": {"stopSequences": list("abcdef")}},
            "at most 5",
        ),
        (
            "gemini-3",
            {"contents": TEXT, "generationConfig": {"frequencyPenalty": 1}},
            "Penalty is not enabled",
        ),
        (
            "gemini-2.5-pro",
            {"contents": TEXT, "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}},
            "Thinking level",
        ),
        (
            "gemini-3",
            {
                "contents": TEXT,
                "generationConfig": {
                    "responseMimeType": "application/json",
                    "responseJsonSchema": {"type": "integer", "multipleOf": 2},
                },
            },
            "multipleOf",
        ),
    ],
)
async def test_what_the_vendor_refuses_is_refused(
    provider: ScriptedProvider, model: str, body: dict[str, Any], words: str
) -> None:
    answer = await call(
        f"{provider.url}/v1beta/models/{model}:generateContent",
        json.dumps(body).encode(),
        headers={"x-goog-api-key": KEY},
    )

    assert answer.status == 400
    assert words in json.loads(answer.body)["error"]["message"]
