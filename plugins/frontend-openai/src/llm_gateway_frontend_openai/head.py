"""Reads the head of a body: what must be known of every request, and nothing big."""

import msgspec
from llm_gateway_api.errors import MalformedBodyError
from llm_gateway_api.jsonbody import top_level
from llm_gateway_api.reading import decoded, mapping, wrong
from llm_gateway_api.requests import Operation, RequestHead

MAX_MODEL_CHARS = 256
ARRAY = ord("[")
_BOOLS = {b"true": True, b"false": False, b"null": False}
_KINDS = {b"[": "an array", b'"': "a string"}


def read_head(
    body: bytes, dialect: str, operation: Operation, content: str, first: bytes
) -> RequestHead:
    """Read `body`; its member `content` must start with one of the bytes `first`."""
    fields = top_level(body)
    model = _model(fields)
    stream = _flag(fields.get("stream"), "stream")
    _check_content(fields, content, first)
    return RequestHead(
        dialect, operation, model, stream, _include_usage(fields, stream), fields, body
    )


def _model(fields: dict[str, msgspec.Raw]) -> str:
    raw = fields.get("model")
    if raw is None:
        raise MalformedBodyError("'model' is missing; name a model.", param="model")
    model = decoded(raw, "model")
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_CHARS:
        raise wrong("model", f"a string of 1 to {MAX_MODEL_CHARS} characters")
    if not model.isprintable():
        raise wrong("model", "free of control characters")
    return model


def _flag(raw: msgspec.Raw | None, param: str) -> bool:
    if raw is None:
        return False
    try:
        return _BOOLS[bytes(raw)]
    except KeyError:
        raise wrong(param, "true, false or null") from None


def _check_content(fields: dict[str, msgspec.Raw], name: str, first: bytes) -> None:
    raw = fields.get(name)
    if raw is None:
        raise MalformedBodyError(f"{name!r} is missing.", param=name)
    text = memoryview(raw)
    start = text[0]
    if start not in first:
        kinds = " or ".join(_KINDS[first[at : at + 1]] for at in range(len(first)))
        raise wrong(name, kinds)
    if start == ARRAY and len(text) < 64 and not decoded(raw, name):
        raise wrong(name, "a non-empty array")


def _include_usage(fields: dict[str, msgspec.Raw], stream: bool) -> bool:
    raw = fields.get("stream_options")
    options = None if raw is None else decoded(raw, "stream_options")
    if options is None:
        return False
    if not stream:
        raise MalformedBodyError(
            "'stream_options' is only allowed when 'stream' is true.", param="stream_options"
        )
    wanted = mapping(options, "stream_options").get("include_usage")
    if wanted is not None and not isinstance(wanted, bool):
        raise wrong("stream_options.include_usage", "true, false or null")
    return bool(wanted)
