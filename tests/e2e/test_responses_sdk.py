"""The official OpenAI SDK's `responses` as a client of the gateway, whoever answers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import openai as sdk
import pytest
import pytest_asyncio
from llm_gateway_testkit import anthropic_dialect as claude
from llm_gateway_testkit import openai_dialect as gpt
from llm_gateway_testkit import responses_dialect as native
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Cut, ScriptedProvider, Stream
from pydantic import BaseModel

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "sk-upstream"
GPT = f"gpt/{gpt.MODEL}"
CLAUDE = f"claude/{claude.MODEL}"
NATIVE = f"native/{native.MODEL}"
BRIDGED = f"bridged/{native.MODEL}"
TOOL: Any = {
    "type": "function",
    "name": "get_tide",
    "parameters": {"type": "object", "properties": {"port": {"type": "string"}}},
    "strict": False,
}
ASKED = "When is low tide?"
PIXEL = "data:image/png;base64,iVBORw0KGgo="


class Tide(BaseModel):
    port: str
    hour: int


@dataclass(frozen=True, slots=True)
class Site:
    gateway: Gateway
    gpt: ScriptedProvider
    claude: ScriptedProvider
    native: ScriptedProvider

    def of(self, model: str) -> ScriptedProvider:
        return {GPT: self.gpt, CLAUDE: self.claude}.get(model, self.native)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running() -> AsyncIterator[Site]:
    async with (
        ScriptedProvider(validator=gpt.strict(KEY)) as chat,
        ScriptedProvider(validator=claude.strict(KEY)) as messages,
        ScriptedProvider(validator=native.strict(KEY)) as responses,
    ):
        common = {"api_key": KEY, "max_retries": 0}
        own = {**common, "kind": "openai", "base_url": f"{responses.url}/v1"}
        config = {
            "providers": {
                "gpt": {**common, "kind": "openai", "base_url": f"{chat.url}/v1"},
                "claude": {**common, "kind": "anthropic", "base_url": messages.url},
                "native": {**own, "quirks": {"responses_bridge": True}},
                "bridged": {**own, "quirks": {"responses_bridge": True, "relay": False}},
                "sim": {"kind": "simulated"},
            },
            "routing": {
                "models": [
                    {
                        "name": "alias",
                        "deployments": [{"provider": "native", "model": native.MODEL}],
                    }
                ]
            },
        }
        async with running_gateway(config) as gateway:
            yield Site(gateway, chat, messages, responses)


@pytest_asyncio.fixture(loop_scope="session")
async def site(running: Site) -> AsyncIterator[Site]:
    providers = (running.gpt, running.claude, running.native)
    for each in providers:
        each.reset()
    yield running
    unexpected = [each for provider in providers for each in provider.unexpected]
    for each in providers:
        each.reset()
    assert not unexpected, f"nothing was scripted for {unexpected[0]}"


@pytest_asyncio.fixture(loop_scope="session")
async def client(site: Site) -> AsyncIterator[sdk.AsyncOpenAI]:
    url = f"{site.gateway.url}/v1"
    async with sdk.AsyncOpenAI(base_url=url, api_key=site.gateway.api_key, max_retries=0) as client:
        yield client


everywhere = pytest.mark.parametrize("model", [GPT, CLAUDE, NATIVE, BRIDGED])

SAID = {
    GPT: gpt.chat_answer(),
    CLAUDE: claude.message_answer(claude.text("Low tide")),
    NATIVE: native.answer(),
    BRIDGED: native.answer(),
}
STREAMED = {
    GPT: Stream(gpt.chat_stream(include_usage=True)),
    CLAUDE: Stream(claude.message_stream(claude.text("Low tide"))),
    NATIVE: Stream(native.text_stream()),
    BRIDGED: Stream(native.text_stream()),
}
CALLED = {
    GPT: gpt.chat_answer(
        None, tool_calls=[gpt.ToolCall("call_T1", "get_tide", ('{"port":"Brest"}',))]
    ),
    CLAUDE: claude.message_answer(
        claude.thinking("Tides."), claude.tool_use("call_T1", "get_tide", port="Brest")
    ),
    NATIVE: native.answer(native.REASONING, native.CALL),
    BRIDGED: native.answer(native.REASONING, native.CALL),
}


@everywhere
async def test_plain(site: Site, client: sdk.AsyncOpenAI, model: str) -> None:
    site.of(model).enqueue(SAID[model])

    answer = await client.responses.create(model=model, input=ASKED, instructions="Be brief.")

    assert (answer.output_text, answer.status, answer.store) == ("Low tide", "completed", False)
    assert answer.usage is not None and answer.usage.total_tokens > 0
    assert answer._request_id


async def test_simulated(client: sdk.AsyncOpenAI) -> None:
    plain = await client.responses.create(model="sim/simulated", input=ASKED)
    async with client.responses.stream(model="sim/simulated", input=ASKED) as stream:
        final = await stream.get_final_response()

    assert plain.output_text and final.output_text == plain.output_text


@everywhere
async def test_stream(site: Site, client: sdk.AsyncOpenAI, model: str) -> None:
    """The SDK's accumulator takes it, and it comes to what the plain answer is."""
    site.of(model).enqueue(STREAMED[model])

    async with client.responses.stream(model=model, input=ASKED) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()

    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert "response.output_text.delta" in kinds
    assert (final.output_text, final.status) == ("Low tide", "completed")


