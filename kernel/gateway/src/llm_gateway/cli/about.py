"""``llm-gateway info`` and ``llm-gateway plugins``."""

import os
import platform
from dataclasses import asdict
from importlib.metadata import entry_points, version
from pathlib import Path

import rich_click as click

from llm_gateway.cli import CONTEXT, OpenGroup, config_option, json_option
from llm_gateway.cli.output import examined, installed, print_json, print_table

GROUP = "llm_gateway.plugins"
_PACKAGES = ("llm-gateway-kernel", "llm-gateway-api")


@click.command(context_settings=CONTEXT)
@click.option("--detailed", is_flag=True, help="Plugins, providers and sections too.")
@config_option
@json_option
@click.pass_context
def info(ctx: click.Context, detailed: bool, path: str | None) -> None:
    """Say what is installed."""
    found = installed(path)
    facts = {name: version(name) for name in _PACKAGES}
    facts |= {"python": platform.python_version(), "platform": platform.platform()}
    for state in ("active", "set aside", "disabled"):
        facts[f"plugins {state}"] = str(sum(each.state == state for each in found.plugins))
    parts: dict[str, dict[str, str]] = {}
    if detailed:
        from llm_gateway.backing import reach_of

        kinds = found.declared("providers")
        parts = {
            "plugins": {each.name: f"{each.version} {each.state}" for each in found.plugins},
            "providers": {spec.kind: ", ".join(sorted(spec.surfaces)) for _, spec in kinds},
            "state": {
                spec.name: reach_of(spec.reach) for _, spec in found.declared("state_backends")
            },
            "sections": {spec.path: plugin for plugin, spec in found.declared("settings")},
        }
    if ctx.obj.json:
        print_json({**facts, **parts})
        return
    print_table(("what", "value"), list(facts.items()))
    for title, rows in parts.items():
        click.echo()
        print_table((title, ""), list(rows.items()))


@click.group(cls=OpenGroup, context_settings=CONTEXT)
def plugins() -> None:
    """List and check the installed plugins.

    `plugins new` comes with the package llm-gateway-testkit.
    """


@plugins.command("list", context_settings=CONTEXT)
@config_option
@json_option
@click.pass_context
def list_plugins(ctx: click.Context, path: str | None) -> None:
    """List the installed plugins, broken ones with the reason."""
    found = examined(path).plugins
    if ctx.obj.json:
        print_json([asdict(each) for each in found])
        return
    rows = [
        (p.name, p.distribution, p.version, p.state, p.phase or "", p.reason or ", ".join(p.adds))
        for p in found
    ]
    print_table(("name", "distribution", "version", "state", "phase", "adds or reason"), rows)


@plugins.command(context_settings=CONTEXT)
@click.argument("name")
@config_option
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, path: str | None) -> None:
    """Show what plugin NAME adds."""
    plugin = installed(path).get(name.replace("-", "_"))
    if plugin is None:
        raise click.ClickException(f"no plugin is called {name}; see `llm-gateway plugins list`")
    if ctx.obj.json:
        print_json(asdict(plugin))
        return
    facts = asdict(plugin)
    facts |= {f"adds {hook}": ", ".join(names) for hook, names in facts.pop("adds").items()}
    print_table(("what", "value"), [(key, str(value)) for key, value in facts.items() if value])


@plugins.command(context_settings=CONTEXT)
@config_option
@click.option("-o", "--output", help="Where to write it; beside the configuration if absent.")
@click.pass_context
def lock(ctx: click.Context, path: str | None, output: str | None) -> None:
    """Write down the plugins that fit, with version and files, for `plugins.mode: locked`.

    What the configuration disables and what is broken is left out.
    """
    from llm_gateway.locking import written
    from llm_gateway.selection import lock_path, unlocked

    found = unlocked(Path(path) if path else None, os.environ)
    names = {each.name for each in found.plugins if each.state == "active"}
    points = [each for each in entry_points(group=GROUP) if each.name in names]
    target = Path(output) if output else lock_path(Path(path) if path else None)
    try:
        target.write_text(written(points), encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{target}: {error.strerror}") from error
    click.echo(f"{target} names {len(points)} plugins")


@plugins.command(context_settings=CONTEXT)
@config_option
@json_option
@click.pass_context
def check(ctx: click.Context, path: str | None) -> None:
    """Check that every plugin fits this kernel; exit code 1 if one does not."""
    found = examined(path).plugins
    broken = [each for each in found if each.state == "set aside"]
    if ctx.obj.json:
        print_json({"fit": not broken, "broken": [asdict(each) for each in broken]})
    else:
        for each in broken:
            click.echo(f"{each.name} ({each.distribution}): {each.phase}: {each.reason}")
        click.echo(f"{len(found) - len(broken)} of {len(found)} plugins fit")
    ctx.exit(1 if broken else 0)
