"""What goes on right now, in all workers."""

from collections.abc import Mapping, Sequence
from typing import Any

import llm_gateway_api as gw

from llm_gateway_admin_dashboard import live
from llm_gateway_admin_dashboard.asking import Part
from llm_gateway_admin_dashboard.routes import Route
from llm_gateway_admin_dashboard.visits import Visit

RECENT = 12  # slots: the last minute
ILL = ("unhealthy", "degraded")
LACKING = "llm-gateway-state-host"


async def overview(visit: Visit) -> gw.EndpointResponse:
    if visit.tenant is not None:
        return visit.go("usage")
    points, workers = await _points(visit)
    health: Mapping[str, Any] = visit.parts.health()
    spent = await visit.ask.get("cost", window="24h", group_by="provider")
    return visit.render(
        "overview.html",
        lacking=Part(package=LACKING) if visit.parts.gather is None else Part(),
        tiles=tiles(points[-RECENT:]),
        errors=_errors(points),
        spent=spent,
        spent_usd=_total(spent),
        workers=workers,
        health=health,
        ill=[n for n, row in health["providers"].items() if row["state"] in ILL],
        down=[n for n, row in health["dependencies"].items() if row["state"] == "down"],
    )


async def numbers(visit: Visit) -> gw.EndpointResponse:
    """What the charts draw."""
    points, _ = await _points(visit)
    return visit.json(live.series(points))


async def _points(visit: Visit) -> tuple[list[live.Point], int]:
    if visit.parts.gather is None:
        return [], 0
    replies = await visit.parts.gather.points(0)
    return live.added(each.points for each in replies), len(replies)


def tiles(points: Sequence[live.Point]) -> dict[str, Any]:
    """The last minute in a few numbers."""
    seconds = max(1, len(points) * live.SLOT)
    total = sum(sum(each.requests.values()) for each in points)
    bad = sum(each.requests.get("failed", 0) for each in points)
    hits, misses = sum(p.hits for p in points), sum(p.misses for p in points)
    return {
        "rate": total / seconds,
        "requests": total,
        "in_flight": points[-1].in_flight if points else 0,
        "streams": points[-1].streams if points else 0,
        "latency": live.latencies(points) if points else [None] * 3,
        "failed": bad / total if total else None,
        "tokens": sum(p.tokens_in + p.tokens_out for p in points) / seconds,
        "spend": sum(p.cost for p in points) * 60 / seconds,
        "hits": hits / (hits + misses) if hits + misses else None,
        "fallbacks": sum(p.fallbacks for p in points),
    }


def _errors(points: Sequence[live.Point]) -> list[tuple[str, int]]:
    """Failed attempts by class, most first, in all that is remembered."""
    found: dict[str, int] = {}
    for each in points:
        for name, many in each.errors.items():
            found[name] = found.get(name, 0) + many
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))


def _total(spent: Part) -> float | None:
    if not spent.good:
        return None
    return sum(float(row["cost_usd"]) for row in spent.value["rows"])


ROUTES = (
    Route("GET", "overview", overview, "Overview", tenants=True),
    Route("GET", "overview/live.json", numbers),
)
