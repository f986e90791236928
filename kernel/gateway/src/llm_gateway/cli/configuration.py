"""``llm-gateway config`` and ``llm-gateway validate``."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from llm_gateway.cli import CONTEXT, Globals, config_option, json_option
from llm_gateway.cli.output import Tried, installed, loaded, print_json, tried

if TYPE_CHECKING:
    from llm_gateway.plugins import Plugins
    from llm_gateway.settings import Settings


@click.group(context_settings=CONTEXT)
def config() -> None:
    """Show, check or explain configurations."""


@config.command(context_settings=CONTEXT)
@config_option
@json_option
@click.pass_context
def show(ctx: click.Context, path: str | None) -> None:
    """Print the configuration in force, secrets masked."""
    settings, problems, _ = loaded(path)
    if settings is None:
        for problem in problems:
            click.echo(str(problem), err=True)
        ctx.exit(1)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    if ctx.find_object(Globals) and ctx.obj.json:
        print_json(settings.effective())
        return
    import yaml

    click.echo(yaml.safe_dump(settings.effective(), sort_keys=False, allow_unicode=True), nl=False)


@config.command("validate", context_settings=CONTEXT)
@click.argument("file")
@json_option
@click.pass_context
def config_validate(ctx: click.Context, file: str) -> None:
    """Check that `start` would take FILE with what is installed; opens nothing."""
    _check(ctx, file, strict=False)


@config.command(context_settings=CONTEXT)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write to this file.")
@click.option("-c", "--config", "path", hidden=True)
def generate(output: str | None, path: str | None) -> None:
    """Print a commented configuration with every key of this installation."""
    from llm_gateway.settings import sample

    text = sample(installed(path))
    if output is None:
        click.echo(text)
        return
    try:
        with Path(output).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from error


@config.command(context_settings=CONTEXT)
@config_option
@json_option
def schema(path: str | None) -> None:
    """Print the JSON Schema of the configuration."""
    from llm_gateway.settings import schema

    print_json(schema(installed(path)))


@click.command(context_settings=CONTEXT)
@click.argument("file", metavar="CONFIG_FILE")
@click.option("--strict", is_flag=True, help="Warnings and broken plugins are bad news too.")
@json_option
@click.pass_context
def validate(ctx: click.Context, file: str, strict: bool) -> None:
    """Check that `start` would take CONFIG_FILE with what is installed; opens nothing."""
    _check(ctx, file, strict)


def _check(ctx: click.Context, file: str, strict: bool) -> None:
    settings, found, plugins = loaded(file)
    problems = [asdict(each) for each in found]
    refusal, told = tried(settings, plugins) if settings else Tried(None)
    if refusal is not None:
        refusal, line = refusal.removeprefix(f"{file}: "), _line(file, refusal)
        problems.append({"path": "", "line": line, "message": refusal})
        refusal = f"line {line}: {refusal}" if line else refusal
    warnings = list(settings.warnings) if settings else []
    warnings += [*_per_process(settings, plugins), *told]
    warnings += [
        f"plugin {each.name} was set aside in phase {each.phase}: {each.reason}"
        for each in plugins.plugins
        if each.state == "set aside"
    ]
    valid = not problems and not (strict and warnings)
    if ctx.obj.json:
        print_json({"valid": valid, "problems": problems, "warnings": warnings})
    else:
        for text in (*map(str, found), *filter(None, [refusal])):
            click.echo(f"{file}: {text.removeprefix(f'{file}: ')}", err=True)
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
        click.echo(f"{file} is valid" if valid else f"{file} is not valid")
    ctx.exit(0 if valid else 1)


def _line(file: str, refusal: str) -> int | None:
    """Where `file` has the key that a refusal begins with; None where it is not in the file."""
    from llm_gateway import yamlsource

    named = re.match(r"[a-z_]\w*(\.[\w/-]+|\[\d+\])+", refusal)
    if named is None:
        return None
    steps = re.split(r"[.\[\]]+", named[0].rstrip("]"))
    key = tuple(int(each) if each.isdigit() else each for each in steps)
    return yamlsource.read(Path(file).read_text(encoding="utf-8")).lines.get(key)


def _per_process(settings: "Settings | None", plugins: "Plugins") -> list[str]:
    """A warning where several workers would each have limits of their own."""
    chosen = getattr(settings.section("state"), "backend", None) if settings else None
    reaches = {spec.name: spec.reach for _, spec in plugins.declared("state_backends")}
    if reaches.get(str(chosen)) != "process":
        return []
    return [
        f"state.backend {chosen!r} is per process: with --workers N, every limit holds N times"
        " and breakers learn alone; auto shares both"
    ]
