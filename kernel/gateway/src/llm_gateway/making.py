"""Making the objects that plugins declare: their settings, their needs, and who keeps them."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

from llm_gateway_api import (
    ConfigurationError,
    PluginError,
    Service,
    SupportsReloaded,
    SupportsWarnings,
)

from llm_gateway.plugins import Plugins, label
from llm_gateway.settings import Settings

log = logging.getLogger("llm_gateway.making")


class Maker:
    """Makes each object once a generation, or takes over the one of the generation before.
    `broken` holds the plugins that raised.

    An object is taken over while its plugin's version, its settings and its needs stay the
    same: with it stay its open connections and what it has learned.
    """

    def __init__(
        self, settings: Settings, plugins: Plugins, before: "Maker | None", offers: dict[str, Any]
    ) -> None:
        self.settings = settings
        self.plugins = plugins
        self.offers = offers
        self.broken: dict[str, PluginError] = {}
        self._before = before._made if before is not None else {}
        self._made: dict[object, tuple[tuple[Any, ...], Any]] = {}

    def forget(self) -> None:
        """Let go of the generation before, once this one is complete."""
        self._before = {}

    def reloaded(self) -> None:
        """Tell who wants to know that this generation serves."""
        for _, made in self._made.values():
            if isinstance(made, SupportsReloaded):
                try:
                    made.reloaded(self.offers["targets"])
                except Exception:
                    log.exception("reload.not_told object=%s", type(made).__name__)

    def warnings(self) -> list[str]:
        """What plugins' objects have to say of this generation that refuses nothing."""
        found: list[str] = []
        for _, made in self._made.values():
            if isinstance(made, SupportsWarnings):
                try:
                    found += made.warnings(self.offers["targets"])
                except Exception:
                    log.exception("warnings.unread object=%s", type(made).__name__)
        return found

    def keep(self, key: object, given: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What `make` returns, or what it returned for the same `given`, in this generation or
        in the one before."""
        known = self._made.get(key) or self._before.get(key)
        made = known[1] if known is not None and _same(known[0], given) else make()
        self._made[key] = (given, made)
        return made

    def make(self, plugin: str, hook: str, spec: Any) -> Any:
        """Call `spec.make` with its settings and needs; None where the plugin stays off."""
        section: tuple[Any, ...] = ()
        if spec.make is None:
            return None
        if spec.settings is not None:
            section = (self.settings.section(spec.settings),)
            off = section[0] is None or getattr(section[0], "enabled", True) is False
            if off and not getattr(spec, "always", False):
                return None
        return self.made(plugin, (hook, plugin, label(spec)), spec, *section)

    def made(self, plugin: str, key: object, spec: Any, *args: Any) -> Any:
        """What `spec.make` returns for `args` and its needs; None, and the plugin `broken`,
        where it raises what is no `ConfigurationError`."""
        try:
            needs = {name: self.offers[name] for name in getattr(spec, "needs", ())}
        except KeyError as error:
            raise ConfigurationError(f"{plugin} needs {error}, which the kernel lacks.") from error
        version = getattr(self.plugins.get(plugin), "version", None)
        given = (version, *args, *needs.values())
        try:
            return self.keep(key, given, lambda: spec.make(*args, **needs))
        except ConfigurationError:
            raise
        except Exception as error:
            log.exception("plugin.failed plugin=%s phase=bind", plugin)
            reason = f"{type(error).__name__}: {error}"
            self.broken.setdefault(plugin, PluginError(plugin, "bind", reason))
            return None

    def all(self, hook: str) -> list[tuple[Any, Any]]:
        """(spec, object) of every armed declaration of `hook`, by name."""
        found = []
        for plugin, spec in self.plugins.declared(hook):
            made = self.make(plugin, hook, spec)
            if made is not None:
                found.append((spec, made))
        return sorted(found, key=lambda pair: str(getattr(pair[0], "name", "")))

    def armed(self) -> dict[str, dict[str, list[str]]]:
        """By plugin and hook, the names of what was made and is in use."""
        found: dict[str, dict[str, list[str]]] = {}
        for key, (_, made) in self._made.items():
            if made is not None and isinstance(key, tuple) and len(key) == 3:
                hook, plugin, name = key
                found.setdefault(plugin, {}).setdefault(hook, []).append(name)
        return found

    def services(self) -> Iterator[tuple[str, Service]]:
        """(name, object) of everything made that wants to be opened, in the order made."""
        for key, (_, made) in self._made.items():
            if isinstance(made, Service) and isinstance(key, tuple):
                yield " ".join(map(str, key)), made


def owner(service: str) -> str:
    """The plugin of a service that `Maker.services` named."""
    return service.split(" ")[1]


def _same(old: tuple[Any, ...], new: tuple[Any, ...]) -> bool:
    return len(old) == len(new) and all(
        one is other or one == other for one, other in zip(old, new, strict=True)
    )
