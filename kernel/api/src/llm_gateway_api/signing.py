"""How a request is signed: one form for whoever signs and whoever checks.

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
import secrets

SIGNING_SCHEME = "llm-gateway-hmac-sha256"
SIGNING_HEADER = "X-Signature"


def signed_text(
    method: str, path: str, query: str, at: int, nonce: str, key: str, body: bytes
) -> bytes:
    """`at` is in Unix seconds."""
    digest = hashlib.sha256(body).hexdigest()
    lines = (SIGNING_SCHEME, method, path, query, str(at), nonce, key, digest)
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def signature_digest(secret: bytes, text: bytes) -> str:
    return hmac.digest(secret, text, "sha256").hex()


def signature_header(
    secret: bytes,
    method: str,
    path: str,
    query: str,
    body: bytes,
    at: int,
    *,
    key: str = "",
    nonce: str | None = None,
) -> str:
    """The header's value; `nonce` is made where none is given."""
    nonce = secrets.token_urlsafe(24) if nonce is None else nonce
    text = signed_text(method, path, query, at, nonce, key, body)
    named = f"k={key}," if key else ""
    return f"t={at},n={nonce},{named}s={signature_digest(secret, text)}"
