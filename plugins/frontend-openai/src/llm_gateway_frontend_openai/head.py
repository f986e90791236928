"""Reads the head of a body: what must be known of every request, and nothing big."""

import msgspec
from llm_gateway_api.errors import MalformedBodyError
from llm_gateway_api.jsonbody import top_level
from llm_gateway_api.reading import decoded, flag_field, mapping, model_field, wrong
from llm_gateway_api.requests import Operation, RequestHead

ARRAY = ord("[")
_KINDS = {b"[": "an array", b'"': "a string"}


def read_head(
    body: bytes, dialect: str, operation: Operation, content: str, first: bytes
) -> RequestHead:
    """Read `body`; its member `content` must start with one of the bytes `first`."""
    fields = top_level(body)
    model = model_field(fields)
    stream = flag_field(fields, "stream")
    _check_content(fields, content, first)
    return RequestHead(
        dialect, operation, model, stream, _include_usage(fields, stream), fields, body
    )


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
