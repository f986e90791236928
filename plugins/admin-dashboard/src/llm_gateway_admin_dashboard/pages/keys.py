"""API keys: created, shown once, rotated, revoked."""

from typing import Any

import llm_gateway_api as gw

from llm_gateway_admin_dashboard.asking import Part
from llm_gateway_admin_dashboard.http import Form
from llm_gateway_admin_dashboard.routes import Route
from llm_gateway_admin_dashboard.visits import Visit, segment

PAGE = 100
ROLES = ("user", "operator", "admin")
LIMITS = {
    "requests_per_minute": "Requests a minute",
    "tokens_per_minute": "Tokens a minute",
    "max_concurrent": "Requests at once",
    "burst_size": "Burst",
}


async def keys(
    visit: Visit,
    form: Form | None = None,
    problem: Part | None = None,
    made: dict[str, Any] | None = None,
) -> gw.EndpointResponse:
    tenant = visit.query.get("tenant", "").strip()
    listed = await visit.ask.get("keys", tenant=tenant, after=visit.query.get("after"), limit=PAGE)
    rows = listed.value["keys"] if listed.good else []
    return visit.render(
        "keys.html",
        status=400 if problem is not None else 200,
        listed=listed,
        rows=rows,
        tenant=tenant,
        more=rows[-1]["id"] if len(rows) == PAGE else None,
        form=form or Form(b""),
        problem=problem or Part(),
        made=made,
        roles=ROLES,
        limits=LIMITS,
    )


async def create(visit: Visit) -> gw.EndpointResponse:
    """The answer to the form shows the key: there is no address that would show it again."""
    form = visit.form()
    try:
        document: dict[str, Any] = {"name": form.text("name"), "role": form.text("role") or "user"}
        document |= {"tenant": form.optional("tenant"), "models": form.names("models")}
        if expires := form.text("expires"):
            document["expires_at"] = f"{expires}T23:59:59Z"
        document["limits"] = read_limits(form)
    except gw.MalformedBodyError as error:
        return await keys(visit, form, Part(problem=str(error), param=error.param))
    given = {name: value for name, value in document.items() if value not in (None, {})}
    done = await visit.ask.send("POST", "keys", given)
    if not done.good:
        return await keys(visit, form, done)
    return await keys(visit, made={**done.value, "what": "created"})


async def rotate(visit: Visit) -> gw.EndpointResponse:
    form, key = visit.form(), segment(visit.request.match["id"])
    try:
        grace = form.whole("grace_seconds")
    except gw.MalformedBodyError as error:
        return await keys(visit, form, Part(problem=str(error), param=error.param))
    document = {} if grace is None else {"grace_seconds": grace}
    done = await visit.ask.send("POST", f"keys/{key}/rotate", document)
    if not done.good:
        return await keys(visit, form, done)
    return await keys(visit, made={**done.value, "what": "rotated"})


async def revoke(visit: Visit) -> gw.EndpointResponse:
    done = await visit.ask.send("POST", f"keys/{segment(visit.request.match['id'])}/revoke")
    return visit.go("keys?done=revoked") if done.good else await keys(visit, None, done)


async def key(visit: Visit) -> gw.EndpointResponse:
    found = await visit.ask.get(f"keys/{segment(visit.request.match['id'])}")
    return visit.render("key.html", 200 if found.good else 404, found=found, limits=LIMITS)


def read_limits(form: Form) -> dict[str, int]:
    """Raises `MalformedBodyError` naming the field."""
    found = {name: form.whole(name) for name in LIMITS}
    return {name: value for name, value in found.items() if value is not None}


ROUTES = (
    Route("GET", "keys", keys, "Keys", tenants=True),
    Route("GET", "keys/{id}", key, tenants=True),
    Route("POST", "keys", create),
    Route("POST", "keys/{id}/rotate", rotate),
    Route("POST", "keys/{id}/revoke", revoke),
)
