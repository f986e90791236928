"""The openai SDK through a gateway with a strict Gemini behind it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from llm_gateway_testkit import gemini_dialect as gemini
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.scripted import Cut, ScriptedProvider, Stream
from pydantic import BaseModel

KEY = "AIza-scripted"
MODEL = "gemini-3.5-flash"
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "tide_at",
        "description": "tide",
        "parameters": {"type": "object", "properties": {"port": {"type": "string"}}},
    },
}
ASK: Any = [{"role": "user", "content": "Tide?"}]


ERRORS: list[tuple[Any, Any, int]] = [
    (gemini.error_answer(429, retry="17s"), openai.RateLimitError, 429),
    (
        gemini.error_answer(400, "API key not valid.", reason="API_KEY_INVALID"),
        openai.InternalServerError,
        502,
    ),
    (gemini.error_answer(400, "Unknown name"), openai.BadRequestError, 400),
    (
        gemini.error_answer(400, "input token count (9) exceeds the maximum"),
        openai.BadRequestError,
        400,
    ),
    (gemini.error_answer(404), openai.InternalServerError, 502),
    (gemini.error_answer(500), openai.InternalServerError, 502),
    (gemini.error_answer(503), openai.InternalServerError, 503),
    (gemini.error_answer(504), openai.InternalServerError, 502),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def upstream() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider(validator=gemini.strict(KEY)) as provider:
        yield provider


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(upstream: ScriptedProvider) -> AsyncIterator[Gateway]:
    entry = {"kind": "gemini", "api_key": KEY, "base_url": upstream.url, "max_retries": 0}
    config = {
        "providers": {
            "gemini": entry,
            **{f"failing{at}": {**entry, "models": [f"m{at}"]} for at in range(len(ERRORS))},
        },
        "resilience": {"circuit_breaker": {"enabled": False}},
    }
    async with running_gateway(config) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def client(gateway: Gateway, upstream: ScriptedProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    upstream.reset()
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key=gateway.api_key, max_retries=0
    ) as sdk:
        yield sdk
    assert not upstream.unexpected


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_text(client: openai.AsyncOpenAI, upstream: ScriptedProvider) -> None:
    upstream.enqueue(gemini.chat_answer([gemini.text("Low"), gemini.text(" tide")]))

    found = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "system", "content": "Be brief."}, *ASK], max_tokens=9
    )

    assert found.choices[0].message.content == "Low tide"
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None and found.usage.total_tokens == 11
    [sent] = upstream.received
    assert sent.path == f"/v1beta/models/{MODEL}:generateContent"


async def test_a_model_that_is_cut_unless_it_streams_is_streamed_and_collected(
    client: openai.AsyncOpenAI, upstream: ScriptedProvider
) -> None:
    """A client that does not stream gets the whole of what was streamed upstream."""
    upstream.enqueue(Stream(gemini.chat_stream([gemini.text("Low"), gemini.text(" tide")])))
    upstream.enqueue(gemini.chat_answer([gemini.text("Low tide")]))

    for limit in (None, 32_768):
        found = await client.chat.completions.create(
            model="gemini-4-argon", messages=ASK, max_tokens=limit
        )
        assert found.choices[0].message.content == "Low tide"

    paths = [each.path.partition(":")[2] for each in upstream.received]
    assert paths == ["streamGenerateContent?alt=sse", "generateContent"]


async def test_stream(client: openai.AsyncOpenAI, upstream: ScriptedProvider) -> None:
    thought = gemini.text("Hm", thought=True)
    upstream.enqueue(Stream(gemini.chat_stream([thought, gemini.text("Low"), gemini.text("!")])))

    stream = await client.chat.completions.create(
        model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [each async for each in stream]

    deltas = [each.choices[0].delta for each in chunks if each.choices]
    assert "".join(each.content or "" for each in deltas) == "Low!"
    assert "".join(getattr(each, "reasoning_content", None) or "" for each in deltas) == "Hm"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 3


@pytest.mark.parametrize("keeps", [True, False])
async def test_tools_round_trip(
    client: openai.AsyncOpenAI, upstream: ScriptedProvider, keeps: bool
) -> None:
    """The signature goes back byte for byte; where a client drops it, a stand-in does."""
    calls = [
        gemini.call("tide_at", {"port": "Brest"}, signature=gemini.SIGNATURE),
        gemini.call("tide_at", {"port": "Nantes"}),
    ]
    upstream.enqueue(gemini.chat_answer(calls), gemini.chat_answer())

    first = await client.chat.completions.create(model=MODEL, messages=ASK, tools=[TOOL])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    fields = {"exclude_none": True} if keeps else {"include": {"role", "content", "tool_calls"}}
    turn: Any = message.model_dump(**fields)  # type: ignore[arg-type]  # either is an argument
    if not keeps:
        for each in turn["tool_calls"]:
            del each["extra_content" if "extra_content" in each else "type"]
            each["type"] = "function"
    results: Any = [
        {"role": "tool", "tool_call_id": each.id, "content": f"{at} m"}
        for at, each in enumerate(message.tool_calls)
    ]
    second = await client.chat.completions.create(
        model=MODEL, messages=[*ASK, turn, *reversed(results)], tools=[TOOL]
    )

    assert second.choices[0].message.content == "Low tide"
    body = upstream.received[1].json
    sent = body["contents"][1]["parts"]
    wanted = gemini.SIGNATURE if keeps else "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
    assert [each.get("thoughtSignature") for each in sent] == [wanted, None]
    answers = [each["functionResponse"]["response"] for each in body["contents"][2]["parts"]]
    assert answers == [{"output": "0 m"}, {"output": "1 m"}]


async def test_streamed_tool_call(client: openai.AsyncOpenAI, upstream: ScriptedProvider) -> None:
    call = gemini.call("tide_at", {"port": "Brest"}, "fc_1", gemini.SIGNATURE)
    upstream.enqueue(Stream(gemini.chat_stream([gemini.text("Let me see."), call])))

    async with client.chat.completions.stream(model=MODEL, messages=ASK, tools=[TOOL]) as stream:
        _ = [each async for each in stream]
        found = await stream.get_final_completion()

    [made] = found.choices[0].message.tool_calls or []
    assert (made.id, made.function.name) == ("fc_1", "tide_at")
    assert json.loads(made.function.arguments) == {"port": "Brest"}
    assert found.choices[0].finish_reason == "tool_calls"


async def test_image(client: openai.AsyncOpenAI, upstream: ScriptedProvider) -> None:
    upstream.enqueue(gemini.chat_answer())
    url = "data:image/png;base64,iVBORw=="
    content: Any = [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]

    await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": content}]
    )

    [content] = upstream.received[0].json["contents"]
    assert content["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}


class Tide(BaseModel):
    port: str
    metres: float


async def test_structured_output(client: openai.AsyncOpenAI, upstream: ScriptedProvider) -> None:
    text = '{"port": "Brest", "metres": 4.2}'
    upstream.enqueue(gemini.chat_answer([gemini.text(text)]))

    found = await client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Tide)

    assert found.choices[0].message.parsed == Tide(port="Brest", metres=4.2)
    config = upstream.received[0].json["generationConfig"]
    assert config["responseJsonSchema"]["required"] == ["port", "metres"]


async def test_reasoning(client: openai.AsyncOpenAI, upstream: ScriptedProvider) -> None:
    parts = [gemini.text("Hm", thought=True), gemini.text("Low")]
    upstream.enqueue(gemini.whole(gemini.chunk(parts, "STOP", gemini.usage(40, 12, 30))))

    found = await client.chat.completions.create(
        model=MODEL, messages=ASK, reasoning_effort="medium"
    )

    assert getattr(found.choices[0].message, "reasoning_content", None) == "Hm"
    assert found.usage is not None and found.usage.completion_tokens_details is not None
    assert found.usage.completion_tokens_details.reasoning_tokens == 30
    assert found.usage.total_tokens == 82
    config = upstream.received[0].json["generationConfig"]
    assert config == {"thinkingConfig": {"thinkingLevel": "MEDIUM", "includeThoughts": True}}


async def test_dropped_parameters_are_named(
    client: openai.AsyncOpenAI, upstream: ScriptedProvider
) -> None:
    upstream.enqueue(gemini.chat_answer())

    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ASK, user="u", presence_penalty=1, logit_bias={"1": 2}
    )

    assert raw.headers["x-gateway-dropped"] == "logit_bias,presence_penalty,user"


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings(
    client: openai.AsyncOpenAI, upstream: ScriptedProvider, encoding: Any
) -> None:
    vectors = [(1.0, 2.0), (3.0, 4.0), (5.0, 6.0)]
    upstream.enqueue(gemini.embeddings_answer(vectors))

    found = await client.embeddings.create(
        model="gemini-embedding-001", input=["a", "b", "c"], encoding_format=encoding
    )

    got: list[Any] = [each.embedding for each in found.data]
    if encoding == "float":
        assert [tuple(each) for each in got] == vectors
    else:
        assert len({str(each) for each in got}) == 3


async def test_embeddings_by_default(
    client: openai.AsyncOpenAI, upstream: ScriptedProvider
) -> None:
    upstream.enqueue(gemini.embeddings_answer([(1.0, -2.0)]))

    found = await client.embeddings.create(model="gemini-embedding-2", input="a")

    assert found.data[0].embedding == [1.0, -2.0]


@pytest.mark.parametrize("at", range(len(ERRORS)))
async def test_errors(client: openai.AsyncOpenAI, upstream: ScriptedProvider, at: int) -> None:
    """Each on an instance of its own, since a limit or a failure is remembered."""
    answer, kind, status = ERRORS[at]
    upstream.default = answer

    with pytest.raises(kind) as found:
        await client.chat.completions.create(model=f"m{at}", messages=ASK)

    assert found.value.status_code == status
    if status == 429:
        assert found.value.response.headers["retry-after"] == "17"


async def test_malformed_call_is_an_upstream_error(
    client: openai.AsyncOpenAI, upstream: ScriptedProvider
) -> None:
    broken = gemini.chunk(None, "MALFORMED_FUNCTION_CALL", gemini.usage())

    for stream in (False, True):
        upstream.default = Stream([gemini.sse(broken)]) if stream else gemini.whole(broken)
        with pytest.raises(openai.InternalServerError) as found:
            await client.chat.completions.create(
                model=MODEL, messages=ASK, tools=[TOOL], stream=stream
            )
        assert found.value.status_code == 502


@pytest.mark.parametrize("last", [gemini.sse(gemini.error_body(503)), gemini.bare_error(503)])
async def test_error_inside_a_stream_reaches_the_client(
    client: openai.AsyncOpenAI, upstream: ScriptedProvider, last: bytes
) -> None:
    upstream.default = Stream([*gemini.chat_stream()[:1], last])

    with pytest.raises(openai.APIError):  # where both come in one read, before the stream begins
        stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
        _ = [each async for each in stream]


async def test_stream_that_ends_early_is_an_error(
    client: openai.AsyncOpenAI, upstream: ScriptedProvider
) -> None:
    upstream.default = Cut("between", 1, Stream(gemini.chat_stream()))

    with pytest.raises(openai.APIError):  # where both come in one read, before the stream begins
        stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
        _ = [each async for each in stream]


async def test_blocked_prompt_is_a_refusal(
    client: openai.AsyncOpenAI, upstream: ScriptedProvider
) -> None:
    upstream.enqueue(gemini.whole(gemini.blocked("SAFETY")))

    found = await client.chat.completions.create(model=MODEL, messages=ASK)

    assert found.choices[0].finish_reason == "content_filter"
    assert found.choices[0].message.refusal == "blocked: SAFETY"


async def test_models_are_listed_with_their_window(client: openai.AsyncOpenAI) -> None:
    found = {each.id: each async for each in client.models.list()}

    assert MODEL in found
    assert getattr(found[MODEL], "context_window", None) == 1_048_576
