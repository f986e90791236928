"""What is left of limits, budgets and quotas, by tenant and key; setting budgets and quotas."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import llm_gateway_api as gw

from llm_gateway_admin_dashboard.asking import Part
from llm_gateway_admin_dashboard.http import Form
from llm_gateway_admin_dashboard.routes import Route
from llm_gateway_admin_dashboard.views import count, usd
from llm_gateway_admin_dashboard.visits import Visit, segment

PAGE = 50
FIELDS = ("owner", "amount", "soft", "model", "zone")
N = TypeVar("N", int, Decimal)


async def limits(
    visit: Visit, form: Form | None = None, problem: Part | None = None
) -> gw.EndpointResponse:
    budgets, quotas = await visit.ask.get("budgets"), await visit.ask.get("quotas")
    tenants = await visit.ask.get("tenants", limit=PAGE)
    keys = await visit.ask.get("keys", limit=PAGE, after=visit.query.get("after"))
    listed = keys.value["keys"] if keys.good else []
    owners = [("tenant", each) for each in (tenants.value["tenants"] if tenants.good else [])]
    owners += [("key", each) for each in listed if each["state"] == "active"]
    lefts = await asyncio.gather(*(_left(visit, level, each) for level, each in owners))
    return visit.render(
        "limits.html",
        status=400 if problem is not None else 200,
        budgets=budgets,
        bars=[
            *(_spent(each) for each in (budgets.value["budgets"] if budgets.good else [])),
            *(_used(each) for each in (quotas.value["quotas"] if quotas.good else [])),
        ],
        keys=keys,
        lefts=next((left for left in lefts if not left.good), Part()),
        rows=[
            {"level": level, "owner": owner["id"], "name": owner.get("name", ""), **bar}
            for (level, owner), left in zip(owners, lefts, strict=True)
            for bar in (left.value["rows"] if left.good else ())
        ],
        more=listed[-1]["id"] if len(listed) == PAGE else None,
        fields=FIELDS,
        form=form or Form(b""),
        problem=problem or Part(),
    )


async def _left(visit: Visit, level: str, owner: Mapping[str, Any]) -> Part:
    return await visit.ask.get("limits", level=level, owner=owner["id"], **owner.get("limits", {}))


def _spent(budget: Mapping[str, Any]) -> dict[str, Any]:
    """A budget in the words of the table."""
    amount, soft = Decimal(budget["amount_usd"]), budget["soft_usd"]
    used, held = Decimal(budget["spent_usd"]), Decimal(budget["held_usd"])
    return {
        **budget,
        **_standing(amount, used + held, None if soft is None else Decimal(soft)),
        "what": "budget",
        "amount": usd(amount),
        "used": usd(used),
        "held": usd(held) if held else None,
        "soft": None if soft is None else usd(soft),
    }


def _used(quota: Mapping[str, Any]) -> dict[str, Any]:
    """A quota of tokens or requests, likewise."""
    amount, soft, held = quota["amount"], quota["soft"], quota["held"]
    return {
        **quota,
        **_standing(amount, quota["used"] + held, soft),
        "what": "quota",
        "amount": f"{count(amount)} {quota['unit']}",
        "used": count(quota["used"]),
        "held": count(held) if held else None,
        "soft": None if soft is None else count(soft),
    }


def _standing(amount: N, used: N, soft: N | None) -> dict[str, Any]:
    share = float(used / amount) if amount else 1.0
    warned = soft is not None and used >= soft
    return {"share": share, "state": "over" if share >= 1 else "warn" if warned else "ok"}


async def put(visit: Visit) -> gw.EndpointResponse:
    """A budget where the unit is dollars, else a quota."""
    form = visit.form()
    document: dict[str, object] = {name: form.text(name) for name in ("level", "owner", "period")}
    document |= {"model": form.optional("model"), "zone": form.text("zone") or "UTC"}
    unit = form.text("unit")
    try:
        if unit in ("tokens", "requests"):
            path = "quotas"
            document |= {"unit": unit, "amount": form.whole("amount"), "soft": form.whole("soft")}
        else:
            path = "budgets"
            document |= {"amount_usd": _dollars(form), "soft_usd": form.optional("soft")}
    except gw.MalformedBodyError as error:
        return await limits(visit, form, Part(problem=str(error), param=error.param))
    done = await visit.ask.send("PUT", path, document)
    if done.good:
        return visit.go("limits?done=set")
    named = (done.param or "").removesuffix("_usd") or None
    return await limits(visit, form, replace(done, param=named))


def _dollars(form: Form) -> str:
    """Raises `MalformedBodyError` naming the field."""
    text = form.text("amount")
    try:
        if Decimal(text).is_finite():
            return text
    except InvalidOperation:
        pass
    raise gw.MalformedBodyError("Write dollars, such as 25 or 0.50.", param="amount")


async def delete_budget(visit: Visit) -> gw.EndpointResponse:
    path = f"budgets/{segment(visit.request.match['id'])}"
    done = await visit.ask.send("DELETE", path)
    return visit.go("limits?done=gone") if done.good else await limits(visit, None, done)


ROUTES = (
    Route("GET", "limits", limits, "Limits and budgets", tenants=True),
    Route("POST", "limits", put),
    Route("POST", "limits/{id}/delete", delete_budget),
)
