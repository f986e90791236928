"""The official Anthropic SDK as a client of the gateway, whoever answers; and the OpenAI SDK
with Anthropic behind it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anthropic as sdk
import llm_gateway_api as gw
import openai
import pytest
import pytest_asyncio
from llm_gateway_testkit import anthropic_dialect as claude
from llm_gateway_testkit import openai_dialect as gpt
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call, exchange
from llm_gateway_testkit.scripted import Cut, Hang, Received, ScriptedProvider, Stream
from pydantic import BaseModel

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "sk-ant-upstream"
MODEL = f"claude/{claude.MODEL}"
TRANSLATED = f"translated/{claude.MODEL}"
GPT = f"gpt/{gpt.MODEL}"
SIMULATED = "sim/simulated"
ASKED: Any = [{"role": "user", "content": "When is low tide?"}]
TOOL: Any = {
    "name": "tide_at",
    "description": "When?",
    "input_schema": {"type": "object", "properties": {"port": {"type": "string"}}},
}
PIXEL = "iVBORw0KGgo="
CALLS = [
    claude.thinking("Two ports."),
    claude.text("Looking."),
    claude.tool_use("toolu_1", "tide_at", port="Brest"),
    claude.tool_use("toolu_2", "tide_at"),
]
GPT_CALLS = [
    gpt.ToolCall("call_1", "tide_at", ('{"port":', '"Brest"}')),
    gpt.ToolCall("call_2", "tide_at", ("{}",)),
]


class Tide(BaseModel):
    port: str
    hour: int


@dataclass(frozen=True, slots=True)
class Site:
    gateway: Gateway
    claude: ScriptedProvider
    gpt: ScriptedProvider

    def script(self, model: str, ours: Any, theirs: Any) -> ScriptedProvider:
        """Let the provider of `model` answer: `ours` in Messages, `theirs` in Chat."""
        provider, step = (self.gpt, theirs) if model == GPT else (self.claude, ours)
        provider.enqueue(step)
        return provider


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running() -> AsyncIterator[Site]:
    async with (
        ScriptedProvider(validator=claude.strict(KEY)) as ours,
        ScriptedProvider(validator=gpt.strict("sk-gpt")) as theirs,
    ):
        common = {"kind": "anthropic", "api_key": KEY, "base_url": ours.url, "max_retries": 0}
        theirs_too = {"kind": "openai", "api_key": "sk-gpt", "max_retries": 0}
        config = {
            "providers": {
                "claude": common,
                "limited": common,  # a limit that was reached keeps it out for a while
                "failing": common,
                "twin": common,
                "translated": {**common, "relay": False},
                "gpt": {**theirs_too, "base_url": f"{theirs.url}/v1"},
                "sim": {"kind": "simulated"},
            },
            "routing": {
                "models": [
                    {
                        "name": "claude-alias",
                        "deployments": [{"provider": "claude", "model": claude.MODEL}],
                    },
                    {
                        "name": "claude-or-other",
                        "deployments": [{"provider": "failing", "model": claude.MODEL}],
                    },
                    {
                        "name": "claude-or-its-twin",
                        "deployments": [{"provider": "failing", "model": claude.MODEL}],
                    },
                ],
                "fallbacks": {
                    "claude-or-other": [GPT],
                    "claude-or-its-twin": [f"twin/{claude.MODEL}"],
                },
            },
        }
        async with running_gateway(config) as gateway:
            yield Site(gateway, ours, theirs)


@pytest_asyncio.fixture(loop_scope="session")
async def site(running: Site) -> AsyncIterator[Site]:
    providers = (running.claude, running.gpt)
    for each in providers:
        each.reset()
    yield running
    unexpected = [each for provider in providers for each in provider.unexpected]
    for each in providers:
        each.reset()
    assert not unexpected, f"nothing was scripted for {unexpected[0]}"


@pytest_asyncio.fixture(loop_scope="session")
async def client(site: Site) -> AsyncIterator[sdk.AsyncAnthropic]:
    async with sdk.AsyncAnthropic(
        base_url=site.gateway.url, api_key=site.gateway.api_key, max_retries=0
    ) as client:
        yield client


everywhere = pytest.mark.parametrize("model", [MODEL, TRANSLATED, GPT])


def said(message: Any) -> str:
    return "".join(each.text for each in message.content if each.type == "text")


@everywhere
async def test_plain(site: Site, client: sdk.AsyncAnthropic, model: str) -> None:
    site.script(model, claude.message_answer(), gpt.chat_answer())

    answer = await client.messages.create(model=model, max_tokens=50, messages=ASKED)

    assert (said(answer), answer.stop_reason, answer.model) == ("Low tide", "end_turn", model)
    assert answer.usage.output_tokens > 0
    assert answer._request_id


async def test_simulated(client: sdk.AsyncAnthropic) -> None:
    answer = await client.messages.create(model=SIMULATED, max_tokens=50, messages=ASKED)
    async with client.messages.stream(model=SIMULATED, max_tokens=50, messages=ASKED) as stream:
        streamed = await stream.get_final_message()

    assert "low tide" in said(answer) and said(answer) == said(streamed)


@everywhere
async def test_stream(site: Site, client: sdk.AsyncAnthropic, model: str) -> None:
    site.script(model, Stream(claude.message_stream()), Stream(gpt.chat_stream(include_usage=True)))

    async with client.messages.stream(model=model, max_tokens=50, messages=ASKED) as stream:
        pieces = [text async for text in stream.text_stream]
        answer = await stream.get_final_message()

    assert "".join(pieces) == said(answer) == "Low tide"
    assert len(pieces) == 2 and answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 1
    assert answer.model == model


@everywhere
@pytest.mark.parametrize("streamed", [False, True])
async def test_tools_round_trip(
    site: Site, client: sdk.AsyncAnthropic, model: str, streamed: bool
) -> None:
    """Two parallel calls, one without arguments; the results go up beside their calls."""
    ours = Stream(claude.message_stream(*CALLS)) if streamed else claude.message_answer(*CALLS)
    theirs: Any = gpt.chat_answer(None, tool_calls=GPT_CALLS)
    if streamed:
        theirs = Stream(gpt.chat_stream([], tool_calls=GPT_CALLS))
    provider = site.script(model, ours, theirs)

    rest: Any = {"model": model, "max_tokens": 50, "tools": [TOOL]}
    if streamed:
        async with client.messages.stream(messages=ASKED, **rest) as stream:
            first: Any = await stream.get_final_message()
    else:
        first = await client.messages.create(messages=ASKED, **rest)

    calls = [each for each in first.content if each.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert [each.input for each in calls] == [{"port": "Brest"}, {}]
    site.script(model, claude.message_answer(), gpt.chat_answer())
    picture = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    results: Any = [
        {"type": "tool_result", "tool_use_id": calls[1].id, "content": "unknown", "is_error": True},
        {
            "type": "tool_result",
            "tool_use_id": calls[0].id,
            "content": [{"type": "text", "text": "14:10"}, {"type": "image", "source": picture}],
        },
        {"type": "text", "text": "Well?"},
    ]
    turns = [*ASKED, {"role": "assistant", "content": first.content}]
    turns.append({"role": "user", "content": results})
    second = await client.messages.create(messages=turns, **rest)

    assert said(second) == "Low tide"
    up = provider.received[-1].json["messages"]
    assert PIXEL in str(up)
    if model == GPT:
        assert [each["role"] for each in up][:4] == ["user", "assistant", "tool", "tool"]
        assert up[2]["tool_call_id"] == "call_2"
    else:
        assert up[1]["content"][0] == claude.thinking("Two ports.")
        assert [each["type"] for each in up[2]["content"]] == ["tool_result"] * 2 + ["text"]


@everywhere
async def test_pictures_and_documents(site: Site, client: sdk.AsyncAnthropic, model: str) -> None:
    provider = site.script(model, claude.message_answer(), gpt.chat_answer())
    data = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    content: Any = [
        {"type": "image", "source": data},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {"type": "document", "source": pdf},
        {"type": "text", "text": "What is it?", "cache_control": {"type": "ephemeral"}},
    ]

    turns: Any = [{"role": "user", "content": content}]
    answer = await client.messages.create(model=model, max_tokens=50, messages=turns)

    up = str(provider.received[0].json)
    assert said(answer) == "Low tide"
    assert all(each in up for each in (PIXEL, "https://x.test/a.png", "JVBERi0="))
    assert ("cache_control" in up) == (model != GPT)


@everywhere
async def test_structured_output(site: Site, client: sdk.AsyncAnthropic, model: str) -> None:
    text = '{"port":"Brest","hour":14}'
    provider = site.script(model, claude.message_answer(claude.text(text)), gpt.chat_answer(text))

    answer = await client.messages.parse(
        model=model, max_tokens=50, messages=ASKED, output_format=Tide
    )

    assert answer.parsed_output == Tide(port="Brest", hour=14)
    up = provider.received[0].json
    if model == GPT:
        assert up["response_format"]["json_schema"]["strict"] is True
    else:
        assert up["output_config"]["format"]["type"] == "json_schema"


@pytest.mark.parametrize("model", [MODEL, TRANSLATED])
async def test_thinking_streamed_and_sent_back(
    site: Site, client: sdk.AsyncAnthropic, model: str
) -> None:
    """Thoughts come back byte for byte on either lane."""
    site.claude.enqueue(Stream(claude.message_stream(claude.thinking("Hm é."), claude.text("So"))))
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    rest: Any = {"model": model, "max_tokens": 2000, "thinking": thinking}

    async with client.messages.stream(messages=ASKED, **rest) as stream:
        first = await stream.get_final_message()
    site.claude.enqueue(claude.message_answer())
    turn: Any = {"role": "assistant", "content": first.content}
    await client.messages.create(messages=[*ASKED, turn, *ASKED], **rest)

    up = site.claude.received[-1].json
    assert up["messages"][1]["content"][0] == claude.thinking("Hm é.")
    assert up["thinking"] == thinking


async def test_thoughts_of_another_vendor_are_left_out_for_this_one(
    site: Site, client: sdk.AsyncAnthropic
) -> None:
    foreign: Any = {"type": "thinking", "thinking": "x", "signature": "gw1.e30"}
    turn: Any = {"role": "assistant", "content": [foreign, {"type": "text", "text": "So"}]}
    site.claude.enqueue(claude.message_answer())

    await client.messages.create(model=MODEL, max_tokens=9, messages=[*ASKED, turn, *ASKED])

    assert "gw1." not in site.claude.received[0].body.decode()


@pytest.mark.parametrize("other", ["translated/claude-opus-4-8", MODEL])
async def test_thoughts_stay_with_the_model_that_had_them(
    site: Site, client: sdk.AsyncAnthropic, other: str
) -> None:
    """Another model of the same vendor, or another account there, would refuse them."""
    site.claude.enqueue(claude.message_answer(*CALLS[:3]), claude.message_answer())

    first = await client.messages.create(
        model=TRANSLATED, max_tokens=50, messages=ASKED, tools=[TOOL]
    )
    turn: Any = {"role": "assistant", "content": first.content}
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "14:10"}
    turns: Any = [*ASKED, turn, {"role": "user", "content": [result]}]
    second = await client.messages.with_raw_response.create(
        model=other, max_tokens=50, messages=turns, tools=[TOOL]
    )

    sent = site.claude.received[1].json["messages"][1]["content"]
    assert sent == CALLS[1:3]
    assert second.headers["x-gateway-dropped"] == "reasoning"


async def test_a_thought_that_the_vendor_refuses_is_left_out_at_once(
    site: Site, client: sdk.AsyncAnthropic
) -> None:
    """Relayed bytes do not say who made them; the vendor does, and the client hears of it in
    a header alone. A budget for thinking, which demands the thought, goes too."""
    words = "messages.1.content.0: Invalid `signature` in `thinking` block"
    site.claude.enqueue(claude.error_answer(400, words), claude.message_answer())
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "14:10"}
    turns: Any = [
        *ASKED,
        {"role": "assistant", "content": [claude.thinking("Hm", "b3RoZXI="), *CALLS[1:3]]},
        {"role": "user", "content": [result]},
    ]

    answer = await client.messages.with_raw_response.create(
        model=MODEL,
        max_tokens=2000,
        messages=turns,
        tools=[TOOL],
        thinking={"type": "enabled", "budget_tokens": 1024},
    )

    assert said(await answer.parse()) == "Low tide"
    assert answer.headers["x-gateway-attempts"] == "1"
    assert answer.headers["x-gateway-dropped"] == "reasoning"
    first, second = (each.json for each in site.claude.received)
    assert second["messages"][1]["content"] == first["messages"][1]["content"][1:]
    assert first.keys() - second.keys() == {"thinking"}


async def test_a_refusal_of_the_same_words_twice_is_the_callers(
    site: Site, client: sdk.AsyncAnthropic
) -> None:
    words = "messages.1.content.0: Invalid `signature` in `thinking` block"
    site.claude.enqueue(claude.error_answer(400, words), claude.error_answer(400, words))
    turn: Any = {"role": "assistant", "content": [claude.thinking("Hm"), claude.text("So")]}

    with pytest.raises(sdk.BadRequestError):
        await client.messages.create(model=MODEL, max_tokens=9, messages=[*ASKED, turn, *ASKED])

    assert len(site.claude.received) == 2


async def test_relayed_thoughts_stay_behind_when_the_call_moves(
    site: Site, client: sdk.AsyncAnthropic
) -> None:
    """The first deployment fails; the other one never made them, though its bytes would pass."""
    site.claude.enqueue(claude.error_answer(529), claude.message_answer())
    turn: Any = {"role": "assistant", "content": [claude.thinking("Hm"), claude.text("So")]}

    answer = await client.messages.with_raw_response.create(
        model="claude-or-its-twin", max_tokens=9, messages=[*ASKED, turn, *ASKED]
    )

    assert answer.headers["x-gateway-provider"] == "twin"
    assert answer.headers["x-gateway-dropped"] == "reasoning"
    first, second = (each.json["messages"] for each in site.claude.received)
    assert first[1]["content"][0] == claude.thinking("Hm")
    assert second[1]["content"] == [claude.text("So")]


async def test_relay_changes_nothing_but_the_name(site: Site) -> None:
    """Body, version, beta flags and unknown members pass; the client's own key does not."""
    site.claude.enqueue(claude.message_answer())
    body = (
        f'{{ "max_tokens": 5,  "model": "{MODEL}", "system": [{{"type":"text","text":"S"}}],'
        ' "messages": [{"role": "user",  "content": "Hi"}] }'
    ).encode()
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "a-1,b-2", "origin": "o"}

    reply = await call(
        f"{site.gateway.url}/v1/messages?beta=true", body, key=site.gateway.api_key, headers=headers
    )

    up = site.claude.received[0]
    assert reply.status == 200 and reply.headers["request-id"] == reply.headers["x-request-id"]
    assert up.json == {**Received("", "", {}, body).json, "model": claude.MODEL}
    assert b'[{"role": "user",  "content": "Hi"}]' in up.body
    assert up.headers["anthropic-beta"] == "a-1,b-2"
    assert up.headers["anthropic-version"] == "2026-10-21"
    assert up.headers["x-api-key"] == KEY
    assert not up.headers.keys() & {"authorization", "origin", "cookie"}


