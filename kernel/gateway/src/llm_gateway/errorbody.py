"""What goes with an error to a client, whatever dialect it speaks."""

import msgspec
from llm_gateway_api import GatewayError


def error_headers(error: GatewayError) -> dict[str, str]:
    """What tells an SDK whether and when to try again."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if error.status >= 400 and not error.retryable and error.retry_after is None:
        headers["x-should-retry"] = "false"
    return headers


def plain_error(error: GatewayError, request_id: str) -> bytes:
    """The error body where no dialect is installed."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.type,
                "param": error.param,
                "code": error.code,
            }
        }
    )
