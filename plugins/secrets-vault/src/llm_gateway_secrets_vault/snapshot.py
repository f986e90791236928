"""What was last read from Vault, encrypted, for a start while Vault cannot be reached."""

import base64
import binascii
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from llm_gateway_api import ConfigurationError

FILE = "vault.snapshot"
KEY_BYTES, NONCE_BYTES = 32, 12
log = logging.getLogger("llm_gateway_secrets_vault")


class Snapshot:
    """AES-256-GCM; `about` (where the secrets come from) is bound to it."""

    def __init__(self, folder: Path, key: bytes, about: str) -> None:
        self._path = folder / FILE
        self._cipher = AESGCM(key)
        self._about = about.encode()

    def load(self) -> dict[str, str] | None:
        try:
            data = self._path.read_bytes()
            plain = self._cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], self._about)
            return msgspec.json.decode(plain, type=dict[str, str])
        except FileNotFoundError:
            return None
        except (OSError, InvalidTag, ValueError) as error:
            log.warning("vault.snapshot_unreadable error=%s", type(error).__name__)
            return None

    def save(self, found: Mapping[str, str]) -> None:
        """Whole or not at all; a full disk costs the copy, not the start."""
        nonce = os.urandom(NONCE_BYTES)
        data = nonce + self._cipher.encrypt(nonce, msgspec.json.encode(found), self._about)
        fresh = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            fresh.replace(self._path)
        except OSError as error:
            log.warning("vault.snapshot_failed error=%s", error)


def key_of(text: str) -> bytes:
    """Raises `ConfigurationError` for what is no key, without showing it."""
    try:
        if len(text) == KEY_BYTES * 2:
            return bytes.fromhex(text)
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"plugins.secrets_vault.snapshot_key is not {KEY_BYTES} bytes in base64 or hex; make "
            "one with `openssl rand -base64 32`."
        )
    return key
