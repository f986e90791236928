"""A span for each call, where the application uses OpenTelemetry; nothing otherwise.

Names and attributes are those of OpenTelemetry's conventions for generative AI and HTTP.
Neither prompts nor answers are recorded.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

from llm_gateway_sdk.errors import GatewayError
from llm_gateway_sdk.operations import Call
from llm_gateway_sdk.values import Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Trace:
    """The span of one call; without OpenTelemetry every method does nothing.

    The span is never the current one: a stream hands control back before it ends.
    """

    def __init__(self, call: Call, base: str, version: str) -> None:
        self._span = _begun(call, base, version) if "opentelemetry.trace" in sys.modules else None

    def headers(self) -> dict[str, str]:
        """What makes the gateway's spans children of this one."""
        found: dict[str, str] = {}
        if self._span is not None:
            from opentelemetry import propagate, trace

            propagate.inject(found, trace.set_span_in_context(self._span))
        return found

    def answered(self, response: httpx.Response) -> None:
        self._set(
            {
                "http.response.status_code": response.status_code,
                "llm_gateway.request_id": response.headers.get("x-request-id"),
                "gen_ai.provider.name": response.headers.get("x-gateway-provider"),
            }
        )

    def used(self, model: str | None, usage: Usage | None) -> None:
        self._set({"gen_ai.response.model": model})
        if usage is not None:
            self._set(
                {
                    "gen_ai.usage.input_tokens": usage.prompt_tokens,
                    "gen_ai.usage.output_tokens": usage.completion_tokens,
                }
            )

    def end(self, attempts: int, error: BaseException | None) -> None:
        """`error` ends the span as failed, unless somebody only stopped reading."""
        if self._span is None:
            return
        if attempts > 1:
            self._set({"http.request.resend_count": attempts - 1})
        if error is not None and not isinstance(error, GeneratorExit):
            from opentelemetry.trace import Status, StatusCode

            code = error.code if isinstance(error, GatewayError) else None
            self._set({"error.type": code or type(error).__name__})
            self._span.set_status(Status(StatusCode.ERROR, str(error)))
        self._span.end()

    def _set(self, attributes: Mapping[str, Any]) -> None:
        if self._span is not None:
            self._span.set_attributes({k: v for k, v in attributes.items() if v is not None})


def _begun(call: Call, base: str, version: str) -> "Span":
    from opentelemetry import trace

    url = httpx.URL(base)
    attributes: dict[str, str | int] = {
        "server.address": url.host,
        "server.port": url.port or (443 if url.scheme == "https" else 80),
        "http.request.method": call.method,
        "url.path": f"/{call.path}",
    }
    if call.name:
        attributes["gen_ai.operation.name"] = call.name
    if call.model:
        attributes["gen_ai.request.model"] = call.model
    name = f"{call.name} {call.model}" if call.name else f"{call.method} /{call.path}"
    tracer = trace.get_tracer("llm_gateway_sdk", version)
    return tracer.start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)
