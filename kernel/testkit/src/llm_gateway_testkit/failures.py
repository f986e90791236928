"""How every vendor words each class of failure, and where its streams may break.

For tests that hold whatever the vendor: `refusals` are answers with an error status, `told`
an error inside a stream, `first_content` where a stream's content begins.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from llm_gateway_api import FailureClass as F

from llm_gateway_testkit import (
    anthropic_dialect,
    azure_dialect,
    bedrock_dialect,
    cohere_dialect,
    eventstream,
    gemini_dialect,
    mistral_dialect,
    openai_dialect,
    together_dialect,
)
from llm_gateway_testkit.scripted import Answer, Stream
from llm_gateway_testkit.shapes import Fault
from llm_gateway_testkit.vendors import Vendor

Refusals: TypeAlias = Mapping[F, Answer]
TOO_LONG = "The maximum context length is 131072 tokens; too many tokens were given."
WAIT = "30"  # seconds, the `retry-after` of a limit


def refusals(vendor: Vendor) -> Refusals:
    """The vendor's answer of each class that it has a status for."""
    made = _VENDORS.get(vendor.kind)
    own = _openai() if made is None else made()
    return {**own, **_OWN.get(vendor.kind, {})}


def told(vendor: Vendor) -> bytes:
    """A frame that says, after a status of 200, that the vendor broke."""
    made = _FRAMES.get(vendor.kind)
    return openai_dialect.error_frame() if made is None else made()


def first_content(stream: Stream, word: bytes) -> int:
    """How many frames of `stream` come before the one that holds `word`."""
    return next(at for at, frame in enumerate(stream.frames) if word in frame)


def _openai() -> Refusals:
    no = openai_dialect.error_answer
    return {
        F.CALLER_FAULT: no(400, "invalid_value", param="top_p"),
        F.CONTEXT_TOO_LONG: no(400, "context_length_exceeded"),
        F.CONTENT_POLICY: no(400, "content_policy_violation"),
        F.RATE_LIMITED: no(429, "rate_limit_exceeded", headers=_waits()),
        F.OVERLOADED: no(503, "server_is_overloaded"),
        F.SERVER_ERROR: no(500),
        F.CREDENTIAL_REFUSED: no(401, "invalid_api_key"),
        F.ACCOUNT_EMPTY: no(429, "insufficient_quota"),
        F.MODEL_GONE: no(404, "model_not_found"),
    }


def _anthropic() -> Refusals:
    no = anthropic_dialect.error_answer
    return {
        F.CALLER_FAULT: no(400),
        F.CONTEXT_TOO_LONG: no(400, "prompt is too long: 200001 tokens > 200000 maximum"),
        F.RATE_LIMITED: no(429, kind="rate_limit_error", headers=_waits()),
        F.OVERLOADED: no(529, kind="overloaded_error"),
        F.SERVER_ERROR: no(500),
        F.CREDENTIAL_REFUSED: no(401),
        F.ACCOUNT_EMPTY: no(400, "Your credit balance is too low to access the API."),
        F.MODEL_GONE: no(404, kind="not_found_error"),
    }


def _azure() -> Refusals:
    no = azure_dialect.error_answer
    return {
        F.CALLER_FAULT: no(400, "invalid_value"),
        F.CONTEXT_TOO_LONG: no(400, "context_length_exceeded"),
        F.CONTENT_POLICY: azure_dialect.blocked_answer(),
        F.RATE_LIMITED: no(429, headers=_waits()),
        F.OVERLOADED: no(503, "NoCapacity"),
        F.SERVER_ERROR: no(500, "InternalServerError"),
        F.CREDENTIAL_REFUSED: no(401),
        F.ACCOUNT_EMPTY: no(429, headers={"retry-after": "86400"}),
        F.MODEL_GONE: no(404, "DeploymentNotFound"),
    }


def _gemini() -> Refusals:
    no = gemini_dialect.error_answer
    too_long = "The input token count (2000000) exceeds the maximum number of tokens allowed."
    return {
        F.CALLER_FAULT: no(400),
        F.CONTEXT_TOO_LONG: no(400, too_long),
        F.RATE_LIMITED: no(429, retry=f"{WAIT}s"),
        F.OVERLOADED: no(503),
        F.SERVER_ERROR: no(500),
        F.CREDENTIAL_REFUSED: no(400, reason="API_KEY_INVALID"),
        F.ACCOUNT_EMPTY: no(429, quota="GenerateRequestsPerDayPerProjectPerModel"),
        F.MODEL_GONE: no(404),
    }


def _bedrock() -> Refusals:
    no = bedrock_dialect.error_answer
    return {
        F.CALLER_FAULT: no("ValidationException"),
        F.CONTEXT_TOO_LONG: no("ValidationException", "Input is too long for requested model."),
        F.RATE_LIMITED: no("ThrottlingException", headers=_waits()),
        F.OVERLOADED: no("ServiceUnavailableException"),
        F.SERVER_ERROR: no("InternalServerException"),
        F.CREDENTIAL_REFUSED: no("UnrecognizedClientException"),
        F.ACCOUNT_EMPTY: no("ServiceQuotaExceededException"),
        F.MODEL_GONE: no("ResourceNotFoundException"),
    }


def _plain(no: Callable[..., Answer]) -> Refusals:
    """Of a vendor whose errors are told by status and words."""
    return {
        F.CALLER_FAULT: no(400),
        F.CONTEXT_TOO_LONG: no(400, message=TOO_LONG),
        F.RATE_LIMITED: no(429, headers=_waits()),
        F.OVERLOADED: no(503),
        F.SERVER_ERROR: no(500),
        F.CREDENTIAL_REFUSED: no(401),
        F.ACCOUNT_EMPTY: no(402),
        F.MODEL_GONE: no(404),
    }


def _cohere() -> Refusals:
    no = cohere_dialect.error_answer
    return {**_plain(no), F.CONTENT_POLICY: no(498, "The request holds a deny-listed token.")}


def _mistral() -> Refusals:
    found = Fault("invalid", ("top_p",))
    own = {F.CALLER_FAULT: mistral_dialect.validation_answer(found)}
    return {**_plain(mistral_dialect.error_answer), **own}


def _waits() -> Mapping[str, str]:
    return {"retry-after": WAIT}


_VENDORS: Mapping[str, Callable[[], Refusals]] = {
    "anthropic": _anthropic,
    "azure_openai": _azure,
    "gemini": _gemini,
    "bedrock": _bedrock,
    "cohere": _cohere,
    "mistral": _mistral,
    "together": partial(_plain, together_dialect.error_answer),
}
# What vendors of OpenAI's dialect say in their own way.
_OWN: Mapping[str, Refusals] = {
    "deepseek": {F.ACCOUNT_EMPTY: openai_dialect.error_answer(402, None, "Insufficient Balance")},
    "openrouter": {F.ACCOUNT_EMPTY: openai_dialect.error_answer(402, None, "More credits, please")},
    "fireworks": {F.ACCOUNT_EMPTY: openai_dialect.error_answer(412)},
    "xai": {F.CREDENTIAL_REFUSED: openai_dialect.error_answer(400, "unauthenticated")},
}


def _cohere_frame() -> bytes:
    delta: Any = {"finish_reason": "ERROR", "error": "The scripted provider broke."}
    return cohere_dialect.sse({"type": "message-end", "delta": delta})


_FRAMES: Mapping[str, Callable[[], bytes]] = {
    "anthropic": anthropic_dialect.error_event,
    "gemini": gemini_dialect.bare_error,
    "bedrock": partial(eventstream.exception, "internalServerException", "It broke."),
    "cohere": _cohere_frame,
}
