"""Spans of requests and attempts through OpenTelemetry's API; nothing where nobody records.

A SERVER span for each request, a CLIENT span for each attempt, W3C `traceparent` in and
out. Names are those of the semantic conventions for HTTP and for generative AI, as of
version 1.40; they stand here since the package of constants calls its own deprecated.
No content ever becomes an attribute.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llm_gateway_api import (
    Arrival,
    ConfigurationError,
    Outcome,
    Target,
    TracerProvider,
    UpstreamRequest,
    Usage,
    Value,
)
from msgspec import structs

from llm_gateway.making import Maker

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

log = logging.getLogger("llm_gateway.tracing")
SCOPE = "llm_gateway"
DISTRIBUTION = "llm-gateway-kernel"
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
MODEL = "gen_ai.request.model"
STREAM = "gen_ai.request.stream"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"  # seconds
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
ADDRESS = "server.address"
PORT = "server.port"
ERROR = "error.type"
STATUS = "http.response.status_code"
METHOD = "http.request.method"
ROUTE = "http.route"
REQUEST_ID = "llm_gateway.request_id"
TENANT = "llm_gateway.tenant"
INSTANCE = "llm_gateway.provider"
ATTEMPT = "llm_gateway.attempt"
CACHE = "llm_gateway.cache"
_OPERATIONS = {"completions": "text_completion"}  # as the conventions call it


def tracer_provider(declared: Sequence[TracerProvider]) -> TracerProvider | None:
    """The plugin's provider of tracers, else one that the process has been given, else None.

    Whoever gave the process one has imported OpenTelemetry; nothing is imported to ask.
    """
    if declared:
        return declared[0]
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    found = trace.get_tracer_provider()
    silent = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
    return None if isinstance(found, silent) else found


def bound(maker: Maker, errors: Value, armed: list[tuple[str, str, str, str]]) -> "Tracing | None":
    """What begins the traces of a generation's requests; None where nobody records."""
    pairs = maker.all("tracers")
    if len(pairs) > 1:
        both = " and ".join(spec.name for spec, _ in pairs)
        raise ConfigurationError(f"{both} both record traces; switch one of them off.")
    provider = tracer_provider([made for _, made in pairs])
    if provider is None:
        return None
    names = {spec.kind: spec.telemetry_name for _, spec in maker.plugins.declared("providers")}
    kinds = {name: own.kind or name for name, own in maker.settings.providers.items()}
    called = {name: names.get(kind) or kind for name, kind in kinds.items()}
    armed.append(("tracing", type(provider).__name__, "", "dropped and counted"))
    return Tracing(provider, called, errors, version(DISTRIBUTION))


class Tracing:
    """Begins the trace of each request; bound only where somebody records."""

    def __init__(
        self, provider: TracerProvider, kinds: Mapping[str, str], errors: Value, version: str
    ) -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.api = trace
        self.contexts = context
        self.propagator = TraceContextTextMapPropagator()
        self.tracer = provider.get_tracer(SCOPE, version)
        self.kinds = kinds
        self._errors = errors

    def begin(self, arrival: Arrival, operation: str) -> "Trace | None":
        """The trace of this request, its span current from now on; None where it failed."""
        try:
            return Trace(self, arrival, operation)
        except Exception:
            self.failed()
            return None

    def failed(self) -> None:
        self._errors.inc()
        log.debug("tracing.failed", exc_info=True)


