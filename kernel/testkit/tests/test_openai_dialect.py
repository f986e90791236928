"""The vendor's SDK takes what the scripted dialects say, and says what they take."""

from typing import Any

import openai as sdk
import pytest
from llm_gateway_testkit import openai_dialect as chat
from llm_gateway_testkit import responses_dialect as responses
from llm_gateway_testkit.scripted import ScriptedProvider, Stream

KEY = "sk-1"
ASKED: Any = [{"role": "user", "content": "When is low tide?"}]
CALLS = [
    chat.ToolCall("call_1", "tide_at", ('{"port":', '"Brest"}')),
    chat.ToolCall("call_2", "now", ("{}",)),
]


async def test_chat_completions_embeddings_models_and_errors() -> None:
    async with (
        ScriptedProvider(validator=chat.strict(KEY)) as provider,
        sdk.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        provider.enqueue(chat.chat_answer(None, tool_calls=CALLS))
        provider.enqueue(Stream(chat.chat_stream((), include_usage=True, tool_calls=CALLS)))
        rest: Any = {"model": chat.MODEL, "messages": ASKED}
        whole = await client.chat.completions.create(**rest)
        async with client.chat.completions.stream(
            **rest, stream_options={"include_usage": True}
        ) as stream:
            streamed = await stream.get_final_completion()
        provider.enqueue(chat.embeddings_answer([(1.0, -2.0)]), chat.models_answer("m-1"))
        vectors = await client.embeddings.create(model="text-embedding-3-small", input="a")
        models = [each.id async for each in client.models.list()]
        provider.enqueue(chat.error_answer(400, "context_length_exceeded"))
        provider.enqueue(Stream([*chat.chat_stream()[:2], chat.error_frame("It broke.")]))
        with pytest.raises(sdk.BadRequestError) as refused:
            await client.chat.completions.create(**rest)
        with pytest.raises(sdk.APIError, match="It broke"):
            _ = [each async for each in await client.chat.completions.create(**rest, stream=True)]
        with pytest.raises(sdk.AuthenticationError):
            await client.with_options(api_key="wrong").chat.completions.create(**rest)

    for each in (whole, streamed):
        assert each.choices[0].finish_reason == "tool_calls" and each.usage is not None
    assert [
        (each.id, each.function.name, each.function.arguments)
        for each in streamed.choices[0].message.tool_calls or ()
    ] == [("call_1", "tide_at", '{"port":"Brest"}'), ("call_2", "now", "{}")]
    assert vectors.data[0].embedding == [1.0, -2.0] and models == ["m-1"]
    assert refused.value.code == "context_length_exceeded"


async def test_responses_whole_and_streamed() -> None:
    async with (
        ScriptedProvider(validator=responses.strict(KEY)) as provider,
        sdk.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        rest: Any = {"model": responses.MODEL, "input": ASKED, "store": False}
        provider.enqueue(responses.answer(), Stream(responses.text_stream()))
        provider.enqueue(responses.answer(responses.CALL), Stream(responses.call_stream()))
        said = await client.responses.create(**rest)
        async with client.responses.stream(**rest) as stream:
            streamed = await stream.get_final_response()
        called = await client.responses.create(**rest)
        async with client.responses.stream(**rest) as stream:
            calling = await stream.get_final_response()
        with pytest.raises(sdk.BadRequestError):
            await client.responses.create(**rest, extra_body={"future": 1})

    assert said.output_text == streamed.output_text == "Low tide"
    for each in (called, calling):
        (call,) = each.output
        assert call.type == "function_call" and call.arguments == '{"port":"Brest"}'
