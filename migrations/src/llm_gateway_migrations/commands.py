"""``llm-gateway migrate``: works on the configured database, without a running gateway.

``ctx.obj`` comes from ``llm-gateway``: `json`, and `installation(path)` with the store.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click
from llm_gateway_api import ConfigurationError, GatewayError

from llm_gateway_migrations.files import collect
from llm_gateway_migrations.runner import Runner, Status

CONTEXT = {"help_option_names": ["-h", "--help"]}
DIALECTS = ("postgresql", "sqlite")
EMPTY = "-- migrate:up\n\n-- migrate:down\n"
config = click.option("-c", "--config", "path", metavar="FILE", help="The configuration file.")


@click.group(context_settings=CONTEXT)
def migrate() -> None:
    """Bring the database's tables up to date, or back."""


@migrate.command(context_settings=CONTEXT)
@config
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.pass_context
def run(ctx: click.Context, path: str | None, dry_run: bool) -> None:
    """Print the plan, then apply what is pending."""

    async def work(runner: Runner) -> list[Status]:
        plan = [each for each in await runner.status() if each.state == "pending"]
        if not ctx.obj.json:
            _print(plan, "The plan:", "Nothing is pending.")
        return plan if dry_run else await runner.run()

    done = _with_runner(ctx, path, work)
    if ctx.obj.json:
        _print_json(done)
    elif done and not dry_run:
        click.echo(f"Applied {len(done)}.")


@migrate.command(context_settings=CONTEXT)
@config
@click.option(
    "--steps", type=click.IntRange(min=1), default=1, show_default=True, help="How many to revert."
)
@click.pass_context
def revert(ctx: click.Context, path: str | None, steps: int) -> None:
    """Run the down parts of the last migrations applied."""
    done = _with_runner(ctx, path, lambda runner: runner.revert(steps))
    if ctx.obj.json:
        _print_json(done)
    else:
        _print(done, "Reverted:", "Nothing is applied.")


@migrate.command(context_settings=CONTEXT)
@config
@click.pass_context
def status(ctx: click.Context, path: str | None) -> None:
    """Every migration and whether it is applied. The exit code is 1 if one has changed."""
    found = _with_runner(ctx, path, lambda runner: runner.status())
    if ctx.obj.json:
        _print_json(found)
    else:
        _print(found, "", "There are no migrations.")
    if any(each.state == "changed" for each in found):
        ctx.exit(1)


@migrate.command(context_settings=CONTEXT)
@click.argument("name")
@click.option(
    "-d",
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("migrations"),
    show_default=True,
    help="Where the folders of the databases are.",
)
@click.pass_context
def create(ctx: click.Context, name: str, directory: Path) -> None:
    """Write an empty migration called NAME for each database."""
    if re.fullmatch(r"[a-z0-9_]+", name) is None:
        raise click.BadParameter("use small letters, digits and underscores", param_hint="NAME")
    version = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    written = []
    for dialect in DIALECTS:
        file = directory / dialect / f"{version}_{name}.sql"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as opened:
                opened.write(EMPTY)
        except OSError as error:
            raise click.ClickException(f"{file}: {error.strerror}") from error
        written.append(str(file))
    click.echo(json.dumps(written) if ctx.obj.json else "\n".join(written))


def _with_runner(
    ctx: click.Context, path: str | None, work: Callable[[Runner], Awaitable[list[Status]]]
) -> list[Status]:
    installation = ctx.obj.installation(path)
    store = installation.store
    if store is None:
        raise click.ClickException("No store is installed: pip install llm-gateway-store-sqlite.")

    async def all_of_it() -> list[Status]:
        async with store.open():
            return await work(Runner(store, collect(installation.migrations, store.dialect)))

    try:
        return asyncio.run(all_of_it())
    except (GatewayError, ConfigurationError) as error:
        cause = f" ({error.__cause__})" if str(error.__cause__ or "") else ""
        raise click.ClickException(f"{error}{cause}") from error


def _print(rows: list[Status], head: str, nothing: str) -> None:
    if not rows:
        click.echo(nothing)
        return
    if head:
        click.echo(head)
    for each in rows:
        when = ""
        if each.applied_at is not None:
            when = datetime.fromtimestamp(each.applied_at / 1000, UTC).strftime(
                "%Y-%m-%d %H:%M:%SZ"
            )
        line = f"{each.state:8}  {each.version}  {each.name:28}  {each.series:12}  {when}"
        click.echo(line.rstrip())


def _print_json(rows: list[Status]) -> None:
    plain: list[dict[str, Any]] = [
        {name: getattr(each, name) for name in Status.__slots__} for each in rows
    ]
    click.echo(json.dumps(plain, indent=2))
