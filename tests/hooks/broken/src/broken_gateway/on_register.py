"""Implements a hook that does not exist."""

import llm_gateway_api as gw


@gw.hookimpl
def llm_gateway_gaurds() -> list[gw.GuardSpec]:
    return []
