"""OpenAI's SDK as a client of the gateway, with Cohere behind it."""

from collections.abc import AsyncIterator
from typing import Any

import openai as sdk
import pytest
import pytest_asyncio
from llm_gateway_testkit import cohere_dialect as cohere
from llm_gateway_testkit.scripted import Answer, ScriptedProvider, Stream
from llm_gateway_testkit.sdksite import Site, sdk_site
from pydantic import BaseModel

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = cohere.MODEL
ASKED: Any = [{"role": "user", "content": "When is low tide?"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("get-tide", "get_wind")
]
CALLS = [
    cohere.ToolCall("get_tide_k3", "get_tide", ('{"port":', '"Brest"}')),
    cohere.ToolCall("get_wind_p9", "get_wind", ()),
]


class Tide(BaseModel):
    port: str
    hour: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Site]:
    async with ScriptedProvider(validator=cohere.strict("k-1")) as vendor:
        provider = {"api_key": "k-1", "base_url": vendor.url, "max_retries": 0}
        config = {"providers": {"cohere": provider}}
        async with sdk_site(config, vendor) as made:
            yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> AsyncIterator[Site]:
    async with running.fresh():
        yield running


async def test_text(site: Site) -> None:
    site.vendor.enqueue(cohere.chat_answer(thinking="Check."))

    answer = await site.client.chat.completions.create(model=MODEL, messages=ASKED, user="u-1")

    message: Any = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("Low tide", "Check.")
    usage: Any = answer.usage
    assert usage.billed_units == {"input_tokens": 9.0, "output_tokens": 2.0}
    assert usage.total_tokens == 11


async def test_dropped_parameters_are_told(site: Site) -> None:
    site.vendor.enqueue(cohere.chat_answer())

    create = site.client.chat.completions.with_raw_response.create
    raw = await create(model=MODEL, messages=ASKED, user="u-1", reasoning_effort="low")

    assert set(raw.headers["x-gateway-dropped"].split(",")) == {"user", "reasoning_effort"}


async def test_stream(site: Site) -> None:
    """Role once, reasoning, content, finish, usage."""
    site.vendor.enqueue(Stream(cohere.chat_stream(thinking=["Check."])))

    stream = await site.client.chat.completions.create(
        model=MODEL, messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    deltas: list[Any] = [each.choices[0].delta for each in chunks if each.choices]
    assert [each.role for each in deltas if each.role] == ["assistant"]
    assert "".join(getattr(each, "reasoning_content", None) or "" for each in deltas) == "Check."
    assert "".join(each.content or "" for each in deltas) == "Low tide"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 2


async def test_tools_in_a_stream_and_back(site: Site) -> None:
    """Two calls under the caller's own names; the results go back in any order."""
    site.vendor.enqueue(
        Stream(cohere.chat_stream(plan=["I look."], tool_calls=CALLS)), cohere.chat_answer()
    )

    first, second = await site.call_tools(MODEL, ASKED, TOOLS, stream=True)
    calls = first.choices[0].message.tool_calls

    assert first.choices[0].finish_reason == "tool_calls"
    assert [(each.function.name, each.function.arguments) for each in calls] == [
        ("get-tide", '{"port":"Brest"}'),
        ("get_wind", "{}"),
    ]
    assert second.choices[0].message.content == "Low tide"
    rows = site.vendor.received[1].json["messages"]
    assert rows[1]["tool_plan"] == "I look."
    assert [each["tool_call_id"] for each in rows[2:]] == ["get_wind_p9", "get_tide_k3"]


async def test_forced_tool(site: Site) -> None:
    site.vendor.enqueue(cohere.chat_answer(tool_calls=CALLS[:1]))
    choice: Any = {"type": "function", "function": {"name": "get-tide"}}

    answer = await site.client.chat.completions.create(
        model=MODEL, messages=ASKED, tools=TOOLS, tool_choice=choice
    )

    calls: Any = answer.choices[0].message.tool_calls
    assert calls[0].function.name == "get-tide" and answer.choices[0].message.content is None
    assert site.vendor.received[0].json["tool_choice"] == "REQUIRED"


async def test_structured_output(site: Site) -> None:
    site.vendor.enqueue(cohere.chat_answer('{"port":"Brest","hour":14}'))

    answer = await site.client.chat.completions.parse(
        model=MODEL, messages=ASKED, response_format=Tide
    )

    assert answer.choices[0].message.parsed == Tide(port="Brest", hour=14)
    assert "properties" in site.vendor.received[0].json["response_format"]["json_schema"]


async def test_image(site: Site) -> None:
    site.vendor.enqueue(cohere.chat_answer())
    url = "data:image/png;base64,iVBORw0KGgo="
    content: Any = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]

    await site.client.chat.completions.create(
        model="command-a-vision-07-2025", messages=[{"role": "user", "content": content}]
    )

    assert site.vendor.received[0].json["messages"][0]["content"][1]["image_url"]["url"] == url


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings(site: Site, encoding: Any) -> None:
    """Two hundred texts come back in order, from three calls, in either encoding."""

    def page(request: Any) -> Answer:
        return cohere.embed_answer([(float(each), 0.5) for each in request.json["texts"]], 10)

    site.vendor.enqueue(page, page, page)

    answer = await site.client.embeddings.create(
        model="embed-v4.0", input=[str(each) for each in range(200)], encoding_format=encoding
    )

    vectors: list[Any] = [each.embedding for each in answer.data]
    if encoding == "float":
        assert vectors == [[float(each), 0.5] for each in range(200)]
    assert [each.index for each in answer.data] == list(range(200))
    assert answer.usage.prompt_tokens == 30


