"""Answers to what is no request, or nests too deeply to be read safely.

aiohttp finds what is wrong with the HTTP; what a client is told of it is said here, in the
same shape as every other error and without its own bytes in it.
"""

import logging
import os
import re

from aiohttp import http_exceptions as http
from aiohttp import web
from llm_gateway_api import GatewayError, MalformedBodyError

from llm_gateway.errorbody import error_headers, plain_error

log = logging.getLogger("llm_gateway.malformed")
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)

# By what aiohttp raises, the most special first.
_SAID: tuple[tuple[type[BaseException], int, str, str], ...] = (
    (
        http.LineTooLong,
        431,
        "head_too_large",
        "The address or a header is too long (server.max_url_bytes, server.max_header_bytes).",
    ),
    (http.BadHttpMethod, 400, "invalid_http", "The method is none of HTTP."),
    (http.InvalidURLError, 400, "invalid_http", "The address cannot be read."),
    (http.InvalidHeader, 400, "invalid_http", "A header cannot be read."),
    (http.TransferEncodingError, 400, "invalid_http", "The chunks of the body cannot be read."),
    (http.ContentLengthError, 400, "invalid_http", "The body has not the length it claims."),
    (
        http.BadHttpMessage,
        400,
        "invalid_http",
        "The request is not valid HTTP/1.1, or has more headers than server.max_headers.",
    ),
)


def answer(error: BaseException | None, status: int) -> web.Response:
    """What a client is told whose request could not be read; the connection ends."""
    known = next((said for said in _SAID if isinstance(error, said[0])), None)
    if known is not None:
        _, status, code, text = known
        told = GatewayError(text, status=status, code=code)
        told.type = "invalid_request_error"
        log.info("request.malformed code=%s error=%s", code, type(error).__name__)
    else:
        told = GatewayError("The gateway failed; its log says why.")
        log.error("connection.failed", exc_info=error)
    request_id = "req_" + os.urandom(12).hex()
    headers = {
        "x-request-id": request_id,
        "cache-control": "private, no-store",
        "server": "llm-gateway",
        **error_headers(told),
    }
    response = web.Response(
        status=told.status,
        body=plain_error(told, request_id),
        content_type="application/json",
        headers=headers,
    )
    response.force_close()
    return response


def refuse_deep(body: bytes, limit: int) -> None:
    """Raises `MalformedBodyError` where JSON nests deeper than `limit`.

    Two counts settle it for almost every body; only one with more brackets is walked.
    """
    if body.count(b"{") + body.count(b"[") <= limit:
        return
    depth = 0
    for match in _TOKENS.finditer(body):
        token = body[match.start()]
        if token in b"[{":
            depth += 1
            if depth > limit:
                raise MalformedBodyError(
                    f"The body nests deeper than {limit} levels (server.max_json_depth)."
                )
        elif token in b"]}":
            depth -= 1
