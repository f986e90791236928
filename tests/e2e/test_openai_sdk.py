"""The official OpenAI SDK with its defaults, as a client of the gateway."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai as sdk
import pytest
import pytest_asyncio
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.scripted import Cut, Stream
from pydantic import BaseModel

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKED: Any = [{"role": "user", "content": "When is low tide?"}]
MODEL = "gpt-6-sol"
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_tide",
        "parameters": {
            "type": "object",
            "properties": {"port": {"type": "string"}},
            "required": ["port"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
CALLS = [
    openai.ToolCall("call_T1", "get_tide", ('{"port":', '"Brest"}')),
    openai.ToolCall("call_T2", "get_tide", ('{"port":"Cadiz"}',)),
]


class Tide(BaseModel):
    port: str
    hour: int


@pytest_asyncio.fixture(loop_scope="session")
async def client(site: Any) -> AsyncIterator[sdk.AsyncOpenAI]:
    async with sdk.AsyncOpenAI(base_url=site.base_url, api_key=site.key) as client:
        yield client


async def test_plain(site: Any, client: sdk.AsyncOpenAI) -> None:
    """A chat completion is parsed, with the keys that the SDK's types promise."""
    site.provider.enqueue(openai.chat_answer())

    answer = await client.chat.completions.create(model=MODEL, messages=ASKED)

    message = answer.choices[0].message
    assert (message.content, message.refusal, message.tool_calls) == ("Low tide", None, None)
    assert answer.usage is not None and answer.usage.total_tokens == 11
    assert answer._request_id


async def test_plain_sync(site: Any) -> None:
    """The synchronous client comes to the same."""
    site.provider.enqueue(openai.chat_answer(), Stream(openai.chat_stream()))

    def ask() -> tuple[str | None, str]:
        with sdk.OpenAI(base_url=site.base_url, api_key=site.key) as client:
            plain = client.chat.completions.create(model=MODEL, messages=ASKED)
            stream = client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
            texts = [chunk.choices[0].delta.content or "" for chunk in stream]
            return plain.choices[0].message.content, "".join(texts)

    assert await asyncio.to_thread(ask) == ("Low tide", "Low tide")


async def test_stream(site: Any, client: sdk.AsyncOpenAI) -> None:
    """A stream with usage: the last chunk has no choice and the figures."""
    site.provider.enqueue(Stream(openai.chat_stream(include_usage=True)))

    stream = await client.chat.completions.create(
        model=MODEL, messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "Low tide"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 11


async def test_stream_helper_with_tools(site: Any, client: sdk.AsyncOpenAI) -> None:
    """Two parallel calls accumulate with their ids and arguments intact."""
    site.provider.enqueue(Stream(openai.chat_stream([], tool_calls=CALLS)))

    manager = client.chat.completions.stream(model=MODEL, messages=ASKED, tools=[TOOL])
    async with manager as stream:
        answer = await stream.get_final_completion()

    calls = answer.choices[0].message.tool_calls or []
    assert [call.id for call in calls] == ["call_T1", "call_T2"]
    assert [call.function.parsed_arguments for call in calls] == [
        {"port": "Brest"},
        {"port": "Cadiz"},
    ]
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_tools(site: Any, client: sdk.AsyncOpenAI) -> None:
    """The tool goes up as it was given, the call comes back, the result goes up."""
    site.provider.enqueue(openai.chat_answer(None, tool_calls=CALLS[:1]), openai.chat_answer())

    first = await client.chat.completions.create(model=MODEL, messages=ASKED, tools=[TOOL])
    turn: Any = first.choices[0].message.model_dump(exclude_none=True)
    result: Any = {"role": "tool", "tool_call_id": "call_T1", "content": "14:10"}
    second = await client.chat.completions.create(
        model=MODEL, messages=[*ASKED, turn, result], tools=[TOOL]
    )

    assert second.choices[0].message.content == "Low tide"
    up = [each.json for each in site.provider.received]
    assert up[0]["tools"] == [TOOL]
    assert up[1]["messages"][1]["tool_calls"][0]["id"] == "call_T1"
    assert up[1]["messages"][2] == result


async def test_parse(site: Any, client: sdk.AsyncOpenAI) -> None:
    """`parse` sends a strict schema and gets a model; a length finish is told."""
    text = '{"port":"Brest","hour":14}'
    site.provider.enqueue(openai.chat_answer(text), openai.chat_answer("{", finish_reason="length"))

    answer = await client.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Tide)

    assert answer.choices[0].message.parsed == Tide(port="Brest", hour=14)
    schema = site.provider.received[0].json["response_format"]
    assert schema["json_schema"]["strict"] is True
    with pytest.raises(sdk.LengthFinishReasonError):
        await client.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Tide)


