"""The sections of the configuration that the kernel owns, and who brings the others."""

from typing import Annotated, Literal, Self

from llm_gateway_api.settings import (
    CacheSettings,
    DatabaseSettings,
    Seconds,
    Section,
    StateSettings,
)
from pydantic import BeforeValidator, Field, IPvAnyNetwork, model_validator

Port = Annotated[int, Field(ge=0, le=65535)]


def _level(value: object) -> object:
    """Levels as other programs spell them."""
    if not isinstance(value, str):
        return value
    word = value.lower()
    return {"trace": "debug", "warn": "warning"}.get(word, word)


Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)]


class Tls(Section):
    """``server.tls``: HTTPS on the main listener."""

    cert_file: str = Field(description="certificate chain, PEM")
    key_file: str = Field(description="private key, PEM")


class Server(Section):
    """``server``: listeners and what a client may take of them."""

    host: str = Field(default="0.0.0.0", description="address to listen on")
    port: Port = Field(default=8080, description="port of the API")
    max_connections: int = Field(default=10000, ge=1, description="connections of clients")
    timeout_seconds: Seconds = Field(
        default=300, description="seconds a client may be slow to send or to take"
    )
    keep_alive_seconds: Seconds = Field(
        default=620,
        description="seconds an idle connection stays open; longer than a load balancer keeps it",
    )
    metrics_port: Port = Field(default=9090, description="port of the metrics")
    max_body_bytes: int = Field(default=64 * 2**20, ge=1, description="size of a request's body")
    max_header_bytes: int = Field(default=65536, ge=1024, description="size of one header")
    max_headers: int = Field(default=128, ge=8, description="number of a request's headers")
    max_url_bytes: int = Field(default=8192, ge=256, description="size of a request's address")
    max_json_depth: int = Field(default=256, ge=8, description="how deep a body's JSON may nest")
    drain_seconds: Seconds = Field(
        default=30, description="seconds that requests under way get at shutdown"
    )
    worker_silence_seconds: Seconds = Field(
        default=30,
        description="with several workers: seconds after which one whose event loop stands still "
        "is killed and replaced; 0 never",
    )
    tls: Tls | None = Field(default=None, description="certificate; plain HTTP if absent")
    proxy_protocol_from: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="load balancers (addresses or networks) whose connections begin with a "
        "PROXY protocol header, version 1 or 2",
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.port == self.metrics_port != 0:
            raise ValueError(f"port and metrics_port are both {self.port}; change one of them")
        return self


class DeploymentEntry(Section):
    """A model at one provider that serves a public name."""

    provider: str = Field(description="name of the provider's instance")
    model: str = Field(description="the vendor's name of the model")
    weight: float = Field(default=1.0, ge=0, description="share of traffic; 0 takes none")
    region: str | None = Field(default=None, description="region; the provider's if absent")
    tags: tuple[str, ...] = Field(default=(), description="labels that rules may ask for")


class PublicModel(Section):
    """A public name and what serves it."""

    name: str = Field(description="the name clients send")
    aliases: tuple[str, ...] = Field(default=(), description="further names")
    deployments: tuple[DeploymentEntry, ...] = Field(min_length=1, description="what serves it")


class Routing(Section):
    """``routing``, without the rules."""

    strategy: str = Field(default="weighted", description="name of the strategy")
    default_provider: str | None = Field(
        default=None, description="provider of names that nothing else resolves"
    )
    fallback_enabled: bool = Field(default=True, description="whether others may step in")
    models: tuple[PublicModel, ...] = Field(default=(), description="public names")
    health_check_interval_seconds: Seconds = Field(default=30, description="seconds between probes")


class PluginSection(Section):
    """``plugins``: what may run; a plugin's own key is its entry point's name."""

    disabled: tuple[str, ...] = Field(default=(), description="entry points not to load")
    mode: Literal["open", "locked"] = Field(
        default="open", description="locked allows only what the lock file names"
    )
    lock_file: str = Field(
        default="plugins.lock", description="the lock file, beside the configuration"
    )


