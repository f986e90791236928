"""Tracing costs nothing where nobody records, and hurts nobody where it fails."""

from typing import Any

from llm_gateway.tracing import Tracing, tracer_provider
from llm_gateway_api import Arrival, Value
from opentelemetry.sdk.trace import TracerProvider


class Broken:
    """A provider of tracers whose spans cannot be begun."""

    def get_tracer(self, name: str, version: str | None = None) -> Any:
        return self

    def start_span(self, *_: object, **__: object) -> Any:
        raise RuntimeError("no span")


def arrival(**headers: str) -> Arrival:
    return Arrival("r1", "POST", "/v1/chat/completions", "", headers, "127.0.0.1", 0.0)


def test_without_a_recorder_there_is_no_tracing() -> None:
    """OpenTelemetry's stand-in for a provider records nothing, so it is not asked."""
    assert tracer_provider([]) is None


def test_a_plugins_provider_comes_first() -> None:
    recorder = TracerProvider()

    assert tracer_provider([recorder]) is recorder


def test_a_tracer_that_fails_is_counted_and_dropped() -> None:
    errors = Value()

    assert Tracing(Broken(), {}, errors, "1").begin(arrival(), "chat") is None
    assert errors.value == 1


def test_a_malformed_traceparent_begins_a_trace_of_its_own() -> None:
    tracing = Tracing(TracerProvider(), {}, Value(), "1")

    traces = [tracing.begin(arrival(traceparent=each), "chat") for each in ("", "x", "00-0-0-00")]

    ids = {each.trace_id for each in traces if each is not None}
    assert len(ids) == 3 and "0" * 32 not in ids
