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
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

import llm_gateway_api as gw
import msgspec

ALGORITHM = "AWS4-HMAC-SHA256"
SIGNED = frozenset({"accept", "content-type", "host", "x-amz-date", "x-amz-security-token"})
MIN_SKEW_SECONDS = 30.0
MAX_HEADS = 32  # canonical heads that are kept at hand


class Credentials(msgspec.Struct, frozen=True):
    """A key pair; `expires` is Unix time, None for keys that last."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires: float | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id[:4]}…)"


class Signer:
    """Signs for one region and service. Keeps the key of the day and the clock's error."""

    def __init__(
        self, region: str, service: str = "bedrock", clock: Callable[[], float] = time.time
    ) -> None:
        self._region = region
        self._service = service
        self._clock = clock
        self._skew = 0.0
        self._day: tuple[str, str, hmac.HMAC | None] = ("", "", None)
        self._second: tuple[int, str] = (-1, "")

    def sign(self, request: gw.UpstreamRequest, credentials: Credentials) -> gw.UpstreamRequest:
        """Return `request` with ``x-amz-date``, the session's token and ``authorization``."""
        amz_date = self._date()
        headers = {**request.headers, "x-amz-date": amz_date}
        if credentials.session_token is not None:
            headers["x-amz-security-token"] = credentials.session_token
        canonical, names = canonical_request(request.method, request.url, headers, request.body)
        scope = f"{amz_date[:8]}/{self._region}/{self._service}/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"{ALGORITHM}\n{amz_date}\n{scope}\n{digest}"
        keyed = self._keyed(credentials.secret_access_key, amz_date[:8]).copy()
        keyed.update(text.encode())
        signature = keyed.hexdigest()
        headers["authorization"] = (
            f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return msgspec.structs.replace(request, headers=headers)

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

    def _date(self) -> str:
        now = int(self._clock() + self._skew)
        second, written = self._second
        if second != now:
            written = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
            self._second = (now, written)
        return written

    def _keyed(self, secret: str, day: str) -> hmac.HMAC:
        """The hash under the key of the day; a copy of it takes what is signed."""
        known_secret, known_day, keyed = self._day
        if keyed is None or known_day != day or known_secret != secret:
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            keyed = hmac.new(key, digestmod="sha256")
            self._day = (secret, day, keyed)
        return keyed


def canonical_request(method: str, url: str, headers: gw.Headers, body: bytes) -> tuple[str, str]:
    """The canonical request and the list of the names that it signs."""
    head, names = canonical_head(method, url, tuple(headers.items()))
    return f"{head}\n{hashlib.sha256(body).hexdigest()}", names


@lru_cache(MAX_HEADS)
def canonical_head(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """All of it but the body's digest: the same for every call of one second to one URL."""
    parts = urlsplit(url)
    signed = {"host": parts.netloc}
    for name, value in headers:
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
