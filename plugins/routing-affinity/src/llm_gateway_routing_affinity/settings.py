"""Settings under ``routing.affinity``."""

import llm_gateway_api as gw
from pydantic import Field


class AffinitySettings(gw.Section):
    """What makes requests belong together, and for how long."""

    enabled: bool = Field(default=True, description="false leaves all to the strategy")
    session_headers: tuple[str, ...] = Field(
        default=("x-session-id",), description="request headers that name a session, the first wins"
    )
    prompt: bool = Field(
        default=True, description="whether the same beginning of a prompt belongs together"
    )
    idle_seconds: float = Field(
        default=600.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds without a request after which a prompt's affinity ends",
    )
    max_misses: int = Field(
        default=3, ge=1, description="answers in a row without cached tokens that end it"
    )
