"""Answers to what is no request, or nests too deeply to be read safely.

aiohttp finds what is wrong with the HTTP; what a client is told of it is said here, in the
same shape as every other error and without its own bytes in it.
"""

import logging
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from aiohttp import http_exceptions as http
from aiohttp import web
from llm_gateway_api import GatewayError

from llm_gateway.errorbody import error_headers, plain_error

log = logging.getLogger("llm_gateway.malformed")
NOTHING: Mapping[str, str] = MappingProxyType({})


class HostError(http.BadHttpMessage):
    """The header ``Host`` is not what RFC 9112, 3.2 permits."""


class _Said(NamedTuple):
    raised: type[BaseException]
    text: str
    code: str = "invalid_http"
    status: int = 400


# By what aiohttp raises, the most special first.
_SAID = (
    _Said(
        http.LineTooLong,
        "The address or a header is too long (server.max_url_bytes, server.max_header_bytes).",
        code="head_too_large",
        status=431,
    ),
    _Said(http.BadHttpMethod, "The method is none of HTTP."),
    _Said(http.InvalidURLError, "The address cannot be read."),
    _Said(http.InvalidHeader, "A header cannot be read."),
    _Said(http.TransferEncodingError, "The chunks of the body cannot be read."),
    _Said(http.ContentLengthError, "The body has not the length it claims."),
    _Said(HostError, "The header Host is no name and no address with a port or without."),
    _Said(
        http.ContentEncodingError,
        "The body's content-encoding is none that can be read here; send gzip, deflate or none.",
        code="unsupported_encoding",
        status=415,
    ),
    _Said(
        http.BadHttpMessage,
        "The request is not valid HTTP/1.1, or has more headers than server.max_headers.",
        code="invalid_http",
    ),
)


def answer(
    error: BaseException | None, status: int, added: Mapping[str, str] = NOTHING
) -> web.Response:
    """What a client is told whose request could not be read; the connection ends."""
    known = next((said for said in _SAID if isinstance(error, said.raised)), None)
    if known is not None:
        told = GatewayError(known.text, status=known.status, code=known.code)
        told.type = "invalid_request_error"
        log.info("request.malformed code=%s error=%s", known.code, type(error).__name__)
    else:
        told = GatewayError("The gateway failed; its log says why.")
        log.error("connection.failed", exc_info=error)
    request_id = "req_" + os.urandom(12).hex()
    headers = {
        "x-request-id": request_id,
        "cache-control": "private, no-store",
        "server": "llm-gateway",
        **added,
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
