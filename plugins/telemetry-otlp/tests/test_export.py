"""Traces of a real gateway reach a real OTLP endpoint."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from llm_gateway_testkit import openai_dialect
from llm_gateway_testkit.gateway import API_KEY, Gateway, free_ports, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import Answer, ScriptedProvider, Stream
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SECRET = "a very private matter"
SAID = "an answer for one pair of eyes"
SERVER, CLIENT, ERROR = 2, 3, 2  # span kinds, and a status
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
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
    }


@asynccontextmanager
async def traced(
    provider: ScriptedProvider, env: dict[str, str] | None = None, **tracing: Any
) -> AsyncIterator[tuple[Gateway, list[Any]]]:
    """A gateway whose model ``both`` has a provider that refuses connections before a good one;
    what its collector was sent is there after the block."""
    own = {"kind": "openai", "api_key": "sk-test", "max_retries": 0}
    good = {**own, "base_url": f"{provider.url}/v1", "models": ["gpt-4o"]}
    deployments = [
        {"provider": "bad", "model": "gpt-4o", "weight": 1_000_000},
        {"provider": "good", "model": "gpt-4o", "weight": 1e-6},
    ]
    async with collector() as (url, spans, _):
        config = {
            "providers": {"good": good, "bad": {**good, "base_url": provider.refused_url()}},
            "routing": {"models": [{"name": "both", "deployments": deployments}]},
            "telemetry": {"tracing": {**({} if env else {"otlp_endpoint": url}), **tracing}},
        }
        given = {name: text.format(url=url) for name, text in (env or {}).items()}
        async with running_gateway(config, given) as gateway:
            yield gateway, spans


async def chat(gateway: Gateway, model: str, parent: str = "", **members: Any) -> Reply:
    body = {"model": model, "messages": [{"role": "user", "content": SECRET}], **members}
    headers = {"traceparent": parent} if parent else {}
    url = f"{gateway.url}/v1/chat/completions"
    return await call(url, body, key=API_KEY, headers=headers)


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
                headers={"traceparent": PARENT, "tracestate": "rojo=00f067aa0ba902b7"},
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
    assert sent.headers["tracestate"] == server.trace_state == "rojo=00f067aa0ba902b7"
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


async def test_each_attempt_is_a_span_with_the_names_of_the_conventions() -> None:
    """One that failed, and the one that answered in its place; the request above both."""
    async with ScriptedProvider() as provider:
        usage = openai_dialect.usage(20, 5, cached=8, reasoning=3)
        provider.enqueue(openai_dialect.chat_answer(SAID, usage=usage))
        async with traced(provider, sample_rate=1.0) as (gateway, spans):
            answer = await chat(gateway, "both")
        sent = provider.received[0].headers["traceparent"].split("-")

    assert answer.status == 200
    by_kind = {kind: [s for _, s in spans if s.kind == kind] for kind in (SERVER, CLIENT)}
    (request,) = by_kind[SERVER]
    failed, good = sorted(by_kind[CLIENT], key=lambda each: each.start_time_unix_nano)
    assert len({each.trace_id for _, each in spans}) == 1
    assert request.parent_span_id == b""
    assert {failed.parent_span_id, good.parent_span_id} == {request.span_id}
    assert sent[1:3] == [good.trace_id.hex(), good.span_id.hex()]
    assert int(sent[3], 16) & 1  # sampled; what else is there tells of the id

    assert request.name == "POST /v1/chat/completions"
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "both",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 3,
        "llm_gateway.request_id": answer.headers["x-request-id"],
    }
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "server.address": "127.0.0.1",
    }
    assert (failed.name, good.name) == ("chat gpt-4o", "chat gpt-4o")
    told = attributes(failed)
    assert told.pop("server.port") > 0
    assert told == common | {
        "llm_gateway.provider": "bad",
        "llm_gateway.attempt": 1,
        "http.response.status_code": 502,
        "error.type": "connect",
    }
    assert (failed.status.code, good.status.code, request.status.code) == (ERROR, 0, 0)
    assert attributes(good) == common | {
        "server.port": provider.port,
        "llm_gateway.provider": "good",
        "llm_gateway.attempt": 2,
        "http.response.status_code": 200,
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 3,
    }


async def test_a_stream_says_when_its_first_content_came_and_nothing_says_what_was_said() -> None:
    tools = [openai_dialect.ToolCall("c-1", "look", ['{"for": "', SECRET, '"}'])]
    async with ScriptedProvider() as provider:
        provider.enqueue(
            Stream(openai_dialect.chat_stream([SAID], include_usage=True)),
            Stream(openai_dialect.chat_stream([], include_usage=True, tool_calls=tools)),
            openai_dialect.error_answer(400, "invalid_value", f"{SECRET} is no value"),
        )
        async with traced(provider, sample_rate=1.0) as (gateway, spans):
            for _ in range(2):
                await chat(gateway, "good/gpt-4o", stream=True)
            wrong = await chat(gateway, "good/gpt-4o")

    requests = [attributes(each) for _, each in spans if each.kind == SERVER]
    assert len(spans) == 6 and wrong.status == 400
    for each in requests[:2]:
        assert each["gen_ai.request.stream"] is True
        assert each["gen_ai.response.time_to_first_chunk"] > 0
    assert requests[2]["error.type"] == "invalid_value"
    for words in (SECRET, SAID):
        assert words not in str(spans)


async def test_a_client_that_keeps_no_trace_is_followed_whatever_the_share_is() -> None:
    """And one that keeps its own is, with nothing sampled here."""
    async with ScriptedProvider() as provider:
        provider.default = openai_dialect.chat_answer()
        async with traced(provider, sample_rate=1.0) as (gateway, spans):
            await chat(gateway, "good/gpt-4o", PARENT[:-2] + "00")
        async with traced(provider, sample_rate=0.0) as (gateway, kept):
            await chat(gateway, "good/gpt-4o", PARENT)
        flags = [each.headers["traceparent"][-2:] for each in provider.received]

    assert (spans, len(kept), flags) == ([], 2, ["00", "01"])


async def test_variables_name_the_target_and_the_service() -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}", "OTEL_SERVICE_NAME": "edge"}
    async with ScriptedProvider() as provider:
        provider.enqueue(openai_dialect.chat_answer())
        async with traced(provider, env, sample_rate=1.0) as (gateway, spans):
            await chat(gateway, "good/gpt-4o")

    names = {each.key: each.value.string_value for each in spans[0][0].attributes}
    assert (len(spans), names["service.name"]) == (2, "edge")
    assert not any("outdated" in each for each in gateway.log_lines())


@pytest.mark.parametrize("by", ["variable", "setting"])
async def test_an_old_address_of_jaeger_leads_to_its_otlp_endpoint_with_a_warning(by: str) -> None:
    """Seen by the proxy that all but loopback goes through."""
    old = "http://jaeger.example:14268/api/traces"
    async with ScriptedProvider() as network:
        network.default = Answer(headers={"content-type": "application/x-protobuf"})
        env = {"http_proxy": network.url, "no_proxy": "127.0.0.1"}
        tracing: dict[str, Any] = {"sample_rate": 1.0}
        if by == "variable":
            env["OTEL_EXPORTER_JAEGER_ENDPOINT"] = old
        else:
            tracing["jaeger_endpoint"] = old
        config = {"providers": {"sim": {"kind": "simulated"}}, "telemetry": {"tracing": tracing}}
        async with running_gateway(config, env) as gateway:
            await chat(gateway, "simulated")
        sent = [(each.method, each.path) for each in network.received]
    (warning,) = [each for each in gateway.log_lines() if "outdated" in each]

    assert sent == [("POST", "http://jaeger.example:4318/v1/traces")]
    assert warning.startswith("WARNING") and "http://jaeger.example:4318/v1/traces" in warning
    name = "OTEL_EXPORTER_JAEGER_ENDPOINT" if by == "variable" else "jaeger_endpoint"
    assert name in warning
