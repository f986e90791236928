"""Tokens of Microsoft Entra ID: fetched ahead of their expiry, one fetch at a time.

The exchange runs in a thread with the standard library's client: it happens once an hour and
reads a file. Sources: RFC 6749 and 7523, Microsoft's pages on the v2.0 token endpoint and on
managed identities. No secret and no token stands in a message.
"""

import asyncio
import http.client
import logging
import ssl
import time
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_azure_openai.settings import Entra

AHEAD_SECONDS = 300.0
AGAIN_SECONDS = 5.0
REPLACED_SECONDS = 30.0
LIFE_SECONDS = 3600.0
MAX_BYTES = 65_536
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
IDENTITY_VERSION = "2018-02-01"
log = logging.getLogger(__name__)


class TokenProblem(Exception):
    """Why no token can be had; the text is for the log."""


class Tokens:
    """The token of one instance. An old one serves while the next is fetched."""

    def __init__(self, settings: Entra) -> None:
        self._settings = settings
        self._headers: gw.Headers = {}
        self._due = self._expires = self._not_before = self._replaced = float("-inf")
        self._fetching: asyncio.Task[tuple[str, float]] | None = None

    async def headers(self) -> gw.Headers:
        """Raises `UpstreamError` where there is no token and none can be had."""
        now = time.monotonic()
        if now < self._expires:
            if now >= self._due and now >= self._not_before:
                self._fetch()
            return self._headers
        try:
            async with asyncio.timeout(2 * self._settings.timeout_seconds):
                await asyncio.shield(self._fetch())
        except (TokenProblem, TimeoutError) as error:
            raise gw.UpstreamError(
                gw.FailureClass.CREDENTIAL_REFUSED,
                "The gateway could not get a credential for the provider.",
            ) from error
        return self._headers

    def replaced(self, sent: gw.Headers) -> bool:
        """The vendor refused the token in `sent`: whether the next one is another.

        A token that took the place of a refused one is kept for a while though it is refused
        too: what is missing then is a right, and no number of tokens brings it.
        """
        if sent.get("authorization") != self._headers.get("authorization"):
            return True
        now = time.monotonic()
        if now - self._replaced < REPLACED_SECONDS:
            return False
        self._replaced, self._expires = now, float("-inf")
        return True

    def _fetch(self) -> "asyncio.Task[tuple[str, float]]":
        if self._fetching is None:
            self._fetching = asyncio.create_task(asyncio.to_thread(exchange, self._settings))
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    def _fetched(self, task: "asyncio.Task[tuple[str, float]]") -> None:
        self._fetching = None
        if task.cancelled():
            return
        now = time.monotonic()
        if (error := task.exception()) is not None:
            self._not_before = now + AGAIN_SECONDS
            reason = str(error) if isinstance(error, TokenProblem) else type(error).__name__
            log.error("credential.failed reason=%s", reason)
            return
        token, life = task.result()
        self._headers = {"authorization": f"Bearer {token}"}
        self._expires = now + life
        self._due = now + max(life - AHEAD_SECONDS, life / 2)


def exchange(settings: Entra) -> tuple[str, float]:
    """A token and its life in seconds. Blocks.

    Raises:
        TokenProblem: the file, the endpoint or its answer is not as it must be.
    """
    status, body = _asked(settings)
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise TokenProblem(f"the token endpoint answered {status} without JSON")
    if status != 200:
        word = str(found.get("error"))
        told = word if word.replace("_", "").isalpha() and len(word) < 40 else "no reason"
        raise TokenProblem(f"the token endpoint answered {status} ({told})")
    token = found.get("access_token")
    if not isinstance(token, str) or not token or not (token.isascii() and token.isprintable()):
        raise TokenProblem("the token endpoint gave no token")
    return token, _life(found.get("expires_in"))


def _life(given: object) -> float:
    """Seconds; the identity service writes them as text."""
    try:
        life = float(str(given))
    except ValueError:
        return LIFE_SECONDS
    return life if 0 < life < 1e7 else LIFE_SECONDS


def _asked(settings: Entra) -> tuple[int, bytes]:
    if settings.managed_identity:
        query = {
            "api-version": IDENTITY_VERSION,
            "resource": settings.scope.removesuffix(".default"),
        }
        if settings.client_id:
            query["client_id"] = settings.client_id
        url = f"{settings.identity_url}?{urlencode(query)}"
        return _call("GET", url, None, {"metadata": "true"}, settings.timeout_seconds)
    form = {
        "grant_type": "client_credentials",
        "client_id": str(settings.client_id),
        "scope": settings.scope,
    }
    if settings.client_secret is not None:
        form["client_secret"] = settings.client_secret.get_secret_value()
    else:
        form |= {"client_assertion_type": JWT_BEARER, "client_assertion": _assertion(settings)}
    base = str(settings.authority_url).rstrip("/")
    url = f"{base}/{settings.tenant_id}/oauth2/v2.0/token"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return _call("POST", url, urlencode(form).encode(), headers, settings.timeout_seconds)


def _assertion(settings: Entra) -> str:
    """The workload's own token; its file is written anew from time to time."""
    assert settings.federated_token_file is not None
    try:
        return settings.federated_token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        kind = type(error).__name__
        raise TokenProblem(f"federated_token_file cannot be read ({kind})") from None


def _call(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout_seconds: float
) -> tuple[int, bytes]:
    """One call; follows no redirect and uses no proxy."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=timeout_seconds, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout_seconds)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, path, body, {"accept": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise TokenProblem(
            f"the token endpoint cannot be reached ({type(error).__name__})"
        ) from None
    finally:
        connection.close()
