"""Cost, tokens and latency over a range of time, from the ledger's own reports."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import llm_gateway_api as gw

from llm_gateway_admin_dashboard.asking import Part
from llm_gateway_admin_dashboard.routes import Route
from llm_gateway_admin_dashboard.visits import Visit

WINDOWS = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days"}
GROUPS = {"provider,model": "provider and model"} | {
    each: each for each in ("tenant", "model", "provider", "key")
}
FILTERS = ("tenant", "model", "provider")
HOURS = {"1h": 1, "24h": 24, "7d": 168, "30d": 720, "90d": 2160}
_LONG = ("7d", "30d", "90d")


async def usage(visit: Visit) -> gw.EndpointResponse:
    window = _one_of(visit.query.get("window"), WINDOWS, "24h")
    group = _one_of(visit.query.get("group"), GROUPS, "tenant")
    chosen = {name: visit.query.get(name, "").strip() for name in FILTERS}
    given = {**chosen, "window": window}
    over = "day" if window in _LONG else "hour"
    cost = await visit.ask.get("cost", **given, group_by=group)
    tokens = await visit.ask.get("token-usage", **given, group_by=group)
    times = await visit.ask.get("cost", **given, group_by=over)
    timed = await visit.ask.get("token-usage", **given, group_by=over)
    latency = await visit.ask.get("latency", **given)
    names = group.split(",")
    return visit.render(
        "usage.html",
        window=window,
        windows=WINDOWS,
        group=group,
        groups=GROUPS,
        names=names,
        chosen=chosen,
        over=over,
        span=HOURS[window] * 3600,
        state=cost,
        rows=joined(cost, tokens, names),
        total=totals(joined(cost, tokens, names)),
        times=joined(times, timed, [over]),
        latency=latency,
    )


def joined(cost: Part, tokens: Part, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each group's cost with its tokens."""
    if not (cost.good and tokens.good):
        return []
    counted = {_key(row, names): row for row in tokens.value["rows"]}
    return [
        {**counted.get(_key(row, names), {"input": 0, "output": 0}), **row}
        for row in cost.value["rows"]
    ]


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Any] = {
        name: sum(row[name] for row in rows) for name in ("requests", "input", "output", "unpriced")
    }
    for name in ("cost_usd", "saved_usd"):
        sums[name] = sum((Decimal(row[name]) for row in rows), Decimal())
    return sums


def _key(row: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _one_of(given: str | None, known: Mapping[str, str], usual: str) -> str:
    return given if given is not None and given in known else usual


ROUTES = (Route("GET", "usage", usage, "Cost and tokens", tenants=True),)
