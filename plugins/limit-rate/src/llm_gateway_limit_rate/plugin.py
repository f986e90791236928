"""Declares the limiter of rates and its settings."""

from typing import TYPE_CHECKING

import llm_gateway_api as gw

from llm_gateway_limit_rate.settings import RateLimitSettings

if TYPE_CHECKING:
    from llm_gateway_limit_rate.limiter import RateLimiter

PATH = "security.rate_limit"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, RateLimitSettings, switch="enabled")]


@gw.hookimpl
def llm_gateway_limiters() -> list[gw.LimiterSpec]:
    needs = ("state", "local_state", "workers", "metrics")
    return [gw.LimiterSpec("rate", make, settings=PATH, fail="closed", needs=needs, always=True)]


@gw.hookimpl
def llm_gateway_tenant_data() -> list[gw.TenantDataSpec]:
    return [
        gw.TenantDataSpec(
            "rates",
            "how many requests and tokens a tenant, a key or an address has used just now",
            "shared state: memory of the host, or Redis",
            "a minute or two, until the bucket is full again; a slot 15 minutes at most",
        )
    ]


@gw.hookimpl
def llm_gateway_endpoints() -> list[gw.EndpointSpec]:
    names = ("level", "owner", "requests_per_minute", "tokens_per_minute", "max_concurrent")
    doc = {
        "summary": "What is left of the limits of a tenant or a key",
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string"}}
            for name in (*names, "burst_size")
        ],
    }
    return [
        gw.EndpointSpec(
            "GET",
            "/admin/v1/limits",
            "operator",
            _limits,
            settings=PATH,
            needs=("state", "inside"),
            always=True,
            doc=doc,
            scope="tenant",
        )
    ]


def make(
    settings: RateLimitSettings,
    state: gw.StateBackend | None,
    local_state: gw.StateBackend | None,
    workers: int,
    metrics: gw.Metrics,
) -> "RateLimiter | None":
    """The limiter; `settings` may be off, tenants and keys may have limits of their own."""
    from llm_gateway_limit_rate.limiter import RateLimiter

    if state is None or local_state is None:
        if not settings.enabled:
            return None
        raise gw.ConfigurationError(
            "security.rate_limit counts in shared state: pip install llm-gateway-state-host."
        )
    return RateLimiter(settings, state, local_state, workers, metrics)


def _limits(
    settings: RateLimitSettings, state: gw.StateBackend | None, inside: gw.Inside
) -> "gw.EndpointHandler":
    from llm_gateway_limit_rate.endpoint import Limits

    return Limits(settings, state, inside) if state is not None else _without_state


async def _without_state(request: gw.EndpointRequest) -> gw.EndpointResponse:
    raise gw.StoreError("No state backend is installed, so nothing is counted.")
