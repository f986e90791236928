"""Envelope encryption: each value has a data key, each data key is wrapped by a master key.

AES-256-GCM for both, a random nonce of 96 bits in front, and as associated data the secret's
name, its version and the master key's id: a row copied to another name does not open.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from llm_gateway_api import ConfigurationError, GatewayError

KEY_BYTES = 32
NONCE_BYTES = 12
WHERE = "security.secrets.encryption_key"


class SealedSecret(msgspec.Struct, frozen=True):
    """A secret as it is kept; times are Unix milliseconds."""

    name: str
    version: int
    key_id: str
    wrapped: bytes
    sealed: bytes
    set_at: int
    sealed_at: int


class UnreadableSecretError(GatewayError):
    """The row was changed, or no master key is there that wrapped it."""

    status, code = 500, "secret_unreadable"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The master keys by id: the `newest` encrypts, all decrypt."""

    newest: str
    keys: Mapping[str, AESGCM]

    def seal(self, name: str, version: int, value: str, set_at: int, now: int) -> SealedSecret:
        data_key = AESGCM.generate_key(KEY_BYTES * 8)
        about = _about(name, version, self.newest)
        wrapped = _sealed(self.keys[self.newest], data_key, about)
        sealed = _sealed(AESGCM(data_key), value.encode(), about)
        return SealedSecret(name, version, self.newest, wrapped, sealed, set_at, now)

    def open(self, secret: SealedSecret) -> str:
        """Raises `UnreadableSecretError`."""
        master = self.keys.get(secret.key_id)
        if master is None:
            raise UnreadableSecretError(
                f"The secret {secret.name} is encrypted with the master key {secret.key_id}, "
                f"which is not in {WHERE}."
            )
        about = _about(secret.name, secret.version, secret.key_id)
        try:
            data_key = _opened(master, secret.wrapped, about)
            return _opened(AESGCM(data_key), secret.sealed, about).decode()
        except (InvalidTag, ValueError) as error:
            raise UnreadableSecretError(f"The secret {secret.name} was tampered with.") from error

    def reseal(self, secret: SealedSecret, now: int) -> SealedSecret:
        """The same value with a new data key, under the newest master key."""
        return self.seal(secret.name, secret.version, self.open(secret), secret.set_at, now)


def keyring(text: str) -> Keyring:
    """Master keys out of `text`, newest first.

    Raises:
        ConfigurationError: one is no key; the text of none is told.
    """
    found: dict[str, AESGCM] = {}
    for at, each in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        key = _key(each)
        if key is None:
            raise ConfigurationError(
                f"{WHERE}: key {at} is not {KEY_BYTES} bytes in base64 or hex; make one with "
                "`openssl rand -base64 32`."
            )
        found.setdefault(key_id(key), AESGCM(key))
    if not found:
        raise ConfigurationError(f"{WHERE} is empty; make a key with `openssl rand -base64 32`.")
    return Keyring(next(iter(found)), found)


def key_id(key: bytes) -> str:
    """What names a master key and tells nothing of it."""
    return hashlib.sha256(b"llm-gateway secrets master key\0" + key).hexdigest()[:16]


def _key(text: str) -> bytes | None:
    try:
        if len(text) == KEY_BYTES * 2:
            return bytes.fromhex(text)
        padded = text + "=" * (-len(text) % 4)
        key = base64.b64decode(padded.translate({45: 43, 95: 47}), validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == KEY_BYTES else None


def _about(name: str, version: int, key: str) -> bytes:
    return f"{name}\0{version}\0{key}".encode()


def _sealed(cipher: AESGCM, data: bytes, about: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, about)


def _opened(cipher: AESGCM, data: bytes, about: bytes) -> bytes:
    return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], about)
