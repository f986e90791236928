"""What an error of Bedrock means: its name first, then the status, words last."""

import json
import re
from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw
from llm_gateway_api import FailureClass as F

MAX_WORDS = 500
# Key ids, session tokens, ARNs (they name the account) and addresses.
SECRETS = re.compile(
    r"(?i)\barn:aws\S+|\b(?:AKIA|ASIA)[A-Z0-9]{8,}|\bbearer\s+\S+|\bABSK\S+|https?://\S+|\b\d{12}\b"
)
NAMES = {
    "AccessDeniedException": F.CREDENTIAL_REFUSED,
    "UnrecognizedClientException": F.CREDENTIAL_REFUSED,
    "InvalidClientTokenId": F.CREDENTIAL_REFUSED,
    "InvalidSignatureException": F.CREDENTIAL_REFUSED,
    "SignatureDoesNotMatch": F.CREDENTIAL_REFUSED,
    "IncompleteSignatureException": F.CREDENTIAL_REFUSED,
    "MissingAuthenticationTokenException": F.CREDENTIAL_REFUSED,
    "MissingAuthenticationToken": F.CREDENTIAL_REFUSED,
    "RequestTimeTooSkewed": F.CREDENTIAL_REFUSED,
    "RequestExpired": F.CREDENTIAL_REFUSED,
    "ExpiredTokenException": F.CREDENTIAL_REFUSED,
    "ExpiredToken": F.CREDENTIAL_REFUSED,
    "OptInRequired": F.CREDENTIAL_REFUSED,
    "ResourceNotFoundException": F.MODEL_GONE,
    "UnknownOperationException": F.MODEL_GONE,
    "ThrottlingException": F.RATE_LIMITED,
    "TooManyRequestsException": F.RATE_LIMITED,
    "ModelNotReadyException": F.OVERLOADED,
    "ServiceUnavailableException": F.OVERLOADED,
    "ServiceQuotaExceededException": F.ACCOUNT_EMPTY,
    "ModelTimeoutException": F.NO_FIRST_CONTENT,
    "ModelErrorException": F.SERVER_ERROR,
    "ModelStreamErrorException": F.SERVER_ERROR,
    "InternalServerException": F.SERVER_ERROR,
    "InternalFailure": F.SERVER_ERROR,
    "ValidationException": F.CALLER_FAULT,
}
STATUSES = {
    401: F.CREDENTIAL_REFUSED,
    402: F.ACCOUNT_EMPTY,
    403: F.CREDENTIAL_REFUSED,
    404: F.MODEL_GONE,
    408: F.SERVER_ERROR,
    424: F.SERVER_ERROR,
    429: F.RATE_LIMITED,
    503: F.OVERLOADED,
    529: F.OVERLOADED,
}
EXPIRED = frozenset({"ExpiredTokenException", "ExpiredToken"})
SKEWED = frozenset({"InvalidSignatureException", "RequestTimeTooSkewed", "RequestExpired"})
FIXED = {
    F.CREDENTIAL_REFUSED: "The provider refused the gateway's credential or its access.",
    F.ACCOUNT_EMPTY: "The gateway's account at the provider has reached a quota.",
    F.SERVER_ERROR: "The provider failed.",
    F.OVERLOADED: "The provider is overloaded.",
    F.MODEL_GONE: "The provider does not serve this model under this name.",
    F.NO_FIRST_CONTENT: "The model did not answer in time.",
}
TOO_LONG = re.compile(
    r"(?i)input is too long|prompt is too long|too many input tokens|"
    r"maximum (?:context|number of (?:input )?tokens|input)|exceeds? .*(?:context|token)"
)
NO_SUCH_MODEL = re.compile(
    r"(?i)on-demand throughput isn.t supported|model identifier is invalid|"
    r"(?:model|inference profile) .*(?:not found|end of (?:its )?life|does not exist)"
)
# One model that the account may not use: its other models work.
NO_ACCESS = re.compile(r"(?i)(?:n[o']t have|no) access to the model|not authorized .* this model")
PASSED = frozenset({F.CALLER_FAULT, F.CONTEXT_TOO_LONG, F.RATE_LIMITED, F.CONTENT_POLICY})


def refused(status: int, headers: Mapping[str, str], body: bytes) -> gw.UpstreamError:
    """The error of an answer with `status` and `body`."""
    found = parsed(body)
    return meaning(named(headers, found), found, status, wait=retry_after(headers))


def named(headers: Mapping[str, str], found: Mapping[str, Any]) -> str:
    """The exception's name: ``ValidationException:http://…`` and ``ns#Name`` are both cut."""
    given = headers.get("x-amzn-errortype") or found.get("__type") or found.get("code") or ""
    return str(given).rpartition("#")[2].partition(":")[0]


def meaning(
    name: str, found: Mapping[str, Any], status: int, wait: float | None = None
) -> gw.UpstreamError:
    """The error called `name`, from an answer or from inside a stream (`status` 0)."""
    name = name[:1].upper() + name[1:]
    words = str(found.get("message") or found.get("Message") or "no reason given")
    failure, original = classified(name, words, found, status)
    told = SECRETS.sub("[...]", words)[:MAX_WORDS] if failure in PASSED else FIXED[failure]
    return gw.UpstreamError(
        failure,
        told,
        code="upstream_refused",
        upstream_status=original or status or (400 if failure is F.CALLER_FAULT else None),
        retry_after=wait,
    )


def classified(
    name: str, words: str, found: Mapping[str, Any], status: int
) -> tuple[F, int | None]:
    """The class, and the model's own status where a 4xx of it was wrapped."""
    failure = NAMES.get(name) or STATUSES.get(status)
    if failure is None:
        failure = F.CALLER_FAULT if 400 <= status < 500 else F.SERVER_ERROR
    if failure is F.CREDENTIAL_REFUSED and NO_ACCESS.search(words):
        return F.MODEL_GONE, None
    if failure is F.CALLER_FAULT:
        if TOO_LONG.search(words):
            return F.CONTEXT_TOO_LONG, None
        if NO_SUCH_MODEL.search(words):
            return F.MODEL_GONE, None
    original = found.get("originalStatusCode")
    if failure is F.SERVER_ERROR and isinstance(original, int) and 400 <= original < 500:
        return (F.RATE_LIMITED, None) if original == 429 else (F.CALLER_FAULT, 400)
    return failure, None


def parsed(body: bytes) -> dict[str, Any]:
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    output = found.get("Output")
    return output if isinstance(output, dict) else found


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; Bedrock itself gives none, a proxy before it may."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        if 0 <= wait <= 86400:
            return wait
    return None
