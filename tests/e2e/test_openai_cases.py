"""OpenAI's SDK against translated providers: what must survive two translations."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import openai as sdk
import pytest
import pytest_asyncio
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.scripted import Answer, ScriptedProvider, Stream
from pydantic import BaseModel

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKED: Any = [{"role": "user", "content": "When is low tide?"}]
TOOL: Any = {"type": "function", "function": {"name": "get_tide", "parameters": {"type": "object"}}}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "moon"}],
    "encrypted_content": "enc-1",
}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "call_T1",
    "name": "get_tide",
    "arguments": "{}",
    "status": "completed",
}
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1795000000, "model": "gpt-6-sol"}
USAGE = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}


class Tide(BaseModel):
    port: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running() -> AsyncIterator[tuple[ScriptedProvider, str, str]]:
    async with ScriptedProvider() as provider:
        common = {"api_key": "k-1", "base_url": f"{provider.url}/v1", "max_retries": 0}
        providers = {
            "bridged": {**common, "kind": "openai", "quirks": {"responses_bridge": True}},
            "translated": {**common, "kind": "openai", "quirks": {"relay": False}},
            "relayed": {**common, "kind": "openai", "models": ["vendor/family-1"]},
            "openrouter": common,
        }
        async with running_gateway({"providers": providers}) as gateway:
            yield provider, f"{gateway.url}/v1", gateway.api_key


@pytest_asyncio.fixture(loop_scope="session")
async def provider(running: Any) -> ScriptedProvider:
    running[0].reset()
    return running[0]  # type: ignore[no-any-return]  # a tuple of three kinds


@pytest_asyncio.fixture(loop_scope="session")
async def client(running: Any) -> AsyncIterator[sdk.AsyncOpenAI]:
    async with sdk.AsyncOpenAI(base_url=running[1], api_key=running[2], max_retries=0) as client:
        yield client


def event(kind: str, **members: Any) -> bytes:
    data = json.dumps({"type": kind, "sequence_number": 0, **members})
    return f"event: {kind}\ndata: {data}\n\n".encode()


def response(*output: Any) -> Answer:
    body = {**RESPONSE, "status": "completed", "output": output, "usage": USAGE}
    return Answer(200, {}, json.dumps(body).encode())


def bridged_stream() -> Sequence[bytes]:
    done = {**RESPONSE, "status": "completed", "output": [REASONING, CALL], "usage": USAGE}
    return [
        event("response.created", response={**RESPONSE, "status": "in_progress", "output": []}),
        event("response.reasoning_summary_text.delta", output_index=0, delta="moon"),
        event("response.output_item.done", output_index=0, item=REASONING),
        event("response.output_item.added", output_index=1, item={**CALL, "arguments": ""}),
        event("response.function_call_arguments.delta", output_index=1, delta="{}"),
        event("response.output_item.done", output_index=1, item=CALL),
        event("response.completed", response=done),
    ]


async def test_bridged_turns_keep_their_reasoning(
    provider: ScriptedProvider, client: sdk.AsyncOpenAI
) -> None:
    """What the client got of the first turn brings the encrypted reasoning back, before the
    call that it led to, when it sends the message back as the SDK holds it."""
    provider.enqueue(response(REASONING, CALL))
    provider.enqueue(response())

    first = await client.chat.completions.create(
        model="bridged/gpt-6-sol", messages=ASKED, tools=[TOOL]
    )
    message = first.choices[0].message.model_dump(exclude_none=True)
    history = [*ASKED, message, {"role": "tool", "tool_call_id": "call_T1", "content": "2 m"}]
    await client.chat.completions.create(model="bridged/gpt-6-sol", messages=history, tools=[TOOL])

    assert first.choices[0].finish_reason == "tool_calls"
    assert [each.path for each in provider.received] == ["/v1/responses"] * 2
    sent = provider.received[1].json["input"]
    assert [each["type"] for each in sent] == [
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
    ]
    assert sent[1] == REASONING


async def test_reasoning_of_another_model_stays_behind(
    provider: ScriptedProvider, client: sdk.AsyncOpenAI
) -> None:
    """What one model encrypted another one refuses, so it is left out, which a header tells."""
    provider.enqueue(response(REASONING, CALL), response())

    first = await client.chat.completions.create(
        model="bridged/gpt-6-sol", messages=ASKED, tools=[TOOL]
    )
    message = first.choices[0].message.model_dump(exclude_none=True)
    history = [*ASKED, message, {"role": "tool", "tool_call_id": "call_T1", "content": "2 m"}]
    second = await client.chat.completions.with_raw_response.create(
        model="bridged/gpt-6-luna", messages=history, tools=[TOOL]
    )

    sent = provider.received[1].json["input"]
    assert [each["type"] for each in sent] == ["message", "function_call", "function_call_output"]
    assert second.headers["x-gateway-dropped"] == "reasoning"


async def test_encrypted_reasoning_that_is_refused_is_left_out_at_once(
    provider: ScriptedProvider, client: sdk.AsyncOpenAI
) -> None:
    """The relay lane does not know who made it; the vendor's refusal costs one more call."""
    provider.enqueue(openai.error_answer(400, "invalid_encrypted_content"), response())
    items: Any = [{"role": "user", "content": "Tide?"}, REASONING, CALL]
    items.append({"type": "function_call_output", "call_id": "call_T1", "output": "2 m"})

    answer = await client.responses.with_raw_response.create(
        model="bridged/gpt-6-sol", input=items, store=False
    )

    kinds = [[each.get("type") for each in up.json["input"]] for up in provider.received]
    assert kinds == [
        [None, "reasoning", "function_call", "function_call_output"],
        [None, "function_call", "function_call_output"],
    ]
    assert answer.headers["x-gateway-attempts"] == "1"
    assert answer.headers["x-gateway-dropped"] == "reasoning"


