"""The form of a key, ``prefix_id_secret``. It is shown once; what is kept of its secret, which is
256 random bits, is a digest.
"""

import re
import secrets

_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,15}_")
_FORM = re.compile(rf"{_PREFIX.pattern}([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")


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


def places(key: str) -> tuple[str, str]:
    """What stands where a key has its id and its secret, whatever the form of `key`."""
    return key[-60:-44], key[-43:]


def surrounds(key: str) -> bool:
    """Whether what stands around these places is right. With an id and a secret in them that are
    somebody's, `key` has the form."""
    return key[-44:-43] == "_" and key.isascii() and _PREFIX.fullmatch(key[:-60]) is not None
