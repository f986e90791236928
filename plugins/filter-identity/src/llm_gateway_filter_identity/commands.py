"""``llm-gateway keys`` and ``llm-gateway tenants``: ask a gateway's admin routes.

``ctx.obj`` comes from ``llm-gateway``: `ask`, `show` and `json`. An option that is left out
changes nothing; ``--set NAME=JSON`` reaches every field, ``--set NAME=null`` empties it.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

import rich_click as click

F = TypeVar("F", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"]}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LIMITS = {
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "concurrent": "max_concurrent",
}
_LISTS = {"model": "models", "provider": "providers", "region": "regions"}
_KEY_LISTS = {**_LISTS, "endpoint": "endpoints", "address": "addresses"}
PAGE = 1000


def seconds(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """``90s``, ``15m``, ``24h``, ``90d``, ``2w`` in seconds."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,6})([smhdw])", value)
    if match is None:
        raise click.BadParameter("write a length of time as 90s, 15m, 24h, 90d or 2w")
    return float(int(match[1]) * _UNITS[match[2]])


def fields(
    ctx: click.Context, parameter: click.Parameter, value: Sequence[str]
) -> dict[str, object]:
    found: dict[str, object] = {}
    for each in value:
        name, sign, text = each.partition("=")
        if not sign or not name:
            raise click.BadParameter("write NAME=JSON")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _rights(lists: Mapping[str, str]) -> Callable[[F], F]:
    def add(command: F) -> F:
        texts = {
            "model": "A public model name it may use; repeatable, none means all.",
            "provider": "A provider it may use; repeatable.",
            "region": "A region its requests may go to; repeatable.",
            "endpoint": "A path it may be used on (/v1/chat/completions, /v1/*); repeatable.",
            "address": "An address or CIDR range it may be used from; repeatable.",
        }
        for name in reversed(tuple(lists)):
            command = click.option(f"--{name}", multiple=True, help=texts[name])(command)
        for name, text in (
            ("rpm", "Requests a minute; 0 blocks."),
            ("tpm", "Tokens a minute; 0 blocks."),
            ("concurrent", "Requests at once; 0 blocks."),
        ):
            command = click.option(f"--{name}", type=click.IntRange(min=0), help=text)(command)
        option = click.option(
            "--set", "given", multiple=True, callback=fields, help="NAME=JSON, any other field."
        )
        return option(command)

    return add


def _body(options: Mapping[str, Any], lists: Mapping[str, str]) -> dict[str, Any]:
    """The JSON that the options ask for."""
    body: dict[str, Any] = dict(options["given"])
    body |= {name: options[each] for each, name in lists.items() if options[each]}
    limits = {name: options[each] for each, name in _LIMITS.items() if options[each] is not None}
    if limits:
        body["limits"] = limits
    return body


@click.group(context_settings=CONTEXT)
def keys() -> None:
    """API keys that the store keeps."""


@keys.command("create")
@click.option("-t", "--tenant", help="The tenant it belongs to.")
@click.option("-n", "--name", default="", help="What people call it.")
@click.option(
    "-r",
    "--role",
    type=click.Choice(["user", "operator", "admin"]),
    default="user",
    show_default=True,
)
@click.option("--expires", callback=seconds, help="How long it is valid: 24h, 90d.")
@_rights(_KEY_LISTS)
@click.pass_context
def create_key(
    ctx: click.Context,
    /,
    tenant: str | None,
    name: str,
    role: str,
    expires: float | None,
    **options: Any,
) -> None:
    """Create a key and show it, once."""
    body = {**_body(options, _KEY_LISTS), "name": name, "role": role}
    if tenant is not None:
        body["tenant"] = tenant
    if expires is not None:
        body["expires_at"] = (datetime.now(UTC) + timedelta(seconds=expires)).isoformat()
    _show_secret(ctx, ctx.obj.ask("POST", "/admin/v1/keys", body=body))


@keys.command("list")
@click.option("-t", "--tenant", help="Only keys of this tenant.")
@click.pass_context
def list_keys(ctx: click.Context, /, tenant: str | None) -> None:
    """List keys, without their secrets."""
    found = _all(ctx, "keys", {"tenant": tenant})
    columns = ("id", "name", "tenant", "role", "state", "expires_at", "created_at")
    _table(ctx, columns, found)


@keys.command("show")
@click.argument("key_id")
@click.pass_context
def show_key(ctx: click.Context, /, key_id: str) -> None:
    """Show what holds for one key."""
    _details(ctx, ctx.obj.ask("GET", _at("keys", key_id)))


@keys.command("update")
@click.argument("key_id")
@click.option("-n", "--name", help="What people call it.")
@_rights(_KEY_LISTS)
@click.pass_context
def update_key(ctx: click.Context, /, key_id: str, name: str | None, **options: Any) -> None:
    """Change a key; it keeps its secret."""
    body = _body(options, _KEY_LISTS)
    if name is not None:
        body["name"] = name
    _details(ctx, ctx.obj.ask("PATCH", _at("keys", key_id), body=body))


