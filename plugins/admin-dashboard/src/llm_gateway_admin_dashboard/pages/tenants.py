"""Tenants: created, changed, deleted."""

import llm_gateway_api as gw

from llm_gateway_admin_dashboard.asking import Part
from llm_gateway_admin_dashboard.http import Form
from llm_gateway_admin_dashboard.pages.keys import LIMITS
from llm_gateway_admin_dashboard.routes import Route
from llm_gateway_admin_dashboard.visits import Visit, segment

PAGE = 100
LISTS = {
    "models": "Models it may use",
    "providers": "Providers it may use",
    "regions": "Regions its traffic may go to",
}


async def tenants(
    visit: Visit, form: Form | None = None, problem: Part | None = None
) -> gw.EndpointResponse:
    listed = await visit.ask.get("tenants", after=visit.query.get("after"), limit=PAGE)
    rows = listed.value["tenants"] if listed.good else []
    return visit.render(
        "tenants.html",
        status=400 if problem is not None else 200,
        listed=listed,
        rows=rows,
        more=rows[-1]["id"] if len(rows) == PAGE else None,
        form=form or Form(b""),
        problem=problem or Part(),
    )


async def create(visit: Visit) -> gw.EndpointResponse:
    form = visit.form()
    document = {"id": form.text("id"), "name": form.text("name")}
    done = await visit.ask.send("POST", "tenants", document)
    if not done.good:
        return await tenants(visit, form, done)
    return visit.go(f"tenants/{segment(document['id'])}?done=created")


async def tenant(
    visit: Visit, form: Form | None = None, problem: Part | None = None
) -> gw.EndpointResponse:
    found = await visit.ask.get(f"tenants/{segment(visit.request.match['id'])}")
    status = 400 if problem is not None else 200 if found.good else 404
    return visit.render(
        "tenant.html",
        status,
        found=found,
        form=form,
        problem=problem or Part(),
        lists=LISTS,
        limits=LIMITS,
    )


async def change(visit: Visit) -> gw.EndpointResponse:
    """An empty field takes the restriction away, as null does in the API."""
    form, name = visit.form(), visit.request.match["id"]
    try:
        document: dict[str, object] = {
            "name": form.text("name"),
            "disabled": form.text("disabled") == "on",
            "limits": {each: form.whole(each) for each in LIMITS},
        }
    except gw.MalformedBodyError as error:
        return await tenant(visit, form, Part(problem=str(error), param=error.param))
    document |= {each: form.names(each) for each in LISTS}
    done = await visit.ask.send("PATCH", f"tenants/{segment(name)}", document)
    if not done.good:
        return await tenant(visit, form, done)
    return visit.go(f"tenants/{segment(name)}?done=changed")


async def delete(visit: Visit) -> gw.EndpointResponse:
    name = visit.request.match["id"]
    if visit.form().text("confirm") != name:
        wrong = Part(problem="Type the tenant's id to confirm.", param="confirm")
        return await tenant(visit, None, wrong)
    done = await visit.ask.send("DELETE", f"tenants/{segment(name)}")
    return visit.go("tenants?done=deleted") if done.good else await tenant(visit, None, done)


ROUTES = (
    Route("GET", "tenants", tenants, "Tenants"),
    Route("GET", "tenants/{id}", tenant),
    Route("POST", "tenants", create),
    Route("POST", "tenants/{id}", change),
    Route("POST", "tenants/{id}/delete", delete),
)
