"""Spans, where the application uses OpenTelemetry; nothing where it does not."""

import subprocess
import sys

import httpx
import pytest
from llm_gateway_sdk import ChatRequest, Client, GatewayError, Message, RetryPolicy
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

ASK = ChatRequest("gpt-4o", [Message.user("secret words")])
ANSWER = {
    "model": "gpt-4o-2",
    "choices": [{"message": {"role": "assistant", "content": "secret too"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}
STREAM = (
    b'data: {"model":"m","choices":[{"delta":{"content":"a"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    trace.set_tracer_provider(provider)
    return found


def test_span(exporter: InMemorySpanExporter) -> None:
    """One span over all attempts, parent of the gateway's, without content."""
    exporter.clear()
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        headers = {"x-request-id": "r1", "x-gateway-provider": "openai"}
        return httpx.Response(200 if len(sent) > 1 else 503, json=ANSWER, headers=headers)

    http = httpx.Client(transport=httpx.MockTransport(answer))
    client = Client("http://gw:81", retry=RetryPolicy(initial_delay_seconds=0), http=http)
    with trace.get_tracer("application").start_as_current_span("work") as work:
        client.chat(ASK)

    (span,) = [each for each in exporter.get_finished_spans() if each.name == "chat gpt-4o"]
    assert span.attributes is not None and span.context is not None and span.parent is not None
    assert span.parent.span_id == work.get_span_context().span_id
    assert f"{span.context.span_id:016x}" in sent[1].headers["traceparent"]
    assert dict(span.attributes) == {
        "server.address": "gw",
        "server.port": 81,
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "http.response.status_code": 200,
        "llm_gateway.request_id": "r1",
        "gen_ai.provider.name": "openai",
        "gen_ai.response.model": "gpt-4o-2",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 1,
        "http.request.resend_count": 1,
    }
    assert "secret" not in span.to_json()


def test_span_of_a_stream(exporter: InMemorySpanExporter) -> None:
    """It ends with the stream, has its tokens, and is not the consumer's current span."""
    exporter.clear()
    http = httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=STREAM))
    )

    before = trace.get_current_span()
    for _ in Client("http://gw", http=http).chat_stream(ASK):
        assert not exporter.get_finished_spans()
        assert trace.get_current_span() is before

    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["gen_ai.usage.output_tokens"] == 2


def test_span_of_a_failure(exporter: InMemorySpanExporter) -> None:
    """A failed call is a failed span with the gateway's code."""
    exporter.clear()
    error = {"error": {"message": "No", "code": "model_not_found"}}
    http = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(404, json=error)))

    with pytest.raises(GatewayError):
        Client("http://gw", http=http).chat(ASK)

    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["error.type"] == "model_not_found"
    assert span.status.status_code is StatusCode.ERROR


def test_nothing_without_opentelemetry() -> None:
    """A client of an application without OpenTelemetry does not import it."""
    code = (
        "import sys, httpx, llm_gateway_sdk as s;"
        "t = httpx.MockTransport(lambda r: httpx.Response(200, json={'data': []}));"
        "s.Client(http=httpx.Client(transport=t)).models();"
        "print([n for n in sys.modules if n.startswith('opentelemetry')])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
