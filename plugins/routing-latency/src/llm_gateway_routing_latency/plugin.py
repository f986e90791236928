"""Declares the strategy latency_optimized and its settings."""

import llm_gateway_api as gw

from llm_gateway_routing_latency.settings import LatencySettings
from llm_gateway_routing_latency.strategy import LatencyOptimized

PATH = "routing.latency_optimized"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, LatencySettings)]


@gw.hookimpl
def llm_gateway_routing_strategies() -> list[gw.RoutingStrategySpec]:
    return [
        gw.RoutingStrategySpec(
            "latency_optimized", LatencyOptimized, settings=PATH, needs=("clock",)
        )
    ]