async def test_both_lanes_answer_the_same(site: Site) -> None:
    """The same traffic, relayed and translated, comes to the same answer."""
    answers: list[Any] = []
    packed: list[str] = []  # which on the other lane says too who made it
    for model in (MODEL, TRANSLATED):
        async with sdk.AsyncAnthropic(
            base_url=site.gateway.url, api_key=site.gateway.api_key
        ) as client:
            site.claude.enqueue(Stream(claude.message_stream(*CALLS)))
            async with client.messages.stream(
                model=model, max_tokens=50, messages=ASKED, tools=[TOOL]
            ) as stream:
                whole = (await stream.get_final_message()).model_dump(exclude={"model", "usage"})
                answers.append({k: v for k, v in whole.items() if v is not None})
                packed.append(whole["content"][0].pop("signature"))

    assert answers[0] == answers[1]
    assert gw.unpack_state(packed[1]) == {
        "anthropic.messages": {"signature": packed[0]},
        "made_by": TRANSLATED,
    }
    up = [each.json for each in site.claude.received]
    turn = {"role": "user", "content": [{"type": "text", "text": ASKED[0]["content"]}]}
    assert up[0]["tools"] == up[1]["tools"] and up[1]["messages"] == [turn]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, sdk.BadRequestError),
        (429, sdk.RateLimitError),
        (500, sdk.InternalServerError),
        (529, sdk.InternalServerError),
    ],
)
@everywhere
async def test_error_classes(
    site: Site, client: sdk.AsyncAnthropic, model: str, status: int, error: type[Exception]
) -> None:
    site.script(model, claude.error_answer(status), gpt.error_answer(status, type="any"))

    with pytest.raises(error) as caught:
        await client.messages.create(model=model, max_tokens=5, messages=ASKED)

    assert isinstance(caught.value, sdk.APIStatusError)
    assert caught.value.type == {400: "invalid_request_error", 429: "rate_limit_error"}.get(
        status, "api_error" if status == 500 else "overloaded_error"
    )
    assert caught.value.request_id


