"""The source: proves who it is, reads each secret, and keeps an encrypted copy for bad days."""

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from llm_gateway_api import ConfigurationError, SecretSource
from pydantic import SecretStr

from llm_gateway_secrets_vault.client import Client, VaultError
from llm_gateway_secrets_vault.settings import VaultSettings
from llm_gateway_secrets_vault.snapshot import Snapshot

log = logging.getLogger("llm_gateway_secrets_vault")


class VaultSource:
    """Meets `SecretSource`. A token that it was lent for the reading it gives back."""

    def __init__(
        self, settings: VaultSettings, snapshot: Snapshot | None, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._snapshot = snapshot
        self._clock = clock

    def read(self, names: Collection[str]) -> Mapping[str, SecretStr]:
        """Raises `VaultError` where Vault refuses, or cannot be reached and there is no copy."""
        try:
            found = self._asked(names)
        except VaultError as error:
            kept = self._snapshot.load() if self._snapshot and not error.reachable else None
            if kept is None:
                raise
            log.warning("vault.snapshot_used error=%s", error)
            found = {name: kept[name] for name in names if name in kept}
        else:
            if self._snapshot is not None:
                self._snapshot.save(found)
        return {name: SecretStr(value) for name, value in found.items()}

    def _asked(self, names: Collection[str]) -> dict[str, str]:
        client = new_client(self._settings, self._clock)
        lent = login(client, self._settings)
        try:
            values = {name: self._value(client, name) for name in sorted(names)}
        finally:
            if lent:
                with suppress(VaultError):  # it ends by itself
                    client.post("auth/token/revoke-self", {})
        return {name: value for name, value in values.items() if value is not None}

    def _value(self, client: Client, name: str) -> str | None:
        settings = self._settings
        plain, _, version = name.partition("@")
        default = f"{settings.prefix}/{plain}" if settings.prefix else plain
        path, _, field = settings.paths.get(plain, default).partition("#")
        if ".." in path.split("/"):
            raise VaultError(f"the secret {plain} has no path in Vault", 400)
        query = {"version": int(version)} if version.isdecimal() else None
        answer = client.get(f"{settings.mount.strip('/')}/data/{path.strip('/')}", query)
        if answer is None:
            return None
        return _field(answer, plain, field or settings.field)


def _field(answer: Mapping[str, Any], name: str, field: str) -> str | None:
    inner = answer.get("data")
    data = inner.get("data") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or "metadata" not in inner:
        raise VaultError(
            f"what Vault has for {name} is not of a KV engine of version 2; see mount", 400
        )
    if data is None:  # the version was deleted
        return None
    value = data.get(field)
    if not isinstance(value, str):
        names = ", ".join(sorted(data)) or "none"
        text = f"the secret {name} in Vault has no text in its field {field!r} (fields: {names})"
        raise VaultError(text, 400)
    return value


def new_client(settings: VaultSettings, clock: Callable[[], float]) -> Client:
    return Client(
        str(settings.address),
        settings.namespace,
        settings.ca_file,
        settings.timeout_seconds,
        clock,
    )


def login(client: Client, settings: VaultSettings) -> bool:
    """Give `client` a token; whether it was made for this client alone."""
    if settings.auth == "token":
        client.token = _given(settings.token, settings.token_file, "token_file")
        return False
    body = _proof(settings)
    mount = (settings.auth_mount or settings.auth).strip("/")
    answer = client.post(f"auth/{mount}/login", body)
    auth = answer.get("auth")
    token = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(token, str):
        raise VaultError(f"Vault gives no token for auth/{mount}/login", 502)
    client.token = token
    return True


def _proof(settings: VaultSettings) -> dict[str, object]:
    if settings.auth == "approle":
        secret_id = _given(settings.secret_id, settings.secret_id_file, "secret_id_file")
        return {"role_id": settings.role_id, "secret_id": secret_id}
    return {"role": settings.role, "jwt": _given(None, settings.jwt_file, "jwt_file")}


def _given(value: SecretStr | None, file: str | None, key: str) -> str:
    if value is not None and value.get_secret_value():
        return value.get_secret_value()
    try:
        return Path(file or "").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        text = f"plugins.secrets_vault.{key}: {file} cannot be read ({type(error).__name__})"
        raise ConfigurationError(text) from error


_: type[SecretSource] = VaultSource
