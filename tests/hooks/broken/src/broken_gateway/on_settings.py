"""Cannot say which settings it has."""

import llm_gateway_api as gw


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    raise RuntimeError("broken on purpose: settings")