async def test_overload_is_the_sdks_own_class(site: Site, client: sdk.AsyncAnthropic) -> None:
    site.claude.enqueue(claude.error_answer(529))

    with pytest.raises(sdk.APIStatusError) as caught:
        await client.messages.create(model=MODEL, max_tokens=5, messages=ASKED)

    assert caught.value.status_code == 529


async def test_wrong_key_and_wrong_field(site: Site, client: sdk.AsyncAnthropic) -> None:
    with pytest.raises(sdk.AuthenticationError):
        await client.with_options(api_key="wrong-key-0123456789").messages.create(
            model=MODEL, max_tokens=5, messages=ASKED
        )
    with pytest.raises(sdk.BadRequestError, match="messages"):
        await client.messages.create(model=GPT, max_tokens=5, messages=[{"role": "robot"}])  # type: ignore[typeddict-item]  # on purpose
    with pytest.raises(sdk.NotFoundError):
        await client.get("/v1/messages/batches", cast_to=object)


@everywhere
async def test_context_overflow_is_worded_for_coding_agents(
    site: Site, client: sdk.AsyncAnthropic, model: str
) -> None:
    site.script(
        model,
        claude.error_answer(400, "prompt is too long: 9 tokens > 8 maximum"),
        gpt.error_answer(400, "context_length_exceeded", "too long"),
    )

    with pytest.raises(sdk.BadRequestError, match="prompt is too long"):
        await client.messages.create(model=model, max_tokens=5, messages=ASKED)


