"""What commands that work without a running gateway need of its configuration."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import rich_click as click
from llm_gateway_api import ConfigurationError, Metrics, MigrationSpec, Store

from llm_gateway.app import data_dir
from llm_gateway.backing import store
from llm_gateway.cli.output import loaded
from llm_gateway.making import Maker


@dataclass(frozen=True, slots=True)
class Installation:
    """`store` is None where no plugin brings one."""

    store: Store | None
    migrations: Sequence[MigrationSpec]


def installation(path: str | None) -> Installation:
    settings, problems, plugins = loaded(path)
    if settings is None:
        raise click.ClickException("\n".join(map(str, problems)))
    folder = data_dir(os.environ)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    offers = {"clock": monotonic, "metrics": Metrics(), "data_dir": folder}
    try:
        made: Store | None = store(Maker(settings, plugins, None, offers), lambda *_: None)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    return Installation(made, tuple(spec for _, spec in plugins.declared("migrations")))
