"""Base classes of the settings, and the sections that belong to a contract.

A section is read-only and a typo in it is an error; waits carry their unit in the key.
"""

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _header_name(name: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise ValueError("is no name of an HTTP header: letters, digits and hyphens")
    return name


def _header_value(value: str) -> str:
    if not value.isprintable():
        raise ValueError("is no value of an HTTP header: it holds a control character")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]


class Section(BaseModel):
    """Base of every part of the settings: read-only, and a typo is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class RateLimit(Section):
    """Limits of the vendor's account; null is unlimited, 0 blocks."""

    requests_per_minute: int | None = Field(default=None, ge=0, description="requests a minute")
    tokens_per_minute: int | None = Field(default=None, ge=0, description="tokens a minute")


class ModelEntry(Section):
    """A model that an instance serves."""

    id: str = Field(description="the vendor's name of the model")
    context_window: int | None = Field(default=None, ge=1, description="tokens")
    max_output: int | None = Field(default=None, ge=1, description="tokens")
    capabilities: tuple[str, ...] = Field(default=(), description="chat, tools, vision, …")


class ProviderSettings(Section):
    """Settings under ``providers.<name>`` that every provider has."""

    # Without one of these (non-empty) an instance is off, with a warning; ``a|b`` is either.
    required: ClassVar[tuple[str, ...]] = ()

    kind: str | None = Field(default=None, description="the kind; the instance's name if absent")
    enabled: bool = Field(default=True, description="false takes the instance out of service")
    timeout_seconds: Seconds = Field(
        default=60.0, description="seconds an attempt may take to its answer or first content"
    )
    connect_seconds: Seconds | None = Field(
        default=None, description="seconds for TCP and TLS; resilience.timeout's if absent"
    )
    chunk_gap_seconds: Seconds | None = Field(
        default=None, description="seconds between two events; resilience.timeout's if absent"
    )
    operation_timeouts: dict[str, Seconds] = Field(
        default_factory=dict, description="timeout_seconds by kind of operation (chat, embeddings)"
    )
    max_retries: int = Field(default=3, ge=0, description="further attempts at one deployment")
    rate_limit: RateLimit = Field(default=RateLimit(), description="the account's limits")
    region: str | None = Field(default=None, description="where the instance runs (us, eu-west-1)")
    weight: float = Field(default=1.0, ge=0, description="share of traffic; 0 takes none")
    default_model: str | None = Field(default=None, description="model for a bare provider name")
    models: tuple[ModelEntry | str, ...] = Field(default=(), description="models it serves")
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="headers added to each call"
    )
    max_connections: int = Field(default=1000, ge=1, description="connections to the provider")
    proxy: SecretStr | None = Field(
        default=None,
        description="HTTP proxy as a URL; none goes direct; HTTP(S)_PROXY and NO_PROXY if absent",
    )


class CacheSettings(Section):
    """``cache``: exists while a cache backend is installed; a backend's keys lie below its name."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    enabled: bool = Field(default=True, description="false keeps nothing")
    backend: str = Field(default="memory", description="the backend's name")
    max_size_mb: int = Field(default=1024, ge=1, description="size of the cache in MB")
    default_ttl_seconds: Seconds = Field(default=3600, description="seconds an answer is kept")
    coalesce: bool = Field(
        default=False, description="identical requests under way wait for one answer"
    )


class DatabaseSettings(Section):
    """``database``: exists while a store is installed."""

    url: str | None = Field(default=None, description="connection URL; a file if absent")
    max_connections: int = Field(default=20, ge=1, description="size of the pool")
    min_connections: int = Field(default=5, ge=0, description="connections kept open")
    timeout_seconds: Seconds = Field(default=10, description="seconds a statement may take")
    auto_migrate: bool = Field(
        default=True, description="apply pending migrations at start; false refuses the start"
    )


class StateSettings(Section):
    """``state``: exists while a state backend is installed."""

    backend: str = Field(default="auto", description="process, host, auto, or a shared one")
    redis_url: str | None = Field(default=None, description="address of the shared state")
