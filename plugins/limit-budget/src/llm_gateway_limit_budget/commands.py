"""``llm-gateway budgets`` and ``llm-gateway quotas``: ask a gateway's admin routes."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import rich_click as click

F = TypeVar("F", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"]}
_OF = ("id", "level", "owner", "model", "period")
_BUDGET = (*_OF, "amount_usd", "spent_usd", "held_usd")
_QUOTA = (*_OF, "unit", "amount", "used", "held")


def _owner(command: F) -> F:
    command = click.option("--key", help="The id of the key it is for.")(command)
    return click.option("-t", "--tenant", help="The tenant it is for.")(command)


def _period(command: F) -> F:
    options = [
        click.option(
            "--period",
            type=click.Choice(["day", "week", "month", "total"]),
            default="month",
            show_default=True,
        ),
        click.option("--zone", default="UTC", show_default=True, help="Its periods' time zone."),
        click.option("-m", "--model", help="Only requests for this model count."),
    ]
    for option in options:
        command = option(command)
    return command


@click.group(context_settings=CONTEXT)
def budgets() -> None:
    """What tenants and keys may spend, and have spent."""


@budgets.command("list")
@_owner
@click.pass_context
def list_budgets(ctx: click.Context, /, tenant: str | None, key: str | None) -> None:
    """List budgets with what is spent of them, in USD, in their present period."""
    _list(ctx, "budgets", _BUDGET, tenant, key)


@budgets.command("set")
@click.argument("amount_usd")
@_owner
@_period
@click.option("--soft", help="USD from which on people are told.")
@click.pass_context
def set_budget(
    ctx: click.Context,
    /,
    amount_usd: str,
    tenant: str | None,
    key: str | None,
    soft: str | None,
    **options: str | None,
) -> None:
    """Set the budget of a tenant or key, in place of the one it has for that period and model."""
    amounts = {"amount_usd": amount_usd, "soft_usd": soft}
    _set(ctx, "budgets", _BUDGET, {**_of(tenant, key), **options, **amounts})


@budgets.command("delete")
@click.argument("budget_id")
@click.pass_context
def delete_budget(ctx: click.Context, /, budget_id: str) -> None:
    """Delete a budget: its owner may spend without it."""
    _delete(ctx, "budgets", budget_id)


@click.group(context_settings=CONTEXT)
def quotas() -> None:
    """How many tokens or requests tenants and keys may use, and have used."""


@quotas.command("list")
@_owner
@click.pass_context
def list_quotas(ctx: click.Context, /, tenant: str | None, key: str | None) -> None:
    """List quotas with what is used of them in their present period."""
    _list(ctx, "quotas", _QUOTA, tenant, key)


@quotas.command("set")
@click.argument("amount", type=click.IntRange(min=0))
@click.option(
    "--unit", type=click.Choice(["tokens", "requests"]), default="tokens", show_default=True
)
@_owner
@_period
@click.option("--soft", type=click.IntRange(min=0), help="From how many on people are told.")
@click.pass_context
def set_quota(
    ctx: click.Context, /, tenant: str | None, key: str | None, **options: object
) -> None:
    """Set the quota of a tenant or key, in place of the one it has for that unit, period and
    model."""
    _set(ctx, "quotas", _QUOTA, {**_of(tenant, key), **options})


@quotas.command("delete")
@click.argument("quota_id")
@click.pass_context
def delete_quota(ctx: click.Context, /, quota_id: str) -> None:
    """Delete a quota: its owner may go on without it."""
    _delete(ctx, "quotas", quota_id)


def _of(tenant: str | None, key: str | None) -> dict[str, str]:
    if (tenant is None) == (key is None):
        raise click.UsageError("Give either --tenant or --key.")
    return {"level": "key", "owner": key} if key else {"level": "tenant", "owner": str(tenant)}


def _list(
    ctx: click.Context, kind: str, columns: Sequence[str], tenant: str | None, key: str | None
) -> None:
    level = "tenant" if tenant else "key" if key else None
    query = {"level": level, "owner": tenant or key}
    found = ctx.obj.ask("GET", f"/admin/v1/{kind}", query=query)[kind]
    _show(ctx, columns, found, found)


def _set(ctx: click.Context, kind: str, columns: Sequence[str], body: dict[str, Any]) -> None:
    made = ctx.obj.ask("PUT", f"/admin/v1/{kind}", body=body)
    _show(ctx, columns, [made], made)


def _delete(ctx: click.Context, kind: str, name: str) -> None:
    found = ctx.obj.ask("DELETE", f"/admin/v1/{kind}/{quote(name, safe='')}")
    ctx.obj.show(("id", "deleted"), [[found["id"], "yes"]], found)


def _show(
    ctx: click.Context,
    columns: Sequence[str],
    found: Sequence[dict[str, object]],
    document: object,
) -> None:
    rows = [["-" if (v := each[name]) is None else str(v) for name in columns] for each in found]
    ctx.obj.show(columns, rows, document)
