"""With a second deployment no single fault of the first reaches the client."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.pair import Pair, paired
from llm_gateway_testkit.scripted import (
    Answer,
    Cut,
    Hang,
    Reset,
    Step,
    Stream,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAM = Stream(openai.chat_stream())
ANSWER = openai.chat_answer()
OFF = {"circuit_breaker": {"enabled": False}}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running() -> AsyncIterator[Pair]:
    async with paired(
        resilience=OFF, plugins={"disabled": ["guard_provider_limits", "routing_health"]}
    ) as pair:
        yield pair


@pytest_asyncio.fixture(loop_scope="session")
async def pair(running: Pair) -> AsyncIterator[Pair]:
    running.first.reset()
    running.second.reset()
    yield running
    assert not [*running.first.unexpected, *running.second.unexpected]


# Faults are walked in test_single_faults; here is what the answer tells of them.
TOLD: dict[str, Step] = {
    "server_error": openai.error_answer(500),
    "rate_limited": openai.error_answer(429, "rate_limit_exceeded"),
    "broken_before_commit": Cut("after_headers", of=ANSWER),
    "account_empty": openai.error_answer(429, "insufficient_quota"),
    "credential_refused": openai.error_answer(401, "invalid_api_key"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reason", TOLD)
async def test_fault_that_another_answered_is_told(pair: Pair, reason: str, stream: bool) -> None:
    """By whom, with which attempt, and why; nothing of the first reaches the client."""
    pair.first.enqueue(TOLD[reason])
    pair.second.enqueue(STREAM if stream else ANSWER)

    reply = await pair.chat(stream=stream)

    whole = b"".join(openai.chat_stream()) if stream else ANSWER.body
    assert reply.status == 200
    assert reply.body.count(b"data: ") == whole.count(b"data: ")
    assert reply.headers["x-gateway-provider"] == "second"
    assert reply.headers["x-gateway-attempts"] == "2"
    assert reply.headers["x-gateway-fallback"] == reason
    assert [len(each.received) for each in (pair.first, pair.second)] == [1, 1]


@pytest.mark.parametrize(
    "step", [Reset("between", 2, STREAM), Cut("between", 2, STREAM), Hang("between", 2, STREAM)]
)
async def test_fault_after_content_is_told(pair: Pair, step: Step) -> None:
    """What was seen cannot be taken back: an error frame, no end mark, no second attempt."""
    pair.first.enqueue(step)

    reply = await pair.chat(stream=True)

    assert reply.status == 200
    assert reply.body.split(b"\n\n")[-2].startswith(b'data: {"error"')
    assert b"[DONE]" not in reply.body
    assert pair.second.received == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "answer",
    [openai.error_answer(400, "invalid_value"), openai.error_answer(422, "unprocessable")],
)
async def test_callers_fault_is_final(pair: Pair, answer: Answer, stream: bool) -> None:
    """Nobody else is asked what the caller has to mend."""
    pair.first.enqueue(answer)

    reply = await pair.chat(stream=stream)

    assert reply.status == answer.status
    assert reply.headers["x-should-retry"] == "false"
    assert pair.second.received == []


async def test_both_are_asked_before_one_is_asked_again(pair: Pair) -> None:
    """Then the retry comes, and counts."""
    for provider in (pair.first, pair.second):
        provider.enqueue(openai.error_answer(500))
        provider.default = ANSWER

    reply = await pair.chat()

    assert reply.status == 200
    assert reply.headers["x-gateway-attempts"] == "3"
    again = reply.headers["x-gateway-provider"]
    assert f'gateway_retry_attempts_total{{provider="{again}"}}' in await pair.metrics()


async def test_all_limited_is_a_429_with_the_earliest_wait(pair: Pair) -> None:
    """The client hears who is back first."""
    for provider, wait in ((pair.first, "90"), (pair.second, "40")):
        provider.enqueue(
            openai.error_answer(429, "rate_limit_exceeded", headers={"retry-after": wait})
        )

    reply = await pair.chat()

    assert (reply.status, reply.headers["retry-after"]) == (429, "40")


async def test_breaker_opens_is_shown_and_probes() -> None:
    """A deployment that keeps failing is asked no more, then by one probe, then again."""
    breaker = {"failure_threshold": 2, "success_threshold": 1, "timeout_seconds": 0.3}
    async with paired(resilience={"circuit_breaker": breaker}) as pair:
        pair.first.enqueue(openai.error_answer(503), openai.error_answer(503), ANSWER, ANSWER)
        pair.second.default = ANSWER
        state = 'gateway_circuit_breaker_state{provider="first",model="m-1"}'

        for _ in range(3):
            assert (await pair.chat()).status == 200
        assert len(pair.first.received) == 2
        assert f"{state} 2" in await pair.metrics()
        alone = await pair.chat("first/m-1")
        deadline = asyncio.get_running_loop().time() + 5
        while len(pair.first.received) < 4:
            assert asyncio.get_running_loop().time() < deadline
            assert (await pair.chat()).status == 200

        # An open breaker says when; that is short enough here for a retry to wait for it.
        assert alone.status == 200
        assert f"{state} 0" in await pair.metrics()


async def test_bulkhead_queues_overflows_and_frees() -> None:
    """One call under way, one waits, the third goes to the other; the waiting one follows."""
    async with paired(resilience={"bulkhead": {"max_concurrent": 1, "max_queue": 1}}) as pair:
        pair.first.enqueue(Hang(of=ANSWER), ANSWER)
        pair.second.enqueue(ANSWER)
        first = asyncio.create_task(pair.chat(model="first/m-1"))
        await pair.first.wait_received(1)
        waiting = asyncio.create_task(pair.chat(model="first/m-1"))
        while 'gateway_guard_bulkhead_queue_depth{provider="first"} 1' not in await pair.metrics():
            assert not waiting.done()

        third = await pair.chat()
        refused = await pair.chat(model="first/m-1")
        pair.first.release()

        assert third.headers["x-gateway-provider"] == "second"
        assert third.headers["x-gateway-fallback"] == "unavailable"
        assert (refused.status, refused.json["error"]["code"]) == (503, "bulkhead_full")
        assert [(await each).status for each in (first, waiting)] == [200, 200]


async def test_account_limit_passes_over() -> None:
    """The request too many for the first's account is the second's."""
    limit = {"rate_limit": {"requests_per_minute": 1}}
    async with paired(limit) as pair:
        pair.first.enqueue(ANSWER)
        pair.second.enqueue(ANSWER)

        served = [(await pair.chat()).headers["x-gateway-provider"] for _ in range(2)]
        alone = await pair.chat("first/m-1")

        assert served == ["first", "second"]
        assert (alone.status, alone.json["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(alone.headers["retry-after"]) <= 61


@pytest.mark.parametrize("enabled", [True, False])
async def test_fallback_chain(enabled: bool) -> None:
    """A model alone at its provider has who steps in, unless nobody shall."""
    routing = {"fallbacks": {"first/m-1": ["second/m-2"]}, "fallback_enabled": enabled}
    async with paired(routing=routing, resilience={"retry": {"enabled": False}}) as pair:
        pair.first.enqueue(openai.error_answer(500))
        pair.second.enqueue(*([ANSWER] if enabled else []))

        reply = await pair.chat("first/m-1")

        assert reply.status == (200 if enabled else 502)
        assert len(pair.second.received) == int(enabled)


async def test_too_long_goes_to_the_larger_window() -> None:
    """And to nobody whose window is not known to be larger."""
    routing = {"fallbacks": {"first/m-1": ["second/unknown", "first/large"]}}
    sizes = [
        {"id": "m-1", "context_window": 1000},
        {"id": "large", "context_window": 9000},
    ]
    too_long = openai.error_answer(400, "context_length_exceeded")
    async with paired({"models": sizes}, routing=routing) as pair:
        pair.first.enqueue(too_long, ANSWER, too_long)

        larger = await pair.chat("first/m-1")
        largest = await pair.chat("first/large")

        assert larger.status == 200
        assert larger.headers["x-gateway-model"] == "large"
        assert largest.status == 400
        assert largest.json["error"]["code"] == "context_length_exceeded"
        assert pair.second.received == []


async def test_unknown_fallback_stops_the_start() -> None:
    """A chain that leads nowhere is a mistake, told by name."""
    with pytest.raises(Exception, match="nothing is called 'nobody'"):
        async with paired(routing={"fallbacks": {"first/m-1": ["nobody"]}}):
            pass
