"""The settings under ``resilience.retry``."""

from typing import Literal

import llm_gateway_api as gw
from pydantic import Field, model_validator


class RetrySettings(gw.Section):
    """Settings under ``resilience.retry``."""

    enabled: bool = Field(default=True, description="false asks no deployment twice")
    max_attempts: int = Field(
        default=3, ge=1, description="attempts at one deployment; its max_retries may say fewer"
    )
    initial_delay_ms: gw.Milliseconds = Field(default=100, description="ms before the first retry")
    max_delay_ms: gw.Milliseconds = Field(
        default=5000, description="ms at most; a retry-after beyond it is not waited for"
    )
    backoff_multiplier: float = Field(
        default=2.0, ge=1, allow_inf_nan=False, description="growth of the delay per retry"
    )
    strategy: Literal["jittered", "exponential", "fixed", "decorrelated"] = Field(
        default="jittered", description="how the delay grows and spreads"
    )
    budget_percent: float = Field(
        default=20, ge=0, le=100, description="requests in a retry, as a share of those under way"
    )
    budget_min: int = Field(
        default=10, ge=0, description="requests in a retry that are always allowed"
    )

    @model_validator(mode="after")
    def _delays_fit(self) -> "RetrySettings":
        if self.initial_delay_ms > self.max_delay_ms:
            raise ValueError("initial_delay_ms is above max_delay_ms; lower it")
        return self
