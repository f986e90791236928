"""The SDK's provider of tracers, and the thread that exports in batches while it is open."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from llm_gateway_telemetry_otlp.settings import TracingSettings, service_name

log = logging.getLogger("llm_gateway_telemetry_otlp")
QUEUE = 4096
BATCH = 512
DELAY_MS = 2000.0


class Exporting:
    """Meets `TracerProvider`. A trace that somebody else began is kept if they keep it; of
    those that begin here, a share. What a slow collector does not take is dropped."""

    def __init__(self, settings: TracingSettings, url: str, warning: str | None) -> None:
        self._settings = settings
        self._url = url
        self._warning = warning
        self._sdk = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample_rate)),
            resource=Resource.create(
                {
                    "service.name": service_name(settings),
                    "service.version": version("llm-gateway-telemetry-otlp"),
                }
            ),
            shutdown_on_exit=False,
        )

    def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
        return self._sdk.get_tracer(*args, **kwargs)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self._warning is not None:
            log.warning("%s", self._warning)
        exporter = OTLPSpanExporter(
            self._url,
            headers={name: key.get_secret_value() for name, key in self._settings.headers.items()},
            timeout=self._settings.timeout_seconds,
        )
        self._sdk.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE,
                max_export_batch_size=BATCH,
                schedule_delay_millis=DELAY_MS,
            )
        )
        try:
            yield
        finally:
            await asyncio.to_thread(self._sdk.shutdown)
