"""Every single fault of a provider, at every place of its answer, with a second deployment behind.

One table for each vendor: before the client has seen content the second one answers, and the
client's SDK sees a correct, complete answer. Afterwards the SDK raises, or, where continuation is
on, sees the whole text in one stream.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import openai as sdk
import pytest
import pytest_asyncio
from llm_gateway_testkit import anthropic_dialect as claude
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.pair import ASKS, KEY, Pair, paired
from llm_gateway_testkit.scripted import Answer, Cut, Garbage, Hang, Reset, Step, Stream

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT = "Low tide is at noon. Bring boots."
HALVES = (TEXT[: len(TEXT) // 2], TEXT[len(TEXT) // 2 :])
MESSAGES: Any = ASKS
# Before each frame: a fault in one segment with content would be found before the client has any.
PAUSE = 0.05


@dataclass(frozen=True)
class Vendor:
    """How a vendor answers, and how its SDK asks the gateway. `content` is the number of the
    first frame with content, `last` that of the frame with which the answer is complete."""

    plain: Answer
    stream: Stream
    content: int
    last: int
    error: Callable[..., Answer]
    error_frame: bytes
    ask: Callable[[Pair, bool], Awaitable[str]]


async def _openai(pair: Pair, stream: bool) -> str:
    async with sdk.AsyncOpenAI(
        base_url=f"{pair.gateway.url}/v1", api_key=pair.gateway.api_key, max_retries=0
    ) as client:
        create: Any = client.chat.completions.create
        answer = await create(model="both", messages=MESSAGES, stream=stream)
        if not stream:
            assert answer.choices[0].finish_reason == "stop"
            return str(answer.choices[0].message.content)
        chunks = [each async for each in answer]
    assert [c.finish_reason for each in chunks for c in each.choices][-1] == "stop"
    return "".join(c.delta.content or "" for each in chunks for c in each.choices)


async def _anthropic(pair: Pair, stream: bool) -> str:
    async with anthropic.AsyncAnthropic(
        base_url=pair.gateway.url, api_key=pair.gateway.api_key, max_retries=0
    ) as client:
        asked: Any = {"model": "both", "max_tokens": 99, "messages": MESSAGES}
        if stream:
            async with client.messages.stream(**asked) as events:
                message = await events.get_final_message()
        else:
            message = await client.messages.create(**asked)
    assert message.stop_reason == "end_turn"
    return "".join(each.text for each in message.content if each.type == "text")


VENDORS = {
    "openai": Vendor(
        openai.chat_answer(TEXT),
        Stream(openai.chat_stream(HALVES)),
        1,
        3,
        openai.error_answer,
        openai.error_frame(),
        _openai,
    ),
    "anthropic": Vendor(
        claude.message_answer(claude.text(TEXT)),
        Stream(claude.message_stream(claude.text(TEXT))),
        3,
        6,
        claude.error_answer,
        claude.error_event(),
        _anthropic,
    ),
}
REFUSALS = (401, 403, 404, 408, 409, 429, 500, 502, 503, 504, 529)


def refused(vendor: Vendor) -> Iterator[tuple[str, Step]]:
    """Answers that are none, streamed or not."""
    for status in REFUSALS:
        yield f"status {status}", vendor.error(status)
    yield "status 429, wait", vendor.error(429, headers={"retry-after": "60"})
    yield "status 502, no JSON", Answer(502, {"content-type": "text/html"}, b"<html>Bad Gateway")
    yield "redirected", Answer(302, {"location": "http://127.0.0.1:1/"}, b"")
    yield "no HTTP", Garbage()
    yield "no JSON", Answer(body=b"<html>")
    yield "empty", Answer(body=b"")
    for fault in (Hang, Reset, Cut):
        yield f"{fault.__name__} before headers", fault()


def plain(vendor: Vendor) -> Iterator[tuple[str, Step]]:
    for fault in (Hang, Reset, Cut):
        yield f"{fault.__name__} after headers", fault("after_headers", of=vendor.plain)
        yield f"{fault.__name__} inside", fault("mid_body", of=vendor.plain)


def streamed(vendor: Vendor, frames: range) -> Iterator[tuple[str, Step]]:
    """Each fault before and inside each of `frames`."""
    sent = vendor.stream.frames
    for at in frames:
        for fault in (Hang, Reset, Cut):
            yield f"{fault.__name__} before frame {at}", fault("between", at, vendor.stream)
        for fault in (Reset, Cut):
            yield f"{fault.__name__} inside frame {at}", fault("mid_body", at, vendor.stream)
        ahead = sent[:at]
        yield f"error frame {at}", Stream([*ahead, vendor.error_frame], PAUSE)
        yield f"no JSON in frame {at}", Stream([*ahead, b"data: {nonsense\n\n"], PAUSE)
        yield f"clean end before frame {at}", Stream(ahead, PAUSE)


def table(name: str) -> Iterator[Any]:
    """(vendor, streamed, step, whether the client has content when it comes)."""
    vendor = VENDORS[name]
    rows = [(False, False, *row) for row in (*refused(vendor), *plain(vendor))]
    rows += [(True, False, *row) for row in refused(vendor)]
    rows += [(True, False, *row) for row in streamed(vendor, range(vendor.content + 1))]
    rows += [(True, True, *row) for row in streamed(vendor, after(vendor))]
    for stream, seen, what, step in rows:
        how = "stream" if stream else "plain"
        yield pytest.param(name, stream, step, seen, id=f"{name}, {how}: {what}")


def after(vendor: Vendor) -> range:
    """The frames at which the client has content, and not all of it."""
    return range(vendor.content + 1, vendor.last)


@asynccontextmanager
async def site(name: str, **resilience: Any) -> AsyncIterator[Pair]:
    """Nobody is left alone for what it did before: each fault meets the first one anew."""
    own: dict[str, Any] = {}
    strict = openai.strict(KEY)
    models = ("m-1", "m-2")
    if name == "anthropic":
        own = {"kind": "anthropic", "base_url": "{url}"}
        strict = claude.strict(KEY)
        models = ("claude-haiku-4-5", "claude-haiku-4-5")
    async with paired(
        own,
        own,
        validators=(strict, strict),
        models=models,
        resilience={"circuit_breaker": {"enabled": False}, **resilience},
        plugins={"disabled": ["guard_provider_limits", "routing_health"]},
    ) as pair:
        yield pair


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sites() -> AsyncIterator[dict[str, Pair]]:
    async with (
        site("openai") as one,
        site("anthropic") as other,
        site("anthropic", continuation={}) as continuing,
    ):
        yield {"openai": one, "anthropic": other, "continuing": continuing}


@asynccontextmanager
async def scripted(pair: Pair, first: Step, second: Step) -> AsyncIterator[Pair]:
    pair.first.reset()
    pair.second.reset()
    pair.first.enqueue(first, first)  # a kept connection that dies is replaced, once
    pair.second.enqueue(second)
    yield pair
    assert not [*pair.first.unexpected, *pair.second.unexpected]
    assert 1 <= len(pair.first.received) <= 2


@pytest.mark.parametrize(
    ("name", "stream", "step", "seen"), [*table("openai"), *table("anthropic")]
)
async def test_every_single_fault(
    sites: dict[str, Pair], name: str, stream: bool, step: Step, seen: bool
) -> None:
    """Before content the client's SDK sees the second's whole answer; after it, an error."""
    vendor = VENDORS[name]
    async with scripted(sites[name], step, vendor.stream if stream else vendor.plain) as pair:
        if seen:  # a frame that is no JSON passes the relay lane, and the SDK stumbles over it
            with pytest.raises((sdk.APIError, anthropic.APIError, json.JSONDecodeError)):
                await vendor.ask(pair, stream)
            assert pair.second.received == []
        else:
            assert await vendor.ask(pair, stream) == TEXT
            assert len(pair.second.received) == 1


@pytest.mark.parametrize(
    "step",
    [pytest.param(step, id=what) for what, step in streamed(VENDORS["anthropic"], range(4, 5))],
)
async def test_every_single_fault_after_content_is_continued(
    sites: dict[str, Pair], step: Step
) -> None:
    """The client's SDK sees the whole text, whose rest another attempt gave."""
    vendor = VENDORS["anthropic"]
    rest = Stream(claude.message_stream(claude.text(HALVES[1])))

    async with scripted(sites["continuing"], step, rest) as pair:
        assert await vendor.ask(pair, True) == TEXT
        (sent,) = pair.second.received

    assert sent.json["messages"][-1]["role"] == "assistant"
