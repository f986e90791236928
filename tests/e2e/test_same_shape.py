"""Nothing but the answer's style tells which vendor gave it: the same members everywhere."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from llm_gateway_api import SSEParser
from llm_gateway_testkit import vendors
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import ScriptedProvider
from llm_gateway_testkit.vendors import TOOL, Vendor

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = vendors.vendors()
ASKED = [{"role": "user", "content": "When is low tide?"}]
SCHEMA = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
TOOLS = [{"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}]
OWN_TOOLS = [{"name": TOOL, "input_schema": SCHEMA}]
FLAT_TOOLS = [{"type": "function", "name": TOOL, "parameters": SCHEMA}]
# What the documentation says beside OpenAI's own members: state that comes back, what a vendor
# charges by; and members of OpenAI's that stand only where there is something to say.
OPTIONAL = {
    "billed_units",
    "cache_write_tokens",
    "extra_content",
    "service_tier",
    "system_fingerprint",
}
# The filter of Azure's own, which a setting hides.
HIDDEN = {"content_filter_results": False}
PIECE = {"tool_calls": [{"function": {"arguments": "text"}, "index": "number"}]}


@dataclass(frozen=True, slots=True)
class Site:
    gateway: Gateway
    servers: dict[str, ScriptedProvider]

    async def ask(self, vendor: Vendor, path: str, body: dict[str, Any]) -> bytes:
        headers = {"anthropic-version": "2023-06-01"}
        data = json.dumps({"model": vendor.name, **body}).encode()
        reply = await call(
            f"{self.gateway.url}{path}", data, key=self.gateway.api_key, headers=headers
        )
        assert reply.status == 200, reply.body
        return reply.body


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site() -> AsyncIterator[Site]:
    """Every vendor on the translate lane, where a client's dialect is not its own."""
    async with vendors.scripted(ROWS) as servers:
        entries = {each.kind: each.configured(servers[each.kind].url) for each in ROWS}
        entries["openai"]["quirks"] = {"relay": False}
        entries["anthropic"]["relay"] = False
        entries["azure_openai"] |= HIDDEN
        for kind in ("groq", "deepseek", "xai", "openrouter", "fireworks", "ollama", "vllm"):
            entries[kind]["quirks"] = {"relay": False}
        async with running_gateway({"providers": entries}) as gateway:
            yield Site(gateway, servers)


def shape(found: Any) -> Any:
    """The members and the kinds of their values; of ids their prefix."""
    if isinstance(found, dict):
        kept = {name: shape(found[name]) for name in sorted(found) if name not in OPTIONAL}
        if isinstance(found.get("id"), str) and "model" in found:
            kept["id"] = found["id"].partition("-")[0].partition("_")[0]
        return kept
    if isinstance(found, list):
        return [shape(each) for each in found]
    if isinstance(found, str):
        return "text"
    return "number" if isinstance(found, int | float) and not isinstance(found, bool) else found


def frames(body: bytes) -> Sequence[Any]:
    """The kinds of a stream's frames in their order, each once in a row; arguments may come in
    any number of pieces, also in one with their call."""
    found: list[Any] = []
    for data in SSEParser().feed(body):
        each = "end" if data == b"[DONE]" else shape(json.loads(data))
        if each != "end" and any(c.get("delta") == PIECE for c in each.get("choices") or ()):
            continue
        if not found or found[-1] != each:
            found.append(each)
    return found


CHAT: dict[str, Any] = {"messages": ASKED}
STREAMED: dict[str, Any] = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
MESSAGES: dict[str, Any] = {"messages": ASKED, "max_tokens": 50}
RESPONSES: dict[str, Any] = {"input": ASKED}
CASES = {
    "chat": ("/v1/chat/completions", CHAT, "says"),
    "chat calls": ("/v1/chat/completions", {**CHAT, "tools": TOOLS}, "calls"),
    "chat stream": ("/v1/chat/completions", STREAMED, "streams"),
    "chat stream calls": ("/v1/chat/completions", {**STREAMED, "tools": TOOLS}, "streams_calls"),
    "messages": ("/v1/messages", MESSAGES, "says"),
    "messages calls": ("/v1/messages", {**MESSAGES, "tools": OWN_TOOLS}, "calls"),
    "messages stream": ("/v1/messages", {**MESSAGES, "stream": True}, "streams"),
    "messages stream calls": (
        "/v1/messages",
        {**MESSAGES, "tools": OWN_TOOLS, "stream": True},
        "streams_calls",
    ),
    "responses": ("/v1/responses", RESPONSES, "says"),
    "responses calls": ("/v1/responses", {**RESPONSES, "tools": FLAT_TOOLS}, "calls"),
    "responses stream": ("/v1/responses", {**RESPONSES, "stream": True}, "streams"),
    "responses stream calls": (
        "/v1/responses",
        {**RESPONSES, "tools": FLAT_TOOLS, "stream": True},
        "streams_calls",
    ),
}


SAYS: dict[str, Callable[[Vendor], Any]] = {
    "says": lambda row: row.says("Low tide"),
    "streams": lambda row: row.streams(["Low", " tide"]),
    "calls": lambda row: row.calls(),
    "streams_calls": lambda row: row.streams_calls(),
}


@pytest.mark.parametrize("name", CASES)
async def test_members_are_the_same_whoever_answers(site: Site, name: str) -> None:
    path, body, said = CASES[name]
    shapes: dict[str, list[str]] = {}
    for vendor in ROWS:
        row = (vendor.on_responses or vendor) if path == "/v1/responses" else vendor
        server = site.servers[vendor.kind]
        server.reset()
        server.enqueue(SAYS[said](row))
        answer = await site.ask(vendor, path, body)
        found = frames(answer) if body.get("stream") else shape(json.loads(answer))
        shapes.setdefault(json.dumps(found, indent=1), []).append(vendor.kind)

    assert len(shapes) == 1, "\n".join(f"{who}: {what}" for what, who in shapes.items())
