"""Settings under ``routing.cost_optimized``."""

import llm_gateway_api as gw
from pydantic import Field


class CostSettings(gw.Section):
    """How cheap may never be: the floors of quality, and what is expected of a request."""

    min_success_rate: float = Field(
        default=0.9, ge=0, le=1, description="of the last answers; who has less is asked last"
    )
    max_first_content_ms: float | None = Field(
        default=None,
        gt=0,
        description="mean time to the first content; who is slower is asked last",
    )
    min_samples: int = Field(
        default=10, ge=1, description="answers before a floor is applied to a deployment"
    )
    output_tokens: int = Field(
        default=500, ge=0, description="expected of an answer until answers of the model were seen"
    )
    cache_seconds: float = Field(
        default=300.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds for which a provider is trusted to keep a prompt in its cache",
    )
