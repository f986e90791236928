"""From the configuration to who is asked for what: the monitor of health and the router."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

from llm_gateway_api import (
    ConfigurationError,
    HealthMonitor,
    RoutingFilter,
    RoutingStrategy,
    SupportsTarget,
    Target,
)

from llm_gateway.attempt import Bound
from llm_gateway.instances import Instance, Learned, instance
from llm_gateway.listing import Lister
from llm_gateway.making import Maker
from llm_gateway.matrix import Matrix
from llm_gateway.probing import Prober
from llm_gateway.routing import Router
from llm_gateway.settings import Settings
from llm_gateway.wording import meant

Armed: TypeAlias = Callable[[tuple[str, str, str, str]], None]


def bound(
    maker: Maker, providers: Mapping[str, Bound], learned: Learned, armed: Armed
) -> tuple[HealthMonitor | None, Router]:
    """Both, offered to plugins as ``monitor``, ``targets`` and ``catalog``."""
    seconds = maker.settings.routing.health_check_interval_seconds
    given = (seconds, providers)
    maker.offers["probe"] = maker.keep(("probe",), given, lambda: Prober(providers, seconds))
    maker.offers["listing"] = maker.keep(("listing",), (providers,), lambda: Lister(providers))
    monitors = [(spec.name, made) for spec, made in maker.all("health_monitors")]
    monitor: HealthMonitor | None = monitors[0][1] if monitors else None
    if monitors:
        armed(("monitor", monitors[0][0], f"probes every {seconds:g} s", ""))
    maker.offers["monitor"] = monitor
    made = router(maker, providers, learned, armed)
    maker.offers |= {"catalog": made, "targets": made}
    return monitor, made


def router(maker: Maker, providers: Mapping[str, Bound], learned: Learned, armed: Armed) -> Router:
    settings = maker.settings
    instances = {
        name: instance(name, each.provider, settings.providers[name], learned)
        for name, each in providers.items()
    }
    filters = [(spec.name, made) for spec, made in maker.all("routing_filters")]
    scorers = [(spec.name, made) for spec, made in maker.all("routing_scorers")]
    for name, _ in scorers:
        armed(("scorer", name, "", "prefers nobody when it fails"))
    named = _named(settings)
    return Router(
        instances,
        deployed(settings.routing.models, instances, named),
        _default(maker, instances),
        tuple((name, made) for name, made in filters if isinstance(made, RoutingFilter)),
        tuple(made for _, made in filters if isinstance(made, SupportsTarget)),
        _strategy(maker, armed),
        settings.routing.fallback_enabled,
        listed(instances),
        named,
        learned,
        Matrix({name: each.provider for name, each in providers.items()}),
        tuple(scorers),
    )


def _named(settings: Settings) -> frozenset[str]:
    """The providers of the configuration, those that are off too."""
    written = (path.split(".")[1] for path in settings.named if path.startswith("providers."))
    return frozenset((*written, *settings.providers))


def _default(maker: Maker, instances: Mapping[str, Instance]) -> str | None:
    default = maker.settings.routing.default_provider
    if default is not None and default not in _named(maker.settings):
        raise ConfigurationError(
            f"routing.default_provider: no provider is called {default!r}"
            f"{meant(default, instances)}"
        )
    if default in instances:
        return default
    return next(iter(instances)) if len(instances) == 1 else None


def _strategy(maker: Maker, armed: Armed) -> RoutingStrategy | None:
    wanted = maker.settings.routing.strategy
    declared = {spec.name: (p, spec) for p, spec in maker.plugins.declared("routing_strategies")}
    if wanted in declared:
        plugin, spec = declared[wanted]
        armed(("strategy", wanted, plugin, ""))
        made: Any = maker.make(plugin, "routing_strategies", spec)
        strategy: RoutingStrategy | None = made
        return strategy
    if "routing.strategy" in maker.settings.named:
        raise ConfigurationError(
            f"routing.strategy: no installed plugin brings {wanted!r}{meant(wanted, declared)}"
        )
    return None


def listed(instances: Mapping[str, Instance]) -> dict[str, tuple[Target, ...]]:
    """For each model of the providers' own lists, the deployments that serve it."""
    found: dict[str, tuple[Target, ...]] = {}
    for known in instances.values():
        for info in known.models:
            target = known.target(info.id, known.weight)
            found[info.id] = (*found.get(info.id, ()), target)
    return found


def deployed(
    models: Iterable[Any], instances: Mapping[str, Instance], configured: Collection[str]
) -> dict[str, tuple[Target, ...]]:
    """The deployments of each public name and alias of ``routing.models``; those of a provider
    that is off are left out.

    Raises:
        ConfigurationError: a provider is named that is not configured.
    """
    found: dict[str, tuple[Target, ...]] = {}
    for entry in models:
        targets = []
        for each in entry.deployments:
            if (known := instances.get(each.provider)) is not None:
                tags = frozenset(each.tags)
                targets.append(known.target(each.model, each.weight, each.region, tags))
            elif each.provider not in configured:
                raise ConfigurationError(
                    f"routing.models: {entry.name} names the provider {each.provider!r}, "
                    f"which `providers` does not have ({', '.join(sorted(instances))})."
                )
        if targets:
            found |= dict.fromkeys((entry.name, *entry.aliases), tuple(targets))
    return found
