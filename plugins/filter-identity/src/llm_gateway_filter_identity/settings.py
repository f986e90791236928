"""``plugins.filter_identity``"""

from llm_gateway_api import Seconds, Section
from pydantic import Field


class IdentitySettings(Section):
    """How keys look, and how soon a change of them reaches a gateway that got no news of it."""

    key_prefix: str = Field(
        default="gw",
        pattern=r"^[a-z][a-z0-9-]{0,15}$",
        description="how new keys begin; keys with another prefix stay valid",
    )
    poll_seconds: Seconds = Field(
        default=2.0, gt=0, le=60, description="seconds between two looks for changes in the store"
    )
    rotation_grace_seconds: Seconds = Field(
        default=86400.0,
        ge=0,
        description="seconds that a rotated key's old secret stays valid, unless asked otherwise",
    )
