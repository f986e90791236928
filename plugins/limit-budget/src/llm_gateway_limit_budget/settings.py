"""``plugins.limit_budget``"""

from typing import Literal

from llm_gateway_api import Section
from pydantic import Field, SecretStr


class BudgetSettings(Section):
    """How a request under a budget is judged before its cost is known."""

    hold: Literal["learned", "full"] = Field(
        default="learned",
        description="what is reserved: the learned 95th percentile of answers (all of the"
        " caller's maximum where the answer is not streamed), or the worst case",
    )
    unknown_price: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="a caller under a budget who asks for a model without a price: 403, or free",
    )
    fail: Literal["degrade", "open", "closed"] = Field(
        default="degrade",
        description="without shared state: this worker's share of what was left, no budgets, 503",
    )
    webhook_url: SecretStr | None = Field(
        default=None, description="is sent a POST when a budget reaches its soft or hard limit"
    )
