"""What an error means: the vendor's code first, then its type and the status, words last."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import llm_gateway_api as gw
from llm_gateway_api import FailureClass as F

MAX_WORDS = 500
SECRETS = re.compile(r"(?i)\bsk-[\w-]{6,}|bearer\s+\S+|https?://\S+")
CODES = {
    "enforced_spend_limit_reached": F.ACCOUNT_EMPTY,
    "contract_spend_limit_reached": F.ACCOUNT_EMPTY,
    "ramp_limit_exceeded": F.RATE_LIMITED,
}
TYPES = {
    "authentication_error": F.CREDENTIAL_REFUSED,
    "permission_error": F.CREDENTIAL_REFUSED,
    "billing_error": F.ACCOUNT_EMPTY,
    "not_found_error": F.MODEL_GONE,
    "rate_limit_error": F.RATE_LIMITED,
    "overloaded_error": F.OVERLOADED,
    "api_error": F.SERVER_ERROR,
    "timeout_error": F.SERVER_ERROR,
    "conflict_error": F.SERVER_ERROR,
    "request_too_large": F.CALLER_FAULT,
}
STATUSES = {
    401: F.CREDENTIAL_REFUSED,
    402: F.ACCOUNT_EMPTY,
    403: F.CREDENTIAL_REFUSED,
    404: F.MODEL_GONE,
    408: F.SERVER_ERROR,
    409: F.SERVER_ERROR,
    429: F.RATE_LIMITED,
    503: F.OVERLOADED,
    529: F.OVERLOADED,
}
# The vendor has no code of its own for these, only words in a plain 400.
WORDS = {
    "prompt is too long": F.CONTEXT_TOO_LONG,
    "exceed context limit": F.CONTEXT_TOO_LONG,
    "usage limits": F.ACCOUNT_EMPTY,
    "credit balance is too low": F.ACCOUNT_EMPTY,
}
FIXED = {
    F.CREDENTIAL_REFUSED: "The provider refused the gateway's credential.",
    F.ACCOUNT_EMPTY: "The gateway's account at the provider has no credit left.",
    F.SERVER_ERROR: "The provider failed.",
    F.OVERLOADED: "The provider is overloaded.",
    F.MODEL_GONE: "The provider does not have this model.",
}
BUCKETS = ("requests", "tokens", "input-tokens", "output-tokens")


def refused(status: int, headers: Mapping[str, str], body: bytes) -> gw.UpstreamError:
    """The error of an answer with `status` and `body`."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = {"error": {"message": body[:MAX_WORDS].decode(errors="replace")}}
    inner = found.get("error") if isinstance(found, dict) else None
    return meaning(inner, status, retry_after(headers))


def meaning(error: object, status: int = 0, wait: float | None = None) -> gw.UpstreamError:
    """The error of the vendor's error object, of an answer or (status 0) inside a stream."""
    given = error if isinstance(error, dict) else {}
    details = given.get("details")
    code = str(details.get("error_code") or "") if isinstance(details, dict) else ""
    kind, words = str(given.get("type") or ""), str(given.get("message") or "")
    failure = classified(status, code, kind, words.lower())
    told = FIXED.get(failure) or SECRETS.sub("[...]", words)[:MAX_WORDS] or "no reason given"
    return gw.UpstreamError(
        failure,
        told,
        code=code or kind or None,
        upstream_status=status or (400 if failure is F.CALLER_FAULT else None),
        retry_after=wait,
    )


def classified(status: int, code: str, kind: str, words: str) -> F:
    if code in CODES:
        return CODES[code]
    if status == 400 or (status == 0 and kind == "invalid_request_error"):
        return next((each for word, each in WORDS.items() if word in words), F.CALLER_FAULT)
    found = STATUSES.get(status) or (TYPES.get(kind) if status < 500 else None)
    if found is not None:
        return found
    return F.CALLER_FAULT if 400 <= status < 500 else F.SERVER_ERROR


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until another try may help: ``retry-after``, else the latest reset of the
    buckets that are empty, told against the answer's own date; None if nothing is said."""
    try:
        wait = float(headers.get("retry-after", ""))
    except ValueError:
        resets = [each for bucket in BUCKETS if (each := _reset(headers, bucket)) is not None]
        return max(resets, default=None)
    return wait if 0 <= wait <= 86400 else None


def _reset(headers: Mapping[str, str], bucket: str) -> float | None:
    prefix = f"anthropic-ratelimit-{bucket}"
    if headers.get(f"{prefix}-remaining") != "0":
        return None
    try:
        reset = datetime.fromisoformat(headers.get(f"{prefix}-reset", ""))
        wait = (reset - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (TypeError, ValueError):
        return None
    return wait if 0 <= wait <= 86400 else None
