"""``security.request_signing``"""

import re
from typing import Literal, Self

from llm_gateway_api import Seconds, Section
from pydantic import Field, SecretStr, field_validator, model_validator

LEAST = 32
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")


class SigningSettings(Section):
    """Who signs, and how old a signature may be."""

    enabled: bool = Field(default=False, description="true refuses what is not signed")
    algorithm: Literal["hmac-sha256"] = Field(default="hmac-sha256", description="hmac-sha256")
    header_name: str = Field(
        default="X-Signature",
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        description="the header that carries the signature",
    )
    secrets: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="secrets by key id, 32 characters or more; each is accepted",
    )
    max_skew_seconds: Seconds = Field(
        default=300, gt=0, le=86400, description="seconds a clock may be wrong, either way"
    )
    endpoints: bool = Field(
        default=True, description="false asks for signatures on the model routes only"
    )

    @field_validator("secrets")
    @classmethod
    def _strong(cls, given: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in given.items():
            if not _ID.fullmatch(name):
                raise ValueError(f"the key id {name!r} may hold letters, digits and ._~- only")
            if len(secret.get_secret_value()) < LEAST:
                raise ValueError(
                    f"the secret {name!r} is shorter than {LEAST} characters; "
                    "make one with: openssl rand -hex 32"
                )
        return given

    @model_validator(mode="after")
    def _somebody_signs(self) -> Self:
        if self.enabled and not self.secrets:
            raise ValueError("signing is on and `secrets` is empty: give at least one secret")
        return self
