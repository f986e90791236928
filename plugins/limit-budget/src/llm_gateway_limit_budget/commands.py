"""``llm-gateway budgets``: ask a gateway's admin routes."""

from urllib.parse import quote

import rich_click as click

CONTEXT = {"help_option_names": ["-h", "--help"]}
_COLUMNS = ("id", "level", "owner", "model", "period", "amount_usd", "spent_usd", "held_usd")


@click.group(context_settings=CONTEXT)
def budgets() -> None:
    """What tenants and keys may spend, and have spent."""


@budgets.command("list")
@click.option("-t", "--tenant", help="Only budgets of this tenant.")
@click.option("--key", help="Only budgets of the key with this id.")
@click.pass_context
def list_budgets(ctx: click.Context, /, tenant: str | None, key: str | None) -> None:
    """List budgets with what is spent of them, in USD, in their present period."""
    level = "tenant" if tenant else "key" if key else None
    query = {"level": level, "owner": tenant or key}
    found = ctx.obj.ask("GET", "/admin/v1/budgets", query=query)["budgets"]
    _show(ctx, found, found)


@budgets.command("set")
@click.argument("amount_usd")
@click.option("-t", "--tenant", help="The tenant it is for.")
@click.option("--key", help="The id of the key it is for.")
@click.option(
    "--period",
    type=click.Choice(["day", "week", "month", "total"]),
    default="month",
    show_default=True,
)
@click.option("--zone", default="UTC", show_default=True, help="The time zone of its periods.")
@click.option("--soft", help="USD from which on people are told.")
@click.option("-m", "--model", help="Only requests for this model count.")
@click.pass_context
def set_budget(
    ctx: click.Context,
    /,
    amount_usd: str,
    tenant: str | None,
    key: str | None,
    period: str,
    zone: str,
    soft: str | None,
    model: str | None,
) -> None:
    """Set the budget of a tenant or key, in place of the one it has for that period and model."""
    if (tenant is None) == (key is None):
        raise click.UsageError("Give either --tenant or --key.")
    body = {
        "level": "tenant" if tenant else "key",
        "owner": tenant or key,
        "amount_usd": amount_usd,
        "period": period,
        "zone": zone,
        "soft_usd": soft,
        "model": model,
    }
    made = ctx.obj.ask("PUT", "/admin/v1/budgets", body=body)
    _show(ctx, [made], made)


@budgets.command("delete")
@click.argument("budget_id")
@click.pass_context
def delete_budget(ctx: click.Context, /, budget_id: str) -> None:
    """Delete a budget: its owner may spend without it."""
    path = f"/admin/v1/budgets/{quote(budget_id, safe='')}"
    found = ctx.obj.ask("DELETE", path)
    ctx.obj.show(("id", "deleted"), [[found["id"], "yes"]], found)


def _show(ctx: click.Context, found: list[dict[str, object]], document: object) -> None:
    rows = [["-" if (v := each[name]) is None else str(v) for name in _COLUMNS] for each in found]
    ctx.obj.show(_COLUMNS, rows, document)