class Timeout(Section):
    """``resilience.timeout``: every wait the gateway does on behalf of a request."""

    connect_seconds: Seconds = Field(default=5, description="TCP and TLS to the provider")
    request_seconds: Seconds = Field(default=300, description="a plain request, all attempts")
    streaming_seconds: Seconds = Field(default=600, description="a streamed request, as a whole")
    chunk_gap_seconds: Seconds = Field(default=60, description="between two events of a stream")
    first_content_seconds: Seconds | None = Field(
        default=None, description="to the first content; the provider's timeout_seconds if absent"
    )


class Resilience(Section):
    """``resilience``: what keeps one slow or broken provider from hurting all."""

    timeout: Timeout = Field(default=Timeout(), description="the gateway's own waits")


class Egress(Section):
    """``security.egress``: where the gateway itself may connect to."""

    allow_private: tuple[str, ...] = Field(
        default=(), description="private hosts or CIDR ranges that fetches may reach"
    )
    fetch_seconds: Seconds = Field(default=10, description="seconds for one fetch, as a whole")
    max_fetch_bytes: int = Field(default=20 * 2**20, ge=1, description="size of what is fetched")
    max_concurrent_fetches: int = Field(default=16, ge=1, description="fetches at once")
    max_fetches_per_request: int = Field(
        default=20, ge=0, description="pictures and documents fetched for one request"
    )


class Security(Section):
    """``security``: who and what gets through."""

    enabled: bool = Field(default=True, description="false disarms every filter and limit")
    egress: Egress = Field(default=Egress(), description="what fetches may reach")


class Logging(Section):
    """``telemetry.logging``: lines on standard error; they hold no content."""

    level: Level = Field(default="info", description="least level that is written")
    format: Literal["json", "text"] = Field(default="json", description="json or text")
    pii_redaction: bool = Field(default=True, description="hide personal data in lines")


class Telemetry(Section):
    """``telemetry``: what the gateway says about itself."""

    logging: Logging = Field(default=Logging(), description="log lines")


KERNEL: dict[str, type[Section]] = {
    "server": Server,
    "routing": Routing,
    "plugins": PluginSection,
    "resilience": Resilience,
    "security": Security,
    "telemetry": Telemetry,
}
# Of a contract: there while a plugin declares the hook.
CONTRACTS: dict[str, tuple[str, type[Section]]] = {
    "cache": ("cache_backends", CacheSettings),
    "database": ("stores", DatabaseSettings),
    "state": ("state_backends", StateSettings),
}
# Which package brings a path that nobody owns; ``*`` is the next key.
PACKAGES: dict[str, str] = {
    "cache": "cache-memory",
    "cache.semantic_cache": "cache-semantic",
    "cache.*": "cache-*",
    "database": "store-sqlite",
    "plugins.*": "*",
    "resilience.bulkhead": "guard-bulkhead",
    "resilience.circuit_breaker": "guard-circuit-breaker",
    "resilience.retry": "policy-retry",
    "routing.fallbacks": "policy-fallback",
    "routing.affinity": "routing-affinity",
    "routing.cost_optimized": "routing-cost",
    "routing.health": "routing-health",
    "routing.latency_optimized": "routing-latency",
    "routing.least_connections": "routing-least-connections",
    "routing.rules": "routing-basic",
    "security.auth": "filter-auth",
    "security.client_address": "filter-ip",
    "security.headers": "filter-headers",
    "security.ip_filter": "filter-ip",
    "security.rate_limit": "limit-rate",
    "security.request_signing": "filter-signing",
    "security.secrets": "secrets-store",
    "security.validation": "filter-validation",
    "state": "state-host",
    "telemetry.metrics": "telemetry-prometheus",
    "telemetry.tracing": "telemetry-otlp",
}
