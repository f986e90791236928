"""Declares the scorer affinity and its settings."""

import llm_gateway_api as gw

from llm_gateway_routing_affinity.scorer import Affinity
from llm_gateway_routing_affinity.settings import AffinitySettings

PATH = "routing.affinity"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, AffinitySettings, waits=True)]


@gw.hookimpl
def llm_gateway_routing_scorers() -> list[gw.RoutingScorerSpec]:
    return [gw.RoutingScorerSpec("affinity", Affinity, settings=PATH, needs=("clock",))]
