"""``security.rate_limit``"""

from typing import Literal

from llm_gateway_api import Section
from pydantic import Field


class Rates(Section):
    """Limits of one scope; null is unlimited, 0 blocks."""

    requests_per_minute: int | None = Field(default=None, ge=0, description="requests a minute")
    tokens_per_minute: int | None = Field(
        default=None, ge=0, description="tokens a minute, asked and answered"
    )
    max_concurrent: int | None = Field(default=None, ge=0, description="requests at once")


class RateLimitSettings(Rates):
    """Holds for each key, and for each address where there is no key.

    In force once the section stands in the configuration; limits of tenants and keys that the
    store holds are enforced with or without it.
    """

    enabled: bool = Field(default=False, description="on once the section is written; false is off")
    requests_per_minute: int | None = Field(default=1000, ge=0, description="requests a minute")
    burst_size: int | None = Field(
        default=100, ge=1, description="requests at once after a pause; the minute's if absent"
    )
    models: dict[str, Rates] = Field(
        default_factory=dict, description="further limits of each caller by public model"
    )
    shadow: bool = Field(default=False, description="true only counts what would be refused")
    fail: Literal["degrade", "open", "closed"] = Field(
        default="degrade",
        description="without shared state: local limits, none at all, or 503",
    )
