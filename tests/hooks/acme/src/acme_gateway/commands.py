"""Declares the command of this plugin; the command itself is imported when it is run."""

import click
from llm_gateway_api import CommandSpec, hookimpl


@click.command()
def acme() -> None:
    """Say hello."""
    click.echo("hello from acme")


@hookimpl
def llm_gateway_commands() -> list[CommandSpec]:
    return [CommandSpec("acme", "acme_gateway.commands:acme", "Say hello.")]
