"""Cannot open its service; what else it adds must not stay behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import llm_gateway_api as gw

from broken_gateway.on_bind import Door


class Lamp:
    """Does not burn."""

    def __init__(self, settings: gw.Section) -> None:
        pass

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        raise RuntimeError("broken on purpose: open")
        yield


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec("plugins.broken_open", gw.Section)]


@gw.hookimpl
def llm_gateway_guards() -> list[gw.GuardSpec]:
    return [gw.GuardSpec("unopened_door", Door)]


@gw.hookimpl
def llm_gateway_services() -> list[gw.ServiceSpec]:
    return [gw.ServiceSpec("broken_lamp", Lamp, settings="plugins.broken_open")]
