"""Declares the fallback policy and its settings; who steps in is in `policy`."""

import llm_gateway_api as gw

from llm_gateway_policy_fallback.policy import FallbackPolicy
from llm_gateway_policy_fallback.settings import FallbackSettings

PATH = "routing.fallbacks"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, FallbackSettings)]


@gw.hookimpl
def llm_gateway_attempt_policies() -> list[gw.AttemptPolicySpec]:
    return [gw.AttemptPolicySpec("fallback", FallbackPolicy, settings=PATH, needs=("targets",))]
