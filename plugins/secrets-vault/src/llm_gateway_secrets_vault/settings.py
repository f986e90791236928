"""``plugins.secrets_vault``"""

from typing import Literal

from llm_gateway_api import Seconds, Section
from pydantic import Field, HttpUrl, SecretStr, model_validator


class VaultSettings(Section):
    """Where Vault is, as whom it is asked, and where in it secrets lie."""

    address: HttpUrl = Field(description="of Vault: https://vault.example:8200")
    namespace: str | None = Field(default=None, description="namespace (Enterprise, HCP)")
    mount: str = Field(default="secret", description="path of the KV version 2 engine")
    prefix: str = Field(default="llm-gateway", description="folder in it: NAME lies at PREFIX/NAME")
    field: str = Field(default="value", description="field of a secret that is its value")
    paths: dict[str, str] = Field(
        default_factory=dict, description="other places by NAME: path/in/the/engine#field"
    )
    auth: Literal["token", "approle", "kubernetes"] = Field(
        default="token", description="how the gateway proves who it is"
    )
    auth_mount: str | None = Field(
        default=None, description="path of the auth method; its name if absent"
    )
    token: SecretStr | None = Field(default=None, description="for token")
    token_file: str | None = Field(default=None, description="for token: a file that holds it")
    role: str | None = Field(default=None, description="for kubernetes: the role")
    role_id: str | None = Field(default=None, description="for approle")
    secret_id: SecretStr | None = Field(default=None, description="for approle")
    secret_id_file: str | None = Field(
        default=None, description="for approle: a file that holds the secret id"
    )
    jwt_file: str = Field(
        default="/var/run/secrets/kubernetes.io/serviceaccount/token",
        description="for kubernetes: the service account's token",
    )
    ca_file: str | None = Field(
        default=None, description="certificates that Vault's is signed with; the system's if absent"
    )
    timeout_seconds: Seconds = Field(
        default=5.0, gt=0, description="seconds for all that a reading of the configuration asks"
    )
    snapshot_key: SecretStr | None = Field(
        default=None,
        description="32 bytes in base64 or hex; encrypts a copy in the data directory that a start "
        "uses while Vault cannot be reached; without it such a start is refused",
    )

    @model_validator(mode="after")
    def _enough(self) -> "VaultSettings":
        needed = {
            "token": ("token", "token_file"),
            "approle": ("secret_id", "secret_id_file"),
            "kubernetes": ("role",),
        }[self.auth]
        if not any(getattr(self, each) for each in needed):
            raise ValueError(f"auth: {self.auth} needs {' or '.join(needed)}")
        if self.auth == "approle" and not self.role_id:
            raise ValueError("auth: approle needs role_id")
        return self
