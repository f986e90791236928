"""OAuth tokens of a service account, fetched ahead of their expiry, one fetch at a time.

Reading the file and signing happen in a thread, the call is the kernel's guarded one. The
key and what is made of it stand in no message. Sources: RFC 7523, and Google's OAuth 2.0
for service accounts.
"""

import asyncio
import base64
import ipaddress
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import llm_gateway_api as gw
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_URI = "https://oauth2.googleapis.com/token"
AHEAD_SECONDS = 300.0
AGAIN_SECONDS = 5.0
REPLACED_SECONDS = 30.0
LIFE_SECONDS = 3600
MAX_BYTES = 65_536
log = logging.getLogger(__name__)


class CredentialProblem(Exception):
    """Why no token can be had; the text is for the log and free of secrets."""


class Token:
    """A token and its times, on the kernel's clock."""

    def __init__(self, text: str, fetched: float, life: float) -> None:
        self.headers: gw.Headers = {"authorization": f"Bearer {text}"}
        self.fetched = fetched
        self.expires = fetched + life
        self.due = fetched + max(life - AHEAD_SECONDS, life / 2)


class Credentials:
    """The token of one instance. An old one serves while the next is fetched."""

    def __init__(
        self, fetch: gw.Fetch, clock: Callable[[], float], file: Path, timeout_seconds: float
    ) -> None:
        self._post = fetch
        self._clock = clock
        self._file = file
        self._timeout = timeout_seconds
        self._token: Token | None = None
        self._fetching: asyncio.Task[Token] | None = None
        self._not_before = 0.0
        self._replaced = float("-inf")

    async def headers(self) -> gw.Headers:
        """Raises `UpstreamError` where there is no token and none can be had."""
        now = self._clock()
        token = self._token
        if token is not None and now < token.expires:
            if now >= token.due and now >= self._not_before:
                self._fetch()
            return token.headers
        try:
            async with asyncio.timeout(2 * self._timeout):
                return (await asyncio.shield(self._fetch())).headers
        except (CredentialProblem, TimeoutError) as error:
            raise gw.UpstreamError(
                gw.FailureClass.CREDENTIAL_REFUSED,
                "The gateway could not get a credential for the provider.",
            ) from error

    def replaced(self, sent: gw.Headers) -> bool:
        """The vendor refused the token in `sent`: whether the next one is another.

        A token that took the place of a refused one is kept for a while though it is refused
        too: what is missing then is a right, and no number of tokens brings it.
        """
        held = self._token
        if held is None or sent.get("authorization") != held.headers["authorization"]:
            return True
        now = self._clock()
        if now - self._replaced < REPLACED_SECONDS:
            return False
        self._replaced, self._token = now, None
        return True

    def _fetch(self) -> "asyncio.Task[Token]":
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._exchange())
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    async def _exchange(self) -> Token:
        uri, form = await asyncio.to_thread(grant, self._file)
        try:
            answer = await self._post(
                uri,
                method="POST",
                headers={"content-type": "application/x-www-form-urlencoded"},
                body=form,
                seconds=self._timeout,
                max_bytes=MAX_BYTES,
            )
        except gw.FetchError as error:
            kind = type(error).__name__
            raise CredentialProblem(f"the token endpoint cannot be reached ({kind})") from None
        text, life = granted(answer.status, answer.body)
        return Token(text, self._clock(), life)

    def _fetched(self, task: "asyncio.Task[Token]") -> None:
        self._fetching = None
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            self._token = task.result()
        else:
            self._not_before = self._clock() + AGAIN_SECONDS
            reason = str(error) if isinstance(error, CredentialProblem) else type(error).__name__
            log.error("credential.failed file=%s reason=%s", self._file, reason)


def grant(file: Path) -> tuple[str, bytes]:
    """The token endpoint that `file` names, and the form that asks it. Blocks.

    Raises:
        CredentialProblem: the file is not as it must be.
    """
    info = read(file)
    uri = str(info.get("token_uri") or TOKEN_URI)
    check_endpoint(uri)
    if info.get("type") == "service_account":
        form = {"grant_type": GRANT, "assertion": assertion(info, uri, int(time.time()))}
    else:
        names = ("client_id", "client_secret", "refresh_token")
        form = {"grant_type": "refresh_token", **{each: required(info, each) for each in names}}
    return uri, urlencode(form).encode()


def granted(status: int, body: bytes) -> tuple[str, float]:
    """The token of an answer, and its life in seconds. Raises `CredentialProblem`."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CredentialProblem(f"the token endpoint answered {status} without JSON")
    if status != 200:
        word = str(found.get("error"))
        told = word if word.replace("_", "").isalpha() and len(word) < 40 else "no reason"
        raise CredentialProblem(f"the token endpoint answered {status} ({told})")
    text, life = found.get("access_token"), found.get("expires_in", LIFE_SECONDS)
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or not text:
        raise CredentialProblem("the token endpoint gave no token")
    return text, float(life) if isinstance(life, (int, float)) and life > 0 else LIFE_SECONDS


def read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise CredentialProblem(f"the file cannot be read ({error.strerror})") from None
    except ValueError:
        raise CredentialProblem("the file is no JSON") from None
    kind = found.get("type") if isinstance(found, dict) else None
    if kind not in ("service_account", "authorized_user"):
        raise CredentialProblem(
            "the file's type is neither 'service_account' nor 'authorized_user'"
        )
    return dict(found)


def required(info: Mapping[str, Any], name: str) -> str:
    found = info.get(name)
    if not isinstance(found, str) or not found:
        raise CredentialProblem(f"the file has no {name!r}")
    return found


def check_endpoint(uri: str) -> None:
    """A credential goes over TLS, or does not leave the machine."""
    parts = urlsplit(uri)
    if parts.scheme == "https" and parts.hostname:
        return
    try:
        local = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        local = False
    if parts.scheme != "http" or not local:
        raise CredentialProblem("the file's 'token_uri' is no https address")


def assertion(info: Mapping[str, Any], audience: str, now: int) -> str:
    """The JWT that says who asks, signed with RS256."""
    pem, email = required(info, "private_key"), required(info, "client_email")
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise CredentialProblem("the file's 'private_key' cannot be read") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CredentialProblem("the file's 'private_key' is no RSA key")
    head = {"alg": "RS256", "typ": "JWT", "kid": str(info.get("private_key_id") or "")}
    claims = {
        "iss": email,
        "sub": email,
        "aud": audience,
        "scope": SCOPE,
        "iat": now,
        "exp": now + LIFE_SECONDS,
    }
    signed = b".".join(_url64(json.dumps(each).encode()) for each in (head, claims))
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return (signed + b"." + _url64(signature)).decode()


def _url64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
