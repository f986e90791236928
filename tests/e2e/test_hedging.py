"""Of two attempts at a time the first with content answers, and the other is gone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai as sdk
import pytest
from llm_gateway_testkit import anthropic_dialect as claude
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.pair import ASKS, KEY, Pair, paired
from llm_gateway_testkit.rawclient import call, exchange
from llm_gateway_testkit.scripted import Answer, Hang, Step, Stream

ADMIN = "admin-key-0123456789abcdef"
ANSWER, OTHER = openai.chat_answer(), openai.chat_answer(text="High tide")
STREAM = Stream(openai.chat_stream())
MESSAGE = Stream(claude.message_stream(claude.text("Low tide")))
PATIENT = {"timeout_seconds": 60, "chunk_gap_seconds": 60}
CLAUDE = {"kind": "anthropic", "base_url": "{url}", **PATIENT}
HAIKU = "claude-haiku-4-5"


@asynccontextmanager
async def hedging(
    kind: dict[str, Any] = PATIENT, models: tuple[str, str] = ("m-1", "m-2"), **settings: Any
) -> AsyncIterator[Pair]:
    """Two patient providers; a hedge goes out at once, and each request may have one."""
    own = {"delay_ms": 20, "budget_percent": 100, **settings}
    strict = (claude.strict(KEY), claude.strict(KEY)) if "kind" in kind else None
    async with paired(
        dict(kind),
        dict(kind),
        validators=strict,
        models=models,
        env={"LLM_GATEWAY_ADMIN_KEY": ADMIN},
        resilience={"hedging": own},
        plugins={"disabled": ["routing_health"]},
    ) as pair:
        yield pair


async def line(pair: Pair, at: int = -1) -> dict[str, Any]:
    """The log line of a request, once it is written."""
    deadline = asyncio.get_running_loop().time() + 10
    while True:
        found = [each for each in pair.gateway.log_lines() if '"Request ' in each]
        if found:
            return dict(json.loads(found[at]))
        assert asyncio.get_running_loop().time() < deadline, "no request was logged"
        await asyncio.sleep(0.02)


async def breakdown(pair: Pair, hedges: int) -> dict[str, Any]:
    """The cost report, once it knows of so many hedges."""
    url = f"{pair.gateway.url}/admin/v1/cost?breakdown=true&group_by=tenant"
    deadline = asyncio.get_running_loop().time() + 15
    while True:
        rows = (await call(url, key=ADMIN)).json["rows"]
        if rows and rows[0]["hedges"] == hedges:
            return dict(rows[0])
        assert asyncio.get_running_loop().time() < deadline, rows
        await asyncio.sleep(0.1)


async def test_hedge_answers_a_plain_request() -> None:
    """The silent one's connection is closed; headers, line, metrics and ledger tell of both."""
    async with hedging() as pair:
        pair.first.enqueue(Hang())
        pair.second.enqueue(ANSWER)

        reply = await pair.chat()

        assert reply.body == ANSWER.body.replace(b'"gpt-6-sol"', b'"both"')
        assert reply.headers["x-gateway-hedge"] == "won"
        assert reply.headers["x-gateway-attempts"] == "2"
        assert reply.headers["x-gateway-provider"] == "second"
        await pair.first.wait_closed()
        logged = await line(pair)
        assert (logged["hedge"], logged["attempts"], logged["provider"]) == ("won", 2, "second")
        assert logged["tokens"] == {"input": 9, "output": 2}
        shown = await pair.metrics()
        assert 'gateway_policy_hedging_hedges_total{provider="second",result="won"} 1' in shown
        assert 'gateway_guard_bulkhead_in_flight{provider="first"} 0' in shown
        assert 'gateway_provider_errors_total{provider="first"' not in shown
        spent = await breakdown(pair, 1)
        assert (spent["requests"], spent["hedge_cost_usd"]) == (1, "0")
        assert (spent["input_tokens"], spent["output_tokens"]) == (9, 2)


async def test_first_answers_and_the_hedge_is_closed() -> None:
    """A hedge that comes second is cancelled as well."""
    async with hedging() as pair:
        pair.first.enqueue(Hang(of=ANSWER))
        pair.second.enqueue(Hang())
        asking = asyncio.create_task(pair.chat())
        await pair.second.wait_received(1)

        pair.first.release()
        reply = await asking

        assert reply.headers["x-gateway-hedge"] == "lost"
        assert reply.headers["x-gateway-attempts"] == "2"
        assert reply.headers["x-gateway-provider"] == "first"
        await pair.second.wait_closed()
        shown = await pair.metrics()
        assert 'gateway_policy_hedging_hedges_total{provider="second",result="lost"} 1' in shown


@pytest.mark.parametrize(
    "held", [Hang(), Hang("after_headers", of=STREAM), Hang("between", 1, STREAM)]
)
async def test_hedge_answers_a_stream(held: Step) -> None:
    """Nothing of the first stream reaches the client, its role neither."""
    async with hedging() as pair:
        pair.first.enqueue(held)
        pair.second.enqueue(STREAM)

        reply = await pair.chat(stream=True)

        whole = b"".join(openai.chat_stream()).replace(b'"gpt-6-sol"', b'"both"')
        assert reply.body.count(b"data: ") == whole.count(b"data: ")
        assert reply.body.count(b"[DONE]") == 1
        assert reply.headers["x-gateway-hedge"] == "won"
        await pair.first.wait_closed()


