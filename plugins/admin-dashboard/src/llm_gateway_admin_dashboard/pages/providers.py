"""Deployments: whether they are well, what their breakers say, and how that changed."""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw

from llm_gateway_admin_dashboard.routes import Route
from llm_gateway_admin_dashboard.visits import Visit

BREAKER = "gateway_circuit_breaker_state"
PHASES = {0: "closed", 1: "half open", 2: "open"}
CHANGES = 50


async def providers(visit: Visit) -> gw.EndpointResponse:
    health = await visit.ask.get("backend-health")
    guards = await visit.ask.get("routing/guards")
    weights = await visit.ask.get("routing/weights")
    latency = await visit.ask.get("latency", window="1h")
    history = await visit.ask.get("backend-health", history="true")
    breakers = await _breakers(visit.parts.metrics)
    timed = _by_name(latency.value["rows"]) if latency.good else {}
    weighed = _by_name(weights.value["rows"]) if weights.good else {}
    guarded = _by_name(guards.value["rows"]) if guards.good else {}
    rows = [
        {
            **row,
            "breaker": breakers.get((row["provider"], row["model"])),
            "times": timed.get((row["provider"], row["model"]), {}),
            "weight": weighed.get((row["provider"], row["model"]), {}),
            "refusals": _refusals(guarded.get((row["provider"], row["model"]), {})),
        }
        for row in (health.value["rows"] if health.good else ())
    ]
    return visit.render(
        "providers.html",
        health=health,
        history=history,
        changes=history.value["rows"][:CHANGES] if history.good else [],
        rows=rows,
        states=_states(visit.parts.health()),
        ill=sum(row["state"] in ("unhealthy", "degraded") for row in rows),
    )


async def _breakers(metrics: gw.Metrics) -> dict[tuple[str, ...], str]:
    """By provider and model, the worst of this host's workers."""
    for family in await metrics.everywhere():
        if family.name == BREAKER:
            return {
                labels: PHASES.get(int(child.value), "closed")
                for labels, child in family.children.items()
                if isinstance(child, gw.Value)
            }
    return {}


def _refusals(row: Mapping[str, Any]) -> list[str]:
    """The guards that would not admit a call now, as far as this worker knows."""
    looks: Mapping[str, Mapping[str, Any]] = row.get("guards", {})
    return [
        f"{name.replace('_', ' ')}: "
        + ", ".join(f"{n.replace('_', ' ')} {_short(v)}" for n, v in look.items() if _told(n, v))
        for name, look in looks.items()
        if not look.get("admits", True)
    ]


def _short(value: object) -> object:
    return "full" if isinstance(value, Mapping) else value


def _told(name: str, value: object) -> bool:
    """What fits into a cell: of a limit that is full, that it is."""
    return name != "admits" and (not isinstance(value, Mapping) or value.get("wait_seconds") != 0.0)


def _by_name(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["provider"], row["model"]): row for row in rows}


def _states(health: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, row["state"]) for name, row in health["providers"].items()]


ROUTES = (Route("GET", "providers", providers, "Providers"),)
