"""The form of a key, ``prefix_id_secret``: what is shown once, and what is kept of it.

An unkeyed SHA-256 is enough, because the secret is 256 random bits.
"""

import hashlib
import re
import secrets

_FORM = re.compile(r"[a-z][a-z0-9-]{0,15}_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


def new_id() -> str:
    return secrets.token_hex(8)


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def written(prefix: str, key_id: str, secret: str) -> str:
    return f"{prefix}_{key_id}_{secret}"


def parsed(key: str) -> tuple[str, str] | None:
    """The id and the secret, or None for what has another form."""
    match = _FORM.fullmatch(key)
    return (match[1], match[2]) if match is not None else None


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
