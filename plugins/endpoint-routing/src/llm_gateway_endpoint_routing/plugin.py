"""Declares the routes that show and explain routing, their counts, and their commands."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llm_gateway_api import (
    CommandSpec,
    EndpointRequest,
    EndpointResponse,
    EndpointSpec,
    ObserverSpec,
    hookimpl,
)

if TYPE_CHECKING:
    from llm_gateway_api import (
        EndpointHandler,
        Explain,
        HealthMonitor,
        Listing,
        Metrics,
        Prices,
        Targets,
    )

PATH = "/admin/v1/routing"
_BODY = {
    "summary": "How a request would be routed, and what would be sent; nobody is asked.",
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "required": ["body"]}}},
    },
}


@hookimpl
def llm_gateway_commands() -> list[CommandSpec]:
    load = "llm_gateway_endpoint_routing.commands:routing_strategy"
    return [CommandSpec("routing-strategy", load, "How requests are routed, and why.")]


@hookimpl
def llm_gateway_observers() -> list[ObserverSpec]:
    return [ObserverSpec("routing_stats", _observer, needs=("metrics",))]


@hookimpl
def llm_gateway_endpoints() -> list[EndpointSpec]:
    routes: list[tuple[str, Any, dict[str, Any]]] = [
        (PATH, _show, {"settings": "routing", "needs": ("providers",)}),
        (f"{PATH}/rules", _rules, {"settings": "routing.rules"}),
        (f"{PATH}/weights", _weights, {"needs": ("targets", "monitor")}),
        (f"{PATH}/offered", _offered, {"needs": ("listing", "targets", "prices")}),
        (f"{PATH}/guards", _guards, {"needs": ("targets", "explain")}),
        (f"{PATH}/stats", _stats, {"needs": ("metrics",)}),
    ]
    return [
        *(EndpointSpec("GET", p, "operator", make, **x) for p, make, x in routes),
        EndpointSpec(
            "POST",
            "/admin/v1/explain",
            "operator",
            _explain,
            needs=("explain",),
            doc=_BODY,
            scope="tenant",
        ),
    ]


def _observer(*, metrics: "Metrics") -> Any:
    from llm_gateway_endpoint_routing.stats import Stats

    return Stats(metrics)


def _show(settings: Any, providers: Mapping[str, Any]) -> "EndpointHandler":
    only = next(iter(providers)) if len(providers) == 1 else None
    document = {
        "strategy": settings.strategy,
        "default_provider": settings.default_provider or only,
        "fallback_enabled": settings.fallback_enabled,
        "health_check_interval_seconds": settings.health_check_interval_seconds,
        "models": [
            {
                "name": entry.name,
                "aliases": entry.aliases,
                "deployments": [f"{each.provider}/{each.model}" for each in entry.deployments],
            }
            for entry in settings.models
        ],
    }

    async def handle(request: EndpointRequest) -> EndpointResponse:
        return _json(document)

    return handle


def _rules(settings: Any) -> "EndpointHandler":
    """In the order in which they are asked."""
    rules = sorted(settings.root, key=lambda rule: -rule.priority)

    async def handle(request: EndpointRequest) -> EndpointResponse:
        return _json({"rows": [rule.model_dump() for rule in rules]})

    return handle


def _weights(*, targets: "Targets", monitor: "HealthMonitor | None") -> "EndpointHandler":
    async def handle(request: EndpointRequest) -> EndpointResponse:
        rows: list[Mapping[str, object]] = []
        for each in targets.deployments():
            health = monitor.health(each) if monitor is not None else None
            rows.append(
                {
                    "provider": each.provider,
                    "model": each.model,
                    "region": each.region,
                    "tags": sorted(each.tags),
                    "weight": each.weight,
                    "effective": round(each.weight * (health.share if health else 1.0), 4),
                }
            )
        return _json({"rows": rows})

    return handle


def _offered(
    *, listing: "Listing", targets: "Targets", prices: "Prices | None"
) -> "EndpointHandler":
    async def handle(request: EndpointRequest) -> EndpointResponse:
        from llm_gateway_endpoint_routing.offered import offered

        wanted = request.query.get("provider")
        return _json(await offered(listing, targets, prices, wanted))

    return handle


def _guards(*, targets: "Targets", explain: "Explain") -> "EndpointHandler":
    """What each guard of this worker would say to a call now."""

    async def handle(request: EndpointRequest) -> EndpointResponse:
        rows = []
        for each in targets.deployments():
            looks = explain.guards(each)
            admitted = all(look.get("admits", True) for look in looks.values())
            row = {"provider": each.provider, "model": each.model, "admitted": admitted}
            rows.append({**row, "guards": looks})
        return _json({"rows": rows})

    return handle


def _stats(*, metrics: "Metrics") -> "EndpointHandler":
    async def handle(request: EndpointRequest) -> EndpointResponse:
        from llm_gateway_endpoint_routing.stats import rows

        return _json({"rows": rows(await metrics.everywhere())})

    return handle


def _explain(*, explain: "Explain") -> "EndpointHandler":
    async def handle(request: EndpointRequest) -> EndpointResponse:
        from llm_gateway_endpoint_routing.asking import Question

        asked = Question.of(request.body)
        who = asked.principal(request.arrival.principal)
        return _json(await explain(asked.path, bytes(asked.body), asked.lower_headers(), who))

    return handle


def _json(document: Mapping[str, object] | Sequence[object]) -> EndpointResponse:
    from msgspec.json import encode

    return EndpointResponse(200, encode(document))
