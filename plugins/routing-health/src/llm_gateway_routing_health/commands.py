"""``llm-gateway backend-health``: asks a gateway where its deployments stand.

``ctx.obj`` comes from ``llm-gateway``: `ask`, `show` and `json`. The exit code is 1 where a
deployment is unhealthy or suspended.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import rich_click as click

NOW = ("provider", "model", "state", "share", "region", "since", "latency_ms", "last_failure")
PAST = ("at", "provider", "model", "state", "latency_ms", "detail")
COLOURS = {
    "ok": "green",
    "unhealthy": "red",
    "suspended": "red",
    "degraded": "yellow",
    "recovering": "yellow",
}
ILL = ("unhealthy", "suspended")
Rows = Sequence[Mapping[str, Any]]


@click.command("backend-health", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-p", "--provider", help="Only this provider.")
@click.option("--unhealthy-only", is_flag=True, help="Only what is not well.")
@click.option("--history", is_flag=True, help="How it changed, newest first.")
@click.option("-w", "--watch", is_flag=True, help="Ask again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.pass_context
def backend_health(
    ctx: click.Context,
    /,
    provider: str | None,
    unhealthy_only: bool,
    history: bool,
    watch: bool,
    interval: float,
) -> None:
    """Where each deployment stands; the exit code is 1 where one is left out."""
    query = {
        "provider": provider,
        "unhealthy_only": "true" if unhealthy_only else "",
        "history": "true" if history else "",
    }
    head = PAST if history else NOW

    def ask() -> Rows:
        rows: Rows = ctx.obj.ask("GET", "/admin/v1/backend-health", query=query)["rows"]
        return rows

    if watch:
        _watch(ask, head, interval, as_json=ctx.obj.json)
        return
    rows = ask()
    if rows or ctx.obj.json:
        ctx.obj.show(head, [cells(head, row) for row in rows], rows)
    else:
        click.echo("Nothing to show.")
    if not history and any(row["state"] in ILL for row in rows):
        ctx.exit(1)


def _watch(ask: Any, head: Sequence[str], interval: float, *, as_json: bool) -> None:
    """A table that is drawn anew; for a program, one line of JSON for each look."""
    try:
        if as_json:
            while True:
                click.echo(json.dumps(ask()))
                time.sleep(interval)
        from rich.live import Live

        with Live(table(head, ask()), auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(table(head, ask()), refresh=True)
    except KeyboardInterrupt:
        return


def table(head: Sequence[str], rows: Rows) -> Any:
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=f"{datetime.now(UTC):%H:%M:%S} UTC", title_justify="left")
    for name in head:
        drawn.add_column(name)
    for row in rows:
        style = COLOURS.get(str(row["state"]), "")
        drawn.add_row(*(Text(cell, style) for cell in cells(head, row)))
    return drawn


def cells(head: Sequence[str], row: Mapping[str, Any]) -> list[str]:
    return [_cell(name, row.get(name)) for name in head]


def _cell(name: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if name == "at":
        return f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    if name == "since":
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"
    if name == "share":
        return f"{value:.0%}"
    return f"{value:.0f}" if name == "latency_ms" else str(value)
