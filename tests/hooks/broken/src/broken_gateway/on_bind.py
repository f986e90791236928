"""Cannot make what it declared; what else it adds must not stay behind."""

import llm_gateway_api as gw


class Door:
    """Refuses everything."""

    def admit(self, target: gw.Target) -> gw.Refusal:
        return gw.Refusal(503, "closed", "the door of a broken plugin")

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        pass


def make(settings: gw.Section) -> gw.Observer:
    raise RuntimeError("broken on purpose: bind")


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec("plugins.broken_bind", gw.Section)]


@gw.hookimpl
def llm_gateway_guards() -> list[gw.GuardSpec]:
    return [gw.GuardSpec("broken_door", Door)]


@gw.hookimpl
def llm_gateway_observers() -> list[gw.ObserverSpec]:
    return [gw.ObserverSpec("broken_observer", make, settings="plugins.broken_bind")]
