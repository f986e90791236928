"""Has settings, and cannot say what it adds."""

import llm_gateway_api as gw


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec("plugins.broken_declare", gw.Section)]


@gw.hookimpl
def llm_gateway_observers() -> list[gw.ObserverSpec]:
    raise RuntimeError("broken on purpose: declare")
