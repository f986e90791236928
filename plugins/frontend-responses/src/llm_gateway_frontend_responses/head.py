"""Reads the head of a body: what must be known of every request, and nothing big.

What would need stored answers is refused here, whoever would have answered.
"""

import msgspec
from llm_gateway_api.errors import MalformedBodyError, UnsupportedParameterError
from llm_gateway_api.jsonbody import top_level
from llm_gateway_api.reading import decoded, flag_field, model_field, wrong
from llm_gateway_api.requests import RequestHead

from llm_gateway_frontend_responses.wire import DIALECT

_SEND_ALL = "send the whole conversation as 'input'"
_STORED = {
    "previous_response_id": f"this gateway stores no responses; {_SEND_ALL}",
    "conversation": f"this gateway stores no conversations; {_SEND_ALL}",
    "background_options": "this gateway answers at once; leave it out, or stream",
}
_FLAGS = {
    "store": "this gateway stores no responses; send false or leave it out",
    "background": "this gateway answers at once; send false or leave it out, and stream",
}


def read_head(body: bytes) -> RequestHead:
    fields = top_level(body)
    model = model_field(fields)
    stream = flag_field(fields, "stream")
    for name, why in _FLAGS.items():
        if flag_field(fields, name):
            raise UnsupportedParameterError(f"{name!r}: {why}.", param=name)
    for name, why in _STORED.items():
        if name in fields and bytes(fields[name]) != b"null":
            raise UnsupportedParameterError(f"{name!r}: {why}.", param=name)
    _input(fields)
    return RequestHead(DIALECT, "chat", model, stream, True, fields, body)


def _input(fields: dict[str, msgspec.Raw]) -> None:
    raw = fields.get("input")
    if raw is None:
        if "prompt" in fields:  # a stored prompt may bring its own
            return
        raise MalformedBodyError("'input' is missing.", param="input")
    view = memoryview(raw)
    if bytes(view[:1]) not in (b'"', b"["):
        raise wrong("input", "a string or an array of items")
    if len(view) < 64 and not decoded(raw, "input"):
        raise wrong("input", "a non-empty string or array")
