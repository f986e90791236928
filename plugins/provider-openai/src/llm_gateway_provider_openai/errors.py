"""What an error answer means: structured code and status first, words last."""

import json
import re
from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw
from llm_gateway_api import FailureClass as F

MAX_WORDS = 500
SECRETS = re.compile(r"(?i)\b(sk|gsk|xai|key|pat|hf)[-_][\w\-*]{6,}|bearer\s+\S+|https?://\S+")
CODES = {
    "context_length_exceeded": F.CONTEXT_TOO_LONG,
    "exceed_context_size_error": F.CONTEXT_TOO_LONG,
    "content_policy_violation": F.CONTENT_POLICY,
    "invalid_prompt": F.CONTENT_POLICY,
    "invalid_encrypted_content": F.CALLER_FAULT,
    "content_filter": F.CONTENT_POLICY,
    "insufficient_quota": F.ACCOUNT_EMPTY,
    "credit_balance_exhausted": F.ACCOUNT_EMPTY,
    "billing_hard_limit_reached": F.ACCOUNT_EMPTY,
    "invalid_api_key": F.CREDENTIAL_REFUSED,
    "rate_limit_exceeded": F.RATE_LIMITED,
    "slow_down": F.RATE_LIMITED,
    "server_is_overloaded": F.OVERLOADED,
    "server_error": F.SERVER_ERROR,
}
STATUSES = {
    401: F.CREDENTIAL_REFUSED,
    402: F.ACCOUNT_EMPTY,
    403: F.CREDENTIAL_REFUSED,
    408: F.SERVER_ERROR,
    409: F.SERVER_ERROR,
    412: F.ACCOUNT_EMPTY,
    425: F.OVERLOADED,
    429: F.RATE_LIMITED,
    498: F.RATE_LIMITED,
    503: F.OVERLOADED,
    529: F.OVERLOADED,
}
FIXED = {
    F.CREDENTIAL_REFUSED: "The provider refused the gateway's credential.",
    F.ACCOUNT_EMPTY: "The gateway's account at the provider has no credit left.",
    F.SERVER_ERROR: "The provider failed.",
    F.OVERLOADED: "The provider is overloaded.",
    F.MODEL_GONE: "The provider does not have this model.",
}
TOO_LONG = ("maximum context length", "context length", "too many tokens", "context window")


def refused(status: int, headers: Mapping[str, str], body: bytes) -> gw.UpstreamError:
    """The error of an answer with `status` and `body`."""
    return meaning(status, parsed(body), retry_after(headers))


def meaning(status: int, error: dict[str, Any], wait: float | None = None) -> gw.UpstreamError:
    """The error of a vendor's error object, from an answer or from inside a stream."""
    code = str(error.get("code") or "")
    kind = str(error.get("type") or "")
    if status < 400:
        status = int(code) if code.isdigit() and 400 <= int(code) < 600 else 500
    failure = classified(status, code, kind, str(error.get("message") or ""))
    vendor = str(error.get("message") or "no reason given")
    words = FIXED.get(failure) or SECRETS.sub("[...]", vendor)[:MAX_WORDS]
    param = error.get("param")
    return gw.UpstreamError(
        failure,
        words,
        param=param if isinstance(param, str) else None,
        code=code if code and not code.isdigit() else "upstream_refused",
        upstream_status=status,
        retry_after=wait,
    )


def classified(status: int, code: str, kind: str, words: str) -> F:
    found = CODES.get(code) or CODES.get(kind)
    if found is not None and not (status >= 500 and found is F.CONTEXT_TOO_LONG):
        return found
    if code == "model_not_found" or status == 404:
        return F.MODEL_GONE
    if status in (400, 413, 422) and any(each in words.lower() for each in TOO_LONG):
        return F.CONTEXT_TOO_LONG
    if status in STATUSES:
        return STATUSES[status]
    return F.SERVER_ERROR if status >= 500 else F.CALLER_FAULT


def parsed(body: bytes) -> dict[str, Any]:
    """The error object, however the server shapes it."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return {"message": body[:MAX_WORDS].decode(errors="replace")}
    if not isinstance(found, dict):
        return {}
    error = found.get("error", found)
    if isinstance(error, str):
        return {**found, "message": error}
    if not isinstance(error, dict):
        return {}
    if "message" not in error:
        return {**error, "message": str(error.get("detail") or error.get("title") or "")}
    return error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from ``retry-after-ms`` or ``retry-after``; None where nothing usable is said."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        if 0 <= wait <= 86400:
            return wait
    return None
