"""The settings under ``resilience.load_shedding``."""

import llm_gateway_api as gw
from pydantic import Field


class LoadSheddingSettings(gw.Section):
    """When the gateway itself has too much to do; they hold for each worker."""

    enabled: bool = Field(default=True, description="false takes requests however late they are")
    max_lag_ms: float = Field(
        default=500.0,
        gt=0,
        allow_inf_nan=False,
        description="milliseconds that the event loop may be late",
    )
    max_memory_percent: float = Field(
        default=90.0, gt=0, le=100, description="part of the memory limit that may be in use"
    )
    memory_limit_mb: int | None = Field(
        default=None,
        ge=1,
        description="memory of all workers together, in MiB; absent: the container's limit, if any",
    )
    resume_percent: float = Field(
        default=80.0,
        gt=0,
        lt=100,
        description="below this part of both limits more and more requests are taken again",
    )
    interval_ms: float = Field(
        default=100.0, ge=10, allow_inf_nan=False, description="milliseconds between two looks"
    )
    retry_after_seconds: float = Field(
        default=2.0, gt=0, allow_inf_nan=False, description="when a refused client may come back"
    )
    exempt_paths: tuple[str, ...] = Field(
        default=("/health", "/admin/"),
        description="paths that are always served, and what lies below them",
    )
