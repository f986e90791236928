"""Declares the monitor, its scorer, what is shown of it, and the command backend-health."""

from typing import TYPE_CHECKING, Any

from llm_gateway_api import (
    CommandSpec,
    EndpointRequest,
    EndpointResponse,
    EndpointSpec,
    HealthMonitorSpec,
    RoutingScorerSpec,
    SettingsSpec,
    StoreError,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llm_gateway_api import (
        DeploymentHealth,
        EndpointHandler,
        HealthMonitor,
        ProviderSettings,
        RoutingScorer,
        Store,
        Targets,
    )

PATH = "routing.health"
ROWS = 500
HISTORY = (
    "SELECT at, provider, model, state, latency_ms, detail FROM provider_health "
    "WHERE (:provider = '' OR provider = :provider) "
    "AND (:ill = 0 OR state IN ('unhealthy', 'suspended', 'probe failed')) "
    "ORDER BY at DESC LIMIT :rows"
)


@hookimpl
def llm_gateway_settings() -> list[SettingsSpec]:
    from llm_gateway_routing_health.settings import HealthSettings

    return [SettingsSpec(PATH, HealthSettings)]


@hookimpl
def llm_gateway_commands() -> list[CommandSpec]:
    load = "llm_gateway_routing_health.commands:backend_health"
    return [CommandSpec("backend-health", load, "Whether providers are well.")]


@hookimpl
def llm_gateway_health_monitors() -> list[HealthMonitorSpec]:
    needs = ("clock", "metrics", "probe", "store", "state")
    return [HealthMonitorSpec("health", _monitor, settings=PATH, needs=needs)]


@hookimpl
def llm_gateway_routing_scorers() -> list[RoutingScorerSpec]:
    return [RoutingScorerSpec("health", _scorer, needs=("monitor",))]


@hookimpl
def llm_gateway_endpoints() -> list[EndpointSpec]:
    needs = ("monitor", "targets", "store", "providers")
    return [
        EndpointSpec(
            "GET",
            "/admin/v1/backend-health",
            "operator",
            _shown,
            needs=needs,
            doc={
                "summary": "Where each deployment stands, or how that changed.",
                "parameters": [
                    {"name": name, "in": "query", "schema": {"type": kind}}
                    for name, kind in (
                        ("provider", "string"),
                        ("unhealthy_only", "boolean"),
                        ("history", "boolean"),
                    )
                ],
            },
        )
    ]


def _monitor(settings: Any, **needs: Any) -> "HealthMonitor":
    from llm_gateway_routing_health.service import HealthService

    return HealthService(settings, **needs)


def _scorer(*, monitor: "HealthMonitor | None") -> "RoutingScorer | None":
    """The monitor of this plugin prefers for itself; another plugin's is left alone."""
    from llm_gateway_routing_health.monitor import Monitor

    return monitor if isinstance(monitor, Monitor) else None


def _shown(
    *,
    monitor: "HealthMonitor | None",
    targets: "Targets",
    store: "Store | None",
    providers: "Mapping[str, ProviderSettings]",
) -> "EndpointHandler":
    async def handle(request: EndpointRequest) -> EndpointResponse:
        from msgspec.json import encode

        query = request.query
        provider, ill = query.get("provider", ""), query.get("unhealthy_only") == "true"
        if query.get("history") == "true":
            return EndpointResponse(200, encode({"rows": await _history(store, provider, ill)}))
        found = [monitor.health(each) for each in targets.deployments()] if monitor else []
        found += _unlisted(monitor, providers, {each.provider for each in found})
        rows = [
            each
            for each in found
            if provider in ("", each.provider)
            and (not ill or each.state in ("unhealthy", "suspended"))
        ]
        return EndpointResponse(200, encode({"rows": rows}))

    return handle


def _unlisted(
    monitor: "HealthMonitor | None", providers: "Iterable[str]", listed: set[str]
) -> "Iterator[DeploymentHealth]":
    """Providers no model of which stands in the configuration: as a whole, model ``*``."""
    from llm_gateway_api import DeploymentHealth, SupportsReasons

    if monitor is None:
        return
    known = monitor.providers()
    reasons = monitor.reasons() if isinstance(monitor, SupportsReasons) else {}
    for name in sorted(set(providers) - listed):
        state = known.get(name, "unknown")
        share = 0.0 if state in ("unhealthy", "suspended") else 1.0
        yield DeploymentHealth(name, "*", state, share, last_failure=reasons.get(name))


async def _history(store: "Store | None", provider: str, ill: bool) -> Any:
    if store is None:
        raise StoreError("No store is installed, so no history is kept.")
    return await store.fetch(HISTORY, {"provider": provider, "ill": int(ill), "rows": ROWS})
