"""The settings under ``resilience.bulkhead``."""

import llm_gateway_api as gw
from pydantic import Field


class BulkheadSettings(gw.Section):
    """Settings under ``resilience.bulkhead``; they hold for each provider and worker."""

    enabled: bool = Field(default=True, description="false sends however many are under way")
    max_concurrent: int = Field(default=1000, ge=1, description="calls under way at one provider")
    max_queue: int = Field(default=500, ge=0, description="calls that wait for one provider")
