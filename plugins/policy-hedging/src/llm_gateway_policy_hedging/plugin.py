"""Declares the hedging policy and its settings; when and whom is in `policy`."""

import llm_gateway_api as gw

from llm_gateway_policy_hedging.policy import HedgingPolicy
from llm_gateway_policy_hedging.settings import HedgingSettings

PATH = "resilience.hedging"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    """Off unless the configuration has the section: a hedge costs money."""
    return [gw.SettingsSpec(PATH, HedgingSettings, waits=True)]


@gw.hookimpl
def llm_gateway_attempt_policies() -> list[gw.AttemptPolicySpec]:
    needs = ("clock", "metrics")
    return [gw.AttemptPolicySpec("hedging", HedgingPolicy, settings=PATH, needs=needs)]
