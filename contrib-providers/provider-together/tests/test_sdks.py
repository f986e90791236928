"""Together's own SDK takes the scripted provider, OpenAI's SDK the gateway before it."""

from collections.abc import AsyncIterator
from typing import Any

import openai as sdk
import pytest
import pytest_asyncio
import together as vendor_sdk
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import together_dialect as together
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Answer, ScriptedProvider, Stream
from llm_gateway_testkit.sdksite import Site, sdk_site
from pydantic import BaseModel

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = together.MODEL
ASKED: Any = [{"role": "user", "content": "When is low tide?"}]
TOOLS: Any = [{"type": "function", "function": {"name": name}} for name in ("get_tide", "get_wind")]
CALLS = [
    openai.ToolCall("call_x1", "get_tide", ('{"port":', '"Brest"}')),
    openai.ToolCall("call_x2", "get_wind", ("{}",)),
]


class Tide(BaseModel):
    port: str
    hour: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Site]:
    async with ScriptedProvider(validator=together.strict("k-1")) as vendor:
        provider = {"api_key": "k-1", "base_url": f"{vendor.url}/v1", "max_retries": 0}
        async with sdk_site({"providers": {"together": provider}}, vendor) as made:
            yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> AsyncIterator[Site]:
    async with running.fresh():
        yield running


async def test_vendors_sdk(site: Site) -> None:
    """It reads the scripted answers, and what it sends is what the strict vendor takes."""
    site.vendor.enqueue(
        together.chat_answer(reasoning="Hm."),
        Stream(together.chat_stream([], tool_calls=CALLS)),
        together.embeddings_answer([(1.0, -2.0)]),
        together.rerank_answer([(1, 0.75)]),
        together.error_answer(429),
    )
    base = site.vendor.url
    async with vendor_sdk.AsyncTogether(api_key="k-1", base_url=base, max_retries=0) as client:
        plain: Any = await client.chat.completions.create(model=MODEL, messages=ASKED, logprobs=1)
        stream: Any = await client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        chunks = [chunk async for chunk in stream]
        vectors: Any = await client.embeddings.create(model="e", input="a")
        ranks: Any = await client.rerank.create(model="r", query="q", documents=["a", "b"])
        with pytest.raises(vendor_sdk.RateLimitError):
            await client.chat.completions.create(model=MODEL, messages=ASKED)
        odd: Any = {"odd": 1}
        with pytest.raises(vendor_sdk.UnprocessableEntityError):
            await client.chat.completions.create(model=MODEL, messages=ASKED, extra_body=odd)

    assert plain.choices[0].message.content == "Low tide"
    assert plain.choices[0].message.reasoning == "Hm."
    calls = [each for chunk in chunks for each in chunk.choices[0].delta.tool_calls or ()]
    assert [each.id for each in calls if each.id] == ["call_x1", "call_x2"]
    assert vectors.data[0].embedding == [1.0, -2.0]
    assert ranks.results[0].index == 1


async def test_text(site: Site) -> None:
    site.vendor.enqueue(together.chat_answer(reasoning="Hm."))

    create = site.client.chat.completions.with_raw_response.create
    raw = await create(model=MODEL, messages=ASKED, user="u", stop="x")

    answer = raw.parse()
    message: Any = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("Low tide", "Hm.")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.total_tokens == 11
    assert raw.headers["x-gateway-dropped"] == "user"
    assert site.vendor.received[0].json["stop"] == ["x"]


async def test_logprobs(site: Site) -> None:
    given = {"tokens": ["Low tide"], "token_logprobs": [-0.5]}
    site.vendor.enqueue(together.chat_answer(logprobs=given))

    answer = await site.client.chat.completions.create(
        model=MODEL, messages=ASKED, logprobs=True, top_logprobs=2
    )

    found = answer.choices[0].logprobs
    assert found is not None and found.content is not None
    assert (found.content[0].token, found.content[0].logprob) == ("Low tide", -0.5)
    assert site.vendor.received[0].json["logprobs"] == 2


