"""What an error answer means: structured code first, then words, then status."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import llm_gateway_api as gw
import msgspec
from llm_gateway_api import FailureClass as F

from llm_gateway_dialect_openai.durations import wait_of

MAX_WORDS = 500
SECRETS = re.compile(r"(?i)\b(sk|gsk|xai|key|pat|hf)[-_][\w\-*]{6,}|bearer\s+\S+|https?://\S+")
TAGS = re.compile(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>")
CODES: Mapping[str, F] = {
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
    "authentication_error": F.CREDENTIAL_REFUSED,
    "model_not_found": F.MODEL_GONE,
    "rate_limit_exceeded": F.RATE_LIMITED,
    "slow_down": F.RATE_LIMITED,
    "server_is_overloaded": F.OVERLOADED,
    "unavailable_error": F.OVERLOADED,
    "server_error": F.SERVER_ERROR,
    "tool_use_failed": F.SERVER_ERROR,
}
STATUSES: Mapping[int, F] = {
    401: F.CREDENTIAL_REFUSED,
    402: F.ACCOUNT_EMPTY,
    403: F.CREDENTIAL_REFUSED,
    404: F.MODEL_GONE,
    408: F.SERVER_ERROR,
    409: F.SERVER_ERROR,
    425: F.OVERLOADED,
    429: F.RATE_LIMITED,
    498: F.RATE_LIMITED,
    503: F.OVERLOADED,
    529: F.OVERLOADED,
}
# (statuses, words, meaning): what a vendor says in words alone. Read in this order.
TOO_LONG = re.compile(
    r"(?i)maximum context length|context.?(length|window|size)|too many tokens|prompt is too long"
)
NO_MONEY = re.compile(
    r"(?i)\bquota\b|\bcredits?\b|\bbalance\b|billing|spend(ing)?.?limit|monthly.?limit|out of funds"
)
NO_MODEL = re.compile(r"(?i)\bmodel\b.{0,80}\b(not found|not loaded|not pulled|does not exist)\b")
WORDS: tuple[tuple[frozenset[int], re.Pattern[str], F], ...] = (
    (frozenset({400, 403, 413, 422}), TOO_LONG, F.CONTEXT_TOO_LONG),
    (frozenset({400, 422}), NO_MODEL, F.MODEL_GONE),
    (frozenset({403, 429}), NO_MONEY, F.ACCOUNT_EMPTY),
)
FIXED = {
    F.CREDENTIAL_REFUSED: "The provider refused the gateway's credential.",
    F.ACCOUNT_EMPTY: "The gateway's account at the provider has no credit left.",
    F.SERVER_ERROR: "The provider failed.",
    F.OVERLOADED: "The provider is overloaded.",
    F.MODEL_GONE: "The provider does not have this model.",
}


@dataclass(frozen=True, slots=True)
class ErrorRules:
    """A vendor's own meanings, before those of the dialect; `words` as in `WORDS`."""

    codes: Mapping[str, F] = field(default_factory=dict)
    statuses: Mapping[int, F] = field(default_factory=dict)
    words: tuple[tuple[frozenset[int], re.Pattern[str], F], ...] = ()

    def classified(self, status: int, code: str, kind: str, words: str) -> F:
        for codes in (self.codes, CODES):
            found = codes.get(code) or codes.get(kind)
            if found is not None:
                return found
        for statuses, pattern, meant in (*self.words, *WORDS):
            if status in statuses and pattern.search(words):
                return meant
        known = self.statuses.get(status) or STATUSES.get(status)
        return known or (F.SERVER_ERROR if status >= 500 else F.CALLER_FAULT)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> gw.UpstreamError:
        """The error of an answer with `status` and `body`."""
        return self.meaning(status, parsed(body), wait_of(headers))

    def meaning(
        self, status: int, error: Mapping[str, Any], wait: float | None = None
    ) -> gw.UpstreamError:
        """The error of a vendor's error object; `status` 0 where it came inside a 200."""
        code, kind = str(error.get("code") or ""), str(error.get("type") or "")
        if status < 400:
            given = str(error.get("status_code") or code)
            status = int(given) if given.isdigit() and 400 <= int(given) < 600 else 500
        vendor = str(error.get("message") or "no reason given")
        failure = self.classified(status, code, kind, vendor)
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


def inside(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The error inside an answer with status 200, None where there is none.

    Shapes seen: ``error`` beside anything (object or text), ``error`` in a choice
    (OpenRouter), in ``x_groq`` (Groq), a flat ``{"object": "error"}`` (vLLM).
    """
    if error := found.get("error"):
        own = error if isinstance(error, dict) else {"message": str(error)}
        return {"status_code": found.get("status_code"), **own}
    if found.get("object") == "error":
        return found
    nested = found.get("x_groq")
    if isinstance(nested, dict) and nested.get("error"):
        return inside(nested)
    choices = found.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("error"):
            return inside(choice)
    return None


def parsed(body: bytes) -> Mapping[str, Any]:
    """The error object, however the server shapes it."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {"message": " ".join(TAGS.sub(" ", body[:8192].decode(errors="replace")).split())}
    if not isinstance(found, dict):
        return {}
    error = found.get("error", found)
    if isinstance(error, str):
        return {**found, "message": error}
    if not isinstance(error, dict):
        return {}
    if "message" not in error:
        return {**error, "message": _told(error.get("detail") or error.get("title") or "")}
    return error


def _told(detail: object) -> str:
    """FastAPI's ``detail``: a text, or a list of objects with ``msg``."""
    rows = detail if isinstance(detail, list) else [detail]
    return "; ".join(
        str(each.get("msg", each)) if isinstance(each, dict) else str(each) for each in rows
    )
