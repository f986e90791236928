"""The keys of ``security.secrets``."""

from llm_gateway_api import Section
from pydantic import Field, SecretStr


class SecretsSettings(Section):
    """``security.secrets``: where the values of ``${secret:NAME}`` are."""

    encryption_key: SecretStr | None = Field(
        default=None,
        description=(
            "master key, 32 bytes in base64 or hex; several, newest first, with commas between; "
            "SECRETS_ENCRYPTION_KEY if absent"
        ),
    )
    rotation_days: int = Field(
        default=90, ge=1, description="days after which a secret is encrypted anew"
    )
    directory: str = Field(
        default="/run/secrets", description="folder with one file for each secret, by name"
    )
    timeout_seconds: float = Field(
        default=5, gt=0, allow_inf_nan=False, description="seconds to wait for the store at start"
    )
