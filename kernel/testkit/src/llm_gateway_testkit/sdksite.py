"""OpenAI's SDK, a gateway and a scripted vendor, one behind the other: for a provider's own
tests. Needs ``openai`` (the extra of this name)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import openai

from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.scripted import ScriptedProvider


@dataclass(frozen=True, slots=True)
class Site:
    """`client` asks a gateway that asks `vendor`."""

    client: openai.AsyncOpenAI
    vendor: ScriptedProvider

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator["Site"]:
        """For one test: nothing is enqueued yet, and afterwards nothing came unexpectedly."""
        self.vendor.reset()
        yield self
        assert not self.vendor.unexpected
        self.vendor.reset()

    async def call_tools(
        self,
        model: str,
        messages: Sequence[Any],
        tools: Sequence[Any],
        *,
        stream: bool,
        then: Sequence[Any] = (),
        **asked: Any,
    ) -> tuple[Any, Any]:
        """The answers to a question whose answer calls two tools, and to their results: these
        go back in the other order, the first of them empty, and `then` follows."""
        create: Any = self.client.chat.completions
        if stream:
            async with create.stream(model=model, messages=messages, tools=tools, **asked) as read:
                first = await read.get_final_completion()
        else:
            first = await create.create(model=model, messages=messages, tools=tools, **asked)
        message = first.choices[0].message
        results = [
            {"role": "tool", "tool_call_id": each.id, "content": text}
            for each, text in zip(reversed(message.tool_calls), ("", "14:10"), strict=True)
        ]
        turn = message.model_dump(exclude_none=True)
        second = await create.create(
            model=model, messages=[*messages, turn, *results, *then], tools=tools
        )
        return first, second


@asynccontextmanager
async def sdk_site(config: Mapping[str, Any], vendor: ScriptedProvider) -> AsyncIterator[Site]:
    """A gateway with `config`, which names `vendor` as a provider."""
    async with (
        running_gateway(config) as gateway,
        openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key=gateway.api_key, max_retries=0
        ) as client,
    ):
        yield Site(client, vendor)
