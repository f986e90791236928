"""Mistral's own SDK takes the scripted provider, OpenAI's SDK the gateway before it."""

from collections.abc import AsyncIterator
from typing import Any

import openai as sdk
import pytest
import pytest_asyncio
from llm_gateway_testkit import mistral_dialect as mistral
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.scripted import Answer, ScriptedProvider, Stream
from llm_gateway_testkit.sdksite import Site, sdk_site
from mistralai.client import Mistral
from mistralai.client.errors import HTTPValidationError, SDKError
from pydantic import BaseModel

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = mistral.MODEL
ASKED: Any = [{"role": "user", "content": "When is low tide?"}]
TOOLS: Any = [{"type": "function", "function": {"name": name}} for name in ("get_tide", "get_wind")]
CALLS = [
    openai.ToolCall("a1B2c3D4e", "get_tide", ('{"port":"Brest"}',)),
    openai.ToolCall("f5G6h7I8j", "get_wind", ("{}",)),
]


class Tide(BaseModel):
    port: str
    hour: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Site]:
    async with ScriptedProvider(validator=mistral.strict("k-1")) as vendor:
        provider = {"api_key": "k-1", "base_url": f"{vendor.url}/v1", "max_retries": 0}
        async with sdk_site({"providers": {"mistral": provider}}, vendor) as made:
            yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> AsyncIterator[Site]:
    async with running.fresh():
        yield running


# --- the vendor's own SDK ----------------------------------------------------------------


async def test_vendors_sdk(site: Site) -> None:
    """It reads the scripted answers, and what it sends is what the strict vendor takes."""
    site.vendor.enqueue(
        mistral.chat_answer(thinking="Check."),
        Stream(mistral.chat_stream(thinking=["Check."])),
        Stream(mistral.chat_stream([], tool_calls=CALLS)),
        mistral.embeddings_answer([(1.0, -2.0)]),
    )
    async with Mistral(api_key="k-1", server_url=site.vendor.url) as client:
        plain = await client.chat.complete_async(
            model=MODEL, messages=ASKED, random_seed=1, reasoning_effort="high"
        )
        texts = await _streamed(client)
        calls = await _streamed(client)
        vectors = await client.embeddings.create_async(model="mistral-embed", inputs=["a"])

    content: Any = plain.choices[0].message.content
    assert [each.type for each in content] == ["thinking", "text"]
    assert texts[-1].finish_reason == "stop"
    found: Any = calls[-1].delta.tool_calls
    assert [each.id for each in found] == ["a1B2c3D4e", "f5G6h7I8j"]
    assert vectors.data[0].embedding == [1.0, -2.0]


async def _streamed(client: Mistral) -> list[Any]:
    stream = await client.chat.stream_async(model=MODEL, messages=ASKED)
    async with stream:
        return [each.data.choices[0] async for each in stream]


async def test_vendors_sdk_is_refused(site: Site) -> None:
    """What the vendor refuses, the scripted provider does, in its form."""
    tool: Any = {"role": "tool", "content": "x", "tool_call_id": "call_abc"}
    async with Mistral(api_key="k-1", server_url=site.vendor.url) as client:
        with pytest.raises(HTTPValidationError, match="tool_call_id"):
            await client.chat.complete_async(model=MODEL, messages=[*ASKED, tool])
        call: Any = {"id": "a1B2c3D4e", "function": {"name": "f", "arguments": "{}"}}
        turn: Any = {"role": "assistant", "tool_calls": [call]}
        answer: Any = {"role": "tool", "content": "x", "tool_call_id": "a1B2c3D4e"}
        with pytest.raises(SDKError) as order:
            await client.chat.complete_async(model=MODEL, messages=[*ASKED, turn, answer, *ASKED])
    assert (order.value.status_code, "3230" in order.value.body) == (400, True)


# --- the gateway -------------------------------------------------------------------------


