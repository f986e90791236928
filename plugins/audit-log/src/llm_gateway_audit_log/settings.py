"""``plugins.audit_log``"""

from typing import Literal

from llm_gateway_api import Seconds, Section
from pydantic import Field, SecretStr


class AuditSettings(Section):
    """What is recorded, where, and what happens when it cannot be."""

    enabled: bool = Field(default=True, description="false records nothing")
    fail: Literal["closed", "open"] = Field(
        default="closed", description="closed refuses what cannot be recorded (503); open counts it"
    )
    content: bool = Field(
        default=False, description="true records requests and answers too, redacted"
    )
    max_content_bytes: int = Field(
        default=65536, ge=256, description="bytes of a request or an answer that are recorded"
    )
    key: SecretStr | None = Field(
        default=None,
        description="secret that seals the chain (HMAC); without one it shows accidents and "
        "careless edits, not a forger who writes the whole chain anew",
    )
    ship_seconds: Seconds = Field(
        default=1.0, gt=0, description="seconds between two shipments to the store"
    )
    max_file_mb: int = Field(
        default=64, ge=1, description="megabytes after which a new file is begun"
    )
    max_file_days: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="days after which a new file is begun"
    )
    retention_days: int | None = Field(
        default=None,
        ge=1,
        description="days a record is kept, in the store and in files; for ever if absent",
    )
