"""A stream that breaks after content goes on where that is safe, and ends in an error where not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai as sdk
import pytest
import pytest_asyncio
from llm_gateway_testkit import anthropic_dialect as claude
from llm_gateway_testkit import mistral_dialect as mistral
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.pair import ASKS, KEY, Pair, paired
from llm_gateway_testkit.rawclient import Reply, call, exchange
from llm_gateway_testkit.scripted import Cut, Hang, Reset, Step, Stream

pytestmark = pytest.mark.asyncio(loop_scope="session")

HAIKU = "claude-haiku-4-5"
TEXT = "Low tide is at noon. Bring boots."
FIRST, REST = TEXT[: len(TEXT) // 2], TEXT[len(TEXT) // 2 :]
WHOLE = Stream(claude.message_stream(claude.text(TEXT)))
AHEAD = 4  # frames up to the first half of the text
CUT = Cut("between", AHEAD, WHOLE)
GOES_ON = Stream(claude.message_stream(claude.text(REST)))
CLAUDE = {"kind": "anthropic", "base_url": "{url}"}
MARK = b": continued by second\n\n"


@asynccontextmanager
async def continuing(
    second: dict[str, Any] | None = None,
    models: tuple[str, str] = (HAIKU, HAIKU),
    theirs: Any = None,
    **settings: Any,
) -> AsyncIterator[Pair]:
    strict = claude.strict(KEY)
    async with paired(
        dict(CLAUDE),
        dict(second or CLAUDE),
        validators=(strict, theirs or strict),
        models=models,
        resilience={"continuation": settings, "circuit_breaker": {"enabled": False}},
        plugins={"disabled": ["routing_health", "guard_provider_limits"]},
    ) as pair:
        yield pair


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running() -> AsyncIterator[Pair]:
    async with continuing() as pair:
        yield pair


@pytest_asyncio.fixture(loop_scope="session")
async def pair(running: Pair) -> AsyncIterator[Pair]:
    running.first.reset()
    running.second.reset()
    yield running
    assert not [*running.first.unexpected, *running.second.unexpected]


def said(body: bytes) -> str:
    """The text of a streamed chat completion."""
    frames = [each[6:] for each in body.split(b"\n\n") if each.startswith(b"data: {")]
    choices = [choice for each in frames for choice in json.loads(each).get("choices", ())]
    return "".join(each["delta"].get("content") or "" for each in choices)


async def line(pair: Pair, request_id: str) -> dict[str, Any]:
    """The log line of a request, once it is written."""
    deadline = asyncio.get_running_loop().time() + 10
    while True:
        for each in pair.gateway.log_lines():
            if request_id in each and '"Request ' in each:
                return dict(json.loads(each))
        assert asyncio.get_running_loop().time() < deadline, "the request was not logged"
        await asyncio.sleep(0.02)


async def told(pair: Pair, reply: Reply) -> dict[str, Any]:
    return await line(pair, reply.headers["x-request-id"])


@pytest.mark.parametrize(
    "step",
    [
        CUT,
        Reset("between", AHEAD, WHOLE),
        Hang("between", AHEAD, WHOLE),
        Cut("mid_body", AHEAD, WHOLE),
        Stream([*WHOLE.frames[:AHEAD], claude.error_event()], delay_s=0.05),
        Stream([*WHOLE.frames[:AHEAD], b"event: nonsense\ndata: {\n\n"], delay_s=0.05),
    ],
)
async def test_another_attempt_goes_on(pair: Pair, step: Step) -> None:
    """Its prompt ends with the text so far; the client sees one stream with a mark in it."""
    pair.first.enqueue(step)
    pair.second.enqueue(GOES_ON)

    reply = await pair.chat(stream=True, max_tokens=100)

    assert reply.status == 200
    assert said(reply.body) == TEXT
    assert reply.body.count(MARK) == 1
    assert reply.body.count(b'"role"') == 1
    assert reply.body.count(b"[DONE]") == 1
    assert b'"error"' not in reply.body
    (sent,) = pair.second.received
    assert sent.json["messages"][-1]["role"] == "assistant"
    assert sent.json["messages"][-1]["content"][0]["text"] == FIRST.rstrip()
    assert sent.json["max_tokens"] < 100
    logged = await told(pair, reply)
    assert (logged["continued"], logged["attempts"], logged["status"]) == (1, 2, 200)
    assert (logged["provider"], logged["fallback"]) == ("second", "broken_after_commit")


async def test_usage_and_cost_are_those_of_both_parts(pair: Pair) -> None:
    """In the stream and in the log line; what the first did not count is estimated."""
    pair.first.enqueue(CUT)
    pair.second.enqueue(GOES_ON)

    reply = await pair.chat(stream=True, stream_options={"include_usage": True})

    usage = json.loads(reply.body.split(b"\n\n")[-3][6:])["usage"]
    alone = claude.usage()
    logged = await told(pair, reply)
    assert usage["prompt_tokens"] == 2 * alone["input_tokens"] == logged["tokens"]["input"]
    assert usage["completion_tokens"] > 31
    assert usage["completion_tokens"] == logged["tokens"]["output"]
    assert float(logged["cost_usd"]) > 0
    shown = await pair.metrics()
    assert 'gateway_policy_continuation_attempts_total{provider="second",result="whole"}' in shown


async def test_openai_sdk_reads_one_stream(pair: Pair) -> None:
    pair.first.enqueue(CUT)
    pair.second.enqueue(GOES_ON)
    messages: Any = ASKS

    async with sdk.AsyncOpenAI(
        base_url=f"{pair.gateway.url}/v1", api_key=pair.gateway.api_key, max_retries=0
    ) as client:
        chunks = await client.chat.completions.create(model="both", messages=messages, stream=True)
        found = [each async for each in chunks]

    assert "".join(each.choices[0].delta.content or "" for each in found if each.choices) == TEXT
    assert found[-1].choices[0].finish_reason == "stop"


async def test_anthropic_sdk_reads_one_message(pair: Pair) -> None:
    """One message, one block of text, one end."""
    pair.first.enqueue(CUT)
    pair.second.enqueue(GOES_ON)
    messages: Any = ASKS

    async with (
        anthropic.AsyncAnthropic(
            base_url=pair.gateway.url, api_key=pair.gateway.api_key, max_retries=0
        ) as client,
        client.messages.stream(model="both", max_tokens=99, messages=messages) as events,
    ):
        kinds = [each.type async for each in events]
        message = await events.get_final_message()

    (block,) = message.content
    assert block.type == "text"
    assert block.text == TEXT
    assert message.stop_reason == "end_turn"
    assert kinds.count("message_start") == kinds.count("message_stop") == 1
    assert message.usage.output_tokens > 31


async def test_openai_sdk_reads_one_response(pair: Pair) -> None:
    """The events of Responses too."""
    pair.first.enqueue(CUT)
    pair.second.enqueue(GOES_ON)

    async with sdk.AsyncOpenAI(
        base_url=f"{pair.gateway.url}/v1", api_key=pair.gateway.api_key, max_retries=0
    ) as client:
        stream = await client.responses.create(model="both", input="When?", stream=True)
        last = [each async for each in stream][-1]

    assert last.type == "response.completed"
    assert last.response.output_text == TEXT


@pytest.mark.parametrize(
    ("members", "headers"),
    [
        ({}, {"x-gateway-continuation": "off"}),
        ({"logprobs": True}, {}),
        ({"n": 2}, {}),
        ({"response_format": {"type": "json_object"}}, {}),
    ],
)
async def test_where_it_is_not_wanted_or_not_safe(
    pair: Pair, members: dict[str, Any], headers: dict[str, str]
) -> None:
    """The stream ends in an error frame; nobody else is asked."""
    pair.first.enqueue(CUT)
    body = {"model": "both", "messages": ASKS, "stream": True, **members}

    reply = await call(
        f"{pair.gateway.url}/v1/chat/completions", body, key=pair.gateway.api_key, headers=headers
    )

    if reply.status == 200:  # else the model takes no such parameter at all
        assert reply.body.split(b"\n\n")[-2].startswith(b'data: {"error"')
        assert b"[DONE]" not in reply.body
    assert pair.second.received == []


@pytest.mark.parametrize(
    "content",
    [
        (claude.text(TEXT), claude.tool_use("toolu_1", "tide_at", port="Brest")),
        (claude.thinking("Hm."), claude.text(TEXT)),
    ],
)
async def test_what_is_no_plain_text_is_not_continued(pair: Pair, content: Any) -> None:
    """A call that has begun; a thought that came before."""
    frames = claude.message_stream(*content)
    pair.first.enqueue(Cut("between", len(frames) - 3, Stream(frames)))
    tool = {"type": "function", "function": {"name": "tide_at", "parameters": {"type": "object"}}}

    reply = await pair.chat(stream=True, tools=[tool])

    assert reply.body.split(b"\n\n")[-2].startswith(b'data: {"error"')
    assert pair.second.received == []


@pytest.mark.parametrize("leaves", [True, False], ids=["left", "broken"])
async def test_both_parts_are_paid_for_as_far_as_they_came(pair: Pair, leaves: bool) -> None:
    """Each read what was asked, and wrote what the client has of it."""
    pair.first.enqueue(CUT)
    fault = Hang if leaves else Cut
    pair.second.enqueue(fault("between", AHEAD, GOES_ON))
    body = {"model": "both", "messages": ASKS, "stream": True}
    url = f"{pair.gateway.url}/v1/chat/completions"

    async with exchange(url, body, key=pair.gateway.api_key) as answer:
        await answer.until(REST[: len(REST) // 2].encode())
        if not leaves:
            await answer.body()
    logged = await line(pair, answer.headers["x-request-id"])

    came = len(FIRST) + len(REST) // 2
    assert (logged["status"], logged["provider"]) == (499 if leaves else 502, "second")
    assert logged["tokens"]["input"] == 2 * claude.usage()["input_tokens"]
    assert came / 3.5 <= logged["tokens"]["output"] <= came / 3.5 + 3
    cost = (logged["tokens"]["input"] * 1 + logged["tokens"]["output"] * 5) / 1_000_000
    assert float(logged["cost_usd"]) == pytest.approx(cost)


async def test_broken_again_is_the_end(pair: Pair) -> None:
    """One continuation is made; the client has what came of both, and is told."""
    pair.first.enqueue(CUT)
    pair.second.enqueue(Cut("between", AHEAD, GOES_ON))

    reply = await pair.chat(stream=True)

    assert said(reply.body) == FIRST + REST[: len(REST) // 2]
    assert reply.body.split(b"\n\n")[-2].startswith(b'data: {"error"')
    assert b"[DONE]" not in reply.body
    assert [len(each.received) for each in (pair.first, pair.second)] == [1, 1]
    logged = await told(pair, reply)
    assert (logged["continued"], logged["status"]) == (2, 502)


async def test_continuation_that_fails_before_content_is_no_text() -> None:
    """With another one allowed, who broke goes on itself; its own text is not lost."""
    async with continuing(max_continuations=2) as pair:
        pair.first.enqueue(CUT, GOES_ON)
        pair.second.enqueue(claude.error_answer(529))

        reply = await pair.chat(stream=True)

        assert said(reply.body) == TEXT
        assert b": continued by first\n\n" in reply.body
        assert (await told(pair, reply))["attempts"] == 3


async def test_repeated_text_is_taken_out() -> None:
    """A vendor whose answer begins with the text once more."""
    own = {"kind": "mistral", "base_url": "{url}/v1"}
    strict = mistral.strict(KEY)
    async with continuing(own, (HAIKU, "mistral-large-latest"), strict) as pair:
        pair.first.enqueue(CUT)
        pair.second.enqueue(
            Stream(mistral.chat_stream([FIRST[:3], FIRST[3:] + REST[:2], REST[2:]]))
        )

        reply = await pair.chat(stream=True)

        assert said(reply.body) == TEXT
        assert pair.second.received[0].json["messages"][-1] == {
            "role": "assistant",
            "content": FIRST.rstrip(),
            "prefix": True,
        }


async def test_models_without_a_beginning_are_not_asked() -> None:
    """OpenAI's answer anew: the stream ends in an error frame."""
    async with paired(
        resilience={"continuation": {}}, plugins={"disabled": ["routing_health"]}
    ) as pair:
        pair.first.enqueue(Cut("between", 2, Stream(openai.chat_stream())))

        reply = await pair.chat(stream=True)

        assert reply.body.split(b"\n\n")[-2].startswith(b'data: {"error"')
        assert pair.second.received == []
