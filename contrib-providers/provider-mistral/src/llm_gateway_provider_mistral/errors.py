"""What an error answer means; bodies come in five shapes, from the API and from its edge.

Source: Mistral's OpenAPI (HTTPValidationError) and the errors its API gives.
"""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec
from llm_gateway_api import FailureClass as F
from llm_gateway_dialect_openai import ErrorRules

RULES = ErrorRules(
    codes={
        "3230": F.CALLER_FAULT,  # order of messages
        "3280": F.CALLER_FAULT,  # tool calls
        "1300": F.RATE_LIMITED,
        "3505": F.RATE_LIMITED,  # no capacity in this tier
        "invalid_request_message_order": F.CALLER_FAULT,
        "invalid_function_call": F.CALLER_FAULT,
        "rate_limited": F.RATE_LIMITED,
        "service_tier_capacity_exceeded": F.RATE_LIMITED,
        "unreachable_backend": F.SERVER_ERROR,
    }
)
FORBIDDEN = "extra_forbidden"


def refused(status: int, headers: Mapping[str, str], body: bytes) -> gw.UpstreamError:
    """The error of an answer with `status` of 400 and more."""
    found = _object(body)
    details = _details(found)
    if details:
        words = "; ".join(filter(None, (_told(each) for each in details)))
        body = msgspec.json.encode({**found, "message": words, "detail": None})
    error = RULES.refused(status, headers, body)
    if status == 422 and error.failure is F.CALLER_FAULT:
        error.status = 400
        unknown = any(each.get("type") == FORBIDDEN for each in details)
        error.code = "unsupported_parameter" if unknown else "invalid_value"
        error.param = next((name for each in details if (name := _param(each))), error.param)
    return error


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _details(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The list of what was wrong: at the top, or in the message."""
    message = found.get("message")
    holder = message if isinstance(message, dict) else found
    given = holder.get("detail")
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []


def _param(detail: Mapping[str, Any]) -> str | None:
    """The last name in its path below the body."""
    path = detail.get("loc")
    names = [each for each in path if isinstance(each, str)] if isinstance(path, list) else []
    return names[-1] if names and names != ["body"] else None


def _told(detail: Mapping[str, Any]) -> str:
    path = detail.get("loc")
    place = ".".join(str(each) for each in path if each != "body") if isinstance(path, list) else ""
    words = str(detail.get("msg") or "")
    return f"{place}: {words}" if place else words
