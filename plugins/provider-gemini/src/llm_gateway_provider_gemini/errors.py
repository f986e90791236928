"""What an error of the vendor means: reason and status first, words last.

The vendor's shape is ``{"error": {code, message, status, details}}``, at times inside a
list of one. A refused key arrives as 400, so ``ErrorInfo`` is asked before the status.
"""

import re
from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec
from llm_gateway_api import FailureClass as F

MAX_WORDS = 500
SECRETS = re.compile(
    r"AIza[\w\-]{6,}|ya29\.[\w\-.]+|(?i:bearer)\s+\S+|https?://\S+|projects/[\w\-:.]+|[\w.\-]+@[\w.\-]+"
)
REASONS = {
    "API_KEY_INVALID": F.CREDENTIAL_REFUSED,
    "API_KEY_EXPIRED": F.CREDENTIAL_REFUSED,
    "API_KEY_SERVICE_BLOCKED": F.CREDENTIAL_REFUSED,
    "ACCESS_TOKEN_EXPIRED": F.CREDENTIAL_REFUSED,
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": F.CREDENTIAL_REFUSED,
    "SERVICE_DISABLED": F.CREDENTIAL_REFUSED,
    "BILLING_DISABLED": F.ACCOUNT_EMPTY,
}
STATUSES = {
    "INVALID_ARGUMENT": F.CALLER_FAULT,
    "OUT_OF_RANGE": F.CALLER_FAULT,
    "FAILED_PRECONDITION": F.MODEL_GONE,
    "UNAUTHENTICATED": F.CREDENTIAL_REFUSED,
    "PERMISSION_DENIED": F.CREDENTIAL_REFUSED,
    "NOT_FOUND": F.MODEL_GONE,
    "RESOURCE_EXHAUSTED": F.RATE_LIMITED,
    "CANCELLED": F.SERVER_ERROR,
    "INTERNAL": F.SERVER_ERROR,
    "UNKNOWN": F.SERVER_ERROR,
    "UNAVAILABLE": F.OVERLOADED,
    "DEADLINE_EXCEEDED": F.SERVER_ERROR,
}
CODES = {
    401: F.CREDENTIAL_REFUSED,
    402: F.ACCOUNT_EMPTY,
    403: F.CREDENTIAL_REFUSED,
    404: F.MODEL_GONE,
    408: F.SERVER_ERROR,
    409: F.SERVER_ERROR,
    429: F.RATE_LIMITED,
    499: F.SERVER_ERROR,
    503: F.OVERLOADED,
    504: F.SERVER_ERROR,
}
FIXED = {
    F.CREDENTIAL_REFUSED: "The provider refused the gateway's credential.",
    F.ACCOUNT_EMPTY: "The gateway's quota at the provider is used up.",
    F.SERVER_ERROR: "The provider failed.",
    F.OVERLOADED: "The provider is overloaded.",
    F.MODEL_GONE: "The provider does not have this model, or not for this account and region.",
    F.RATE_LIMITED: "The provider limits the gateway's account; try again later.",
}
# Words, where the vendor has no code for it: all of a row must stand in the message.
WORDS = (
    (("api key not valid",), F.CREDENTIAL_REFUSED),
    (("api key expired",), F.CREDENTIAL_REFUSED),
    (("token count", "exceeds the maximum"), F.CONTEXT_TOO_LONG),
    (("user location is not supported",), F.MODEL_GONE),
)
SIGNATURE = re.compile(r"(?i)thought[ _]?signature")
SIGNATURE_HELP = (
    "A thought signature of the conversation is missing or was made elsewhere: send back "
    "extra_content as it came, or leave it out everywhere."
)


def refused(status: int, headers: Mapping[str, str], body: bytes) -> gw.UpstreamError:
    """The error of an answer; a delay of its details goes before that of its headers."""
    error = meaning(status, parsed(body))
    given = headers.get("retry-after", "")
    if error.retry_after is None and error.failure in (F.RATE_LIMITED, F.OVERLOADED):
        error.retry_after = float(given) if re.fullmatch(r"\d{1,5}(\.\d+)?", given) else None
    return error


def parsed(body: bytes) -> dict[str, Any]:
    """The error object of an answer; empty where there is none."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    if isinstance(found, list) and found:
        found = found[0]
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {}


def meaning(status: int, error: Mapping[str, Any]) -> gw.UpstreamError:
    """The error of the vendor's error object; `status` 0 inside a stream."""
    code = error.get("code")
    if status < 400:
        status = code if type(code) is int and 400 <= code < 600 else 500
    words = str(error.get("message") or "")
    details = [each for each in error.get("details") or () if isinstance(each, dict)]
    failure = classified(status, str(error.get("status") or ""), words, details)
    if SIGNATURE.search(words) and failure is F.CALLER_FAULT:
        told = SIGNATURE_HELP
    else:
        told = FIXED.get(failure) or SECRETS.sub("[...]", words)[:MAX_WORDS] or "no reason given"
    wait = retry_delay(details) if failure in (F.RATE_LIMITED, F.OVERLOADED) else None
    return gw.UpstreamError(failure, told, upstream_status=status, retry_after=wait)


def classified(status: int, name: str, words: str, details: list[dict[str, Any]]) -> F:
    for each in details:
        if (found := REASONS.get(str(each.get("reason")))) is not None:
            return found
    if status < 500:
        lowered = words.lower()
        for row, failure in WORDS:
            if all(each in lowered for each in row):
                return failure
        if status == 429 and daily(details):
            return F.ACCOUNT_EMPTY
    found = STATUSES.get(name) if name else None
    if found is None or (found is F.CALLER_FAULT and status >= 500):
        found = CODES.get(status)
    return found or (F.SERVER_ERROR if status >= 500 else F.CALLER_FAULT)


def daily(details: list[dict[str, Any]]) -> bool:
    """Whether a quota of the day is used up: no wait of this request helps."""
    return any(
        "PerDay" in str(violation.get("quotaId"))
        for each in details
        for violation in _list(each.get("violations"))
        if isinstance(violation, dict)
    )


def retry_delay(details: list[dict[str, Any]]) -> float | None:
    """Seconds of ``RetryInfo``, a protobuf duration such as ``17.5s``."""
    for each in details:
        given = each.get("retryDelay")
        if isinstance(given, str) and re.fullmatch(r"\d{1,6}(\.\d{1,9})?s", given):
            return float(given[:-1])
    return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
