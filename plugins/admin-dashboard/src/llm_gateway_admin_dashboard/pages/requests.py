"""The last requests, and how each came to its answer. Nothing of what they say."""

from collections.abc import Iterable
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_admin_dashboard.asking import Part
from llm_gateway_admin_dashboard.live import class_of
from llm_gateway_admin_dashboard.routes import Route
from llm_gateway_admin_dashboard.visits import Visit, segment
from llm_gateway_admin_dashboard.watch import Reply

SHOWN = 50
ASKED = 400  # of each worker, so that a choice among them finds something
OUTCOMES = {
    "": "all",
    "ok": "answered",
    "bad": "not answered",
    "fallback": "answered by another deployment",
    "cache": "from a cache",
}
LACKING = "llm-gateway-state-host"


async def requests(visit: Visit) -> gw.EndpointResponse:
    query = visit.query
    outcome, model = query.get("outcome", ""), query.get("model", "").strip()
    if wanted := query.get("id", "").strip():
        return visit.go(f"requests/{segment(wanted)}")
    gather = visit.parts.gather
    replies = await gather.trails(ASKED, visit.tenant) if gather is not None else []
    tenant = visit.tenant or query.get("tenant", "").strip()
    chosen = [
        each
        for each in newest(replies)
        if _has(each, outcome)
        and model in ("", each.model)
        and tenant in ("", each.tenant or "")
        and (visit.tenant is None or each.tenant == visit.tenant)
    ]
    return visit.render(
        "requests.html",
        lacking=Part(package=LACKING) if gather is None else Part(),
        rows=[shown(visit, each) for each in chosen[:SHOWN]],
        workers=len(replies),
        outcomes=OUTCOMES,
        outcome=outcome,
        model=model,
        tenant=tenant,
    )


async def request(visit: Visit) -> gw.EndpointResponse:
    wanted = visit.request.match["id"]
    gather = visit.parts.gather
    replies = await gather.trails(1, visit.tenant, wanted) if gather is not None else []
    found = [each for each in newest(replies) if visit.tenant in (None, each.tenant)]
    if not found:
        return visit.render("request.html", 404, wanted=wanted, trail=None)
    return visit.render("request.html", wanted=wanted, trail=shown(visit, found[0]))


def newest(replies: Iterable[Reply]) -> list[gw.Trail]:
    return sorted((t for each in replies for t in each.trails), key=lambda t: -t.at)


def shown(visit: Visit, trail: gw.Trail) -> dict[str, Any]:
    """A trail for its template; the model is the caller's own text, so it is hidden as in logs."""
    hide = visit.parts.redact
    return {
        **{name: getattr(trail, name) for name in trail.__struct_fields__},
        "at": trail.at / 1000,
        "model": hide(trail.model),
        "target": None if trail.target is None else hide(trail.target),
        "removed": [(hide(name), why) for name, why in trail.removed],
        "candidates": [msgspec.structs.replace(c, target=hide(c.target)) for c in trail.candidates],
        "failed": [(hide(each.target.name), each) for each in trail.failed],
        "outcome": class_of(str(trail.status)),
        "ms": trail.duration * 1000,
        "ttft": None if trail.first_content is None else trail.first_content * 1000,
        "tokens": None
        if trail.usage is None
        else (trail.usage.input_total, trail.usage.output_total),
        "meters": _meters(trail),
    }


def _meters(trail: gw.Trail) -> list[tuple[str, int]]:
    if trail.usage is None:
        return []
    found = msgspec.to_builtins(trail.usage)
    return [(name, found[name]) for name in gw.METERS if found.get(name)]


def _has(trail: gw.Trail, outcome: str) -> bool:
    if outcome == "ok":
        return trail.status < 400
    if outcome == "bad":
        return trail.status >= 400
    if outcome == "fallback":
        return trail.fallback is not None
    return outcome != "cache" or trail.cache == "hit"


ROUTES = (
    Route("GET", "requests", requests, "Requests", tenants=True),
    Route("GET", "requests/{id}", request, tenants=True),
)
