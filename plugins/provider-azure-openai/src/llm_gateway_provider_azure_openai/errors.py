"""What Azure means by an error: its content filter, its own codes, its ways to say when.

Source: Azure's REST specification and its published error codes; ``code`` is often a status
as text, ``type`` and ``param`` are often missing.
"""

import re
from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec
from llm_gateway_api import FailureClass as F
from llm_gateway_dialect_openai import ErrorRules

LONG_SECONDS = 86_400.0  # a quota tier is used up, and no minute's limit
RULES = ErrorRules(
    codes={
        "ResponsibleAIPolicyViolation": F.CONTENT_POLICY,
        "content_filter_error": F.SERVER_ERROR,  # the filter itself failed
        "DeploymentNotFound": F.MODEL_GONE,
        "OperationNotSupported": F.MODEL_GONE,
        "PermissionDenied": F.CREDENTIAL_REFUSED,
        "Unauthorized": F.CREDENTIAL_REFUSED,
        "RateLimitReached": F.RATE_LIMITED,
        "too_many_requests": F.RATE_LIMITED,
        "NoCapacity": F.OVERLOADED,
        "InternalServerError": F.SERVER_ERROR,
    },
    # 504 is a long answer that was cut: costly to ask again at the same place. 424 is a search
    # index of the request's own data: another deployment may have a better one.
    statuses={504: F.NO_FIRST_CONTENT, 424: F.MODEL_GONE},
    words=((frozenset({400, 404}), re.compile(r"(?i)api.version not supported"), F.MODEL_GONE),),
)
TOLD = {
    "DeploymentNotFound": "The resource has no such deployment, or it is a few minutes old.",
    "OperationNotSupported": "The deployment's model does not do this.",
    "424": "The search index that the request names failed.",
}
_AFTER = re.compile(r"(?i)\bretry (?:your request )?after (\d+) seconds?")
_RESETS = (
    "x-ratelimit-reset-tokens",
    "x-rate-limit-reset-tokens",
    "x-ratelimit-reset-requests",
)


def refused(status: int, headers: Mapping[str, str], body: bytes) -> gw.UpstreamError:
    """The error of an answer with `status` of 400 and more."""
    error = object_of(body)
    inner = error.get("innererror") or error.get("inner_error")
    if isinstance(inner, dict) and inner.get("code") == "ResponsibleAIPolicyViolation":
        return blocked(error, inner)
    found = RULES.refused(status, headers, body)
    code = str(error.get("code") or "")
    if words := TOLD.get(code) or TOLD.get(str(status)):
        found.message = words
    if found.failure is F.RATE_LIMITED:
        wait = found.retry_after if found.retry_after is not None else reset(headers, error)
        if wait is not None and wait >= LONG_SECONDS:
            return gw.UpstreamError(
                F.ACCOUNT_EMPTY,
                "The resource's quota at the provider is used up.",
                upstream_status=status,
            )
        found.retry_after = wait
    return found


def blocked(error: Mapping[str, Any], inner: Mapping[str, Any]) -> gw.UpstreamError:
    """The content filter's no. The vendor's sentence names no category, its details do."""
    results = inner.get("content_filter_result") or inner.get("content_filter_results")
    words = str(error.get("message") or "The content filter refused the prompt.")
    if caught := categories(results):
        words = f"{words.rstrip()} Filtered: {', '.join(caught)}."
    return gw.UpstreamError(
        F.CONTENT_POLICY, words, param="prompt", code="content_filter", upstream_status=400
    )


def categories(results: object) -> list[str]:
    """What was filtered, with its severity where there is one."""
    if not isinstance(results, dict):
        return []
    rows = {name: each for name, each in results.items() if isinstance(each, dict)}
    return [
        f"{name} ({each['severity']})" if each.get("severity") else name
        for name, each in rows.items()
        if each.get("filtered")
    ]


def reset(headers: Mapping[str, str], error: Mapping[str, Any]) -> float | None:
    """Seconds from the reset headers (one is misspelt), else from the words; -1 is no answer."""
    for name in _RESETS:
        text = headers.get(name, "").removesuffix("s")
        if text.isdigit():
            return float(text)
    found = _AFTER.search(str(error.get("message") or ""))
    return float(found[1]) if found else None


def object_of(body: bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    error = found.get("error", found) if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {}