async def test_bridged_stream_is_a_chat_stream(
    provider: ScriptedProvider, client: sdk.AsyncOpenAI
) -> None:
    """One id throughout, the call's index is 0, and the reasoning's state accumulates."""
    provider.enqueue(Stream(bridged_stream()))

    ids = set()
    async with client.chat.completions.stream(
        model="bridged/gpt-6-sol", messages=ASKED, tools=[TOOL]
    ) as stream:
        async for each in stream:
            if each.type == "chunk":
                ids.add(each.chunk.id)
        final = await stream.get_final_completion()

    message: Any = final.choices[0].message
    assert ids == {"chatcmpl-resp_1"}
    assert message.tool_calls[0].id == "call_T1"
    assert message.reasoning_content == "moon"
    assert message.reasoning_details[0]["state"] == {
        "openai.responses": REASONING,
        "made_by": "bridged/gpt-6-sol",
    }


async def test_error_inside_a_200_has_its_class(
    provider: ScriptedProvider, client: sdk.AsyncOpenAI
) -> None:
    provider.enqueue(Answer(200, {}, b'{"error":{"code":429,"message":"slow down"}}'))

    with pytest.raises(sdk.RateLimitError):
        await client.chat.completions.create(model="openrouter/m", messages=ASKED)


async def test_two_choices_interleave(provider: ScriptedProvider, client: sdk.AsyncOpenAI) -> None:
    """Each choice accumulates by itself."""
    rows = [
        {"index": 1, "delta": {"content": "b"}, "finish_reason": None},
        {"index": 0, "delta": {"content": "a"}, "finish_reason": None},
        {"index": 1, "delta": {}, "finish_reason": "stop"},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    provider.enqueue(
        Stream([*(openai.sse({**base, "choices": [row]}) for row in rows), openai.DONE])
    )

    async with client.chat.completions.stream(model="translated/m", messages=ASKED, n=2) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()

    shown = [(each.message.content, each.finish_reason) for each in final.choices]
    assert shown == [("a", "stop"), ("b", "stop")]


async def test_length_is_told_to_a_parser(
    provider: ScriptedProvider, client: sdk.AsyncOpenAI
) -> None:
    provider.enqueue(openai.chat_answer('{"port":', finish_reason="length"))

    with pytest.raises(sdk.LengthFinishReasonError):
        await client.chat.completions.parse(
            model="translated/m", messages=ASKED, response_format=Tide
        )


async def test_custom_tool_in_a_stream(provider: ScriptedProvider, client: sdk.AsyncOpenAI) -> None:
    """Its free text arrives by plain iteration."""
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    call = {"index": 0, "id": "d", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    rows = [({"tool_calls": [call]}, None), ({}, "tool_calls")]
    chunks = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in rows
    ]
    provider.enqueue(Stream([*(openai.sse(each) for each in chunks), openai.DONE]))

    found = ""
    async for chunk in await client.chat.completions.create(
        model="translated/m",
        messages=ASKED,
        tools=[{"type": "custom", "custom": {"name": "sql"}}],
        stream=True,
    ):
        for each in chunk.choices[0].delta.tool_calls or ():
            found += each.model_dump()["custom"]["input"]

    assert found == "select 1"


async def test_legacy_prompts_give_choices_in_order(
    provider: ScriptedProvider, client: sdk.AsyncOpenAI
) -> None:
    """Two prompts and n=2 are four choices."""
    choices = [{"index": at, "text": str(at), "finish_reason": "stop"} for at in range(4)]
    body = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}
    provider.enqueue(Answer(200, {}, json.dumps({**body, "choices": choices}).encode()))

    answer = await client.completions.create(model="relayed/m", prompt=["a", "b"], n=2)

    assert [each.text for each in answer.choices] == ["0", "1", "2", "3"]
    assert provider.received[0].json["prompt"] == ["a", "b"]