async def test_text(site: Site) -> None:
    site.vendor.enqueue(mistral.chat_answer(thinking="Check."))

    create = site.client.chat.completions.with_raw_response.create
    raw = await create(model=MODEL, messages=ASKED, seed=3, max_completion_tokens=9, user="u")

    answer = raw.parse()
    message: Any = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("Low tide", "Check.")
    assert answer.usage is not None and answer.usage.total_tokens == 11
    assert raw.headers["x-gateway-dropped"] == "user"
    assert site.vendor.received[0].json["random_seed"] == 3


async def test_stream_of_thinking_text_and_calls(site: Site) -> None:
    """Role once, reasoning, content, calls, finish, usage, from chunks that mix them."""
    frames = mistral.chat_stream(thinking=["Check."], tool_calls=CALLS)
    site.vendor.enqueue(Stream(frames))

    stream = await site.client.chat.completions.create(
        model=MODEL,
        messages=ASKED,
        tools=TOOLS,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]

    deltas: list[Any] = [each.choices[0].delta for each in chunks if each.choices]
    order = [
        name
        for each in deltas
        for name in ("role", "reasoning_content", "content", "tool_calls")
        if getattr(each, name, None)
    ]
    assert list(dict.fromkeys(order)) == ["role", "reasoning_content", "content", "tool_calls"]
    assert order.count("role") == 1
    calls = [call for each in deltas for call in each.tool_calls or ()]
    assert [each.id for each in calls if each.id] == ["a1B2c3D4e", "f5G6h7I8j"]
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 2


async def test_tools_and_back(site: Site) -> None:
    """Results in any order, one empty, then the user again; ids come back unchanged."""
    site.vendor.enqueue(mistral.chat_answer(tool_calls=CALLS), mistral.chat_answer())

    first, second = await site.call_tools(
        MODEL, ASKED, TOOLS, stream=False, then=ASKED, tool_choice="required"
    )

    assert first.choices[0].message.content is None
    assert second.choices[0].message.content == "Low tide"
    rows = site.vendor.received[1].json["messages"]
    assert [each.get("tool_call_id") for each in rows[2:4]] == ["f5G6h7I8j", "a1B2c3D4e"]
    assert [each["role"] for each in rows[4:]] == ["assistant", "user"]


async def test_structured_output(site: Site) -> None:
    site.vendor.enqueue(mistral.chat_answer('{"port":"Brest","hour":14}'))

    answer = await site.client.chat.completions.parse(
        model=MODEL, messages=ASKED, response_format=Tide
    )

    assert answer.choices[0].message.parsed == Tide(port="Brest", hour=14)


async def test_image(site: Site) -> None:
    site.vendor.enqueue(mistral.chat_answer())
    image = {"url": "data:image/png;base64,iVBORw0KGgo="}
    content: Any = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": image}]

    await site.client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": content}]
    )

    assert site.vendor.received[0].json["messages"][0]["content"] == content


async def test_embeddings(site: Site) -> None:
    """The SDK's default of base64 is packed by the gateway."""
    vectors = [(1.0, -2.0), (0.5, 3.0)]
    site.vendor.enqueue(mistral.embeddings_answer(vectors))

    answer = await site.client.embeddings.create(
        model="codestral-embed", input=["a", "b"], dimensions=256
    )

    assert [each.embedding for each in answer.data] == [list(each) for each in vectors]
    assert site.vendor.received[0].json["output_dimension"] == 256


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (mistral.error_answer(400), sdk.BadRequestError, "upstream_refused"),
        (
            mistral.error_answer(429, "rate_limited", "1300"),
            sdk.RateLimitError,
            "rate_limit_exceeded",
        ),
        (mistral.error_answer(503), sdk.InternalServerError, "upstream_overloaded"),
    ],
)
async def test_errors(
    site: Site, answer: Answer, kind: type[sdk.APIStatusError], code: str
) -> None:
    site.vendor.enqueue(answer)

    with pytest.raises(kind) as caught:
        await site.client.chat.completions.create(model=MODEL, messages=ASKED)

    assert caught.value.code == code
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}


async def test_a_stream_that_fails(site: Site) -> None:
    site.vendor.enqueue(Stream(mistral.chat_stream(finish_reason="error"), delay_s=0.01))

    with pytest.raises(sdk.APIError):
        stream = await site.client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        async for chunk in stream:
            assert chunk.choices[0].finish_reason is None
