"""The settings under ``resilience.circuit_breaker``."""

import llm_gateway_api as gw
from pydantic import Field


class BreakerSettings(gw.Section):
    """Settings under ``resilience.circuit_breaker``."""

    enabled: bool = Field(default=True, description="false asks deployments however they fail")
    failure_threshold: int = Field(default=5, ge=1, description="failures in a row that open it")
    success_threshold: int = Field(
        default=3, ge=1, description="good probes in a row that close it"
    )
    timeout_seconds: gw.Seconds = Field(default=60, description="seconds until the first probe")