@pytest.mark.parametrize("name", ["vendor/family-1", "relayed/vendor/family-1"])
async def test_a_model_with_a_slash_in_its_name_is_found_by_the_sdk(
    client: sdk.AsyncOpenAI, name: str
) -> None:
    found = await client.models.retrieve(name)

    assert (found.id, found.object) == (name, "model")
    with pytest.raises(sdk.NotFoundError):
        await client.models.retrieve("vendor/family-2")


async def test_a_client_with_another_base_url_is_told_which_route_it_meant(
    client: sdk.AsyncOpenAI,
) -> None:
    """The version's part is missing, or there twice."""
    bare = client.with_options(base_url=str(client.base_url).replace("/v1", ""))
    twice = client.with_options(base_url=f"{client.base_url}v1/")

    for each in (bare, twice):
        with pytest.raises(sdk.NotFoundError, match="did you mean /v1/chat/completions"):
            await each.chat.completions.create(model="m", messages=[])
    with pytest.raises(sdk.NotFoundError, match=r"GET /openapi\.json lists them"):
        await client.images.generate(model="m", prompt="low tide")


@pytest.mark.parametrize("model", ["relayed/gpt-x", "translated/gpt-x"])
async def test_headers_of_the_vendor_stay_behind(
    provider: ScriptedProvider, client: sdk.AsyncOpenAI, model: str
) -> None:
    """They tell of an account that all callers share; on either lane none of them passes."""
    theirs = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-tokens": "149000",
        "x-ratelimit-reset-tokens": "6m0s",
        "anthropic-ratelimit-requests-remaining": "3",
        "openai-organization": "the-operators",
        "set-cookie": "__cf_bm=1",
        "x-request-id": "req_theirs",
    }
    said = openai.chat_answer()
    provider.enqueue(Answer(said.status, {**said.headers, **theirs}, said.body))

    answer = await client.chat.completions.with_raw_response.create(model=model, messages=ASKED)

    assert answer.parse().choices[0].message.content == "Low tide"
    assert not answer.headers.keys() & (theirs.keys() - {"x-request-id"})
    assert answer.headers["x-request-id"] != "req_theirs"


@pytest.mark.parametrize("model", ["relayed/gpt-x", "translated/gpt-x"])
async def test_usage_that_nobody_counted_is_estimated_and_marked(
    provider: ScriptedProvider, client: sdk.AsyncOpenAI, model: str
) -> None:
    """On either lane; what the client gets is what the vendor said, or an estimate."""
    said = json.loads(openai.chat_answer().body)
    del said["usage"]
    provider.enqueue(Answer(200, {}, json.dumps(said).encode()))

    answer = await client.chat.completions.with_raw_response.create(model=model, messages=ASKED)

    assert answer.headers["x-gateway-estimated"] == "usage"
    usage = answer.parse().usage
    if model.startswith("relayed"):
        assert usage is None
    else:
        assert usage is not None and usage.prompt_tokens > 5 and usage.completion_tokens == 3


async def test_request_id_is_seen_on_answers_and_errors(
    provider: ScriptedProvider, client: sdk.AsyncOpenAI
) -> None:
    provider.enqueue(openai.chat_answer())
    provider.enqueue(openai.error_answer(400, "invalid_value"))

    answer = await client.chat.completions.create(model="translated/m", messages=ASKED)
    with pytest.raises(sdk.BadRequestError) as caught:
        await client.chat.completions.create(model="translated/m", messages=ASKED)

    assert answer._request_id and caught.value.request_id
