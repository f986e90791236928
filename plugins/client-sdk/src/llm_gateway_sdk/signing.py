"""Signs requests for a gateway that demands it (``security.request_signing``).

The format is described in the README of llm-gateway-filter-signing.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Generator
from time import time
from urllib.parse import unquote

import httpx

SCHEME = "llm-gateway-hmac-sha256"


class RequestSigning(httpx.Auth):
    """Signs each attempt anew, as an `auth` of httpx: ``Client(…, signing=…)`` here,
    ``httpx.Client(auth=…)`` for other SDKs.

    `key_id` names the secret where the gateway has several. Bodies are held in memory.
    """

    requires_request_body = True

    def __init__(
        self,
        secret: str,
        key_id: str = "",
        *,
        header_name: str = "X-Signature",
        now: Callable[[], float] = time,
    ) -> None:
        self._secret = secret.encode()
        self._key = key_id
        self._header = header_name
        self._now = now

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        target, _, query = request.url.raw_path.decode("ascii").partition("?")
        request.headers[self._header] = self.signature(
            request.method, unquote(target), query, request.content
        )
        yield request

    def signature(
        self, method: str, path: str, query: str, body: bytes, *, nonce: str | None = None
    ) -> str:
        """The header's value. `path` is percent-decoded, `query` as it is sent; `nonce` is
        made where none is given."""
        at = str(int(self._now()))
        nonce = secrets.token_urlsafe(24) if nonce is None else nonce
        digest = hashlib.sha256(body).hexdigest()
        text = "\n".join((SCHEME, method, path, query, at, nonce, self._key, digest))
        signed = hmac.digest(self._secret, text.encode(), "sha256").hex()
        key = f"k={self._key}," if self._key else ""
        return f"t={at},n={nonce},{key}s={signed}"
