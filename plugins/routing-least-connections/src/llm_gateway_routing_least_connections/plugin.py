"""Declares the strategy least_connections and its settings."""

import llm_gateway_api as gw

from llm_gateway_routing_least_connections.settings import LeastConnectionsSettings
from llm_gateway_routing_least_connections.strategy import LeastConnections

PATH = "routing.least_connections"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, LeastConnectionsSettings)]


@gw.hookimpl
def llm_gateway_routing_strategies() -> list[gw.RoutingStrategySpec]:
    return [
        gw.RoutingStrategySpec(
            "least_connections", LeastConnections, settings=PATH, needs=("clock", "state")
        )
    ]
