"""``llm-gateway tenants export`` and ``erase``; ``ctx.obj`` comes from ``llm-gateway``."""

import hashlib
import json
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import rich_click as click

CONTEXT = {"help_option_names": ["-h", "--help"]}
PAGE = 1000
POLL_SECONDS = 2.0


@click.command("export", context_settings=CONTEXT)
@click.argument("tenant_id")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; TENANT_ID.zip if absent. One that exists is not overwritten.",
)
@click.pass_context
def export(ctx: click.Context, /, tenant_id: str, output: Path | None) -> None:
    """Write all that is kept about a tenant into one ZIP file: JSON Lines for each kind of
    data, and a manifest with numbers and checksums."""
    path = output or Path(f"{tenant_id}.zip")
    if path.exists():
        raise click.ClickException(f"{path} exists; name another file with --output.")
    manifest = ctx.obj.ask("GET", f"{_at(tenant_id)}/export")
    partial = path.with_name(f"{path.name}.partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for kind in manifest["kinds"]:
            name = f"{kind['kind']}.jsonl"
            rows = _rows(ctx, tenant_id, kind["kind"])
            kind |= {"file": name, **_written(archive, name, rows)}
        archive.writestr("manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False))
    partial.chmod(0o600)
    partial.replace(path)
    cells = [[kind["kind"], str(kind["records"]), kind["file"]] for kind in manifest["kinds"]]
    ctx.obj.show(("kind", "records", "file"), cells, {**manifest, "output": str(path)})


@click.command("erase", context_settings=CONTEXT)
@click.argument("tenant_id")
@click.option("--dry-run", is_flag=True, help="Only say how much there is.")
@click.option("--force", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for the end; the gateway goes on after them.",
)
@click.pass_context
def erase(
    ctx: click.Context, /, tenant_id: str, dry_run: bool, force: bool, seconds: float
) -> None:
    """Erase a tenant everywhere, for good: its keys, its budgets, its content; what it cost
    stays as anonymous numbers. Its id is not given again. The exit code is 1 where something
    is left; the gateway tries that again by itself."""
    if dry_run or not force:
        found = ctx.obj.ask("GET", f"{_at(tenant_id)}/export")["kinds"]
        counts = {kind["kind"]: kind["records"] for kind in found}
        if dry_run:
            ctx.obj.show(("kind", "records"), _cells(counts), counts)
            return
        records = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        ctx.obj.confirm(f"Erase {tenant_id} for good ({records})?")
    done = ctx.obj.ask("POST", f"{_at(tenant_id)}/erase", body={})
    until = time.monotonic() + seconds
    while done["finished_at"] is None and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
        done = {**done, **ctx.obj.ask("GET", f"{_at(tenant_id)}/erasure")}
    ctx.obj.show(("kind", "erased"), _cells(done["erased"]), done)
    if done["finished_at"] is None:
        click.echo(f"Not finished: {done.get('failed') or 'under way'}.", err=True)
        ctx.exit(1)


def _at(tenant_id: str) -> str:
    return f"/admin/v1/tenants/{quote(tenant_id, safe='')}"


def _cells(counts: Mapping[str, int]) -> list[list[str]]:
    return [[kind, str(count)] for kind, count in counts.items()]


def _rows(ctx: click.Context, tenant_id: str, kind: str) -> Iterator[dict[str, Any]]:
    """Every record, page by page."""
    after: str | None = ""
    while after is not None:
        query = {"after": after, "limit": PAGE}
        found = ctx.obj.ask("GET", f"{_at(tenant_id)}/export/{kind}", query=query)
        yield from found["rows"]
        after = found["next"]


def _written(
    archive: zipfile.ZipFile, name: str, rows: Iterator[dict[str, Any]]
) -> dict[str, int | str]:
    """`rows` as a member of `archive`: how many they were, and the checksum of the member."""
    records, checksum = 0, hashlib.sha256()
    with archive.open(name, "w", force_zip64=True) as file:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            file.write(line)
            checksum.update(line)
            records += 1
    return {"records": records, "sha256": checksum.hexdigest()}
