"""Declares ``GET /metrics`` on the metrics port. What is counted is the kernel's."""

import asyncio

import llm_gateway_api as gw
from pydantic import Field

from llm_gateway_telemetry_prometheus.exposition import CONTENT_TYPE, snapshot, written

# Above this a page takes more than a few milliseconds, which other requests must not wait for.
MANY = 200


class MetricsSettings(gw.Section):
    """Settings under ``telemetry.metrics``."""

    enabled: bool = Field(default=True, description="false serves no metrics page")
    port: int | None = Field(
        default=None, ge=0, le=65535, description="another name of server.metrics_port"
    )


class MetricsPage:
    """Answers with the page; with 404 where it is switched off."""

    def __init__(self, settings: MetricsSettings, *, metrics: gw.Metrics) -> None:
        self._enabled = settings.enabled
        self._metrics = metrics

    async def __call__(self, request: gw.EndpointRequest) -> gw.EndpointResponse:
        if not self._enabled:
            raise gw.NotFoundError("Metrics are switched off (telemetry.metrics.enabled).")
        reads = snapshot(self._metrics.families())
        if sum(len(read.children) for read in reads) > MANY:
            body = await asyncio.to_thread(written, reads)
        else:
            body = written(reads)
        return gw.EndpointResponse(200, body, CONTENT_TYPE, {"cache-control": "no-store"})


_: type[gw.EndpointHandler] = MetricsPage


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec("telemetry.metrics", MetricsSettings)]


@gw.hookimpl
def llm_gateway_endpoints() -> list[gw.EndpointSpec]:
    return [
        gw.EndpointSpec(
            method="GET",
            path="/metrics",
            role=None,
            make=MetricsPage,
            listener="metrics",
            settings="telemetry.metrics",
            needs=("metrics",),
        )
    ]
