"""Settings under ``routing.least_connections``."""

import llm_gateway_api as gw
from pydantic import Field


class LeastConnectionsSettings(gw.Section):
    """How workers tell each other what is under way."""

    share_seconds: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds between two reports to other workers, each good for three",
    )
