"""``llm-gateway reconcile``: what a vendor says was used, beside what the ledger says.

``ctx.obj`` comes from ``llm-gateway``. The exit code is 1 where the two differ.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import rich_click as click

from llm_gateway_ledger_store.usagefile import (
    COLUMNS,
    SUMS,
    Usage,
    UsageFileError,
    differences,
    model_of,
    read,
)


def columns(ctx: click.Context, parameter: click.Parameter, value: Sequence[str]) -> dict[str, str]:
    named = dict(each.split("=", 1) for each in value if "=" in each)
    if len(named) != len(value) or set(named) - set(COLUMNS):
        raise click.BadParameter(f"write NAME=COLUMN, with a NAME of {', '.join(COLUMNS)}")
    return named


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-p", "--provider", required=True, help="The provider that the file is of.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 100),
    default=0.0,
    show_default=True,
    help="Per cent by which sums may differ.",
)
@click.option(
    "--column",
    "named",
    multiple=True,
    callback=columns,
    help="NAME=COLUMN of the file; repeatable.",
)
@click.pass_context
def reconcile(
    ctx: click.Context, /, file: Path, provider: str, tolerance: float, named: dict[str, str]
) -> None:
    """Compare a vendor's usage FILE (CSV or JSON) with the ledger, by UTC day and model."""
    try:
        vendor = read(file.read_text(encoding="utf-8-sig"), named)
    except (UsageFileError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file}: {error}") from error
    ours = _ledger(ctx, provider, min(day for day, _ in vendor.sums))
    rows, good = differences(vendor, ours, Decimal(str(tolerance)) / 100)
    head = list(rows[0])
    ctx.obj.show(head, [[str(row[name]) for name in head] for row in rows], rows)
    if not good:
        ctx.exit(1)


def _ledger(ctx: click.Context, provider: str, day: str) -> Usage:
    """What the ledger has of `provider` since the beginning of `day`."""
    since = datetime.fromisoformat(day).replace(tzinfo=UTC)
    hours = max(1, int((datetime.now(UTC) - since).total_seconds() // 3600) + 1)
    query = {"provider": provider, "window": f"{hours}h", "group_by": "day,model"}
    found = Usage()
    for report in ("token-usage", "cost"):
        for row in ctx.obj.ask("GET", f"/admin/v1/{report}", query=query)["rows"]:
            kept = {
                name: Decimal(str(row[name]))
                for name in SUMS
                if name in row and not (report == "cost" and name == "requests")
            }
            found.add((row["day"][:10], model_of(row["model"])), kept)
    return found
