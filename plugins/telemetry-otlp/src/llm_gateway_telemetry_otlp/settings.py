"""``telemetry.tracing``, and the variables that stand in for it."""

import os
from urllib.parse import urlsplit

from llm_gateway_api import Seconds, Section
from pydantic import Field, SecretStr, field_validator

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
OLD_ENDPOINT = "OTEL_EXPORTER_JAEGER_ENDPOINT"
SERVICE = "OTEL_SERVICE_NAME"
OTLP_PORT = 4318
GRPC_PORT = 4317
TRACES = "/v1/traces"
_GRPC = "traces go over HTTP, and port 4317 is that of OTLP over gRPC; the one for HTTP is 4318"


class TracingSettings(Section):
    """In force once there is an endpoint, here or in ``OTEL_EXPORTER_OTLP_ENDPOINT``."""

    enabled: bool = Field(default=True, description="false exports nothing")
    otlp_endpoint: str | None = Field(
        default=None, description="base URL of an OTLP endpoint over HTTP (http://jaeger:4318)"
    )
    jaeger_endpoint: str | None = Field(
        default=None, description="old: a Jaeger collector's URL, taken for its OTLP endpoint"
    )
    sample_rate: float = Field(
        default=0.1, ge=0, le=1, description="share of traces that begin here and are kept"
    )
    service_name: str | None = Field(
        default=None, description="name in the traces; OTEL_SERVICE_NAME, or llm-gateway"
    )
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="headers of each export (a collector's key)"
    )
    timeout_seconds: Seconds = Field(default=10, gt=0, description="seconds an export may take")

    @field_validator("otlp_endpoint", "jaeger_endpoint")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("begins with http:// or https:// (OTLP over HTTP, port 4318)")
        return value or None


def target(settings: TracingSettings) -> tuple[str | None, str | None]:
    """Where traces go, and a warning about a name that is outdated.

    The settings win over the variables, a current name over an old one.
    """
    current = settings.otlp_endpoint or (
        None if settings.jaeger_endpoint else os.environ.get(ENDPOINT)
    )
    if current:
        return _with_path(current), _GRPC if urlsplit(current).port == GRPC_PORT else None
    for name, old in (
        ("telemetry.tracing.jaeger_endpoint", settings.jaeger_endpoint),
        (OLD_ENDPOINT, os.environ.get(OLD_ENDPOINT)),
    ):
        if old:
            mapped = _mapped(old)
            return mapped, f"{name} is outdated: Jaeger takes OTLP; use otlp_endpoint: {mapped}"
    return None, None


def service_name(settings: TracingSettings) -> str:
    return settings.service_name or os.environ.get(SERVICE) or "llm-gateway"


def _with_path(url: str) -> str:
    return url if urlsplit(url).path.endswith(TRACES) else url.rstrip("/") + TRACES


def _mapped(url: str) -> str:
    """The OTLP endpoint of the Jaeger whose old collector is at `url`."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme or 'http'}://{host}:{OTLP_PORT}{TRACES}"