@everywhere
async def test_broken_stream_raises(site: Site, client: sdk.AsyncAnthropic, model: str) -> None:
    """A stream that breaks raises in the SDK, which takes a bare end for success."""
    ours, theirs = Stream(claude.message_stream()), Stream(gpt.chat_stream())
    site.script(model, Cut("between", 4, ours), Cut("between", 2, theirs))

    with pytest.raises(sdk.APIError):
        async with client.messages.stream(model=model, max_tokens=50, messages=ASKED) as stream:
            async for _ in stream:
                pass


@pytest.mark.parametrize("model", [MODEL, TRANSLATED])
async def test_error_inside_a_stream(site: Site, client: sdk.AsyncAnthropic, model: str) -> None:
    frames = [*claude.message_stream()[:4], claude.error_event("overloaded_error")]
    site.claude.enqueue(Hang("between", 4, Stream(frames)))

    with pytest.raises(sdk.APIStatusError) as caught:
        async with client.messages.stream(model=model, max_tokens=50, messages=ASKED) as stream:
            async for _ in stream.text_stream:
                site.claude.release()

    assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")


@pytest.mark.parametrize("model", [MODEL, TRANSLATED])
async def test_count_tokens_of_the_vendor(
    site: Site, client: sdk.AsyncAnthropic, model: str
) -> None:
    site.claude.enqueue(claude.count_answer(42))

    count = await client.messages.count_tokens(model=model, messages=ASKED, tools=[TOOL])

    assert count.input_tokens == 42
    assert site.claude.received[0].path == "/v1/messages/count_tokens"


