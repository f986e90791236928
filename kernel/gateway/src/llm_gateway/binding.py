"""From declarations and settings to one frozen generation; the only place where both meet."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from llm_gateway_api import (
    Audit,
    ConfigurationError,
    EndpointSpec,
    Frontend,
    FrontendSpec,
    HealthMonitor,
    Metrics,
    ProviderSettings,
    SecurityFilterSpec,
    Service,
    SupportsFollowing,
    SupportsTrail,
    SupportsWatch,
)

from llm_gateway import deploying, tracing
from llm_gateway.accounting import Accounting
from llm_gateway.attempt import Abilities, Attempts, Bound
from llm_gateway.backing import offers
from llm_gateway.caching import Caching
from llm_gateway.claims import reserving
from llm_gateway.continuing import Continuing
from llm_gateway.embedding import Embedder
from llm_gateway.explaining import Explainer
from llm_gateway.fetching import Fetcher
from llm_gateway.guarding import Guarding
from llm_gateway.inlining import Inlining
from llm_gateway.inside import Present
from llm_gateway.making import Maker
from llm_gateway.observe import Counts
from llm_gateway.ordering import in_turn
from llm_gateway.outbox import Outbox
from llm_gateway.pipeline import Pipeline
from llm_gateway.plugins import Plugins, label
from llm_gateway.progress import Onward
from llm_gateway.proxies import Proxied, configured, loopback, proxy_for
from llm_gateway.racing import Racing
from llm_gateway.reserve import Scope
from llm_gateway.routing import Router
from llm_gateway.screening import Screens, in_order, watchers
from llm_gateway.session import Sessions
from llm_gateway.settings import Settings
from llm_gateway.tracing import Tracing
from llm_gateway.transport import Transport
from llm_gateway.upstream import Upstream
from llm_gateway.watchdog import Watchdog

log = logging.getLogger("llm_gateway.binding")


@dataclass(frozen=True)
class Kernel:
    """What outlives a generation and is offered to plugins by name."""

    watchdog: Watchdog
    metrics: Metrics
    counts: Counts
    scope: Scope
    data_dir: Path
    clock: Callable[[], float]
    health: Callable[[], Mapping[str, object]]
    present: Present
    outbox: Outbox
    workers: int = 1


@dataclass(frozen=True)
class Generation:
    """One configuration, bound: routes, pipeline, what is to be opened and closed."""

    number: int
    settings: Settings
    pipeline: Pipeline
    frontends: Mapping[tuple[str, str], tuple[FrontendSpec, Frontend]]
    endpoints: Sequence[tuple[EndpointSpec, Any]]
    services: Sequence[tuple[str, Service]]
    upstreams: Sequence[Transport]
    armed: Sequence[tuple[str, str, str, str]]
    maker: Maker
    audit: Audit
    tracing: Tracing | None
    monitor: HealthMonitor | None
    models: frozenset[str] = field(default_factory=frozenset)
    trailed: tuple[SupportsTrail, ...] = ()

    def close(self, living: Sequence["Generation"] = ()) -> None:
        """Close the connections that no generation of `living` uses."""
        used = {id(each) for generation in living for each in generation.upstreams}
        for each in self.upstreams:
            if id(each) not in used:
                each.close()


class Binder:
    """Makes the objects of one generation; `maker.broken` holds the plugins that raised.

    Raises `ConfigurationError` where the settings cannot work together.
    """

    def __init__(
        self,
        settings: Settings,
        plugins: Plugins,
        kernel: Kernel,
        before: Generation | None = None,
    ) -> None:
        self.settings = settings
        self.plugins = plugins
        self.kernel = kernel
        self.armed: list[tuple[str, str, str, str]] = []
        self.guards: list[tuple[str, Any]] = []
        kernel_offers = {
            "clock": kernel.clock,
            "metrics": kernel.metrics,
            "turn": kernel.outbox,
            "data_dir": kernel.data_dir,
            "health": kernel.health,
            "inside": kernel.present,
            "plugins": kernel.present.installed,
        }
        last = before.maker if before is not None else None
        self.maker = Maker(settings, plugins, last, kernel_offers)
        egress = settings.security.egress
        self.fetch: Fetcher = self.maker.keep(("fetch",), (egress,), lambda: Fetcher(egress))
        self.maker.offers["fetch"] = self.fetch
        self.all = self.maker.all

    def _in_turn(self, hook: str) -> list[tuple[Any, Any]]:
        """(spec, object) as `before` and `after` say; each is told in the armed table."""
        made = {spec.name: (spec, each) for spec, each in self.all(hook)}
        specs = in_turn([spec for spec, _ in made.values()])
        for at, spec in enumerate(specs, 1):
            self.armed.append((hook, spec.name, str(at), ""))
        return [made[spec.name] for spec in specs]

    def bind(self, number: int) -> Generation:
        offered = offers(self.maker, self.kernel.workers, lambda *row: self.armed.append(row))
        frontends = self._frontends()
        dialects = {spec.dialect for spec, _ in frontends.values()}
        providers = self._providers(dialects)
        monitor, router = deploying.bound(
            self.maker, providers, offered["prices"].learned, self.armed.append
        )
        self.maker.offers["embed"] = Embedder(providers, router.instances, router.filters)
        self.maker.offers["providers"] = {n: self.settings.providers[n] for n in providers}
        filters = self._filters(dialects)
        pipeline = self._pipeline(number, offered, providers, router, filters)
        self._check_exposure(any(spec.authenticates for spec, _ in filters))
        self.maker.offers["explain"] = Explainer(
            frontends, pipeline, self.guards, offered["prices"], monitor
        )
        kinds = sorted(self.all("tenant_data"), key=lambda pair: int(pair[0].order))
        self.maker.offers["tenant_data"] = tuple(kinds)
        self.all("services")
        traced = tracing.bound(self.maker, self.kernel.counts.tracing_errors, self.armed)
        endpoints = [(spec, made) for spec, made in self.all("endpoints")]
        self.maker.offers["routes"] += [spec for spec, _ in (*frontends.values(), *endpoints)]
        self.maker.forget()
        return Generation(
            number,
            self.settings,
            pipeline,
            frontends,
            endpoints,
            tuple(self.maker.services()),
            [each.upstream for each in providers.values()],
            tuple(self.armed),
            self.maker,
            offered["audit"],
            traced,
            monitor,
            _models(router),
            tuple(each for each in pipeline.observers if isinstance(each, SupportsTrail)),
        )

    def _pipeline(
        self,
        number: int,
        offered: Mapping[str, Any],
        providers: Mapping[str, Bound],
        router: Router,
        filters: Sequence[tuple[SecurityFilterSpec, Any]],
    ) -> Pipeline:
        settings, counts = self.settings, self.kernel.counts
        screens, watching = Screens.of(filters), watchers(filters)
        observers = tuple(made for _, made in self.all("observers"))
        if screens.content or watching or self._caches_declared():
            providers = {n: replace(b, relays=frozenset()) for n, b in providers.items()}
        accounting = Accounting(offered["ledger"], offered["prices"], counts.ledger_failures)
        self.guards = [(spec.name, made) for spec, made in self._in_turn("guards")]
        policies = [(spec.name, made) for spec, made in self._in_turn("attempt_policies")]
        guarding = self._guarding(providers, router, [made for _, made in policies])
        onward = Onward(tuple(policies), counts)
        inlining = Inlining(self.fetch, settings.security.egress.max_fetches_per_request)
        return Pipeline(
            generation=number,
            screens=screens,
            reserving=reserving(self._limiters(), self.kernel.scope, offered["state"]),
            accounting=accounting,
            caching=self._caching(accounting, watching),
            router=router,
            guarding=guarding,
            onward=onward,
            attempts=Attempts(
                providers, watching, observers, counts, accounting, inlining, guarding
            ),
            observers=observers,
            counts=counts,
            request_seconds=settings.resilience.timeout.request_seconds,
            streaming_seconds=settings.resilience.timeout.streaming_seconds,
            max_json_depth=settings.server.max_json_depth,
            racing=Racing.of(policies, onward),
            continuing=Continuing.of(
                policies, {n: b.can.prefill for n, b in providers.items() if b.can.prefill}
            ),
        )

    def _guarding(
        self, providers: Mapping[str, Bound], router: Router, policies: Sequence[Any]
    ) -> Guarding:
        """The guards, and what follows attempts as they do."""
        following = (each.follower() for each in policies if isinstance(each, SupportsFollowing))
        return Guarding.of(
            [*(made for _, made in self.guards), *router.followers(), *following],
            {name: each.default_seconds for name, each in providers.items()},
        )

    def _frontends(self) -> dict[tuple[str, str], tuple[FrontendSpec, Frontend]]:
        found: dict[tuple[str, str], tuple[FrontendSpec, Frontend]] = {}
        for plugin, spec in self.plugins.declared("frontends"):
            made = self.maker.made(plugin, ("frontends", plugin, label(spec)), spec)
            if made is not None:
                found[(spec.method, spec.path)] = (spec, made)
        return found

    def _providers(self, dialects: set[str]) -> dict[str, Bound]:
        kinds = {spec.kind: (plugin, spec) for plugin, spec in self.plugins.declared("providers")}
        timeout = self.settings.resilience.timeout
        bound: dict[str, Bound] = {}
        for name, own in self.settings.providers.items():
            if not own.enabled:
                continue
            plugin, spec = kinds[own.kind or name]
            try:
                made = self.maker.made(plugin, ("providers", plugin, name), spec, name, own)
            except ConfigurationError as error:
                raise ConfigurationError(f"providers.{name}: {error}") from error
            if made is None:
                continue
            can = Abilities.of(made)
            relays = frozenset(each for each in dialects if can.relay and can.relay.relays(each))
            bound[name] = Bound(
                name,
                made,
                self._upstream(name, own, timeout.connect_seconds),
                can,
                relays,
                dict(own.operation_timeouts),
                timeout.first_content_seconds or own.timeout_seconds,
                timeout.chunk_gap_seconds
                if own.chunk_gap_seconds is None
                else own.chunk_gap_seconds,
                {key.lower(): value for key, value in own.headers.items()},
            )
            lane = "relay " + ",".join(sorted(relays)) if relays else "translate"
            self.armed.append(("provider", name, spec.kind, lane))
        return bound

    def _upstream(self, name: str, own: ProviderSettings, connect_seconds: float) -> Transport:
        """The connections to one provider, kept over a reload with what is open."""
        if own.connect_seconds is not None:
            connect_seconds = own.connect_seconds
        proxies = configured(name, own.proxy.get_secret_value() if own.proxy else None)
        given = (own.max_connections, connect_seconds)

        def make() -> Transport:
            direct = Upstream(self.kernel.watchdog, *given)
            if proxies is None:
                return direct
            return Proxied(
                direct,
                lambda proxy: Sessions(*given, proxy),
                lambda origin: proxy_for(origin, proxies),
            )

        made: Transport = self.maker.keep(("upstream", name), (*given, proxies), make)
        return made

    def _filters(self, dialects: set[str]) -> list[tuple[SecurityFilterSpec, Any]]:
        if not self.settings.security.enabled:
            self.armed.append(("filter", "all", "security.enabled: false", "off"))
            return []
        ordered = in_order(self.all("security_filters"), dialects)
        for spec, _ in ordered:
            self.armed.append(("filter", spec.name, spec.stage, "fails closed"))
        return ordered

    def _limiters(self) -> tuple[tuple[str, Any, Any], ...]:
        """Those of the section `security` are off with it."""
        on = self.settings.security.enabled
        made = tuple(
            (spec.name, made, spec.fail)
            for spec, made in self.all("limiters")
            if on or not (spec.settings or "").startswith("security.")
        )
        self.armed.extend(("limiter", name, "", f"fails {fail}") for name, _, fail in made)
        return made

    def _check_exposure(self, identified: bool) -> None:
        host = self.settings.server.host
        if identified or loopback(host):
            return
        if not self.settings.security.enabled:
            raise ConfigurationError(
                "security.enabled: false disarms every filter and limit, authentication too, and "
                f"the address {host} is not loopback: bind to 127.0.0.1, or switch security on."
            )
        raise ConfigurationError(
            f"No authentication is armed and the address {host} is not loopback: install and "
            "enable a filter that identifies callers, or bind to 127.0.0.1."
        )

    def _caches_declared(self) -> bool:
        section = self.settings.section("cache")
        return section is not None and bool(getattr(section, "enabled", False))

    def _caching(self, accounting: Accounting, watching: Sequence[SupportsWatch]) -> Caching:
        section: Any = self.settings.section("cache")
        chosen = self._caches(section.backend) if self._caches_declared() else []
        self.maker.offers["caches"] = dict(chosen)
        ttl = section.default_ttl_seconds if section is not None else 0.0
        for name, _ in chosen:
            self.armed.append(("cache", name, f"ttl {ttl} s", "fails open"))
        return Caching(
            tuple(chosen),
            ttl,
            ",".join(sorted(f"{each.name}={each.version}" for each in self.plugins.plugins)),
            self.kernel.scope,
            self.kernel.counts,
            accounting,
            watching,
            semantic=len(chosen) > 1,
            coalesce=section is not None and section.coalesce,
        )

    def _caches(self, backend: str) -> list[tuple[str, Any]]:
        """The exact cache of the configuration, then the semantic ones; no other is made."""
        exact: list[tuple[str, Any]] = []
        semantic: list[tuple[str, Any]] = []
        for plugin, spec in self.plugins.declared("cache_backends"):
            if spec.semantic or spec.name == backend:
                made = self.maker.make(plugin, "cache_backends", spec)
                if made is not None:
                    (semantic if spec.semantic else exact).append((spec.name, made))
        if not exact:
            exacts = (s for _, s in self.plugins.declared("cache_backends") if not s.semantic)
            known = ", ".join(sorted(s.name for s in exacts))
            raise ConfigurationError(
                f"cache.backend: no installed plugin brings {backend!r} ({known});"
                f" pip install llm-gateway-cache-{backend}, or name one of these."
            )
        return exact + sorted(semantic, key=lambda pair: pair[0])


def _models(router: Router) -> frozenset[str]:
    """The names that may be a label: public ones, providers' own, and those of deployments."""
    listed = {info.id for each in router.instances.values() for info in each.models}
    deployed = {target.model for each in router.entries.values() for target in each}
    return frozenset(router.entries) | listed | deployed


def new_kernel(
    data_dir: Path, health: Callable[[], Mapping[str, object]], present: Present
) -> Kernel:
    """The parts that every generation shares."""
    loop = asyncio.get_running_loop()
    metrics = Metrics()
    counts, scope = Counts(metrics), Scope()
    return Kernel(
        Watchdog(loop), metrics, counts, scope, data_dir, monotonic, health, present, Outbox()
    )
