"""Declares the source of secrets, its settings, and what renews its token."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import llm_gateway_api as gw

if TYPE_CHECKING:
    from llm_gateway_secrets_vault.renewing import Renewing
    from llm_gateway_secrets_vault.settings import VaultSettings

PATH = "plugins.secrets_vault"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    from llm_gateway_secrets_vault.settings import VaultSettings

    return [gw.SettingsSpec(PATH, VaultSettings, waits=True)]


@gw.hookimpl
def llm_gateway_secret_sources() -> list[gw.SecretSourceSpec]:
    return [gw.SecretSourceSpec("vault", source, PATH, needs=("data_dir", "clock"))]


@gw.hookimpl
def llm_gateway_services() -> list[gw.ServiceSpec]:
    return [gw.ServiceSpec("vault_renewal", renewal, PATH, needs=("clock", "metrics"))]


def source(
    settings: "VaultSettings", data_dir: Path, clock: Callable[[], float]
) -> gw.SecretSource:
    from llm_gateway_secrets_vault.snapshot import Snapshot, key_of
    from llm_gateway_secrets_vault.source import VaultSource

    snapshot = None
    if settings.snapshot_key is not None and settings.snapshot_key.get_secret_value():
        about = f"{settings.address} {settings.namespace or ''} {settings.mount} {settings.prefix}"
        key = key_of(settings.snapshot_key.get_secret_value())
        snapshot = Snapshot(data_dir, key, about)
    return VaultSource(settings, snapshot, clock)


def renewal(
    settings: "VaultSettings", clock: Callable[[], float], metrics: gw.Metrics
) -> "Renewing | None":
    """Only a token of the configuration has to live on; others are made for one reading."""
    from llm_gateway_secrets_vault.renewing import Renewing

    return Renewing(settings, clock, metrics) if settings.auth == "token" else None
