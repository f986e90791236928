"""Declares the sources of secrets, the keeper of those in the store, its routes and commands."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import llm_gateway_api as gw

if TYPE_CHECKING:
    from llm_gateway_secrets_store.envelope import Keyring
    from llm_gateway_secrets_store.keeping import SecretKeeper
    from llm_gateway_secrets_store.settings import SecretsSettings

SECTION = "security.secrets"
VARIABLE = "SECRETS_ENCRYPTION_KEY"
PATH = "/admin/v1/secrets"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    from llm_gateway_secrets_store.settings import SecretsSettings

    return [gw.SettingsSpec(SECTION, SecretsSettings)]


@gw.hookimpl
def llm_gateway_commands() -> list[gw.CommandSpec]:
    load = "llm_gateway_secrets_store.commands:secrets"
    return [gw.CommandSpec("secrets", load, "Keep secrets, encrypted; none is ever shown.")]


@gw.hookimpl
def llm_gateway_secret_sources() -> list[gw.SecretSourceSpec]:
    return [
        gw.SecretSourceSpec("environment", environment),
        gw.SecretSourceSpec("file", files, SECTION),
        gw.SecretSourceSpec("store", stored, SECTION, needs=("store", "data_dir")),
    ]


@gw.hookimpl
def llm_gateway_services() -> list[gw.ServiceSpec]:
    return [gw.ServiceSpec("secrets_rotation", keeper, SECTION, needs=("store", "metrics"))]


@gw.hookimpl
def llm_gateway_endpoints() -> list[gw.EndpointSpec]:
    routes = (
        ("GET", PATH, "list", "Names, versions and ages; never a value"),
        ("PUT", f"{PATH}/{{name}}", "set", "Keep a new version of a secret"),
        ("DELETE", f"{PATH}/{{name}}", "delete", "Forget a secret with all its versions"),
        ("POST", f"{PATH}/rotate", "rotate", "Encrypt one secret or all of them anew"),
    )
    needs = ("store", "metrics", "audit")
    return [
        gw.EndpointSpec(
            method,
            path,
            "admin",
            _handling(name),
            settings=SECTION,
            needs=needs,
            doc={"summary": say},
        )
        for method, path, name, say in routes
    ]


def environment() -> gw.SecretSource:
    from llm_gateway_secrets_store.sources import EnvironmentSource

    return EnvironmentSource(os.environ)


def files(settings: "SecretsSettings") -> gw.SecretSource:
    from llm_gateway_secrets_store.sources import FileSource

    return FileSource(Path(settings.directory))


def stored(
    settings: "SecretsSettings", store: "gw.Store | None", data_dir: Path
) -> gw.SecretSource | None:
    from llm_gateway_secrets_store.sources import StoreSource

    keys = master_keys(settings)
    if keys is None:
        return None
    return StoreSource(keys, store, data_dir, settings.timeout_seconds)


def keeper(
    settings: "SecretsSettings", store: "gw.Store | None", metrics: gw.Metrics
) -> "SecretKeeper | None":
    keys = master_keys(settings)
    if keys is None or store is None:
        return None
    from llm_gateway_secrets_store.keeping import SecretKeeper  # brings cryptography, 10 MB

    return SecretKeeper(keys, store, settings.rotation_days, metrics)


def master_keys(settings: "SecretsSettings") -> "Keyring | None":
    """Of the settings, else of the variable; None where there is neither, and the store of
    secrets stays off. Raises `ConfigurationError` for what is no key."""
    given = settings.encryption_key
    text = (given.get_secret_value() if given else "") or os.environ.get(VARIABLE, "")
    if not text.strip():
        return None
    from llm_gateway_secrets_store.envelope import keyring

    return keyring(text)


def _handling(name: str) -> Callable[..., gw.EndpointHandler]:
    def make(
        settings: "SecretsSettings", store: "gw.Store | None", metrics: gw.Metrics, audit: gw.Audit
    ) -> gw.EndpointHandler:
        made = keeper(settings, store, metrics)

        async def handle(request: gw.EndpointRequest) -> gw.EndpointResponse:
            from msgspec.json import encode

            from llm_gateway_secrets_store.routes import ROUTES, checked

            found = await ROUTES[name](checked(made), request, audit)
            return gw.EndpointResponse(200, encode(found))

        return handle

    return make
