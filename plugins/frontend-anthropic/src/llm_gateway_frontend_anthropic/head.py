"""Reads the head of a body: what must be known of every request, and nothing big."""

import re

import msgspec
from llm_gateway_api.errors import MalformedBodyError
from llm_gateway_api.jsonbody import top_level
from llm_gateway_api.reading import decoded, flag_field, model_field, wrong
from llm_gateway_api.requests import Operation, RequestHead
from llm_gateway_api.values import Arrival, Headers

VERSION = "anthropic-version"
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
# Of the client's own making, or a choice that belongs to whoever holds the vendor's key.
_KEPT_BACK = ("anthropic-dangerous-direct-browser-access", "anthropic-workspace-id")


def read_head(body: bytes, arrival: Arrival, dialect: str, operation: Operation) -> RequestHead:
    """Read `body`; the headers of the dialect go along for the relay lane."""
    headers = _headers(arrival.headers)
    fields = top_level(body)
    _required(fields, "model")
    model = model_field(fields)
    stream = operation == "chat" and flag_field(fields, "stream")
    _messages(fields)
    if operation == "chat":
        _max_tokens(fields)
    return RequestHead(dialect, operation, model, stream, True, fields, body, headers)


def _headers(given: Headers) -> dict[str, str]:
    version = given.get(VERSION)
    if version is None:
        raise MalformedBodyError(f"{VERSION}: header is required", param=VERSION)
    if not _DATE.fullmatch(version):
        raise MalformedBodyError(f"{VERSION}: {version[:32]!r} is no version", param=VERSION)
    return {
        name.lower(): value
        for name, value in given.items()
        if name.lower().startswith("anthropic-") and name.lower() not in _KEPT_BACK
    }


def _required(fields: dict[str, msgspec.Raw], name: str) -> msgspec.Raw:
    if name not in fields:
        raise MalformedBodyError(f"{name}: Field required", param=name)
    return fields[name]


def _messages(fields: dict[str, msgspec.Raw]) -> None:
    raw = _required(fields, "messages")
    view = memoryview(raw)
    if bytes(view[:1]) != b"[" or (len(view) < 64 and not decoded(raw, "messages")):
        raise wrong("messages", "a non-empty array")


def _max_tokens(fields: dict[str, msgspec.Raw]) -> None:
    tokens = decoded(_required(fields, "max_tokens"), "max_tokens")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise wrong("max_tokens", "a whole number, 0 or more")