class Trace:
    """The spans of one request. Nothing in here may hurt it."""

    __slots__ = ("_attempt", "_operation", "_span", "_token", "_tracing", "trace_id")
    trace_id: str | None

    def __init__(self, tracing: Tracing, arrival: Arrival, operation: str) -> None:
        headers = {
            name: arrival.headers[name]
            for name in ("traceparent", "tracestate")
            if name in arrival.headers
        }
        parent = tracing.propagator.extract(headers) if headers else None
        self._tracing = tracing
        self._operation = _OPERATIONS.get(operation, operation)
        self._attempt: Any = None
        self._span = tracing.tracer.start_span(
            f"{arrival.method} {arrival.path}",
            context=parent,
            kind=tracing.api.SpanKind.SERVER,
            attributes={
                METHOD: arrival.method,
                ROUTE: arrival.path,
                REQUEST_ID: arrival.request_id,
                OPERATION: self._operation,
            },
        )
        self.trace_id = format(self._span.get_span_context().trace_id, "032x")
        current = tracing.api.set_span_in_context(self._span)
        self._token = tracing.contexts.attach(current)

    def attempt(self, target: Target, number: int) -> None:
        """The CLIENT span of an attempt begins."""
        try:
            self._attempt = self._tracing.tracer.start_span(
                f"{self._operation} {target.model}",
                context=self._tracing.api.set_span_in_context(self._span),
                kind=self._tracing.api.SpanKind.CLIENT,
                attributes={
                    OPERATION: self._operation,
                    PROVIDER: self._tracing.kinds.get(target.provider, target.provider),
                    MODEL: target.model,
                    INSTANCE: target.provider,
                    ATTEMPT: number,
                },
            )
        except Exception:
            self._tracing.failed()

    def carried(self, sent: UpstreamRequest) -> UpstreamRequest:
        """`sent` with the attempt's own ``traceparent``; a client's never passes as it is."""
        try:
            if self._attempt.is_recording():
                parts = urlsplit(sent.url)
                self._attempt.set_attribute(ADDRESS, parts.hostname or "")
                port = parts.port or (443 if parts.scheme == "https" else 80)
                self._attempt.set_attribute(PORT, port)
            carrier: dict[str, str] = {}
            context = self._tracing.api.set_span_in_context(self._attempt)
            self._tracing.propagator.inject(carrier, context)
            return structs.replace(sent, headers={**sent.headers, **carrier})
        except Exception:
            self._tracing.failed()
            return sent

    def attempted(self, outcome: Outcome) -> None:
        """The attempt ended."""
        span, self._attempt = self._attempt, None
        if span is None:
            return
        try:
            if span.is_recording():
                if outcome.status:
                    span.set_attribute(STATUS, outcome.status)
                _count(span, outcome.usage)
                self._blame(span, outcome.failure, outcome.failure is not None)
            span.end()
        except Exception:
            self._tracing.failed()

    def finish(self, call: "Call", status: int) -> None:
        """The request ended."""
        span = self._span
        try:
            self._tracing.contexts.detach(self._token)
            if span.is_recording():
                span.set_attribute(STATUS, status)
                if call.head.model:
                    span.set_attribute(MODEL, call.head.model)
                if call.arrival.principal.tenant is not None:
                    span.set_attribute(TENANT, call.arrival.principal.tenant)
                if call.cache is not None:
                    span.set_attribute(CACHE, call.cache)
                if call.head.stream:
                    span.set_attribute(STREAM, True)
                    if call.first_content is not None:
                        waited = call.first_content - call.arrival.arrived
                        span.set_attribute(FIRST_CHUNK, waited)
                _count(span, call.usage)
                code = call.error.code if call.error is not None else None
                self._blame(span, code, status >= 500)
            span.end()
        except Exception:
            self._tracing.failed()

    def _blame(self, span: Any, error: str | None, failed: bool) -> None:
        """A client's own fault is told and is no error of a server's span."""
        if error is not None:
            span.set_attribute(ERROR, str(error))
        if failed:
            span.set_status(self._tracing.api.Status(self._tracing.api.StatusCode.ERROR))


def _count(span: Any, usage: Usage | None) -> None:
    """Totals, and of what they are made where that is not all the same."""
    if usage is None:
        return
    span.set_attribute(INPUT_TOKENS, usage.input_total)
    span.set_attribute(OUTPUT_TOKENS, usage.output_total)
    for name, many in (
        (CACHE_READ_TOKENS, usage.cache_read),
        (CACHE_WRITE_TOKENS, usage.cache_write + usage.cache_write_1h),
        (REASONING_TOKENS, usage.reasoning),
    ):
        if many:
            span.set_attribute(name, many)
