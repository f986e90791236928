"""What commands that work without a running gateway need of its configuration."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import rich_click as click
from llm_gateway_api import ConfigurationError, Metrics, MigrationSpec, Store

from llm_gateway.app import data_dir
from llm_gateway.backing import store
from llm_gateway.cli.output import loaded
from llm_gateway.making import Maker
from llm_gateway.secretsources import SecretReader


@dataclass(frozen=True, slots=True)
class Installation:
    """`store` is None where no plugin brings one."""

    store: Store | None
    migrations: Sequence[MigrationSpec]
    section: Callable[[str], object | None]


def installation(path: str | None) -> Installation:
    folder = data_dir(os.environ)
    settings, problems, plugins = loaded(path, SecretReader(folder, strict=False))
    if settings is None:
        raise click.ClickException("\n".join(map(str, problems)))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    offers = {"clock": monotonic, "metrics": Metrics(), "data_dir": folder}
    try:
        made: Store | None = store(Maker(settings, plugins, None, offers), lambda *_: None)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    series = tuple(spec for _, spec in plugins.declared("migrations"))
    return Installation(made, series, settings.section)
