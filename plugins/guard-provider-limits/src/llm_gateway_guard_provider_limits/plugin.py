"""Declares the guard over the provider's own limits (``providers.*.rate_limit``)."""

import llm_gateway_api as gw

from llm_gateway_guard_provider_limits.guard import ProviderLimits


@gw.hookimpl
def llm_gateway_guards() -> list[gw.GuardSpec]:
    return [
        gw.GuardSpec(
            "provider_limits",
            ProviderLimits,
            after=("circuit_breaker",),
            needs=("providers", "clock", "metrics", "state", "workers"),
        )
    ]
