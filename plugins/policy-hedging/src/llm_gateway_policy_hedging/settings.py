"""The settings under ``resilience.hedging``."""

import llm_gateway_api as gw
from pydantic import Field


class HedgingSettings(gw.Section):
    """Settings under ``resilience.hedging``; without the section nothing is hedged."""

    enabled: bool = Field(default=True, description="false hedges nothing")
    delay_ms: gw.Milliseconds | None = Field(
        default=None,
        description="ms without content before the second attempt; observed ones if absent",
    )
    percentile: float = Field(
        default=95,
        ge=50,
        le=99.9,
        description="of a deployment's own times to first content, where delay_ms is absent",
    )
    min_delay_ms: gw.Milliseconds = Field(
        default=50, description="ms that an observed delay has at least"
    )
    min_samples: int = Field(
        default=20, ge=1, description="answers of a deployment before its times are believed"
    )
    budget_percent: float = Field(
        default=5, ge=0, le=100, description="hedges as a share of the requests that may have one"
    )
    budget_burst: float = Field(
        default=10, ge=1, allow_inf_nan=False, description="hedges that quiet times may save up"
    )
    models: frozenset[str] | None = Field(
        default=None, description="public names of the models that are hedged; all if absent"
    )
    except_tenants: frozenset[str] = Field(
        default=frozenset(), description="tenants whose requests are not hedged"
    )
    except_keys: frozenset[str] = Field(
        default=frozenset(), description="ids of keys whose requests are not hedged"
    )
