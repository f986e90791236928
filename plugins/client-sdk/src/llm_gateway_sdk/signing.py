"""Signs requests for a gateway that demands it (``security.request_signing``).

The form is described in `llm_gateway_api.signing`.
"""

from collections.abc import Callable, Generator, Mapping
from time import time
from urllib.parse import unquote

import httpx
from llm_gateway_api.signing import SIGNING_HEADER, signature_header


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
        header_name: str = SIGNING_HEADER,
        now: Callable[[], float] = time,
    ) -> None:
        self._secret = secret.encode()
        self._key = key_id
        self._header = header_name
        self._now = now

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> "RequestSigning | None":
        """As ``LLM_GATEWAY_SIGNING_SECRET`` and ``LLM_GATEWAY_SIGNING_KEY_ID`` say, if they do."""
        secret = environ.get("LLM_GATEWAY_SIGNING_SECRET")
        return cls(secret, environ.get("LLM_GATEWAY_SIGNING_KEY_ID", "")) if secret else None

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
        at = int(self._now())
        return signature_header(
            self._secret, method, path, query, body, at, key=self._key, nonce=nonce
        )
