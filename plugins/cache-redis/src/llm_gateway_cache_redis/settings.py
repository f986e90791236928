"""``cache.redis``."""

import os

from llm_gateway_api import Seconds, Section
from pydantic import Field, SecretStr


def _shared() -> SecretStr | None:
    """The address that the environment gives for all that is shared."""
    url = os.environ.get("REDIS_URL")
    return SecretStr(url) if url else None


class RedisCacheSettings(Section):
    url: SecretStr | None = Field(
        default_factory=_shared, description="redis:// or rediss:// address; REDIS_URL if absent"
    )
    timeout_seconds: Seconds = Field(default=0.05, description="seconds a look-up may take")
    store_timeout_seconds: Seconds = Field(
        default=1.0, description="seconds that keeping an answer may take; no request waits for it"
    )
    max_connections: int = Field(default=64, ge=1, description="connections of each worker")
    max_entry_mb: int = Field(default=8, ge=1, description="size of the biggest answer kept, in MB")
    failure_threshold: int = Field(
        default=3, ge=1, description="failures in a row after which Redis is not asked for a while"
    )
    max_pause_seconds: Seconds = Field(
        default=10.0, description="longest time in which Redis is not asked"
    )
