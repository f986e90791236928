"""Traces of a real gateway reach a real OTLP endpoint."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from llm_gateway_testkit import openai_dialect
from llm_gateway_testkit.gateway import API_KEY, free_ports, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import ScriptedProvider
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[Any], dict[str, str]]]:
    """An OTLP endpoint: its URL, the spans it was sent, and the headers of the last export."""
    spans: list[Any] = []
    headers: dict[str, str] = {}

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        message = ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                spans.extend((resource.resource, span) for span in scope.spans)
        headers.update({name.lower(): value for name, value in request.headers.items()})
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}", spans, headers
    finally:
        await runner.cleanup()


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


async def test_a_request_and_its_attempt_are_two_spans_of_one_trace() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a private matter"}]}
    async with collector() as (url, spans, headers), ScriptedProvider() as provider:
        provider.enqueue(openai_dialect.chat_answer())
        config = {
            "providers": {"openai": {"api_key": "sk-test", "base_url": f"{provider.url}/v1"}},
            "telemetry": {
                "tracing": {
                    "otlp_endpoint": url,
                    "sample_rate": 0.0,  # the caller's decision counts
                    "headers": {"x-collector-key": "c-1"},
                }
            },
        }
        async with running_gateway(config) as gateway:
            answer = await call(
                f"{gateway.url}/v1/chat/completions",
                body,
                key=API_KEY,
                headers={"traceparent": PARENT},
            )
        sent = provider.received[0]

    assert answer.status == 200
    assert headers["x-collector-key"] == "c-1"
    (resource, server), (_, client) = sorted(spans, key=lambda pair: pair[1].kind)
    assert {each.key: each.value.string_value for each in resource.attributes}[
        "service.name"
    ] == "llm-gateway"
    assert server.trace_id.hex() == client.trace_id.hex() == PARENT.split("-")[1]
    assert server.parent_span_id.hex() == PARENT.split("-")[2]
    assert client.parent_span_id == server.span_id
    assert sent.headers["traceparent"].split("-")[1:3] == [
        client.trace_id.hex(),
        client.span_id.hex(),
    ]
    assert attributes(client)["gen_ai.request.model"] == "gpt-4o"
    assert attributes(client)["gen_ai.provider.name"] == "openai"
    assert "private" not in str(spans)


async def test_an_unsampled_request_leaves_no_span() -> None:
    config: dict[str, Any] = {"providers": {"sim": {"kind": "simulated"}}}
    body = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}
    async with collector() as (url, spans, _):
        config["telemetry"] = {"tracing": {"otlp_endpoint": url, "sample_rate": 0.0}}
        async with running_gateway(config) as gateway:
            await call(f"{gateway.url}/v1/chat/completions", body, key=API_KEY)

    assert spans == []


async def test_a_collector_that_is_gone_hurts_no_request() -> None:
    (port,) = free_ports(1)
    tracing = {"otlp_endpoint": f"http://127.0.0.1:{port}", "sample_rate": 1.0}
    tracing["timeout_seconds"] = 1
    config = {"providers": {"sim": {"kind": "simulated"}}, "telemetry": {"tracing": tracing}}
    body = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}
    async with running_gateway(config) as gateway:
        answers = [
            await call(f"{gateway.url}/v1/chat/completions", body, key=API_KEY) for _ in range(3)
        ]

    assert [each.status for each in answers] == [200] * 3