@pytest.mark.parametrize("model", [GPT, SIMULATED])
async def test_count_tokens_as_an_estimate(client: sdk.AsyncAnthropic, model: str) -> None:
    """Nobody is asked, and a header says so."""
    raw = await client.messages.with_raw_response.count_tokens(model=model, messages=ASKED)

    assert raw.headers["x-gateway-estimated"] == "input_tokens"
    assert 10 <= (await raw.parse()).input_tokens <= 20


async def test_models_in_both_sdks(site: Site, client: sdk.AsyncAnthropic) -> None:
    """One document: pages here, a list there."""
    page = await client.models.list(limit=2)
    models = [each async for each in client.models.list(limit=5)]
    one = await client.models.retrieve("claude-opus-5-5")

    assert len(page.data) == 2 and page.has_more
    assert len({each.id for each in models}) == len(models) > 5
    assert (one.type, one.max_input_tokens, one.lifecycle) == ("model", 1_000_000, "active")
    assert one.created_at.year >= 1970
    async with openai.AsyncOpenAI(
        base_url=f"{site.gateway.url}/v1", api_key=site.gateway.api_key
    ) as other:
        listed = [each async for each in other.models.list()]
    assert {each.id for each in listed} == {each.id for each in models}


async def test_alias_is_echoed(site: Site, client: sdk.AsyncAnthropic) -> None:
    for step in (claude.message_answer(), Stream(claude.message_stream())):
        site.claude.enqueue(step)
    rest: Any = {"model": "claude-alias", "max_tokens": 5, "messages": ASKED}

    whole = await client.messages.create(**rest)
    async with client.messages.stream(**rest) as stream:
        streamed = await stream.get_final_message()

    assert whole.model == streamed.model == "claude-alias"


