"""Declares the continuation policy and its settings; who continues is in `policy`."""

import llm_gateway_api as gw

from llm_gateway_policy_continuation.policy import ContinuationPolicy
from llm_gateway_policy_continuation.settings import ContinuationSettings

PATH = "resilience.continuation"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    """Off unless the configuration has the section: an answer in two parts is a choice."""
    return [gw.SettingsSpec(PATH, ContinuationSettings, waits=True)]


@gw.hookimpl
def llm_gateway_attempt_policies() -> list[gw.AttemptPolicySpec]:
    return [
        gw.AttemptPolicySpec("continuation", ContinuationPolicy, settings=PATH, needs=("metrics",))
    ]
