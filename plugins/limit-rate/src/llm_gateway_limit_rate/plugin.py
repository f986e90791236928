"""Declares the limiter of rates and its settings."""

from typing import TYPE_CHECKING

import llm_gateway_api as gw

from llm_gateway_limit_rate.settings import RateLimitSettings

if TYPE_CHECKING:
    from llm_gateway_limit_rate.limiter import RateLimiter

PATH = "security.rate_limit"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, RateLimitSettings)]


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
