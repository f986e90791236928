"""From a configuration to its next generation: what breaks is blamed, set aside, or fatal.

What the configuration names must work, so a broken plugin that it names refuses the start
or the reload; the others go on without one that it does not name.
"""

from collections.abc import Mapping
from typing import Any

from llm_gateway_api import ConfigurationError, PluginError

from llm_gateway.binding import Binder, Generation, Kernel
from llm_gateway.hosting import Hosting, NotOpenedError
from llm_gateway.making import owner
from llm_gateway.masking import scrubbed
from llm_gateway.plugins import Plugins, label
from llm_gateway.settings import Settings

Broken = Mapping[str, PluginError]


def bind(
    settings: Settings,
    plugins: Plugins,
    kernel: Kernel,
    number: int,
    before: Generation | None = None,
) -> Generation:
    """Bind what is configured, without the plugins that break while their objects are made.

    Raises `ConfigurationError` where the configuration names one of those, or asks for
    what cannot be.
    """
    while True:
        binder = Binder(settings, plugins, kernel, before)
        try:
            generation = binder.bind(number)
        except ConfigurationError:
            _set_aside(settings, plugins, binder.maker.broken)
            raise
        if not binder.maker.broken:
            return generation
        _set_aside(settings, plugins, binder.maker.broken)


async def opened(
    settings: Settings,
    plugins: Plugins,
    kernel: Kernel,
    number: int,
    hosting: Hosting,
    before: Generation | None = None,
) -> Generation:
    """Bind, and open what wants to be open; raises like `bind`."""
    try:
        return await _opened(settings, plugins, kernel, number, hosting, before)
    except (ConfigurationError, PluginError) as error:
        raise ConfigurationError(scrubbed(str(error), settings.secrets)) from error


async def _opened(
    settings: Settings,
    plugins: Plugins,
    kernel: Kernel,
    number: int,
    hosting: Hosting,
    before: Generation | None,
) -> Generation:
    while True:
        generation = bind(settings, plugins, kernel, number, before)
        try:
            await hosting.open(generation.services)
        except NotOpenedError as error:
            broken = {
                owner(name): PluginError(owner(name), "open", reason)
                for name, reason in error.broken.items()
            }
            _set_aside(settings, plugins, broken)
        else:
            return generation


def named_plugins(settings: Settings, plugins: Plugins) -> frozenset[str]:
    """The plugins that the configuration asks for: without them it cannot be met."""
    cache, database = settings.section("cache"), settings.section("database")
    state = settings.section("state")
    cached = "cache" in settings.named and getattr(cache, "enabled", False)
    wanted: dict[str, set[Any]] = {
        "settings": {path for path in settings.named if _on(settings.section(path))},
        "providers": {own.kind or name for name, own in settings.providers.items() if own.enabled},
        "routing_strategies": {settings.routing.strategy},
        "cache_backends": {getattr(cache, "backend", None)} if cached else set(),
        "stores": {str(getattr(database, "url", None)).partition(":")[0].partition("+")[0]},
        "state_backends": {getattr(state, "backend", None)},
    }
    if "routing.strategy" not in settings.named:
        wanted["routing_strategies"] = set()
    return frozenset(
        plugin
        for hook, names in wanted.items()
        for plugin, spec in plugins.declared(hook)
        if label(spec) in names
    )


def _on(section: Any) -> bool:
    return section is not None and getattr(section, "enabled", True) is not False


def _set_aside(settings: Settings, plugins: Plugins, broken: Broken) -> None:
    """Take what is broken out of service; raise where the configuration names any of it."""
    named = named_plugins(settings, plugins)
    for name, error in broken.items():
        plugins.set_aside(name, error.phase, error.reason)
    if told := [str(error) for name, error in sorted(broken.items()) if name in named]:
        raise ConfigurationError("\n".join(told))
