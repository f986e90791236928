"""``llm-gateway routing-strategy``: asks a gateway how it routes.

``ctx.obj`` comes from ``llm-gateway``: `ask`, `show` and `json`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import rich_click as click

CONTEXT = {"help_option_names": ["-h", "--help"]}
PATH = "/admin/v1/routing"


@click.group("routing-strategy", context_settings=CONTEXT)
def routing_strategy() -> None:
    """How requests are routed, and why."""


@routing_strategy.command()
@click.pass_context
def show(ctx: click.Context) -> None:
    """The strategy, and which deployments stand behind public names."""
    document = ctx.obj.ask("GET", PATH)
    rows = [
        [key.replace("_", " "), _cell(value)] for key, value in document.items() if key != "models"
    ]
    rows += [
        [f"model {each['name']}", ", ".join(each["deployments"])] for each in document["models"]
    ]
    ctx.obj.show(["what", "value"], rows, document)


@routing_strategy.command()
@click.pass_context
def rules(ctx: click.Context) -> None:
    """The rules, in the order in which they are asked."""
    _table(ctx, "rules", ("priority", "name", "target_provider", "condition"))


@routing_strategy.command()
@click.pass_context
def weights(ctx: click.Context) -> None:
    """The weight of each deployment, and what health leaves of it."""
    _table(ctx, "weights", ("provider", "model", "region", "weight", "effective"))


@routing_strategy.command()
@click.option("-p", "--provider", help="Ask this provider alone.")
@click.pass_context
def offered(ctx: click.Context, provider: str | None) -> None:
    """The models that vendors list now, and which of them are served and have a price."""
    found = ctx.obj.ask("GET", f"{PATH}/offered", query={"provider": provider})
    head = ("provider", "model", "context_window", "served", "priced")
    ctx.obj.show(head, [[_cell(row[key]) for key in head] for row in found["rows"]], found)
    if not ctx.obj.json:
        for name, reason in found["failed"].items():
            click.echo(f"{name}: {reason}", err=True)
    if found["failed"]:
        ctx.exit(1)


@routing_strategy.command()
@click.pass_context
def stats(ctx: click.Context) -> None:
    """Attempts at each deployment since the gateway began."""
    _table(ctx, "stats", ("provider", "model", "attempts", "failed", "share", "mean_ms"))


@routing_strategy.command()
@click.option("--model", required=True, help="The model that a client would ask for.")
@click.option("--tenant", help="On whose behalf.")
@click.pass_context
def test(ctx: click.Context, model: str, tenant: str | None) -> None:
    """Which rule, candidates and scores, and who would be chosen; nobody is asked."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello."}]}
    found = ctx.obj.ask("POST", "/admin/v1/explain", body={"body": body, "tenant": tenant})
    head = ("target", "region", "weight", "preference", "score", "health", "admitted", "usd")
    rows = [
        [_cell(row[name] if name != "usd" else row["expected_cost"]["usd"]) for name in head]
        for row in found["candidates"]
    ]
    ctx.obj.show(head, rows, found)
    if not ctx.obj.json:
        _tell_caller(found)
        for each in found["removed"]:
            click.echo(f"removed: {each['target']}: {each['reason']}")
        for row in found["candidates"]:
            for name, look in row["guards"].items():
                if not look.get("admits", True):
                    click.echo(f"passed over: {row['target']}: {name}: {_said(look)}")
        rule = f", rule {found['rule']}" if found["rule"] else ""
        click.echo(f"resolved by {found['resolved_by']}{rule}")
        click.echo(f"chosen: {found['chosen'] or 'nobody'}, because {found['why']}")
    if found["chosen"] is None:
        ctx.exit(1)


def _tell_caller(found: Mapping[str, Any]) -> None:
    """What holds for the tenant that was named."""
    caller = found["caller"]
    if caller["tenant"] is None:
        return
    if not caller["kept"]:
        click.echo(f"tenant {caller['tenant']}: not in the store; rules alone may know it")
        return
    for name in ("models", "providers", "regions"):
        if caller[name] is not None:
            click.echo(f"tenant {caller['tenant']}: {name} {', '.join(caller[name]) or 'none'}")
    if found["resolved_model"] != found["model"]:
        click.echo(f"renamed: {found['model']} is {found['resolved_model']}")
    for each in found["limits"]:
        click.echo(f"limit: {each['level']}: {each['amount']} {each['meter']}")
    for each in found["budgets"]:
        click.echo(f"budget: {each['level']}: {each['amount_usd']} USD per {each['period']}")


def _said(look: Mapping[str, Any]) -> str:
    """A guard's own words, flat."""
    parts = []
    for name, value in look.items():
        if isinstance(value, dict):
            parts.append(f"{name} {value.get('used')} of {value.get('limit')}")
        elif name != "admits":
            parts.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(parts)


def _table(ctx: click.Context, name: str, head: Sequence[str]) -> None:
    rows: Sequence[Mapping[str, Any]] = ctx.obj.ask("GET", f"{PATH}/{name}")["rows"]
    if rows or ctx.obj.json:
        ctx.obj.show(head, [[_cell(row.get(key)) for key in head] for row in rows], rows)
    else:
        click.echo("Nothing to show.")


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
