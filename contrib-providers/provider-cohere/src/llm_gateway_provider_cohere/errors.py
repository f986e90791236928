"""What an error answer means. Bodies are ``{"message": …, "id"?: …}``, or plain text.

Source: Cohere's published error pages; 498 is a deny-listed token, not a credential.
"""

import json
import re
import time
from collections.abc import Mapping

import llm_gateway_api as gw
from llm_gateway_api import FailureClass as F

MAX_WORDS = 500
MAX_WAIT_SECONDS = 86400.0
SECRETS = re.compile(r"(?i)bearer\s+\S+|https?://\S+|\b(?=\w*\d)[A-Za-z0-9]{32,}\b")
STATUSES = {
    401: F.CREDENTIAL_REFUSED,
    402: F.ACCOUNT_EMPTY,
    403: F.CREDENTIAL_REFUSED,
    404: F.MODEL_GONE,
    408: F.SERVER_ERROR,
    409: F.SERVER_ERROR,
    429: F.RATE_LIMITED,
    498: F.CONTENT_POLICY,
    501: F.MODEL_GONE,  # this model does not do that: another deployment may
    503: F.OVERLOADED,
}
# The client's side of some of the vendor's own numbers.
SHOWN = {422: 400, 498: 400}
CODES = {400: "invalid_value", 422: "invalid_value", 498: "content_policy_violation"}
FIXED = {
    F.CREDENTIAL_REFUSED: "The provider refused the gateway's credential.",
    F.ACCOUNT_EMPTY: "The gateway's account at the provider is used up.",
    F.SERVER_ERROR: "The provider failed.",
    F.OVERLOADED: "The provider is overloaded.",
    F.MODEL_GONE: "The provider does not have this model, or not for this use.",
}
MONTHLY = re.compile(r"(?i)trial key.*month|calls\s*/\s*month")
TOO_LONG = re.compile(r"(?i)too many tokens|context length|maximum.*tokens.*exceed")


def refused(status: int, headers: Mapping[str, str], body: bytes) -> gw.UpstreamError:
    """The error of an answer with `status` of 400 and more."""
    words = message(body)
    failure = _failure(status, words)
    error = gw.UpstreamError(
        failure,
        FIXED.get(failure) or cleaned(words),
        code=CODES.get(status),
        upstream_status=status,
        retry_after=None if failure is F.ACCOUNT_EMPTY else wait(headers),
    )
    if failure in (F.CALLER_FAULT, F.CONTENT_POLICY):
        error.status = SHOWN.get(status, error.status)
    return error


def message(body: bytes) -> str:
    """The vendor's words; some proxies wrap them in ``data``."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return body[:MAX_WORDS].decode(errors="replace")
    for _ in range(2):
        if not isinstance(found, dict):
            break
        if isinstance(words := found.get("message"), str):
            return words
        found = found.get("data")
    return found if isinstance(found, str) else ""


def cleaned(words: str) -> str:
    return SECRETS.sub("[...]", words)[:MAX_WORDS] or "The provider gave no reason."


def broken(words: object) -> gw.UpstreamError:
    """An error inside an answer that began with 200; the reason stays in the vendor's words."""
    text = cleaned(words) if isinstance(words, str) else FIXED[F.SERVER_ERROR]
    return gw.UpstreamError(F.SERVER_ERROR, text)


def wait(headers: Mapping[str, str]) -> float | None:
    """Seconds: ``retry-after-ms``, ``retry-after``, or ``x-ratelimit-reset`` (Unix seconds)."""
    found = (
        _number(headers.get("retry-after-ms"), 0.001),
        _number(headers.get("retry-after")),
        _number(headers.get("x-ratelimit-reset"), less=time.time()),
    )
    usable = (each for each in found if each is not None and 0 <= each <= MAX_WAIT_SECONDS)
    return next(usable, None)


def _number(text: str | None, scale: float = 1.0, less: float = 0.0) -> float | None:
    try:
        return float(text or "") * scale - less
    except ValueError:
        return None


def _failure(status: int, words: str) -> F:
    if status in (400, 422) and TOO_LONG.search(words):
        return F.CONTEXT_TOO_LONG
    if status == 429 and MONTHLY.search(words):
        return F.ACCOUNT_EMPTY
    if status in STATUSES:
        return STATUSES[status]
    return F.SERVER_ERROR if status >= 500 else F.CALLER_FAULT
