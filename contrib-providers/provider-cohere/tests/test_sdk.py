"""Cohere's own SDK takes the scripted provider for Cohere."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import cohere as sdk
import httpx
import pytest
import pytest_asyncio
from llm_gateway_testkit import cohere_dialect as cohere
from llm_gateway_testkit.scripted import ScriptedProvider, Stream

ASKED: Any = [{"role": "user", "content": "When is low tide?"}]
CALLS = [
    cohere.ToolCall("get_tide_k3", "get_tide", ('{"port":', '"Brest"}')),
    cohere.ToolCall("get_wind_p9", "get_wind", ("{}",)),
]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:cohere")


@pytest_asyncio.fixture
async def vendor() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider(validator=cohere.strict("k-1")) as provider:
        yield provider


def ask(vendor: ScriptedProvider, call: Any) -> Any:
    """Run `call` with the SDK's client beside the event loop."""

    def work() -> Any:
        with httpx.Client() as http:
            return call(sdk.ClientV2(api_key="k-1", base_url=vendor.url, httpx_client=http))

    return asyncio.to_thread(work)


async def test_chat(vendor: ScriptedProvider) -> None:
    vendor.enqueue(cohere.chat_answer(thinking="Check."), cohere.chat_answer(tool_calls=CALLS))
    tool = {"type": "function", "function": {"name": "get_tide", "parameters": {"type": "object"}}}

    text = await ask(vendor, lambda it: it.chat(model=cohere.MODEL, messages=ASKED, k=3, p=0.5))
    call = await ask(
        vendor,
        lambda it: it.chat(
            model=cohere.MODEL, messages=ASKED, tools=[tool], tool_choice="REQUIRED"
        ),
    )

    assert [each.type for each in text.message.content] == ["thinking", "text"]
    assert text.finish_reason == "COMPLETE" and text.usage.tokens.input_tokens == 9.0
    assert [each.function.name for each in call.message.tool_calls] == ["get_tide", "get_wind"]
    assert call.finish_reason == "TOOL_CALL"


async def test_chat_stream(vendor: ScriptedProvider) -> None:
    frames = cohere.chat_stream(thinking=["Check."])
    vendor.enqueue(Stream(frames), Stream(cohere.chat_stream(plan=["I look"], tool_calls=CALLS)))

    def stream(it: sdk.ClientV2) -> list[Any]:
        return list(it.chat_stream(model=cohere.MODEL, messages=ASKED))

    text, calls = await ask(vendor, stream), await ask(vendor, stream)

    said = [each.delta.message.content for each in text if each.type == "content-delta"]
    assert [each.text or each.thinking for each in said] == ["Check.", "Low", " tide"]
    assert text[-1].delta.finish_reason == "COMPLETE"
    starts = [each.delta.message.tool_calls for each in calls if each.type == "tool-call-start"]
    assert [each.id for each in starts] == ["get_tide_k3", "get_wind_p9"]


async def test_embed_and_rerank(vendor: ScriptedProvider) -> None:
    vendor.enqueue(cohere.embed_answer([(1.0, -2.0)]), cohere.rerank_answer([(1, 0.75)]))

    vectors = await ask(
        vendor,
        lambda it: it.embed(
            model="embed-v4.0", texts=["a"], input_type="search_query", embedding_types=["float"]
        ),
    )
    ranks = await ask(
        vendor, lambda it: it.rerank(model="rerank-v3.5", query="q", documents=["a", "b"])
    )

    assert vectors.embeddings.float_ == [[1.0, -2.0]]
    assert [(each.index, each.relevance_score) for each in ranks.results] == [(1, 0.75)]


async def test_refusals(vendor: ScriptedProvider) -> None:
    """Errors of the scripted provider are the SDK's own classes."""
    system = {"role": "system", "content": "x"}

    with pytest.raises(sdk.BadRequestError, match="system turn must be first"):
        await ask(vendor, lambda it: it.chat(model=cohere.MODEL, messages=[*ASKED, system]))
    with pytest.raises(sdk.UnprocessableEntityError, match="unknown parameter odd"):
        options: Any = {"additional_body_parameters": {"odd": 1}}
        await ask(
            vendor,
            lambda it: it.chat(model=cohere.MODEL, messages=ASKED, request_options=options),
        )