async def test_older_sdks_key_header_and_hello(site: Site) -> None:
    site.claude.enqueue(claude.message_answer())
    headers = {"x-api-key": site.gateway.api_key, "anthropic-version": "2023-06-01"}
    body = {"model": MODEL, "max_tokens": 5, "messages": ASKED}

    reply = await call(f"{site.gateway.url}/v1/messages", body, headers=headers)
    hello = await call(f"{site.gateway.url}/api/hello", method="HEAD")

    assert (reply.status, hello.status) == (200, 200)


@pytest.mark.parametrize(
    ("bearer", "key", "status"),
    [("own", "own", 200), ("own", "other", 200), ("other", "own", 200), ("other", "another", 401)],
)
async def test_two_credentials_at_once(site: Site, bearer: str, key: str, status: int) -> None:
    """Coding agents send both; the one that is known counts."""
    if status == 200:
        site.claude.enqueue(claude.message_answer())
    keys = {"own": site.gateway.api_key}
    headers = {"x-api-key": keys.get(key, key), "anthropic-version": "2023-06-01"}
    body = json.dumps({"model": MODEL, "max_tokens": 5, "messages": ASKED}).encode()

    reply = await call(
        f"{site.gateway.url}/v1/messages", body, key=keys.get(bearer, bearer), headers=headers
    )

    assert reply.status == status


async def test_tool_of_the_vendor_is_refused_elsewhere(
    site: Site, client: sdk.AsyncAnthropic
) -> None:
    tools: Any = [{"type": "web_search_20260318", "name": "web_search"}]

    with pytest.raises(sdk.BadRequestError, match="web_search_20260318"):
        await client.messages.create(model=GPT, max_tokens=5, messages=ASKED, tools=tools)


async def test_error_before_content_lets_another_vendor_answer(
    site: Site, client: sdk.AsyncAnthropic
) -> None:
    """The client sees one clean stream, whose dialect nobody can tell from the vendor's."""
    frames = [*claude.message_stream()[:2], claude.error_event()]
    site.claude.default = Stream(frames)
    site.gpt.enqueue(Stream(gpt.chat_stream(include_usage=True)))

    rest: Any = {"model": "claude-or-other", "max_tokens": 50, "messages": ASKED}
    async with client.messages.stream(**rest) as stream:
        answer = await stream.get_final_message()

    assert (said(answer), answer.model) == ("Low tide", "claude-or-other")
    assert answer.id.startswith("msg_")


@pytest.mark.parametrize("model", [MODEL, TRANSLATED])
async def test_client_that_leaves_ends_the_call(site: Site, model: str) -> None:
    site.claude.enqueue(Hang("between", 4, Stream(claude.message_stream())))
    body = {"model": model, "max_tokens": 50, "messages": ASKED, "stream": True}
    headers = {"anthropic-version": "2023-06-01"}

    url = f"{site.gateway.url}/v1/messages"
    async with exchange(url, body, key=site.gateway.api_key, headers=headers) as answer:
        await answer.until(b"text_delta")
        open_before = site.claude.connections_open

    await site.claude.wait_closed(open_before - 1)


# --- the OpenAI SDK with Anthropic behind it -------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def other(site: Site) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{site.gateway.url}/v1", api_key=site.gateway.api_key, max_retries=0
    ) as client:
        yield client


FUNCTION: Any = {
    "type": "function",
    "function": {"name": "tide_at", "parameters": TOOL["input_schema"]},
}


async def test_openai_plain_and_what_was_dropped(site: Site, other: openai.AsyncOpenAI) -> None:
    site.claude.enqueue(claude.message_answer())

    raw = await other.chat.completions.with_raw_response.create(
        model=MODEL, messages=ASKED, seed=7, temperature=0.5
    )

    answer = raw.parse()
    assert answer.choices[0].message.content == "Low tide"
    assert answer.usage is not None and answer.usage.total_tokens == 43
    assert raw.headers["x-gateway-dropped"] == "seed"


