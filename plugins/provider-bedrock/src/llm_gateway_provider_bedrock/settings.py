"""Settings of an instance, and what follows from them: its region and its credentials."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Literal

import llm_gateway_api as gw
from pydantic import Field, HttpUrl, SecretStr

from llm_gateway_provider_bedrock import sources
from llm_gateway_provider_bedrock.credentials import Resolve
from llm_gateway_provider_bedrock.signing import Credentials


class Guardrail(gw.Section):
    """A guardrail of the account, applied to every chat; no client can set another."""

    identifier: str = Field(description="id or ARN of the guardrail")
    version: str = Field(default="DRAFT", description="its version, a number or DRAFT")
    trace: Literal["enabled", "disabled", "enabled_full"] | None = Field(
        default=None, description="whether the vendor says what the guardrail found"
    )
    stream_processing: Literal["sync", "async"] | None = Field(
        default=None, description="whether a stream waits for the guardrail (the vendor: sync)"
    )

    def wire(self, *, stream: bool) -> dict[str, str]:
        found = {"guardrailIdentifier": self.identifier, "guardrailVersion": self.version}
        if self.trace is not None:
            found["trace"] = self.trace
        if stream and self.stream_processing is not None:
            found["streamProcessingMode"] = self.stream_processing
        return found


class Settings(gw.ProviderSettings):
    """Settings under ``providers.<name>``, beside those that every provider has."""

    api_key: SecretStr | None = Field(
        default=None, description="a Bedrock API key; AWS_BEARER_TOKEN_BEDROCK if absent"
    )
    access_key_id: str | None = Field(default=None, description="AWS access key id")
    secret_access_key: SecretStr | None = Field(default=None, description="its secret")
    session_token: SecretStr | None = Field(default=None, description="token of a session's keys")
    profile: str | None = Field(default=None, description="profile of the shared AWS files")
    base_url: HttpUrl | None = Field(
        default=None, description="https://bedrock-runtime.{region}.amazonaws.com if absent"
    )
    control_url: HttpUrl | None = Field(
        default=None,
        description="where the probe asks; https://bedrock.{region}.amazonaws.com if absent",
    )
    base_models: dict[str, str] = Field(
        default_factory=dict,
        description="model id behind an ARN that does not show it (application profiles)",
    )
    default_max_tokens: int | None = Field(
        default=None, ge=1, description="limit of an answer where the client gives none"
    )
    guardrail: Guardrail | None = Field(default=None, description="a guardrail for every chat")
    send_metadata: bool = Field(
        default=False, description="pass a client's metadata on as requestMetadata"
    )


def said(secret: SecretStr | None) -> str | None:
    """The text of `secret`; an empty one is none."""
    return (secret.get_secret_value() or None) if secret is not None else None


def region_of(settings: Settings, environ: Mapping[str, str]) -> str:
    """Raises `ConfigurationError` where nothing names a region."""
    found = (
        settings.region
        or environ.get("AWS_REGION")
        or environ.get("AWS_DEFAULT_REGION")
        or _profile_region(settings, environ)
    )
    if not found:
        raise gw.ConfigurationError(
            "no region is known: set region, AWS_REGION, or a profile that has one."
        )
    return found


def _profile_region(settings: Settings, environ: Mapping[str, str]) -> str | None:
    try:
        return sources.profile_region(environ, settings.profile)
    except (sources.CredentialsError, OSError) as error:
        raise gw.ConfigurationError(str(error)) from error


def api_key_of(settings: Settings, environ: Mapping[str, str]) -> str | None:
    """The API key; keys or a profile of the settings win over the variable."""
    if found := said(settings.api_key):
        return found
    named = settings.access_key_id or said(settings.secret_access_key) or settings.profile
    return None if named else (environ.get("AWS_BEARER_TOKEN_BEDROCK") or None)


def resolver_of(settings: Settings, environ: Mapping[str, str], region: str) -> Resolve:
    """How this instance comes by its credentials.

    Raises:
        ConfigurationError: half of a key pair is missing.
    """
    key, secret = settings.access_key_id or None, said(settings.secret_access_key)
    if (key is None) != (secret is None):
        lacking = "access_key_id" if key is None else "secret_access_key"
        raise gw.ConfigurationError(f"{lacking} is missing; a key pair has two parts.")
    if key is not None and secret is not None:
        static = Credentials(key, secret, said(settings.session_token))
        return lambda: static
    place = sources.Place(environ, region, settings.profile)
    return partial(sources.resolve, place)


def process_environment() -> Mapping[str, str]:
    """AWS's own variables, read when the instance is made; a pod's do not change later."""
    kept = ("AWS_", "HOME", "PATH")
    return {name: value for name, value in os.environ.items() if name.startswith(kept)}
