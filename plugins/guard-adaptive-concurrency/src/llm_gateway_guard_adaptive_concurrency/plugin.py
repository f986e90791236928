"""Declares the guard and its settings; how a limit moves is in `limit`."""

import llm_gateway_api as gw

from llm_gateway_guard_adaptive_concurrency.guard import AdaptiveConcurrency
from llm_gateway_guard_adaptive_concurrency.settings import AdaptiveConcurrencySettings

PATH = "resilience.adaptive_concurrency"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, AdaptiveConcurrencySettings, waits=True)]


@gw.hookimpl
def llm_gateway_guards() -> list[gw.GuardSpec]:
    """Before the bulkhead: nobody waits there for a target that is passed over here."""
    return [
        gw.GuardSpec(
            "adaptive_concurrency",
            AdaptiveConcurrency,
            settings=PATH,
            before=("bulkhead",),
            after=("circuit_breaker", "provider_limits"),
            needs=("clock", "metrics"),
        )
    ]
