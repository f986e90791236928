"""The settings under ``resilience.adaptive_concurrency``."""

from typing import Self

import llm_gateway_api as gw
from pydantic import Field, model_validator


class AdaptiveConcurrencySettings(gw.Section):
    """They hold for each deployment and worker."""

    enabled: bool = Field(default=True, description="false sends however many are under way")
    min_limit: int = Field(default=4, ge=1, description="calls at once that are always sent")
    max_limit: int = Field(default=1000, ge=1, description="calls at once that are never exceeded")
    initial_limit: int = Field(
        default=20, ge=1, description="calls at once of a deployment of which nothing is known"
    )
    latency_tolerance: float = Field(
        default=2.0,
        ge=1.1,
        allow_inf_nan=False,
        description="how many times longer than without load answers may take",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min_limit <= self.initial_limit <= self.max_limit:
            raise ValueError("min_limit, initial_limit and max_limit must not fall, in this order")
        return self
