"""``llm-gateway cache-status``: ask a running gateway about its caches, or empty them.

``ctx.obj`` comes from ``llm-gateway``: `ask`, `show` and `json`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import rich_click as click

CONTEXT = {"help_option_names": ["-h", "--help"]}
PATH = "/admin/v1/cache"
_FEW = ("cache", "entries", "bytes")
_tenant = click.option("-t", "--tenant", help="Only this tenant.")
_model = click.option("-m", "--model", help="Only answers for this model.")


@click.group("cache-status", context_settings=CONTEXT)
def cache_status() -> None:
    """Kept answers: how many, which, and away with them."""


@cache_status.command(context_settings=CONTEXT)
@click.option("--detailed", is_flag=True, help="Limits and evictions too.")
@_tenant
@click.pass_context
def stats(ctx: click.Context, /, detailed: bool, tenant: str | None) -> None:
    """How much each cache holds. A cache in memory is that of the worker that answers."""
    rows = ctx.obj.ask("GET", f"{PATH}/stats", query={"tenant": tenant or ""})["caches"]
    if not detailed:
        rows = [{key: row[key] for key in _FEW} for row in rows]
    _show(ctx, rows)


@cache_status.command("list", context_settings=CONTEXT)
@_model
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@_tenant
@click.pass_context
def list_(ctx: click.Context, /, limit: int, **query: str | None) -> None:
    """The newest answers, without their content. The exit code is 1 where there is none."""
    asked = {**{name: value or "" for name, value in query.items()}, "limit": str(limit)}
    rows = ctx.obj.ask("GET", f"{PATH}/entries", query=asked)["entries"]
    if not rows and not ctx.obj.json:
        click.echo("Nothing is kept.")
    else:
        _show(ctx, [_readable(row) for row in rows], rows)
    if not rows:
        ctx.exit(1)


@cache_status.command(context_settings=CONTEXT)
@click.option("--older-than", metavar="DURATION", help="Only what is older: 90s, 15m, 1h, 7d, 2w.")
@_model
@_tenant
@click.option("--force", is_flag=True, help="Do not ask.")
@click.pass_context
def clear(ctx: click.Context, /, force: bool, **query: str | None) -> None:
    """Forget kept answers, in every worker."""
    chosen = {name: value for name, value in query.items() if value}
    what = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in chosen.items())
    if not force:
        ctx.obj.confirm(f"Forget kept answers ({what or 'all'})?")
    found = ctx.obj.ask("DELETE", f"{PATH}/entries", query=chosen)
    ctx.obj.show(["removed"], [[str(found["removed"])]], found)


@cache_status.command(context_settings=CONTEXT)
@click.pass_context
def config(ctx: click.Context, /) -> None:
    """The settings of `cache` that are in force."""
    found = ctx.obj.ask("GET", f"{PATH}/config")["config"]
    ctx.obj.show(["setting", "value"], [[key, str(value)] for key, value in found.items()], found)


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    times = {name: datetime.fromtimestamp(row[name], UTC) for name in ("at", "expires")}
    return {**row, **{name: f"{value:%Y-%m-%dT%H:%M:%SZ}" for name, value in times.items()}}


def _show(
    ctx: click.Context, rows: Sequence[Mapping[str, Any]], document: object | None = None
) -> None:
    head = list(dict.fromkeys(key for row in rows for key in row))
    cells = [["-" if row.get(key) is None else str(row[key]) for key in head] for row in rows]
    ctx.obj.show(head, cells, rows if document is None else document)