@everywhere
async def test_tools_round_trip(site: Site, client: sdk.AsyncOpenAI, model: str) -> None:
    """The output goes back as it came, with the tool's result; thoughts are found again."""
    site.of(model).enqueue(CALLED[model], SAID[model])

    first = await client.responses.create(model=model, input=ASKED, tools=[TOOL])
    asked = first.output[-1]
    assert asked.type == "function_call"
    assert (asked.call_id, asked.name, asked.arguments.replace(" ", "")) == (
        "call_T1",
        "get_tide",
        '{"port":"Brest"}',
    )
    sent: Any = [
        {"role": "user", "content": ASKED},
        *first.output,
        {"type": "function_call_output", "call_id": "call_T1", "output": "14:10"},
    ]
    second = await client.responses.create(model=model, input=sent, tools=[TOOL])

    assert second.output_text == "Low tide"
    again = site.of(model).received[-1].json
    if model == CLAUDE:
        kinds = [each["type"] for each in again["messages"][1]["content"]]
        assert kinds == ["thinking", "tool_use"]
        assert again["messages"][1]["content"][0]["signature"] == "c2ln"
        assert again["messages"][2]["content"][0]["tool_use_id"] == "call_T1"
    elif model == GPT:
        assert again["messages"][1]["tool_calls"][0]["id"] == "call_T1"
        assert again["messages"][2]["tool_call_id"] == "call_T1"
    else:
        thought = next(each for each in again["input"] if each.get("type") == "reasoning")
        assert (thought["id"], thought["encrypted_content"]) == ("rs_1", "c2VjcmV0")


@everywhere
async def test_structured_output(site: Site, client: sdk.AsyncOpenAI, model: str) -> None:
    said = '{"port":"Brest","hour":14}'
    steps = {
        GPT: gpt.chat_answer(said),
        CLAUDE: claude.message_answer(claude.text(said)),
    }
    site.of(model).enqueue(steps.get(model, native.answer(native.message(said))))

    answer = await client.responses.parse(model=model, input=ASKED, text_format=Tide)

    assert answer.output_parsed == Tide(port="Brest", hour=14)
    sent = site.of(model).received[0].json
    assert "Tide" in str(sent) or "hour" in str(sent), "the schema went up"


@everywhere
async def test_picture(site: Site, client: sdk.AsyncOpenAI, model: str) -> None:
    site.of(model).enqueue(SAID[model])
    content: Any = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
    ]

    answer = await client.responses.create(
        model=model, input=[{"role": "user", "content": content}]
    )

    assert answer.output_text == "Low tide"
    assert "iVBORw0KGgo=" in str(site.of(model).received[0].json)


