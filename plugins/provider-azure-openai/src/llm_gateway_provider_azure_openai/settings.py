"""Settings of a resource, and what follows from them."""

import re
from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import quote

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectSettings
from pydantic import Field, HttpUrl, SecretStr, model_validator

SCOPE = "https://cognitiveservices.azure.com/.default"
AUTHORITY = "https://login.microsoftonline.com"
# Of the link-local service that every virtual machine has; it speaks plain HTTP by design.
IDENTITY = "http://169.254.169.254/metadata/identity/oauth2/token"
DATED = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")
# From these on, the classic API knows stream_options and max_completion_tokens.
MODERN = "2024-09-01"


class Entra(gw.Section):
    """``entra``: a token of Microsoft Entra ID in place of a key."""

    tenant_id: str | None = Field(default=None, description="the tenant; AZURE's directory id")
    client_id: str | None = Field(default=None, description="the application, or the identity")
    client_secret: SecretStr | None = Field(default=None, description="the application's secret")
    federated_token_file: Path | None = Field(
        default=None, description="file with a workload's token, in place of a secret"
    )
    managed_identity: bool = Field(
        default=False, description="ask the machine's own identity service"
    )
    scope: str = Field(
        default=SCOPE,
        description="what the token is for; https://ai.azure.com/.default on project endpoints",
    )
    authority_url: HttpUrl = Field(
        default=HttpUrl(AUTHORITY), description="the login service; sovereign clouds differ"
    )
    identity_url: HttpUrl = Field(
        default=HttpUrl(IDENTITY), description="the machine's identity service"
    )
    timeout_seconds: gw.Seconds = Field(default=10.0, description="seconds to get a token")

    @model_validator(mode="after")
    def _one_flow(self) -> Self:
        flows = (self.client_secret, self.federated_token_file, self.managed_identity or None)
        if sum(each is not None for each in flows) != 1:
            raise ValueError(
                "give exactly one of client_secret, federated_token_file, managed_identity: true"
            )
        if not self.managed_identity and not (self.tenant_id and self.client_id):
            raise ValueError("give tenant_id and client_id of the application")
        return self


class Deployment(gw.Section):
    """A deployment; its name says nothing of the model behind it."""

    base_model: str | None = Field(
        default=None, description="the model it runs (gpt-6-sol): decides parameters and prices"
    )


class Settings(DialectSettings):
    """Settings under ``providers.<name>``, beside those that every provider has."""

    required: ClassVar[tuple[str, ...]] = ("endpoint|base_url", "api_key|entra")

    api_key: SecretStr = Field(default=SecretStr(""), description="the resource's key")
    entra: Entra | None = Field(default=None, description="a token in place of a key")
    endpoint: HttpUrl | None = Field(
        default=None,
        description="the resource, https://NAME.openai.azure.com, or what is before it",
    )
    base_url: HttpUrl | None = Field(  # type: ignore[assignment]  # `endpoint` is as good
        default=None, description="another name of endpoint, with or without /openai/v1"
    )
    family: Literal["v1", "classic"] | None = Field(
        default=None, description="the kind of address; classic where api_version is a date"
    )
    api_version: str | None = Field(
        default=None, description="a date (2024-10-21) for classic; preview or nothing for v1"
    )
    deployments: dict[str, Deployment] = Field(
        default_factory=dict, description="deployments by name, and their base_model"
    )
    content_filter_results: bool = Field(
        default=True, description="show the content filter's notes in answers"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.api_key.get_secret_value() and self.entra is not None:
            raise ValueError("give either api_key or entra, not both")
        dated = self.api_version is not None and DATED.fullmatch(self.api_version) is not None
        if self.family == "classic" and not dated:
            raise ValueError("family classic needs an api_version that is a date, as 2024-10-21")
        if self.family == "v1" and dated:
            raise ValueError("family v1 takes no dated api_version; leave it out, or say preview")
        if not dated and self.api_version not in (None, "", "v1", "latest", "preview"):
            raise ValueError(f"api_version {self.api_version!r} is neither a date nor preview")
        return self

    @property
    def classic(self) -> bool:
        return self.api_version is not None and DATED.fullmatch(self.api_version) is not None

    @property
    def modern(self) -> bool:
        """Whether the API knows what OpenAI's knows since autumn 2024."""
        return not self.classic or (self.api_version or "") >= MODERN

    def resource(self) -> str:
        """The address before ``/openai``, without a slash at its end."""
        given = str(self.endpoint or self.base_url or "").rstrip("/")
        for end in ("/v1", "/openai"):
            given = given.removesuffix(end)
        return given

    def address(self, path: str, model: str) -> str:
        """Where `path` of `model` is asked. /responses exists on v1 alone."""
        resource = self.resource()
        if self.classic and path != "/responses":
            folder = "" if path == "/models" else f"/deployments/{quote(model, safe='')}"
            return f"{resource}/openai{folder}{path}?api-version={self.api_version}"
        query = "?api-version=preview" if self.api_version == "preview" else ""
        return f"{resource}/openai/v1{path}{query}"
