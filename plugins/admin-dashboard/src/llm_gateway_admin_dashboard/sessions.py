"""Sessions: sealed into the browser's cookie, so that every worker can open them.

A session holds the key that its owner logged in with, encrypted; each request shows that key
to the gateway's own filters again, so that a key that was revoked, expired or changed has lost
its session at once. What was logged out is remembered by id until it would have ended anyway.
"""

import hashlib
import hmac
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FILE = "dashboard-session-secret"
COOKIE = "llm_gateway_dashboard"
FORM_COOKIE = "llm_gateway_dashboard_form"
LONGEST = 4000
_CONTEXT = b"llm-gateway dashboard session 1"
_NONCE = 12


class Session(msgspec.Struct, frozen=True, array_like=True):
    """`key` is None until somebody has logged in; times are Unix seconds."""

    id: str
    began: int
    seen: int
    key: str | None = None


class Sealer:
    """Seals and opens sessions; derives the tokens that forms carry."""

    def __init__(self, secret: bytes) -> None:
        self._key = _derived(secret, b"session")
        self._token_key = _derived(secret, b"form")

    @cached_property
    def _box(self) -> "AESGCM":
        """Made for the first visitor: cryptography takes 10 MB of every worker."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key)

    def seal(self, session: Session) -> str:
        nonce = os.urandom(_NONCE)
        sealed = self._box.encrypt(nonce, msgspec.json.encode(session), _CONTEXT)
        return urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, text: str) -> Session | None:
        """None for what this secret has not sealed."""
        from cryptography.exceptions import InvalidTag

        if len(text) > LONGEST:
            return None
        try:
            data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            plain = self._box.decrypt(data[:_NONCE], data[_NONCE:], _CONTEXT)
            return msgspec.json.decode(plain, type=Session)
        except (ValueError, InvalidTag, msgspec.MsgspecError):
            return None

    def token(self, session: Session) -> str:
        """What a form of this session must carry."""
        return hmac.new(self._token_key, session.id.encode(), hashlib.sha256).hexdigest()

    def fits(self, session: Session, token: str) -> bool:
        return hmac.compare_digest(self.token(session).encode(), token.encode())


def fresh(now: float, key: str | None = None) -> Session:
    """A new session; a login never continues the id that was there before it."""
    return Session(secrets.token_urlsafe(16), int(now), int(now), key)


def secret_of(configured: str | None, data_dir: Path) -> bytes:
    """The configured secret, or the one of the data directory, made when first needed."""
    if configured:
        return configured.encode()
    path = data_dir / FILE
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = data_dir / f"{FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    if not path.exists():
        place = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(place, "wb") as file:
            file.write(secrets.token_hex(32).encode())
        try:
            os.link(draft, path)  # whole, and of several workers' the first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.new(secret, b"llm-gateway dashboard " + purpose, hashlib.sha256).digest()
