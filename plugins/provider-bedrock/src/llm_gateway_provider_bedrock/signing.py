"""AWS Signature Version 4, as a pure function of request, credentials and time.

Source: "Create a signed AWS API request" of the IAM user guide. A path is signed encoded
once more than it is sent (every service but S3), so that an ARN of ``%2F`` is signed as
``%252F``; only headers that no proxy changes are signed.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import llm_gateway_api as gw
import msgspec

ALGORITHM = "AWS4-HMAC-SHA256"
SIGNED = frozenset({"accept", "content-type", "host", "x-amz-date", "x-amz-security-token"})
MIN_SKEW_SECONDS = 30.0
MAX_STAMPS = 32  # of one second; clients may name any model


class Credentials(msgspec.Struct, frozen=True):
    """A key pair; `expires` is Unix time, None for keys that last."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires: float | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id[:4]}…)"


class Stamp(msgspec.Struct, frozen=True):
    """What all calls of one second to one URL have in common; only the body is to come.

    `asked` are their headers and `headers` the same with the date and the session's token;
    `head` is a hash of the canonical request up to the body's digest, `keyed` one under the key of
    the day, of all that is signed but the digest of the canonical request.
    """

    asked: gw.Headers
    headers: dict[str, str]
    head: Any
    keyed: hmac.HMAC
    authorization: str


class Signer:
    """Signs for one region and service. Keeps the stamps of the second and the clock's error."""

    def __init__(
        self, region: str, service: str = "bedrock", clock: Callable[[], float] = time.time
    ) -> None:
        self._region = region
        self._service = service
        self._clock = clock
        self._skew = 0.0
        self._day: tuple[str, str, bytes] = ("", "", b"")
        self._second = -1
        self._credentials: Credentials | None = None
        self._stamps: dict[tuple[str, str], Stamp] = {}

    def sign(self, request: gw.UpstreamRequest, credentials: Credentials) -> gw.UpstreamRequest:
        """Return `request` with ``x-amz-date``, the session's token and ``authorization``."""
        now = int(self._clock() + self._skew)
        if now != self._second or credentials is not self._credentials:
            self._stamps.clear()
            self._second, self._credentials = now, credentials
        stamp = self._stamps.get((request.method, request.url))
        if stamp is None or stamp.asked != request.headers:
            stamp = self._stamped(request, credentials, now)
        canonical = stamp.head.copy()
        canonical.update(hashlib.sha256(request.body).hexdigest().encode())
        keyed = stamp.keyed.copy()
        keyed.update(canonical.hexdigest().encode())
        headers = {**stamp.headers, "authorization": stamp.authorization + keyed.hexdigest()}
        return msgspec.structs.replace(request, headers=headers)

    def _stamped(self, request: gw.UpstreamRequest, credentials: Credentials, now: int) -> Stamp:
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        headers = {**request.headers, "x-amz-date": date}
        if credentials.session_token is not None:
            headers["x-amz-security-token"] = credentials.session_token
        head, names = canonical_head(request.method, request.url, headers)
        scope = f"{date[:8]}/{self._region}/{self._service}/aws4_request"
        signed = f"{ALGORITHM}\n{date}\n{scope}\n".encode()
        stamp = Stamp(
            request.headers,
            headers,
            hashlib.sha256(f"{head}\n".encode()),
            hmac.new(self._key(credentials.secret_access_key, date[:8]), signed, "sha256"),
            f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
            f"SignedHeaders={names}, Signature=",
        )
        if len(self._stamps) >= MAX_STAMPS:
            self._stamps.clear()
        self._stamps[request.method, request.url] = stamp
        return stamp

    def correct(self, date: str | None) -> bool:
        """Take the vendor's clock from a ``date`` header; whether that changes anything."""
        try:
            theirs = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, TypeError, IndexError):
            return False
        skew = theirs - self._clock()
        if abs(skew - self._skew) < MIN_SKEW_SECONDS:
            return False
        self._skew = skew
        return True

    def _key(self, secret: str, day: str) -> bytes:
        known_secret, known_day, key = self._day
        if known_day != day or known_secret != secret:
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day = (secret, day, key)
        return key


def canonical_head(method: str, url: str, headers: gw.Headers) -> tuple[str, str]:
    """The canonical request up to the body's digest, and the list of the names that it signs."""
    parts = urlsplit(url)
    signed = {"host": parts.netloc}
    for name, value in headers.items():
        if (lower := name.lower()) in SIGNED:
            signed[lower] = " ".join(value.split())
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    path = quote(parts.path or "/", safe="/-_.~")
    return f"{method}\n{path}\n{canonical_query(parts.query)}\n{lines}\n{names}", names


def canonical_query(query: str) -> str:
    """Sorted by name, then value, each percent-encoded as RFC 3986 says."""
    if not query:
        return ""
    pairs = (each.partition("=") for each in query.split("&") if each)
    encoded = ((escaped(unquote(name)), escaped(unquote(value))) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def escaped(text: str) -> str:
    return quote(text, safe="-_.~")
