"""What the log says at the start: warnings, plugins, what is armed."""

import logging

from llm_gateway.binding import Generation
from llm_gateway.plugins import Plugin, Plugins

log = logging.getLogger("llm_gateway.app")


def started(generation: Generation, plugins: Plugins) -> None:
    for warning in generation.settings.warnings:
        log.warning("%s", warning)
    others = [each for each in plugins.plugins if each.state != "active"]
    active = len(plugins.plugins) - len(others)
    log.info("plugins.active %d; `llm-gateway plugins list` names them", active)
    for each in others:
        log.info("plugin    %-24s %-10s %s", each.name, each.version, each.state)
    for each in plugins.set_aside_ones:
        log.error("plugin.set_aside %s", told(each))
    for what, name, detail, policy in generation.armed:
        log.info("armed %-9s %-20s %s %s", what, name, detail, policy)


def told(plugin: Plugin) -> str:
    """One line about a plugin that was set aside."""
    return f"{plugin.name} ({plugin.distribution}) in phase {plugin.phase}: {plugin.reason}"