async def test_base64_is_the_sdks_default(site: Site) -> None:
    site.vendor.enqueue(cohere.embed_answer([(1.0, -2.0)]))

    answer = await site.client.embeddings.create(model="embed-v4.0", input="a", dimensions=1024)

    assert answer.data[0].embedding == [1.0, -2.0]
    assert site.vendor.received[0].json["output_dimension"] == 1024


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (cohere.error_answer(400, "bad"), sdk.BadRequestError, "invalid_value"),
        (
            cohere.error_answer(400, "too many tokens"),
            sdk.BadRequestError,
            "context_length_exceeded",
        ),
        (cohere.error_answer(429), sdk.RateLimitError, "rate_limit_exceeded"),
        (cohere.error_answer(500), sdk.InternalServerError, "upstream_error"),
        (Answer(503, {}, b"busy"), sdk.InternalServerError, "upstream_overloaded"),
    ],
)  # fmt: skip
async def test_errors(
    site: Site, answer: Answer, kind: type[sdk.APIStatusError], code: str
) -> None:
    """A flat body and plain text become OpenAI's shape."""
    site.vendor.enqueue(answer)

    with pytest.raises(kind) as caught:
        await site.client.chat.completions.create(model=MODEL, messages=ASKED)

    assert caught.value.code == code
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "frames",
    [
        cohere.chat_stream()[:-1],
        cohere.chat_stream(finish_reason="ERROR", error="model failed"),
    ],
    ids=["cut", "error"],
)
async def test_broken_streams(site: Site, frames: list[bytes]) -> None:
    """An error ends the stream, and no finish: nobody takes half an answer for a whole one."""
    site.vendor.enqueue(Stream(frames, delay_s=0.01))

    chunks = []
    with pytest.raises(sdk.APIError):
        stream = await site.client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        async for chunk in stream:
            chunks.append(chunk)

    assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Low tide"
    assert all(each.choices[0].finish_reason is None for each in chunks)


async def test_a_page_that_fails_fails_the_whole(site: Site) -> None:
    """No client gets half of its vectors."""
    texts = ["a"] * 97
    site.vendor.enqueue(cohere.embed_answer([(1.0,)] * 96), cohere.error_answer(500))

    with pytest.raises(sdk.InternalServerError):
        await site.client.embeddings.create(model="embed-v4.0", input=texts)
