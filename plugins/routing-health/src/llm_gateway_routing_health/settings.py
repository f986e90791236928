"""Settings under ``routing.health``."""

import llm_gateway_api as gw
from pydantic import Field


class HealthSettings(gw.Section):
    """When a deployment counts as ill, and how it comes back."""

    unhealthy_after: int = Field(
        default=3, ge=1, description="failures in a row after which a deployment is left out"
    )
    retry_seconds: float = Field(
        default=30.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds after which an ill deployment that cannot be probed is tried again",
    )
    recovery_seconds: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds in which a deployment gets back its whole share of traffic",
    )
    suspend_seconds: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds that a refused credential, an empty account or a model that is gone "
        "suspends a deployment; twice as long each further time",
    )
    suspend_max_seconds: float = Field(
        default=1800.0, gt=0, allow_inf_nan=False, description="the longest suspension"
    )
    history_days: float = Field(
        default=7.0, gt=0, allow_inf_nan=False, description="days that changes are kept"
    )
