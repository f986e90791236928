"""What the log says at the start: warnings, plugins, what is armed."""

import logging

from llm_gateway.binding import Generation
from llm_gateway.plugins import Plugin, Plugins
from llm_gateway.sections import Server
from llm_gateway.settings import Settings

log = logging.getLogger("llm_gateway.app")


def started(generation: Generation, plugins: Plugins) -> None:
    for warning in generation.settings.warnings:
        log.warning("%s", warning)
    if (alone := _stand_ins(generation.settings, plugins)) is not None:
        log.warning("%s", alone)
    warned(generation)
    others = [each for each in plugins.plugins if each.state != "active"]
    active = len(plugins.plugins) - len(others)
    log.info("plugins.active %d; `llm-gateway plugins list` names them", active)
    for each in others:
        log.info("plugin    %-24s %-10s %s", each.name, each.version, each.state)
    for each in plugins.set_aside_ones:
        log.error("plugin.set_aside %s", told(each))
    for what, name, detail, policy in generation.armed:
        log.info("armed %-9s %-20s %s %s", what, name, detail, policy)


def reloaded(generation: Generation, before: Generation) -> None:
    """What to know of a generation that takes over from `before`."""
    kept = unmoved(generation.settings.server, before.settings.server)
    for warning in (*generation.settings.warnings, *kept):
        log.warning("%s", warning)
    warned(generation)


def unmoved(new: Server, old: Server) -> list[str]:
    """What to say of addresses that changed: they are bound once, at the start."""
    return [
        f"server.{name} is now {getattr(new, name)}: it is taken at the next start"
        for name in ("host", "port", "metrics_port")
        if getattr(new, name) != getattr(old, name)
    ]


def warned(generation: Generation) -> None:
    """What works, and can hardly be meant."""
    for warning in generation.maker.warnings():
        log.warning("%s", warning)


def _stand_ins(settings: Settings, plugins: Plugins) -> str | None:
    """Where nobody named a provider and no vendor's variable is set: what to set."""
    specs = {spec.kind: spec for _, spec in plugins.declared("providers")}
    kinds = {specs[each.kind or name].standalone for name, each in settings.providers.items()}
    if kinds != {True} or any(path.split(".")[0] == "providers" for path in settings.named):
        return None
    variables = ", ".join(sorted(spec.env for spec in specs.values() if spec.env))
    return (
        f"no provider is configured: {', '.join(sorted(settings.providers))} serves, which asks no"
        f" vendor. Name `providers`, or set a variable of those installed: {variables}"
    )


def told(plugin: Plugin) -> str:
    """One line about a plugin that was set aside."""
    return f"{plugin.name} ({plugin.distribution}) in phase {plugin.phase}: {plugin.reason}"