async def test_stream_that_has_content_gets_no_hedge() -> None:
    """However long its rest takes."""
    async with hedging(delay_ms=2500) as pair:
        pair.first.enqueue(Hang("between", 2, STREAM))

        async with exchange(
            f"{pair.gateway.url}/v1/chat/completions",
            {"model": "both", "messages": ASKS, "stream": True},
            key=pair.gateway.api_key,
        ) as answer:
            await answer.until(b"Low")
            await asyncio.sleep(2.6)
            pair.first.release()
            await answer.until(b"[DONE]")

        assert "x-gateway-hedge" not in answer.headers
        assert pair.second.received == []


async def test_client_that_leaves_ends_both() -> None:
    """Neither call goes on for nobody."""
    async with hedging() as pair:
        pair.first.enqueue(Hang())
        pair.second.enqueue(Hang())
        asking = asyncio.create_task(pair.chat())
        await pair.second.wait_received(1)

        asking.cancel()

        await pair.first.wait_closed(timeout_s=5)
        await pair.second.wait_closed(timeout_s=5)
        logged = await line(pair)
        assert (logged["status"], logged["attempts"]) == (499, 2)


async def test_client_that_leaves_both_pays_for_one() -> None:
    """For what it asked the first; the second is a hedge like any that is given up."""
    async with hedging(CLAUDE, (HAIKU, HAIKU)) as pair:
        pair.first.enqueue(Hang())
        pair.second.enqueue(Hang())
        asking = asyncio.create_task(pair.chat())
        await pair.second.wait_received(1)
        asking.cancel()
        logged = await line(pair)
        spent = await breakdown(pair, 1)

    assert (logged["status"], logged["provider"]) == (499, "first")
    assert logged["tokens"]["input"] > 0 == logged["tokens"]["output"]
    assert spent["cost_usd"] == spent["hedge_cost_usd"] == logged["cost_usd"]
    assert spent["input_tokens"] == logged["tokens"]["input"]


async def test_broken_hedge_and_the_first_that_answers() -> None:
    """A fault of the hedge costs the client nothing."""
    async with hedging() as pair:
        pair.first.enqueue(Hang(of=ANSWER))
        pair.second.enqueue(openai.error_answer(500))
        asking = asyncio.create_task(pair.chat())
        await pair.second.wait_received(1)
        while 'result="failed"' not in await pair.metrics():
            assert not asking.done()

        pair.first.release()
        reply = await asking

        assert (reply.status, reply.headers["x-gateway-provider"]) == (200, "first")


async def test_request_that_says_no_waits() -> None:
    """So does one whose tools the vendor runs."""
    async with hedging() as pair:
        pair.first.default = Answer(body=ANSWER.body, delay_s=0.2)
        url = f"{pair.gateway.url}/v1/chat/completions"
        body = {"model": "both", "messages": ASKS}

        off = {"x-gateway-hedge": "off"}
        first = await call(url, body, key=pair.gateway.api_key, headers=off)
        second = await call(url, {**body, "store": True}, key=pair.gateway.api_key)

        assert (first.status, second.status) == (200, 200)
        assert pair.second.received == []


async def test_budget_bounds_hedges() -> None:
    """With nothing saved up, one in twenty requests at most; what was withheld is counted."""
    async with hedging(budget_percent=5) as pair:
        pair.first.default = Answer(body=ANSWER.body, delay_s=0.1)
        pair.second.default = OTHER

        replies = [await pair.chat() for _ in range(6)]

        assert [each.headers.get("x-gateway-hedge") for each in replies] == ["won", *[None] * 5]
        assert len(pair.second.received) == 1
        assert "gateway_policy_hedging_withheld_total 5" in await pair.metrics()


@pytest.mark.parametrize("stream", [False, True])
async def test_openai_sdk_sees_one_answer(stream: bool) -> None:
    async with hedging() as pair:
        pair.first.enqueue(Hang("after_headers", of=STREAM if stream else ANSWER))
        pair.second.enqueue(STREAM if stream else ANSWER)
        messages: Any = ASKS

        async with sdk.AsyncOpenAI(
            base_url=f"{pair.gateway.url}/v1", api_key=pair.gateway.api_key, max_retries=0
        ) as client:
            if stream:
                chunks = await client.chat.completions.create(
                    model="both", messages=messages, stream=True
                )
                text = "".join(
                    [each.choices[0].delta.content or "" async for each in chunks if each.choices]
                )
            else:
                answer = await client.chat.completions.create(model="both", messages=messages)
                text = answer.choices[0].message.content or ""

        assert text == "Low tide"


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_sdk_sees_one_answer(stream: bool) -> None:
    """What the first one said of its usage before any content, or else what it was asked, is the
    cost of the hedge, and no part of the answer's."""
    whole = claude.message_answer(claude.text("Low tide"))
    # Long enough for what the first one says before it falls silent.
    async with hedging(CLAUDE, (HAIKU, HAIKU), delay_ms=1000) as pair:
        pair.first.enqueue(Hang("between", 2, MESSAGE) if stream else Hang())
        pair.second.enqueue(MESSAGE if stream else whole)
        messages: Any = ASKS

        async with anthropic.AsyncAnthropic(
            base_url=pair.gateway.url, api_key=pair.gateway.api_key, max_retries=0
        ) as client:
            if stream:
                async with client.messages.stream(
                    model="both", max_tokens=99, messages=messages
                ) as events:
                    text = await events.get_final_text()
            else:
                answer = await client.messages.create(
                    model="both", max_tokens=99, messages=messages
                )
                block: Any = answer.content[0]
                text = block.text
        spent = await breakdown(pair, 1)

    assert text == "Low tide"
    assert float(spent["hedge_cost_usd"]) > 0
    assert float(spent["cost_usd"]) > 0
