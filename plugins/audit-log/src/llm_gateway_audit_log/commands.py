"""``llm-gateway audit``: asks a gateway for what is on record; needs the admin key."""

import csv
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich_click as click

CONTEXT = {"help_option_names": ["-h", "--help"]}
HEAD = ("time", "kind", "outcome", "actor", "tenant", "subject", "request_id", "peer")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
MAX_ROWS = 1000


@click.group(context_settings=CONTEXT)
def audit() -> None:
    """Read and verify what is on record."""


@audit.command(context_settings=CONTEXT)
@click.option("-n", "--lines", default=20, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what comes.")
@click.pass_context
def tail(ctx: click.Context, lines: int, follow: bool) -> None:
    """The newest records."""
    rows = _ask(ctx, {"limit": lines})
    _show(ctx, rows[::-1])
    while follow:
        time.sleep(2)
        newest = max((each["at"] for each in rows), default=0)
        new = _ask(ctx, {"since": newest + 1, "limit": MAX_ROWS})
        if new:
            _show(ctx, new[::-1])
            rows = new


@audit.command(context_settings=CONTEXT)
@click.option("--kind", help="auth.refused, or all of auth.*")
@click.option("--outcome", type=click.Choice(["ok", "refused", "failed"]))
@click.option("--actor", help="A key's id.")
@click.option("-t", "--tenant", help="Only this tenant.")
@click.option("--request-id", help="One request.")
@click.option("--peer", help="One address.")
@click.option("-w", "--window", help="How far to look back: 90s, 15m, 1h, 7d.")
@click.option("--limit", default=100, show_default=True, help="How many at most.")
@click.pass_context
def search(ctx: click.Context, /, window: str | None, **query: Any) -> None:
    """Records by kind, actor and the rest. The exit code is 1 where there are none."""
    rows = _ask(ctx, {**query, "since": _since(window)})
    _show(ctx, rows)
    if not rows:
        ctx.exit(1)


@audit.command(context_settings=CONTEXT)
@click.option("-w", "--window", help="How far to look back: 90s, 15m, 1h, 7d.")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl")
@click.pass_context
def export(ctx: click.Context, window: str | None, form: str) -> None:
    """Every record of the window, oldest first, for other programs."""
    rows = _pages(ctx, {"since": _since(window), "limit": MAX_ROWS})
    if form == "jsonl":
        for each in rows:
            click.echo(json.dumps(each, ensure_ascii=False))
        return
    first = next(rows, None)
    writer = csv.DictWriter(sys.stdout, list(first or ["at"]), lineterminator="\n")
    writer.writeheader()
    for each in itertools.chain([first] if first else [], rows):
        writer.writerow({**each, "detail": json.dumps(each["detail"])})


@audit.command(context_settings=CONTEXT)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder audit/ of a data directory, or a copy: verified here, no gateway is asked.",
)
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --folder: a file with the key that seals the chain.",
)
@click.pass_context
def verify(ctx: click.Context, /, folder: Path | None, key_file: Path | None) -> None:
    """Is the chain whole, over all files and in the store? The exit code is 1 where it is not,
    and each place is named."""
    if folder is not None:
        from llm_gateway_audit_log.verifying import shown, verified_files

        key = key_file.read_bytes().strip() if key_file is not None else b""
        broken = shown(verified_files(key, folder)[0])
    else:
        broken = ctx.obj.ask("GET", "/admin/v1/audit/verify")["broken"]
    if ctx.obj.json or broken:
        head = ("where", "chain", "seq", "reason")
        ctx.obj.show(head, [[str(each[name]) for name in head] for each in broken], broken)
    else:
        click.echo("The chain is whole.")
    if broken:
        ctx.exit(1)


def _ask(ctx: click.Context, query: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ctx.obj.ask("GET", "/admin/v1/audit", query=query)["rows"]
    return rows


def _pages(ctx: click.Context, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every record, oldest first."""
    after: str | None = ""
    while after is not None:
        # An empty value would be left out: the beginning is the year 1970.
        asked = {**query, "after": after or "0::0"}
        found = ctx.obj.ask("GET", "/admin/v1/audit", query=asked)
        yield from found["rows"]
        after = found["next"]


def _show(ctx: click.Context, rows: list[dict[str, Any]]) -> None:
    cells = []
    for each in rows:
        at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(each["at"] / 1000))
        cells.append([at, *(str(each[name] or "-") for name in HEAD[1:])])
    ctx.obj.show(HEAD, cells, rows)


def _since(window: str | None) -> int | None:
    if not window:
        return None
    if not window[:-1].isdigit() or window[-1] not in _UNITS:
        raise click.BadParameter("write 90s, 15m, 1h or 7d", param_hint="--window")
    return int((time.time() - int(window[:-1]) * _UNITS[window[-1]]) * 1000)
