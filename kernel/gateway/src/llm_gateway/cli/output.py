"""Tables for people, JSON for programs; and how commands load a configuration."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import rich_click as click

if TYPE_CHECKING:
    from llm_gateway.layers import Problem
    from llm_gateway.plugins import Plugins
    from llm_gateway.settings import Read, Settings


def print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest cell; the last one is not padded."""
    lines = [[each.upper() for each in head], *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head) - 1)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=True)]
        click.echo("  ".join([*cells, line[-1]]).rstrip())


def installed(path: str | None) -> "Plugins":
    """The plugins that `path` does not disable."""
    from llm_gateway_api.errors import ConfigurationError

    from llm_gateway.plugins import discover
    from llm_gateway.selection import leniently

    try:
        return discover(leniently(Path(path) if path else None, os.environ))
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error


def loaded(
    path: str | None, read: "Read | None" = None
) -> "tuple[Settings | None, list[Problem], Plugins]":
    """The settings of `path`, or the problems that it has."""
    from llm_gateway_api.errors import ConfigurationError

    from llm_gateway.settings import SettingsError, load

    plugins = installed(path)
    try:
        return load(Path(path) if path else None, os.environ, plugins, read=read), [], plugins
    except SettingsError as error:
        return None, error.problems, plugins
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error


class Tried(NamedTuple):
    """Why a start would be refused, None where it would not; what plugins warn of."""

    refusal: str | None
    warnings: Sequence[str] = ()


def tried(settings: "Settings", plugins: "Plugins") -> Tried:
    """Bind as a start would, which opens and writes nothing.

    Plugins that break on the way are set aside in `plugins`.
    """
    import asyncio
    import logging

    from llm_gateway_api.errors import ConfigurationError

    from llm_gateway import tls
    from llm_gateway.app import data_dir
    from llm_gateway.binding import new_kernel
    from llm_gateway.generations import bind
    from llm_gateway.inside import Present

    async def attempt() -> Tried:
        generation = bind(settings, plugins, new_kernel(data_dir(os.environ), dict, present), 0)
        generation.close()
        tls.context(settings.server.tls)
        return Tried(None, generation.maker.warnings())

    def nothing() -> Any:
        raise AssertionError("what is only tried serves nobody")

    present = Present(nothing, nothing)

    logging.disable(logging.CRITICAL)  # the reason is told, a traceback helps nobody here
    try:
        return asyncio.run(attempt())
    except ConfigurationError as error:
        return Tried(str(error))
    finally:
        logging.disable(logging.NOTSET)


def examined(path: str | None) -> "Plugins":
    """The installed plugins after all phases that need no open connection."""
    settings, _, plugins = loaded(path)
    if settings is not None:
        tried(settings, plugins)
    return plugins
