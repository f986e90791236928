"""The official SDKs of both dialects as clients of the gateway, with every vendor behind it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from llm_gateway_testkit import vendors
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.scripted import ScriptedProvider
from llm_gateway_testkit.vendors import ARGUMENTS, FORM, TOOL, Vendor
from pydantic import BaseModel

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = vendors.vendors()
QUESTION: Any = [{"role": "user", "content": "When is low tide?"}]
SCHEMA = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
TOOLS: Any = [{"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}]
PIXEL = "iVBORw0KGgo="
LIMITED = "limited_{}"


class Tide(BaseModel):
    port: str
    hour: int


@dataclass(frozen=True, slots=True)
class Site:
    gateway: Gateway
    servers: dict[str, ScriptedProvider]
    gpt: openai.AsyncOpenAI
    claude: anthropic.AsyncAnthropic


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site() -> AsyncIterator[Site]:
    """A limit that was reached keeps an instance out for a while, so it has one of its own."""
    async with vendors.scripted(ROWS) as servers:
        entries = {each.kind: each.configured(servers[each.kind].url) for each in ROWS}
        entries |= {LIMITED.format(kind): entry for kind, entry in entries.items()}
        entries |= {f"again_{kind}": entries[kind] for kind in servers}
        entries |= {f"third_{kind}": entries[kind] for kind in servers}
        async with running_gateway({"providers": entries}) as gateway:
            common: Any = {"api_key": gateway.api_key, "max_retries": 0}
            async with (
                openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", **common) as gpt,
                anthropic.AsyncAnthropic(base_url=gateway.url, **common) as claude,
            ):
                yield Site(gateway, servers, gpt, claude)


@pytest_asyncio.fixture(loop_scope="session", params=ROWS, ids=lambda each: each.kind)
async def vendor(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[Vendor]:
    row: Vendor = request.param
    server = site.servers[row.kind]
    server.reset()
    yield row
    assert not server.unexpected, f"nothing was scripted for {server.unexpected[0]}"


def up(site: Site, vendor: Vendor) -> bytes:
    """What the vendor was asked last."""
    return bytes(site.servers[vendor.kind].received[-1].body)


class TestOpenAI:
    """The `openai` SDK."""

    async def test_text(self, site: Site, vendor: Vendor) -> None:
        site.servers[vendor.kind].enqueue(vendor.says("Low tide"))
        answer = await site.gpt.chat.completions.create(model=vendor.name, messages=QUESTION)

        choice = answer.choices[0]
        assert (choice.message.content, choice.finish_reason) == ("Low tide", "stop")
        assert answer.model == vendor.name
        assert answer.usage is not None and answer.usage.total_tokens > 0

    async def test_stream(self, site: Site, vendor: Vendor) -> None:
        site.servers[vendor.kind].enqueue(vendor.streams(["Low", " tide"]))
        stream = await site.gpt.chat.completions.create(
            model=vendor.name,
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [each async for each in stream]

        said = [each.choices[0].delta.content or "" for each in chunks if each.choices]
        assert "".join(said) == "Low tide"
        assert chunks[-1].usage is not None and chunks[-1].usage.prompt_tokens > 0

    @pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
    async def test_tools_round_trip(self, site: Site, vendor: Vendor, streamed: bool) -> None:
        server = site.servers[vendor.kind]
        server.enqueue(vendor.streams_calls() if streamed else vendor.calls())
        rest: Any = {"model": vendor.name, "tools": TOOLS}
        if streamed:
            async with site.gpt.chat.completions.stream(messages=QUESTION, **rest) as stream:
                first: Any = await stream.get_final_completion()
        else:
            first = await site.gpt.chat.completions.create(messages=QUESTION, **rest)

        (call,) = first.choices[0].message.tool_calls
        assert first.choices[0].finish_reason == "tool_calls"
        assert call.function.name == TOOL
        assert json.loads(call.function.arguments) == ARGUMENTS
        server.enqueue(vendor.says("At 14:10"))
        message = first.choices[0].message.model_dump(exclude_none=True, exclude={"parsed"})
        message["tool_calls"] = [
            {
                **each,
                "function": {k: v for k, v in each["function"].items() if k != "parsed_arguments"},
            }
            for each in message["tool_calls"]
        ]
        result = {"role": "tool", "tool_call_id": call.id, "content": "14:10"}
        second = await site.gpt.chat.completions.create(
            messages=[*QUESTION, message, result], **rest
        )
        assert second.choices[0].message.content == "At 14:10"
        assert b"14:10" in up(site, vendor)

    async def test_image(self, site: Site, vendor: Vendor) -> None:
        site.servers[vendor.kind].enqueue(vendor.says("A pixel"))
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
        content = [{"type": "text", "text": "What is it?"}, picture]
        turn: Any = [{"role": "user", "content": content}]
        answer = await site.gpt.chat.completions.create(model=vendor.name, messages=turn)

        assert answer.choices[0].message.content == "A pixel"
        assert PIXEL.encode() in up(site, vendor)

    async def test_structured_output(self, site: Site, vendor: Vendor) -> None:
        if not vendor.forms:
            with pytest.raises(openai.BadRequestError, match="response_format"):
                await self._parsed(site, vendor)
            return
        site.servers[vendor.kind].enqueue(vendor.says(FORM))
        answer = await self._parsed(site, vendor)

        assert answer.choices[0].message.parsed == Tide(port="Brest", hour=14)
        assert b"hour" in up(site, vendor)

    async def _parsed(self, site: Site, vendor: Vendor) -> Any:
        return await site.gpt.chat.completions.parse(
            model=vendor.name, messages=QUESTION, response_format=Tide
        )

    async def test_error(self, site: Site, vendor: Vendor) -> None:
        site.servers[vendor.kind].enqueue(vendor.limits())
        model = f"{LIMITED.format(vendor.kind)}/{vendor.model}"
        with pytest.raises(openai.RateLimitError):
            await site.gpt.chat.completions.create(model=model, messages=QUESTION)


class TestAnthropic:
    """The `anthropic` SDK."""

    async def test_text(self, site: Site, vendor: Vendor) -> None:
        site.servers[vendor.kind].enqueue(vendor.says("Low tide"))
        answer = await site.claude.messages.create(
            model=vendor.name, max_tokens=50, messages=QUESTION
        )
        assert (said(answer), answer.stop_reason) == ("Low tide", "end_turn")
        assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0

    async def test_stream(self, site: Site, vendor: Vendor) -> None:
        site.servers[vendor.kind].enqueue(vendor.streams(["Low", " tide"]))
        async with site.claude.messages.stream(
            model=vendor.name, max_tokens=50, messages=QUESTION
        ) as stream:
            answer = await stream.get_final_message()
        assert said(answer) == "Low tide"
        assert answer.usage.output_tokens > 0

    @pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
    async def test_tools_round_trip(self, site: Site, vendor: Vendor, streamed: bool) -> None:
        server = site.servers[vendor.kind]
        server.enqueue(vendor.streams_calls() if streamed else vendor.calls())
        tools = [{"name": TOOL, "input_schema": SCHEMA}]
        rest: Any = {"model": vendor.name, "max_tokens": 50, "tools": tools}
        if streamed:
            async with site.claude.messages.stream(messages=QUESTION, **rest) as stream:
                first: Any = await stream.get_final_message()
        else:
            first = await site.claude.messages.create(messages=QUESTION, **rest)

        (call,) = (each for each in first.content if each.type == "tool_use")
        assert (first.stop_reason, call.name, call.input) == ("tool_use", TOOL, ARGUMENTS)
        server.enqueue(vendor.says("At 14:10"))
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "14:10"}
        turns = [{"role": "assistant", "content": first.content}]
        turns.append({"role": "user", "content": [result]})
        second = await site.claude.messages.create(messages=[*QUESTION, *turns], **rest)
        assert said(second) == "At 14:10"
        assert b"14:10" in up(site, vendor)

    async def test_image(self, site: Site, vendor: Vendor) -> None:
        site.servers[vendor.kind].enqueue(vendor.says("A pixel"))
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        content = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]
        turn: Any = [{"role": "user", "content": content}]
        answer = await site.claude.messages.create(model=vendor.name, max_tokens=50, messages=turn)
        assert said(answer) == "A pixel"
        assert PIXEL.encode() in up(site, vendor)

    async def test_structured_output(self, site: Site, vendor: Vendor) -> None:
        if not vendor.forms:
            with pytest.raises(anthropic.BadRequestError, match="response_format"):
                await self._parsed(site, vendor)
            return
        site.servers[vendor.kind].enqueue(vendor.says(FORM))
        answer = await self._parsed(site, vendor)

        assert answer.parsed_output == Tide(port="Brest", hour=14)
        assert b"hour" in up(site, vendor)

    async def _parsed(self, site: Site, vendor: Vendor) -> Any:
        return await site.claude.messages.parse(
            model=vendor.name, max_tokens=50, messages=QUESTION, output_format=Tide
        )

    async def test_error(self, site: Site, vendor: Vendor) -> None:
        site.servers[vendor.kind].enqueue(vendor.limits())
        with pytest.raises(anthropic.RateLimitError):
            await site.claude.messages.create(
                model=f"again_{vendor.kind}/{vendor.model}", max_tokens=50, messages=QUESTION
            )


class TestResponses:
    """The `openai` SDK at the Responses API."""

    async def test_text(self, site: Site, vendor: Vendor) -> None:
        script(site, vendor).enqueue(row(vendor).says("Low tide"))
        answer = await site.gpt.responses.create(model=vendor.name, input=QUESTION)

        assert (answer.output_text, answer.status) == ("Low tide", "completed")
        assert answer.model == vendor.name
        assert answer.usage is not None and answer.usage.total_tokens > 0

    async def test_stream(self, site: Site, vendor: Vendor) -> None:
        script(site, vendor).enqueue(row(vendor).streams(["Low", " tide"]))
        async with site.gpt.responses.stream(model=vendor.name, input=QUESTION) as stream:
            answer = await stream.get_final_response()

        assert answer.output_text == "Low tide"
        assert answer.usage is not None and answer.usage.output_tokens > 0

    @pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
    async def test_tools_round_trip(self, site: Site, vendor: Vendor, streamed: bool) -> None:
        server, says = script(site, vendor), row(vendor)
        server.enqueue(says.streams_calls() if streamed else says.calls())
        tool: Any = {"type": "function", "name": TOOL, "parameters": SCHEMA, "strict": False}
        rest: Any = {"model": vendor.name, "tools": [tool]}
        if streamed:
            async with site.gpt.responses.stream(input=QUESTION, **rest) as stream:
                first: Any = await stream.get_final_response()
        else:
            first = await site.gpt.responses.create(input=QUESTION, **rest)

        (call,) = (each for each in first.output if each.type == "function_call")
        assert (call.name, json.loads(call.arguments)) == (TOOL, ARGUMENTS)
        server.enqueue(says.says("At 14:10"))
        turns = [each.model_dump(exclude_none=True) for each in first.output]
        for each in turns:
            each.pop("parsed_arguments", None)
        turns.append({"type": "function_call_output", "call_id": call.call_id, "output": "14:10"})
        second = await site.gpt.responses.create(input=[*QUESTION, *turns], **rest)
        assert second.output_text == "At 14:10"
        assert b"14:10" in up(site, vendor)

    async def test_image(self, site: Site, vendor: Vendor) -> None:
        script(site, vendor).enqueue(row(vendor).says("A pixel"))
        url = f"data:image/png;base64,{PIXEL}"
        picture = {"type": "input_image", "image_url": url, "detail": "auto"}
        content = [{"type": "input_text", "text": "What is it?"}, picture]
        turn: Any = [{"role": "user", "content": content}]
        answer = await site.gpt.responses.create(model=vendor.name, input=turn)

        assert answer.output_text == "A pixel"
        assert PIXEL.encode() in up(site, vendor)

    async def test_structured_output(self, site: Site, vendor: Vendor) -> None:
        if not vendor.forms:
            with pytest.raises(openai.BadRequestError, match="response_format"):
                await self._parsed(site, vendor)
            return
        script(site, vendor).enqueue(row(vendor).says(FORM))
        answer = await self._parsed(site, vendor)

        assert answer.output_parsed == Tide(port="Brest", hour=14)
        assert b"hour" in up(site, vendor)

    async def _parsed(self, site: Site, vendor: Vendor) -> Any:
        return await site.gpt.responses.parse(model=vendor.name, input=QUESTION, text_format=Tide)

    async def test_error(self, site: Site, vendor: Vendor) -> None:
        script(site, vendor).enqueue(row(vendor).limits())
        with pytest.raises(openai.RateLimitError):
            await site.gpt.responses.create(
                model=f"third_{vendor.kind}/{vendor.model}", input=QUESTION
            )


def script(site: Site, vendor: Vendor) -> ScriptedProvider:
    return site.servers[vendor.kind]


def row(vendor: Vendor) -> Vendor:
    """What `vendor` says to clients of the Responses API."""
    return vendor.on_responses or vendor


def said(message: Any) -> str:
    return "".join(each.text for each in message.content if each.type == "text")
