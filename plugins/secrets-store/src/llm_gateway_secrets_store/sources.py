"""Where ``${secret:NAME}`` is looked for: variables, files, the store."""

import asyncio
import logging
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
from llm_gateway_api import GatewayError, MissingTableError, SecretSource, Store
from pydantic import SecretStr

from llm_gateway_secrets_store.envelope import Keyring, SealedSecret
from llm_gateway_secrets_store.repository import everything

log = logging.getLogger("llm_gateway_secrets_store")
PREFIX = "LLM_GATEWAY_SECRET_"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
SNAPSHOT = "secrets.snapshot"
NEW = (
    "The database has no table of secrets yet. Run `llm-gateway migrate run`, start without what "
    "refers to the secret, put it there with `llm-gateway secrets set`, then refer to it."
)


class EnvironmentSource:
    """``openai-key`` is the variable ``LLM_GATEWAY_SECRET_OPENAI_KEY``."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def read(self, names: Collection[str]) -> Mapping[str, SecretStr]:
        found = {name: self._environ.get(variable(name), "") for name in names}
        return {name: SecretStr(value) for name, value in found.items() if value}


class FileSource:
    """One file for each secret, as Docker and Kubernetes mount them; a last line break is
    not part of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, names: Collection[str]) -> Mapping[str, SecretStr]:
        """Raises `OSError` for a file that is there and cannot be read."""
        found = {}
        for name in filter(NAME.fullmatch, names):
            path = self._folder / name
            if path.is_file():
                value = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
                found[name] = SecretStr(value)
        return found


class StoreSource:
    """The table; while the store is down, the ciphertext of the last time it was read."""

    def __init__(self, keys: Keyring, store: Store | None, folder: Path, seconds: float) -> None:
        self._keys = keys
        self._store = store
        self._snapshot = folder / SNAPSHOT
        self._seconds = seconds

    def read(self, names: Collection[str]) -> Mapping[str, SecretStr]:
        """Raises `GatewayError` where neither store nor snapshot is there, or a row does not
        open."""
        found: dict[str, SealedSecret] = {}
        for each in self._rows():
            found.setdefault(each.name, each)
            found[f"{each.name}@{each.version}"] = each
        return {name: SecretStr(self._keys.open(found[name])) for name in names if name in found}

    def _rows(self) -> list[SealedSecret]:
        try:
            rows = asyncio.run(self._asked())
        except (GatewayError, OSError, TimeoutError) as error:
            kept = _kept(self._snapshot)
            if kept is None:
                raise
            log.warning("secrets.snapshot_used error=%s", error)
            return kept
        _keep(self._snapshot, rows)
        return rows

    async def _asked(self) -> list[SealedSecret]:
        if self._store is None:
            return []
        async with asyncio.timeout(self._seconds), self._store.open():
            try:
                return await everything(self._store)
            except MissingTableError as error:
                raise MissingTableError(NEW) from error


def variable(name: str) -> str:
    return PREFIX + re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def _kept(path: Path) -> list[SealedSecret] | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[SealedSecret])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("secrets.snapshot_unreadable error=%s", error)
        return None


def _keep(path: Path, rows: list[SealedSecret]) -> None:
    """Whole or not at all; a full disk costs the snapshot, not the start."""
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(rows))
        fresh.replace(path)
    except OSError as error:
        log.warning("secrets.snapshot_failed error=%s", error)


_: tuple[type[SecretSource], ...] = (EnvironmentSource, FileSource, StoreSource)