async def test_thought_is_streamed_as_a_summary(site: Site, client: sdk.AsyncOpenAI) -> None:
    blocks = (claude.thinking("Two ports."), claude.text("Low tide"))
    site.claude.enqueue(Stream(claude.message_stream(*blocks)))

    async with client.responses.stream(
        model=CLAUDE, input=ASKED, reasoning={"effort": "low", "summary": "auto"}
    ) as stream:
        final = await stream.get_final_response()

    thought = final.output[0]
    assert thought.type == "reasoning" and thought.encrypted_content
    assert "".join(each.text for each in thought.summary) == "Two ports."


async def test_length_is_incomplete(site: Site, client: sdk.AsyncOpenAI) -> None:
    site.gpt.enqueue(gpt.chat_answer(finish_reason="length"))

    answer = await client.responses.create(model=GPT, input=ASKED, max_output_tokens=16)

    assert answer.status == "incomplete" and answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert site.gpt.received[0].json["max_completion_tokens"] == 16


async def test_relay_changes_nothing_but_name_and_store(site: Site) -> None:
    site.native.enqueue(native.answer(custom_member=1))
    body = {"model": "alias", "input": ASKED, "truncation": "auto", "store": False}

    answer = await call(f"{site.gateway.url}/v1/responses", body, key=site.gateway.api_key)

    assert answer.json == native.response(custom_member=1, model="alias")
    assert site.native.received[0].json == {**body, "model": native.MODEL}


async def test_relay_stores_nothing_and_asks_for_what_comes_back(
    site: Site, client: sdk.AsyncOpenAI
) -> None:
    site.native.enqueue(native.answer())

    await client.responses.create(model=NATIVE, input=ASKED)

    sent = site.native.received[0].json
    assert (sent["store"], sent["include"]) == (False, ["reasoning.encrypted_content"])


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
    ],
)
@pytest.mark.parametrize("model", [GPT, CLAUDE])
async def test_what_needs_the_vendor_is_refused_by_name(
    client: sdk.AsyncOpenAI, model: str, members: Any, param: str
) -> None:
    with pytest.raises(sdk.BadRequestError) as raised:
        await client.responses.create(**{"model": model, "input": ASKED, **members})

    assert raised.value.param == param


async def test_stored_responses_are_not_found(client: sdk.AsyncOpenAI) -> None:
    with pytest.raises(sdk.NotFoundError, match="stores none"):
        await client.responses.retrieve("resp_1")
    with pytest.raises(sdk.NotFoundError, match="stores none"):
        await client.responses.cancel("resp_1")


@everywhere
async def test_error_of_the_vendor(site: Site, client: sdk.AsyncOpenAI, model: str) -> None:
    refused = gpt.error_answer(429, "rate_limit_exceeded", "Slow down.")
    if model == CLAUDE:
        refused = claude.error_answer(429)
    site.of(model).enqueue(refused)

    with pytest.raises(sdk.RateLimitError) as raised:
        await client.responses.create(model=model, input=ASKED)

    assert raised.value.request_id


@pytest.mark.parametrize("model", [GPT, NATIVE, BRIDGED])
async def test_broken_stream_raises(site: Site, client: sdk.AsyncOpenAI, model: str) -> None:
    frames = gpt.chat_stream() if model == GPT else native.text_stream()
    site.of(model).enqueue(Cut("between", 4, Stream(frames)))

    with pytest.raises(sdk.APIError):
        stream = await client.responses.create(model=model, input=ASKED, stream=True)
        async for _ in stream:
            pass


async def test_failed_response_in_a_stream_raises(site: Site, client: sdk.AsyncOpenAI) -> None:
    failed = native.response(
        status="failed", output=[], error={"code": "server_error", "message": "Broke."}
    )
    frames = native.text_stream()[:5]
    site.native.enqueue(Stream([*frames, native.event("response.failed", 5, response=failed)]))

    with pytest.raises(sdk.APIError):
        stream = await client.responses.create(model=NATIVE, input=ASKED, stream=True)
        async for _ in stream:
            pass


async def test_dropped_is_told(site: Site, client: sdk.AsyncOpenAI) -> None:
    site.claude.enqueue(SAID[CLAUDE])

    raw = await client.responses.with_raw_response.create(
        model=CLAUDE, input=ASKED, reasoning={"summary": "auto"}, prompt_cache_key="k"
    )

    dropped = raw.headers["x-gateway-dropped"]
    assert "reasoning.summary" in dropped
