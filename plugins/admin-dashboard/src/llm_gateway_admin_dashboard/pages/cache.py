"""What caches hold, and emptying them."""

import llm_gateway_api as gw

from llm_gateway_admin_dashboard.asking import Part
from llm_gateway_admin_dashboard.http import Form
from llm_gateway_admin_dashboard.routes import Route
from llm_gateway_admin_dashboard.visits import Visit

SHOWN = 20


async def cache(
    visit: Visit, form: Form | None = None, problem: Part | None = None
) -> gw.EndpointResponse:
    stats = await visit.ask.get("cache/stats")
    entries = await visit.ask.get("cache/entries", limit=SHOWN)
    config = await visit.ask.get("cache/config") if visit.tenant is None else None
    return visit.render(
        "cache.html",
        status=400 if problem is not None else 200,
        stats=stats,
        entries=entries,
        config=config,
        removed=visit.query.get("removed", ""),
        form=form or Form(b""),
        problem=problem or Part(),
    )


async def clear(visit: Visit) -> gw.EndpointResponse:
    form = visit.form()
    query = {name: form.text(name) for name in ("model", "older_than") if form.text(name)}
    done = await visit.ask.send("DELETE", "cache/entries", query=query)
    if not done.good:
        return await cache(visit, form, done)
    return visit.go(f"cache?removed={done.value['removed']}")


ROUTES = (
    Route("GET", "cache", cache, "Cache", tenants=True),
    Route("POST", "cache", clear),
)
