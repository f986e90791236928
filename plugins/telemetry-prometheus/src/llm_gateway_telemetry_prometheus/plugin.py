"""Declares ``GET /metrics`` on the metrics port. What is counted is the kernel's."""

import asyncio

import llm_gateway_api as gw
from pydantic import Field

from llm_gateway_telemetry_prometheus.exposition import CONTENT_TYPE, pieces

# Children written before requests have their turn: a few tenths of a millisecond. A thread
# would not do, because it keeps the interpreter's lock for 5 ms at a time.
TURN = 50


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
        page: list[str] = []
        for number, piece in enumerate(pieces(await self._metrics.everywhere())):
            page.append(piece)
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
        body = "".join(page).encode()
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
