"""What is signed and how it is written; knows no clock and no state.

The signed text is eight lines, joined by a line feed and without one at the end::

    llm-gateway-hmac-sha256
    POST
    /v1/chat/completions
    <the query as it is sent, without ``?``; empty if there is none>
    1767225600
    <nonce>
    <key id; empty if none was given>
    <SHA-256 of the body as it is sent, in lower-case hex>

The path is percent-decoded. The header is ``t=…,n=…,k=…,s=…`` with the signature in
lower-case hex as ``s``; ``k`` may be left out.
"""

import hashlib
import hmac
import re

import msgspec

SCHEME = "llm-gateway-hmac-sha256"
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


def signed_text(
    method: str, path: str, query: str, at: int, nonce: str, key: str, body: bytes
) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    lines = (SCHEME, method, path, query, str(at), nonce, key, digest)
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def digest_of(secret: bytes, text: bytes) -> str:
    return hmac.digest(secret, text, "sha256").hex()


def same(one: str, other: str) -> bool:
    """In a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)
