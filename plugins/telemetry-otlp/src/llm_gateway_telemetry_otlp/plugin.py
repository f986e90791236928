"""Declares the recorder of traces and its settings."""

import logging
from typing import TYPE_CHECKING

from llm_gateway_api import SettingsSpec, TracerSpec, hookimpl

from llm_gateway_telemetry_otlp.settings import TracingSettings, target

if TYPE_CHECKING:
    from llm_gateway_telemetry_otlp.exporting import Exporting

log = logging.getLogger("llm_gateway_telemetry_otlp")
PATH = "telemetry.tracing"


@hookimpl
def llm_gateway_settings() -> list[SettingsSpec]:
    return [SettingsSpec(PATH, TracingSettings)]


@hookimpl
def llm_gateway_tracers() -> list[TracerSpec]:
    return [TracerSpec("otlp", make, settings=PATH)]


def make(settings: TracingSettings) -> "Exporting | None":
    """None where there is nowhere to send traces: then nothing is recorded, and costs nothing."""
    url, warning = target(settings)
    if url is None:
        if settings.enabled and settings.model_fields_set:
            log.warning("telemetry.tracing has no otlp_endpoint: nothing is recorded")
        return None
    from llm_gateway_telemetry_otlp.exporting import Exporting

    return Exporting(settings, url, warning)
