"""Declares the retry policy and its settings; when and how long is in `policy`."""

import llm_gateway_api as gw

from llm_gateway_policy_retry.policy import RetryPolicy
from llm_gateway_policy_retry.settings import RetrySettings

PATH = "resilience.retry"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, RetrySettings)]


@gw.hookimpl
def llm_gateway_attempt_policies() -> list[gw.AttemptPolicySpec]:
    return [
        gw.AttemptPolicySpec(
            "retry", RetryPolicy, settings=PATH, before=("fallback",), needs=("providers", "clock")
        )
    ]
