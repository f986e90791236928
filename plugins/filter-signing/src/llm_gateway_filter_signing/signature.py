"""How a signature's header is read; knows no clock and no state.

What is signed is described in `llm_gateway_api.signing`.
"""

import hmac
import re

import msgspec

_FIELD = re.compile(r"([tnks])=([A-Za-z0-9._~-]{1,128})")
_TIME = re.compile(r"[1-9][0-9]{0,11}")
_NONCE = re.compile(r"[A-Za-z0-9._~-]{16,128}")
_HEX = re.compile(r"[0-9a-f]{64}")


class Signature(msgspec.Struct, frozen=True):
    """A header as it was read. `at` is in Unix seconds, `key` empty where none is named."""

    at: int
    nonce: str
    key: str
    digest: str


def parsed(header: str) -> Signature | None:
    """None for what is no signature: a field unknown, missing, twice or of another form."""
    fields: dict[str, str] = {}
    for part in header.split(","):
        match = _FIELD.fullmatch(part.strip(" \t"))
        if match is None or match[1] in fields:
            return None
        fields[match[1]] = match[2]
    at, nonce, digest = fields.get("t", ""), fields.get("n", ""), fields.get("s", "")
    if not (_TIME.fullmatch(at) and _NONCE.fullmatch(nonce) and _HEX.fullmatch(digest)):
        return None
    return Signature(int(at), nonce, fields.get("k", ""), digest)


def same(one: str, other: str) -> bool:
    """In a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)