@keys.command("rotate")
@click.argument("key_id")
@click.option("--grace", callback=seconds, help="How long the old secret stays valid: 0s, 24h.")
@click.pass_context
def rotate_key(ctx: click.Context, /, key_id: str, grace: float | None) -> None:
    """Give a key a new secret and show it, once."""
    body = {} if grace is None else {"grace_seconds": grace}
    _show_secret(ctx, ctx.obj.ask("POST", f"{_at('keys', key_id)}/rotate", body=body))


@keys.command("revoke")
@click.argument("key_id")
@click.pass_context
def revoke_key(ctx: click.Context, /, key_id: str) -> None:
    """Revoke a key for good."""
    _details(ctx, ctx.obj.ask("POST", f"{_at('keys', key_id)}/revoke", body={}))


@click.group(context_settings=CONTEXT)
def tenants() -> None:
    """Tenants: what their keys may use, and how much of it."""


def _renaming(command: F) -> F:
    text = "NAME=MODEL: who asks for NAME gets MODEL; repeatable."
    return click.option("--rename", multiple=True, help=text)(command)


@tenants.command("create")
@click.argument("tenant_id")
@click.option("-n", "--name", default="", help="What people call it.")
@_renaming
@_rights(_LISTS)
@click.pass_context
def create_tenant(
    ctx: click.Context, /, tenant_id: str, name: str, rename: Sequence[str], **options: Any
) -> None:
    """Create a tenant."""
    body = {**_body(options, _LISTS), **_renamed(rename), "id": tenant_id, "name": name}
    _details(ctx, ctx.obj.ask("POST", "/admin/v1/tenants", body=body))


@tenants.command("list")
@click.pass_context
def list_tenants(ctx: click.Context, /) -> None:
    """List tenants."""
    columns = ("id", "name", "disabled", "created_at", "updated_at")
    _table(ctx, columns, _all(ctx, "tenants", {}))


@tenants.command("show")
@click.argument("tenant_id")
@click.pass_context
def show_tenant(ctx: click.Context, /, tenant_id: str) -> None:
    """Show what holds for one tenant."""
    _details(ctx, ctx.obj.ask("GET", _at("tenants", tenant_id)))


@tenants.command("update")
@click.argument("tenant_id")
@click.option("-n", "--name", help="What people call it.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether its keys work.")
@_renaming
@_rights(_LISTS)
@click.pass_context
def update_tenant(
    ctx: click.Context,
    /,
    tenant_id: str,
    name: str | None,
    enabled: bool | None,
    rename: Sequence[str],
    **options: Any,
) -> None:
    """Change a tenant; all its keys follow within seconds."""
    body = {**_body(options, _LISTS), **_renamed(rename)}
    if name is not None:
        body["name"] = name
    if enabled is not None:
        body["disabled"] = not enabled
    _details(ctx, ctx.obj.ask("PATCH", _at("tenants", tenant_id), body=body))


@tenants.command("delete")
@click.argument("tenant_id")
@click.option("--force", is_flag=True, help="Do not ask.")
@click.pass_context
def delete_tenant(ctx: click.Context, /, tenant_id: str, force: bool) -> None:
    """Delete a tenant; all its keys are revoked for good."""
    if not force:
        ctx.obj.confirm(f"Delete {tenant_id} and revoke all its keys?")
    _details(ctx, ctx.obj.ask("DELETE", _at("tenants", tenant_id)))


def _at(kind: str, name: str) -> str:
    return f"/admin/v1/{kind}/{quote(name, safe='')}"


def _renamed(given: Sequence[str]) -> dict[str, Any]:
    pairs = [each.partition("=") for each in given]
    if any(not name or not model for name, _, model in pairs):
        raise click.BadParameter("write NAME=MODEL", param_hint="--rename")
    return {"renamed": {name: model for name, _, model in pairs}} if pairs else {}


def _all(ctx: click.Context, kind: str, query: Mapping[str, object]) -> list[dict[str, Any]]:
    """Every page."""
    found: list[dict[str, Any]] = []
    page: list[dict[str, Any]] = []
    while not found or len(page) == PAGE:
        after = found[-1]["id"] if found else ""
        asked = {**query, "after": after, "limit": PAGE}
        page = ctx.obj.ask("GET", f"/admin/v1/{kind}", query=asked)[kind]
        found += page
        if not page:
            break
    return found


def _table(ctx: click.Context, columns: Sequence[str], found: Sequence[Mapping[str, Any]]) -> None:
    rows = [[_cell(each.get(name)) for name in columns] for each in found]
    ctx.obj.show(columns, rows, found)


def _details(ctx: click.Context, found: Mapping[str, Any]) -> None:
    shown = {name: value for name, value in found.items() if name != "warnings"}
    rows = [[name, _cell(value)] for name, value in shown.items() if value is not None]
    ctx.obj.show(("field", "value"), rows, found)
    for text in found.get("warnings", ()):
        click.echo(f"warning: {text}", err=True)


def _show_secret(ctx: click.Context, made: Mapping[str, Any]) -> None:
    _details(ctx, made)
    if not ctx.obj.json:
        click.echo("The key is shown this once and kept nowhere.", err=True)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, str):
        return value
    return json.dumps(value)
