"""Declares the bulkhead and its settings."""

import llm_gateway_api as gw

from llm_gateway_guard_bulkhead.guard import Bulkhead
from llm_gateway_guard_bulkhead.settings import BulkheadSettings

PATH = "resilience.bulkhead"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, BulkheadSettings)]


@gw.hookimpl
def llm_gateway_guards() -> list[gw.GuardSpec]:
    """Last of all: nobody waits here for a target that another guard would refuse."""
    return [
        gw.GuardSpec(
            "bulkhead",
            Bulkhead,
            settings=PATH,
            after=("circuit_breaker", "provider_limits"),
            needs=("metrics",),
        )
    ]
