"""``llm-gateway cost``, ``token-usage`` and ``latency``: ask a gateway's ledger.

``ctx.obj`` comes from ``llm-gateway``: `ask`, `show` and `json`. The exit code is 1 where
there is nothing in the window.
"""

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import rich_click as click

F = TypeVar("F", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"]}
_QUICK = ("p50_ms", "p95_ms")


def _filters(window: str, *, tenant: bool) -> Callable[[F], F]:
    def add(command: F) -> F:
        options = [
            click.option("-p", "--provider", help="Only this provider."),
            click.option("-m", "--model", help="Only this model."),
            click.option(
                "-w",
                "--window",
                default=window,
                show_default=True,
                help="How far to look back: 90s, 15m, 1h, 7d, 2w.",
            ),
        ]
        if tenant:
            options.append(click.option("-t", "--tenant", help="Only this tenant."))
        for option in options:
            command = option(command)
        return command

    return add


_group_by = click.option(
    "-g", "--group-by", help="provider, model, tenant, key, hour, day; several with commas."
)
_csv = click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")


@click.command(context_settings=CONTEXT)
@_filters("24h", tenant=True)
@_group_by
@click.option("--breakdown", is_flag=True, help="The tokens of each kind as well.")
@_csv
@click.pass_context
def cost(ctx: click.Context, /, as_csv: bool, **query: Any) -> None:
    """What requests cost, in USD. Answers whose price is unknown are counted, not guessed."""
    query["breakdown"] = "true" if query["breakdown"] else ""
    _report(ctx, "cost", query, as_csv)


@click.command("token-usage", context_settings=CONTEXT)
@_filters("24h", tenant=True)
@_group_by
@click.option("--detailed", is_flag=True, help="Each kind of token.")
@_csv
@click.pass_context
def token_usage(ctx: click.Context, /, as_csv: bool, **query: Any) -> None:
    """Tokens used, by provider and model unless grouped otherwise."""
    query["detailed"] = "true" if query["detailed"] else ""
    _report(ctx, "token-usage", query, as_csv)


@click.command(context_settings=CONTEXT)
@_filters("1h", tenant=False)
@click.option("--percentiles", is_flag=True, help="All percentiles, first content too.")
@click.pass_context
def latency(ctx: click.Context, /, percentiles: bool, **query: Any) -> None:
    """How long answers took, in milliseconds, by provider and model."""
    keep = None if percentiles else ("provider", "model", "requests", "mean_ms", *_QUICK)
    _report(ctx, "latency", query, False, keep)


def _report(
    ctx: click.Context,
    name: str,
    query: Mapping[str, object],
    as_csv: bool,
    keep: Sequence[str] | None = None,
) -> None:
    rows: list[dict[str, object]] = ctx.obj.ask("GET", f"/admin/v1/{name}", query=query)["rows"]
    if keep is not None:
        rows = [{key: row[key] for key in keep if key in row} for row in rows]
    head = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[str(row.get(key, "-")) for key in head] for row in rows]
    if as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([head, *cells])
    elif rows or ctx.obj.json:
        ctx.obj.show(head, cells, rows)
    else:
        click.echo(f"Nothing in the last {query['window']}.")
    if not rows:
        ctx.exit(1)
