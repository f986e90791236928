"""``llm-gateway secrets``: asks a gateway to keep secrets; needs the admin key.

A value is typed without being shown, or read from a file or standard input: never an
argument, which other users of the machine and the shell's history would see.
"""

import sys
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import quote

import rich_click as click

CONTEXT = {"help_option_names": ["-h", "--help"]}
PATH = "/admin/v1/secrets"
HEAD = ("name", "version", "previous", "key", "set", "encrypted", "rotates")


@click.group(context_settings=CONTEXT)
def secrets() -> None:
    """Keep secrets, encrypted; none is ever shown."""


@secrets.command("set", context_settings=CONTEXT)
@click.argument("name")
@click.option(
    "--from-file", type=click.File("r"), help="Read the value there; - is standard input."
)
@click.pass_context
def set_(ctx: click.Context, /, name: str, from_file: TextIO | None) -> None:
    """Keep a new version of NAME; the configuration says ${secret:NAME}.

    It is in force when the configuration is read again (SIGHUP).
    """
    if from_file is not None:
        value = from_file.read().removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        value = click.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)
    else:
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    found = ctx.obj.ask("PUT", f"{PATH}/{quote(name, safe='')}", body={"value": value})
    ctx.obj.show(("name", "version"), [[found["name"], str(found["version"])]], found)


@secrets.command("list", context_settings=CONTEXT)
@click.pass_context
def list_(ctx: click.Context, /) -> None:
    """Names, versions and ages."""
    rows = ctx.obj.ask("GET", PATH)["rows"]
    ctx.obj.show(HEAD, [_cells(each) for each in rows], rows)


@secrets.command(context_settings=CONTEXT)
@click.argument("name", required=False)
@click.pass_context
def rotate(ctx: click.Context, /, name: str | None) -> None:
    """Encrypt NAME, or all, anew under the newest master key.

    The exit code is 1 while one is left that no master key opens.
    """
    found = ctx.obj.ask("POST", f"{PATH}/rotate", body={"name": name})
    row = [str(found["rotated"]), str(found["left"]), ", ".join(found["unreadable"]) or "-"]
    ctx.obj.show(("rotated", "left", "unreadable"), [row], found)
    if found["unreadable"]:
        ctx.exit(1)


@secrets.command(context_settings=CONTEXT)
@click.argument("name")
@click.option("--force", is_flag=True, help="Do not ask.")
@click.pass_context
def delete(ctx: click.Context, /, name: str, force: bool) -> None:
    """Forget NAME with all its versions."""
    if not force:
        ctx.obj.confirm(f"Delete the secret {name}?")
    found = ctx.obj.ask("DELETE", f"{PATH}/{quote(name, safe='')}")
    ctx.obj.show(("deleted",), [[found["name"]]], found)


def _cells(row: dict[str, Any]) -> list[str]:
    times = [
        datetime.fromtimestamp(row[each] / 1000, UTC).strftime("%Y-%m-%d")
        for each in ("set_at", "encrypted_at", "rotates_at")
    ]
    key = row["key_id"] + ("" if row["current_key"] else " (old)")
    return [row["name"], str(row["version"]), str(row["previous"] or "-"), key, *times]
