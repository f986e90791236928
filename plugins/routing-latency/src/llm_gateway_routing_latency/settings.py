"""Settings under ``routing.latency_optimized``."""

import llm_gateway_api as gw
from pydantic import Field


class LatencySettings(gw.Section):
    """How fast measurements age, and how often the others are measured again."""

    decay_seconds: float = Field(
        default=10.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds in which a measurement's weight falls to a third",
    )
    forget_seconds: float = Field(
        default=300.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds after which a deployment counts as not measured",
    )
    exploration: float = Field(
        default=0.02,
        ge=0,
        le=0.5,
        description="share of requests for the deployment whose measurement is oldest",
    )
