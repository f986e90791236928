"""Finds the installed plugins and asks each, alone, for what it declares.

The only module that knows pluggy. A plugin that breaks is set aside under its own name, with
the phase and the reason; two owners of one thing stop the start, since neither may win.
"""

import inspect
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

# `from llm_gateway_api import hookspecs` would import all of the package in search of the name.
import llm_gateway_api.hookspecs as hookspecs
import llm_gateway_api.specs as specs
import pluggy
from llm_gateway_api.errors import ConfigurationError

from llm_gateway.locking import Lock

GROUP = "llm_gateway.plugins"
COMMANDS_GROUP = "llm_gateway.commands"
_PREFIX = f"{hookspecs.PROJECT}_"
_COMMANDS = "commands"
_KIND = re.compile(r"[a-z][a-z0-9_]*")
_PATH = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_LOAD = re.compile(r"[\w.]+:\w+")

# Asked in this order: what reads the configuration comes first.
SPECS: dict[str, type] = {
    "settings": specs.SettingsSpec,
    "providers": specs.ProviderSpec,
    "frontends": specs.FrontendSpec,
    "routing_filters": specs.RoutingFilterSpec,
    "health_monitors": specs.HealthMonitorSpec,
    "routing_scorers": specs.RoutingScorerSpec,
    "routing_strategies": specs.RoutingStrategySpec,
    "guards": specs.GuardSpec,
    "attempt_policies": specs.AttemptPolicySpec,
    "limiters": specs.LimiterSpec,
    "cache_backends": specs.CacheSpec,
    "security_filters": specs.SecurityFilterSpec,
    "observers": specs.ObserverSpec,
    "stores": specs.StoreSpec,
    "state_backends": specs.StateBackendSpec,
    "ledgers": specs.LedgerSpec,
    "catalogs": specs.CatalogSpec,
    "auditors": specs.AuditorSpec,
    "redactors": specs.RedactorSpec,
    "secret_sources": specs.SecretSourceSpec,
    "tenant_data": specs.TenantDataSpec,
    "tracers": specs.TracerSpec,
    "services": specs.ServiceSpec,
    "endpoints": specs.EndpointSpec,
    "migrations": specs.MigrationSpec,
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One installed plugin. `adds` maps a hook to the names of what it declares."""

    name: str
    distribution: str
    version: str
    state: Literal["active", "set aside", "disabled"]
    phase: str | None
    reason: str | None
    adds: dict[str, tuple[str, ...]]


class _BrokenPlugin(Exception):
    def __init__(self, phase: str, reason: str) -> None:
        super().__init__(reason)
        self.phase = phase


class Plugins:
    """All installed plugins and the declarations of the active ones."""

    def __init__(self) -> None:
        self._plugins: dict[str, Plugin] = {}
        self._declared: dict[str, dict[str, tuple[Any, ...]]] = {}

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        return tuple(self._plugins.values())

    @property
    def set_aside_ones(self) -> tuple[Plugin, ...]:
        return tuple(each for each in self._plugins.values() if each.state == "set aside")

    def get(self, name: str) -> Plugin | None:
        return self._plugins.get(name)

    def declared(self, hook: str) -> tuple[tuple[str, Any], ...]:
        """Pairs of plugin name and spec for `hook`, named without its prefix."""
        return tuple(
            (name, spec)
            for name, by_hook in self._declared.items()
            for spec in by_hook.get(hook, ())
        )

    def set_aside(self, name: str, phase: str, reason: str) -> None:
        """Take `name` and all it declares out of service."""
        self._declared.pop(name, None)
        self._plugins[name] = replace(
            self._plugins[name], state="set aside", phase=phase, reason=reason, adds={}
        )

    def _add(self, plugin: Plugin, declared: dict[str, tuple[Any, ...]]) -> None:
        self._plugins[plugin.name] = plugin
        if declared:
            self._declared[plugin.name] = declared


@dataclass(frozen=True, slots=True)
class Selection:
    """Which plugins may load; `lock` is there where only those that it names may."""

    disabled: frozenset[str] = frozenset()
    lock: Lock | None = None


ALL = Selection()


def discover(
    selection: Selection = ALL, entry_points: Iterable[EntryPoint] | None = None
) -> Plugins:
    """Load the plugins that are installed and that `selection` lets in.

    Raises:
        ConfigurationError: two plugins claim one name, settings path, kind, dialect or
            route; or the lock does not fit.
    """
    found = Plugins()
    points = tuple(_installed(GROUP) if entry_points is None else entry_points)
    if selection.lock is not None:
        selection.lock.check(points)
    for point in sorted(points, key=lambda each: each.name):
        plugin = _plugin(point)
        if other := found.get(plugin.name):
            raise ConfigurationError(
                f"plugin {plugin.name} comes from two packages, {other.distribution} and "
                f"{plugin.distribution}: uninstall one"
            )
        if plugin.name in selection.disabled:
            found._add(replace(plugin, state="disabled"), {})
            continue
        if selection.lock is not None and not selection.lock.allows(plugin.name):
            reason = f"{selection.lock.path} does not name it"
            found._add(replace(plugin, state="set aside", phase="lock", reason=reason), {})
            continue
        try:
            declared = _declarations(point)
        except _BrokenPlugin as broken:
            found._add(
                replace(plugin, state="set aside", phase=broken.phase, reason=str(broken)), {}
            )
        else:
            adds = {hook: tuple(map(label, each)) for hook, each in declared.items()}
            found._add(replace(plugin, adds=adds), declared)
    _check_owners(found)
    return found


def commands(entry_points: Iterable[EntryPoint] | None = None) -> dict[str, specs.CommandSpec]:
    """The commands that plugins add; what is broken is left out, with a warning."""
    owners: dict[str, tuple[str, specs.CommandSpec]] = {}
    refused: set[str] = set()
    points = _installed(COMMANDS_GROUP) if entry_points is None else entry_points
    for point in sorted(points, key=lambda each: each.name):
        try:
            manager = _register(point)
            declared = _ask(manager, _COMMANDS, specs.CommandSpec)
        except _BrokenPlugin as broken:
            _warn(f"the commands of plugin {point.name} are left out: {broken}")
            continue
        for spec in declared:
            if spec.name in owners:
                _warn(f"{owners[spec.name][0]} and {point.name} both declare {spec.name!r}")
                refused.add(spec.name)
            elif not _LOAD.fullmatch(spec.load):
                _warn(f"{point.name}: {spec.load!r} is not of the form module:attribute")
            else:
                owners[spec.name] = (point.name, spec)
    return {name: spec for name, (_, spec) in owners.items() if name not in refused}


def label(spec: Any) -> str:
    """What a person calls `spec`: its path, kind, route or name."""
    if isinstance(spec, specs.FrontendSpec | specs.EndpointSpec):
        return f"{spec.method} {spec.path}"
    for attribute in ("name", "kind", "path", "scheme", "series"):
        if value := getattr(spec, attribute, None):
            return str(value)
    return repr(spec)


def _installed(group: str) -> Iterable[EntryPoint]:
    return entry_points(group=group)


def _plugin(point: EntryPoint) -> Plugin:
    dist = point.dist
    name, version = (dist.name, dist.version) if dist else ("unknown", "unknown")
    return Plugin(point.name, name, version, "active", None, None, {})


def _declarations(point: EntryPoint) -> dict[str, tuple[Any, ...]]:
    manager = _register(point)
    asked = ((hook, _ask(manager, hook, spec)) for hook, spec in SPECS.items())
    return {hook: declared for hook, declared in asked if declared}


def _register(point: EntryPoint) -> pluggy.PluginManager:
    """A manager that knows this plugin only, so that blame is exact."""
    with _guarded("import"):
        module = point.load()
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    with _guarded("register"):
        _refuse_unfit(module, manager)
        manager.register(module, point.name)
        _refuse_wrappers(manager)
        try:
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise _BrokenPlugin("register", _misspelt(manager) or str(error)) from error
    return manager


def _refuse_unfit(module: object, manager: pluggy.PluginManager) -> None:
    for name, value in inspect.getmembers(module, inspect.isfunction):
        marked = manager.parse_hookimpl_opts(module, name) is not None
        if (marked or hasattr(manager.hook, name)) and _is_async(value):
            raise _BrokenPlugin("register", f"{name} is an async function; hooks are plain ones")
        if hasattr(manager.hook, name) and not marked:
            raise _BrokenPlugin("register", f"{name} lacks the decorator @hookimpl")


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _refuse_wrappers(manager: pluggy.PluginManager) -> None:
    for hook in vars(manager.hook).values():
        for implementation in hook.get_hookimpls():
            if implementation.wrapper or implementation.hookwrapper:
                raise _BrokenPlugin("register", f"{hook.name} is a wrapper; hooks only declare")


def _misspelt(manager: pluggy.PluginManager) -> str | None:
    hooks = vars(manager.hook)
    known = [name for name, hook in hooks.items() if hook.has_spec()]
    for name, hook in hooks.items():
        if not hook.has_spec():
            near = get_close_matches(name, known, 1)
            return f"unknown hook {name}" + (f"; did you mean {near[0]}?" if near else "")
    return None


def _ask(manager: pluggy.PluginManager, hook: str, expected: type) -> tuple[Any, ...]:
    phase = "settings" if hook == "settings" else "declare"
    with _guarded(phase):
        declared = tuple(
            spec for answer in getattr(manager.hook, _PREFIX + hook)() for spec in answer
        )
    for spec in declared:
        if not isinstance(spec, expected):
            kind = type(spec).__name__
            raise _BrokenPlugin(
                "declare", f"{_PREFIX}{hook} returned {kind}, not {expected.__name__}"
            )
        if isinstance(spec, specs.SettingsSpec):
            _check_settings(spec)
        if isinstance(spec, specs.ProviderSpec):
            _check_provider(spec)
    return declared


def _check_settings(spec: specs.SettingsSpec) -> None:
    from pydantic import TypeAdapter

    if not _PATH.fullmatch(spec.path):
        raise _BrokenPlugin("settings", f"the path {spec.path!r} does not match {_PATH.pattern}")
    with _guarded("settings"):
        TypeAdapter(spec.model)


def _check_provider(spec: specs.ProviderSpec) -> None:
    from llm_gateway_api.settings import ProviderSettings

    if not _KIND.fullmatch(spec.kind):
        raise _BrokenPlugin("declare", f"the kind {spec.kind!r} does not match {_KIND.pattern}")
    if not (isinstance(spec.settings, type) and issubclass(spec.settings, ProviderSettings)):
        raise _BrokenPlugin("declare", f"the settings of {spec.kind} extend no ProviderSettings")


class _guarded:
    """Whatever foreign code raises in the block sets its plugin aside in `phase`."""

    def __init__(self, phase: str) -> None:
        self._phase = phase

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception | SystemExit) and not isinstance(error, _BrokenPlugin):
            raise _BrokenPlugin(self._phase, f"{type(error).__name__}: {error}") from error


def _check_owners(found: Plugins) -> None:
    owners: dict[Hashable, str] = {}
    for plugin, what, key in _claims(found):
        owner = owners.setdefault((what, key), plugin)
        if owner != plugin:
            raise ConfigurationError(
                f"{owner} and {plugin} both own the {what} {key}: uninstall one, or name it in "
                "plugins.disabled"
            )


def _claims(found: Plugins) -> Iterator[tuple[str, str, str]]:
    for hook, what in (
        ("settings", "settings path"),
        ("providers", "provider kind"),
        ("frontends", "route"),
        ("endpoints", "route"),
        ("routing_strategies", "routing strategy"),
        ("cache_backends", "cache backend"),
        ("stores", "database scheme"),
        ("state_backends", "state backend"),
        ("migrations", "series of migrations"),
        ("secret_sources", "source of secrets"),
        ("tenant_data", "kind of tenants' data"),
    ):
        for plugin, spec in found.declared(hook):
            listener = " (metrics)" if getattr(spec, "listener", "main") == "metrics" else ""
            yield plugin, what, label(spec) + listener
    for plugin, spec in found.declared("frontends"):
        yield plugin, "dialect", spec.dialect


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
