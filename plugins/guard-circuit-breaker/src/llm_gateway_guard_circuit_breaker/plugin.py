"""Declares the circuit breaker and its settings; its states are in `state`."""

import llm_gateway_api as gw

from llm_gateway_guard_circuit_breaker.guard import CircuitBreaker
from llm_gateway_guard_circuit_breaker.settings import BreakerSettings

PATH = "resilience.circuit_breaker"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, BreakerSettings)]


@gw.hookimpl
def llm_gateway_guards() -> list[gw.GuardSpec]:
    needs = ("clock", "metrics", "state")
    return [gw.GuardSpec("circuit_breaker", CircuitBreaker, settings=PATH, needs=needs)]