@pytest.mark.parametrize("usage", [True, False])
async def test_stream(site: Site, usage: bool) -> None:
    """The role once though each delta has one; figures only where they were asked for."""
    site.vendor.enqueue(Stream(together.chat_stream(reasoning=["Hm."])))

    stream = await site.client.chat.completions.create(
        model=MODEL, messages=ASKED, stream=True, stream_options={"include_usage": usage}
    )
    chunks = [chunk async for chunk in stream]

    deltas: list[Any] = [each.choices[0].delta for each in chunks if each.choices]
    assert [each.role for each in deltas if each.role] == ["assistant"]
    assert "".join(getattr(each, "reasoning_content", None) or "" for each in deltas) == "Hm."
    assert "".join(each.content or "" for each in deltas) == "Low tide"
    assert any(each.usage for each in chunks) is usage


@pytest.mark.parametrize("reason", ["tool_calls", "eos"])
async def test_tools_in_a_stream_and_back(site: Site, reason: str) -> None:
    """Two calls from pieces with empty ids; engines that end with eos called all the same."""
    frames = together.chat_stream([], ["Hm."], CALLS, reason)
    site.vendor.enqueue(Stream(frames), together.chat_answer())

    first, second = await site.call_tools(MODEL, ASKED, TOOLS, stream=True)
    calls = first.choices[0].message.tool_calls

    assert first.choices[0].finish_reason == "tool_calls"
    assert [(each.function.name, each.function.arguments) for each in calls] == [
        ("get_tide", '{"port":"Brest"}'),
        ("get_wind", "{}"),
    ]
    assert second.choices[0].message.content == "Low tide"
    rows = site.vendor.received[1].json["messages"]
    assert rows[1]["reasoning"] == "Hm."
    assert [each["tool_call_id"] for each in rows[2:]] == ["call_x2", "call_x1"]


async def test_structured_output(site: Site) -> None:
    site.vendor.enqueue(together.chat_answer('{"port":"Brest","hour":14}'))

    answer = await site.client.chat.completions.parse(
        model=MODEL, messages=ASKED, response_format=Tide
    )

    assert answer.choices[0].message.parsed == Tide(port="Brest", hour=14)


async def test_image(site: Site) -> None:
    site.vendor.enqueue(together.chat_answer())
    image: Any = {"url": "https://example.com/a.png", "detail": "high"}
    content: Any = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": image}]

    await site.client.chat.completions.create(
        model="moonshotai/Kimi-K3", messages=[{"role": "user", "content": content}]
    )

    up = site.vendor.received[0].json["messages"][0]["content"][1]
    assert up == {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


async def test_embeddings(site: Site) -> None:
    """The SDK's default of base64 is packed by the gateway; the vendor counts nothing."""
    site.vendor.enqueue(together.embeddings_answer([(1.0, -2.0)]))

    answer = await site.client.embeddings.create(model="together/e", input="a")

    assert answer.data[0].embedding == [1.0, -2.0]


async def test_ranking(site: Site) -> None:
    site.vendor.enqueue(together.rerank_answer([(1, 0.75)]))
    body = {"model": "together/r", "query": "q", "documents": ["a", "b"]}
    url = str(site.client.base_url).rstrip("/") + "/rerank"

    reply = await call(url, body, key=site.client.api_key)

    assert reply.json["results"] == [{"index": 1, "relevance_score": 0.75}]


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (together.error_answer(400), sdk.BadRequestError, "upstream_refused"),
        (
            together.error_answer(403, "max_new_tokens must be <= 8193"),
            sdk.BadRequestError,
            "context_length_exceeded",
        ),
        (together.error_answer(429), sdk.RateLimitError, "rate_limit_exceeded"),
        (together.answer({"error": "busy"}, 503), sdk.InternalServerError, "upstream_overloaded"),
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


async def test_an_error_in_mid_stream(site: Site) -> None:
    frames = [*together.chat_stream()[:1], openai.sse({"message": "boom"})]
    site.vendor.enqueue(Stream(frames, delay_s=0.01))

    with pytest.raises(sdk.APIError):
        stream = await site.client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        async for chunk in stream:
            assert chunk.choices[0].finish_reason is None