async def test_openai_stream_with_usage(site: Site, other: openai.AsyncOpenAI) -> None:
    site.claude.enqueue(Stream(claude.message_stream(claude.thinking("Hm"), claude.text("Low"))))

    stream = await other.chat.completions.create(
        model=MODEL, messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    deltas: list[Any] = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(each.content or "" for each in deltas) == "Low"
    assert "".join(getattr(each, "reasoning_content", None) or "" for each in deltas) == "Hm"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 31


async def test_openai_tools_round_trip(site: Site, other: openai.AsyncOpenAI) -> None:
    site.claude.enqueue(Stream(claude.message_stream(*CALLS)))
    async with other.chat.completions.stream(
        model=MODEL, messages=ASKED, tools=[FUNCTION]
    ) as stream:
        first = (await stream.get_final_completion()).choices[0]
    calls = first.message.tool_calls or []
    turn: Any = {"role": "assistant", "tool_calls": [each.model_dump() for each in calls]}
    for each in turn["tool_calls"]:
        each["function"].pop("parsed_arguments", None)
    results: Any = [
        {"role": "tool", "tool_call_id": each.id, "content": "14:10"} for each in reversed(calls)
    ]
    site.claude.enqueue(claude.message_answer())

    second = await other.chat.completions.create(
        model=MODEL, messages=[*ASKED, turn, *results], tools=[FUNCTION]
    )

    assert first.finish_reason == "tool_calls"
    assert [each.function.arguments for each in calls] == ['{"port":"Brest"}', "{}"]
    assert second.choices[0].message.content == "Low tide"
    up = site.claude.received[1].json["messages"]
    assert [each["tool_use_id"] for each in up[2]["content"]] == ["toolu_2", "toolu_1"]


async def test_openai_picture_and_structured_output(site: Site, other: openai.AsyncOpenAI) -> None:
    text = claude.text('{"port":"Brest","hour":14}')
    site.claude.enqueue(claude.message_answer(text))
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}

    turns: Any = [{"role": "user", "content": [url]}]
    answer = await other.chat.completions.parse(model=MODEL, messages=turns, response_format=Tide)

    assert answer.choices[0].message.parsed == Tide(port="Brest", hour=14)
    up = site.claude.received[0].json
    assert up["messages"][0]["content"][0]["source"]["data"] == PIXEL
    assert up["output_config"]["format"]["schema"]["additionalProperties"] is False


async def test_openai_long_answer_is_streamed_upstream(
    site: Site, other: openai.AsyncOpenAI
) -> None:
    site.claude.enqueue(Stream(claude.message_stream()))

    answer = await other.chat.completions.create(
        model=MODEL, messages=ASKED, max_completion_tokens=60_000
    )

    assert answer.choices[0].message.content == "Low tide"
    assert site.claude.received[0].json["stream"] is True


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (429, openai.RateLimitError),
        (529, openai.InternalServerError),
    ],
)
async def test_openai_errors(
    site: Site, other: openai.AsyncOpenAI, status: int, error: type[Exception]
) -> None:
    wait = {"retry-after": "7"} if status == 429 else {}
    site.claude.enqueue(claude.error_answer(status, headers=wait))
    model = f"limited/{claude.MODEL}" if wait else MODEL

    with pytest.raises(error) as caught:
        await other.chat.completions.create(model=model, messages=ASKED)

    assert isinstance(caught.value, openai.APIStatusError)
    if status == 429:
        assert caught.value.response.headers["retry-after"] == "7"


async def test_openai_client_carries_signed_thoughts(site: Site, other: openai.AsyncOpenAI) -> None:
    """What the chat dialect has no place for comes back in `reasoning_details`."""
    site.claude.enqueue(claude.message_answer(*CALLS[:3]), claude.message_answer())

    first = await other.chat.completions.create(model=MODEL, messages=ASKED, tools=[FUNCTION])
    turn: Any = first.choices[0].message.model_dump(exclude_none=True)
    result: Any = {"role": "tool", "tool_call_id": "toolu_1", "content": "14:10"}
    await other.chat.completions.create(
        model=MODEL, messages=[*ASKED, turn, result], tools=[FUNCTION]
    )

    blocks = site.claude.received[1].json["messages"][1]["content"]
    assert blocks == CALLS[:3]
