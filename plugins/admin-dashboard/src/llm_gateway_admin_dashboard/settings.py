"""``plugins.admin_dashboard``"""

from llm_gateway_api import Section
from pydantic import Field, SecretStr, field_validator

LEAST = 32


class DashboardSettings(Section):
    """How long a login lasts, and what is kept for the pages."""

    enabled: bool = Field(default=True, description="false serves no pages")
    session_minutes: float = Field(
        default=30, gt=0, le=1440, description="minutes without a click after which a login ends"
    )
    session_hours: float = Field(
        default=8, gt=0, le=168, description="hours after which a login ends in any case"
    )
    session_secret: SecretStr | None = Field(
        default=None,
        description="what sessions are sealed with, 32 characters or more, for several hosts "
        "behind one address; a file in the data directory if absent",
    )
    login_attempts_per_minute: int = Field(
        default=10, ge=1, description="logins that one address may try"
    )
    insecure_cookie: bool = Field(
        default=False,
        description="true lets the session travel over plain HTTP to other hosts than localhost",
    )
    recent_requests: int = Field(
        default=500, ge=0, le=10_000, description="requests that each worker remembers; 0 for none"
    )

    @field_validator("session_secret")
    @classmethod
    def _strong(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None and 0 < len(given.get_secret_value()) < LEAST:
            raise ValueError(f"give it {LEAST} characters or more, random ones")
        return given
