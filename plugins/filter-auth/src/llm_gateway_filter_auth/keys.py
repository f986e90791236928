"""Keys as they are kept: by digest, never as text. Reads no environment and no file."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

import llm_gateway_api as gw

MIN_ADMIN_KEY = 16
_SAMPLES = frozenset(
    [
        "admin",
        "api-key",
        "api_key",
        "apikey",
        "change-this",
        "demo",
        "example",
        "key",
        "none",
        "null",
        "password",
        "sample",
        "secret",
        "test",
        "todo",
        "token",
    ]
)
_SAMPLE_PARTS = ("changeme", "change-me", "change_me", "your-", "your_", "placeholder", "...")


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The principals by the SHA-256 of their key.

    A plain SHA-256 is enough: keys are long and random, and what is looked up in the
    mapping is the digest, so that time tells nothing about a key.
    """

    entries: dict[bytes, tuple[bytes, gw.Principal]]

    def find(self, key: str) -> gw.Principal | None:
        digest = gw.key_digest(key)
        entry = self.entries.get(digest)
        if entry is None or not hmac.compare_digest(entry[0], digest):
            return None
        return entry[1]


def key_ring(users: Iterable[str], admin: str | None) -> KeyRing:
    """Hash the keys. Each has been checked; the same key twice is one key.

    Raises:
        ConfigurationError: the admin key is also one of the users'.
    """
    entries = {}
    for key in users:
        digest = gw.key_digest(key)
        entries[digest] = (digest, gw.Principal(key_id=digest.hex()[:8], role="user"))
    if admin is not None:
        digest = gw.key_digest(admin)
        if digest in entries:
            raise gw.ConfigurationError(
                "security.auth.admin_key is also one of the API keys; give the admin surface"
                " a key of its own."
            )
        entries[digest] = (digest, gw.Principal(key_id=digest.hex()[:8], role="admin"))
    return KeyRing(entries)


def checked(key: str, where: str) -> str:
    """Return `key` without its outer blanks, or raise `ConfigurationError` naming `where`."""
    key = key.strip()
    if not key:
        raise gw.ConfigurationError(f"{where} is blank; remove it or give it a value.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise gw.ConfigurationError(
            f"{where} holds a blank, a control or a non-ASCII character, which no HTTP header"
            " can carry; use letters, digits, '-' and '_'."
        )
    if _is_sample(key):
        raise gw.ConfigurationError(
            f"{where} is a sample that anybody can guess; make a random one, for example with"
            " python -c 'import secrets; print(secrets.token_urlsafe(32))'."
        )
    return key


def checked_admin(key: str, where: str) -> str:
    key = checked(key, where)
    if len(key) < MIN_ADMIN_KEY:
        raise gw.ConfigurationError(
            f"{where} has {len(key)} characters; an admin key needs {MIN_ADMIN_KEY} or more."
        )
    return key


def _is_sample(key: str) -> bool:
    low = key.lower()
    bare = low.removeprefix("sk-").removeprefix("gw-")
    if low in _SAMPLES or bare in _SAMPLES or len(set(bare)) <= 1:
        return True
    if any(part in low for part in _SAMPLE_PARTS):
        return True
    return (low[0], low[-1]) in (("<", ">"), ("{", "}")) or low.startswith("${")
