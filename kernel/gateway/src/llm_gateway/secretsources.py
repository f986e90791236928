"""Asks the sources of secrets for what the configuration refers to, before it is validated."""

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, cast

from llm_gateway_api import (
    ConfigurationError,
    GatewayError,
    Metrics,
    SecretSource,
    SecretSourceSpec,
)
from pydantic import SecretStr

from llm_gateway.backing import store
from llm_gateway.making import Maker
from llm_gateway.masking import MASK, hide_in_logs, scrubbed
from llm_gateway.plugins import Plugins
from llm_gateway.settings import Loader, Settings, load

log = logging.getLogger("llm_gateway.secretsources")
STORE = "store"


async def read(
    path: Path | None, plugins: Plugins, overrides: Mapping[str, object], data_dir: Path
) -> Settings:
    """`load` with all secrets, on a thread, since a source may wait for its store; from now on
    no log line shows one of them."""
    reader = SecretReader(data_dir)
    settings = await asyncio.to_thread(load, path, os.environ, plugins, overrides, reader)
    hide_in_logs(settings.secrets)
    return settings


class SecretReader:
    """Meets `Read`. Unless `strict`, what is missing is a row of stars and no problem: for
    commands that work on the database and call nobody."""

    def __init__(self, data_dir: Path, *, strict: bool = True) -> None:
        self._data_dir = data_dir
        self._strict = strict

    def __call__(self, loader: Loader, wanted: frozenset[str]) -> None:
        found: dict[str, SecretStr] = {}
        failed: list[str] = []
        loader.secrets = found  # a source's own settings may refer to what is found by then
        offers: dict[str, Any] = {
            "clock": monotonic,
            "metrics": Metrics(),
            "data_dir": self._data_dir,
        }
        maker = Maker(cast(Settings, loader), loader.plugins, None, offers)
        for plugin, spec in _in_turn(loader):
            left = wanted - found.keys()
            if not left:
                break
            try:
                if (source := _made(maker, plugin, spec)) is not None:
                    found.update(source.read(left))
            except Exception as error:
                told = str(error) if isinstance(error, GatewayError) else ""
                reason = scrubbed(told or f"{type(error).__name__}: {error}", found.values())
                log.warning("secrets.unread source=%s error=%s", spec.name, reason)
                failed.append(f"{spec.name}: {reason}")
        names = ", ".join(spec.name for _, spec in _in_turn(loader))
        loader.unread = "; ".join(failed) or f"asked: {names or 'none is installed'}"
        if not self._strict:
            found.update(dict.fromkeys(wanted - found.keys(), SecretStr(MASK)))


def _in_turn(loader: Loader) -> list[tuple[str, SecretSourceSpec]]:
    declared = loader.plugins.declared("secret_sources")
    return sorted(declared, key=lambda pair: (STORE in pair[1].needs, pair[1].name))


def _made(maker: Maker, plugin: str, spec: SecretSourceSpec) -> SecretSource | None:
    if STORE in spec.needs and STORE not in maker.offers:
        maker.offers[STORE] = store(maker, lambda *_: None)
    source: SecretSource | None = maker.make(plugin, "secret_sources", spec)
    if broken := maker.broken.get(plugin):
        raise ConfigurationError(str(broken))
    return source
