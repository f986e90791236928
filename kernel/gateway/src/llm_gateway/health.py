"""What ``/health``, ``/health/live`` and ``/health/ready`` say, on both listeners."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from llm_gateway_api import (
    EndpointRequest,
    EndpointResponse,
    EndpointSpec,
    HealthMonitor,
    SupportsReasons,
)

from llm_gateway.dependencies import Dependencies
from llm_gateway.plugins import Plugins

Routes = list[tuple[EndpointSpec, Any]]


def document(
    workers: int,
    slot: int,
    host: Mapping[str, str],
    *,
    draining: bool,
    generation: int,
    reload_error: str,
    providers: Iterable[str],
    monitor: HealthMonitor | None,
    dependencies: Dependencies,
    services: Mapping[str, str],
    plugins: Plugins,
) -> Mapping[str, object]:
    """What an administrator sees; `host` says how each of several workers is, by number."""
    worse = (
        any(state != "open" for state in services.values())
        or any(state != "ready" for state in host.values())
        or bool(dependencies.down)
        or bool(plugins.set_aside_ones)
    )
    known = monitor.providers() if monitor is not None else {}
    why: Mapping[str, str] = monitor.reasons() if isinstance(monitor, SupportsReasons) else {}
    return {
        "status": "draining" if draining else "degraded" if worse else "ok",
        "generation": generation,
        "reload_error": reload_error or None,
        "workers": {"self": slot, "of": workers, **host},
        "providers": {
            name: {"state": known.get(name, "unknown"), "reason": why.get(name)}
            for name in providers
        },
        "dependencies": {name: {"state": state} for name, state in dependencies.states.items()},
        "services": {name: {"state": state} for name, state in services.items()},
        "plugins": {
            p.name: {"state": p.state, "version": p.version, "phase": p.phase, "reason": p.reason}
            for p in plugins.plugins
        },
    }


def endpoints(
    state: Callable[[], Mapping[str, object]],
    ready: Callable[[], bool],
    dependencies: Dependencies,
) -> Routes:
    """The routes; `state` is the whole document, which an administrator sees."""

    async def health(request: EndpointRequest) -> EndpointResponse:
        told = dict(state())
        if request.query.get("detailed") != "true":
            return _json(200, {"status": told["status"]})
        caller = request.arrival.principal
        if caller.role != "admin" or caller.tenant is not None:
            for part in ("providers", "dependencies", "services", "plugins"):
                rows: Any = told[part]
                told[part] = {n: {"state": row["state"]} for n, row in rows.items()}
            told["reload_error"] = bool(told["reload_error"])
        return _json(200, told)

    async def live(request: EndpointRequest) -> EndpointResponse:
        return _json(200, {"status": "live"})

    async def is_ready(request: EndpointRequest) -> EndpointResponse:
        ok = ready()
        told: dict[str, object] = {"status": "ready" if ok else "not ready"}
        if dependencies.down:  # requests are served all the same
            told["down"] = dependencies.down
        return _json(200 if ok else 503, told)

    routes = (("/health", health), ("/health/live", live), ("/health/ready", is_ready))
    return [
        (EndpointSpec("GET", path, None, handler, listener), handler)
        for path, handler in routes
        for listener in ("main", "metrics")
    ]


def _json(status: int, document: object) -> EndpointResponse:
    return EndpointResponse(status, msgspec.json.encode(document))