@pytest.mark.parametrize("encoding", ["base64", "float"])
async def test_embeddings(site: Any, client: sdk.AsyncOpenAI, encoding: str) -> None:
    """The SDK's default (base64) and an answer of numbers give the same vectors."""
    vectors = [(1.0, -2.0), (0.5, 3.0)]
    site.provider.enqueue(openai.embeddings_answer(vectors, encoding=encoding))

    answer = await client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])

    assert [item.embedding for item in answer.data] == [list(vector) for vector in vectors]
    assert site.provider.received[0].json["encoding_format"] == "base64"


async def test_streaming_response(site: Any, client: sdk.AsyncOpenAI) -> None:
    """`with_streaming_response` reads the bytes as they are."""
    frames = openai.chat_stream()
    site.provider.enqueue(Stream(frames))

    create = client.chat.completions.with_streaming_response.create
    async with create(model=MODEL, messages=ASKED, stream=True) as response:
        body = b"".join([piece async for piece in response.iter_bytes()])

    assert body == b"".join(frames)
    assert response.headers["x-request-id"]


async def test_error_classes(site: Any, client: sdk.AsyncOpenAI) -> None:
    """The SDK's exception follows from the status, with code and param."""
    site.provider.enqueue(openai.error_answer(400, "invalid_value", param="top_p"))

    with pytest.raises(sdk.BadRequestError) as caught:
        await client.chat.completions.create(model=MODEL, messages=ASKED)

    assert (caught.value.code, caught.value.param) == ("invalid_value", "top_p")
    assert caught.value.request_id
    with pytest.raises(sdk.AuthenticationError):
        await client.with_options(api_key="wrong-key-0123456789").chat.completions.create(
            model=MODEL, messages=ASKED
        )


async def test_default_retries(site: Any, client: sdk.AsyncOpenAI) -> None:
    """The SDK tries again after a 502 of the gateway and then succeeds."""
    site.provider.enqueue(openai.error_answer(500), openai.chat_answer())

    answer = await client.chat.completions.create(model=MODEL, messages=ASKED)

    assert answer.choices[0].message.content == "Low tide"
    assert len(site.provider.received) == 2


async def test_broken_stream_raises(site: Any, client: sdk.AsyncOpenAI) -> None:
    """A stream that breaks raises in the SDK; nobody takes half an answer for a whole one."""
    site.provider.enqueue(Cut("between", 2, Stream(openai.chat_stream())))

    stream = await client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    texts = []
    with pytest.raises(sdk.APIError) as caught:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")

    assert "".join(texts) == "Low"
    assert caught.value.code == "upstream_truncated"


async def test_extra_body(site: Any, client: sdk.AsyncOpenAI) -> None:
    """A member that this dialect does not know reaches the provider, whose word it is."""
    with pytest.raises(sdk.BadRequestError) as caught:
        await client.chat.completions.create(
            model=MODEL, messages=ASKED, extra_body={"future_option": 1}
        )

    assert (caught.value.code, caught.value.param) == ("unknown_parameter", "future_option")


async def test_models(client: sdk.AsyncOpenAI) -> None:
    """The list is the gateway's own, in the SDK's form."""
    models = [model async for model in client.models.list()]

    assert all(model.object == "model" for model in models)
