"""Declares the strategy cost_optimized and its settings."""

import llm_gateway_api as gw

from llm_gateway_routing_cost.settings import CostSettings
from llm_gateway_routing_cost.strategy import CostOptimized

PATH = "routing.cost_optimized"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, CostSettings)]


@gw.hookimpl
def llm_gateway_routing_strategies() -> list[gw.RoutingStrategySpec]:
    return [
        gw.RoutingStrategySpec(
            "cost_optimized", CostOptimized, settings=PATH, needs=("clock", "prices")
        )
    ]
