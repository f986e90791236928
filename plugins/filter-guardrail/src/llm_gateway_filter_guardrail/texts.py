"""The texts of a canonical request, each with the field that an error names."""

from collections.abc import Iterator
from typing import Any

import msgspec
from llm_gateway_api import CanonicalRequest

# Bytes, addresses, ids and vendors' state: nothing that anybody says.
OPAQUE = frozenset(
    ("model", "dialect", "type", "role", "id", "call_id", "file_id", "data", "url", "state")
)


def texts(request: CanonicalRequest) -> Iterator[tuple[str, str]]:
    """(field, text); of a tool call's arguments what their JSON stands for."""
    for name, value in msgspec.to_builtins(request).items():
        if name in OPAQUE:
            continue
        if name in ("messages", "tools", "inputs", "documents") and value is not None:
            for at, each in enumerate(value):
                yield from ((f"{name}[{at}]", text) for text in _within(each))
        else:
            yield from ((name, text) for text in _within(value))


def _within(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "arguments" and isinstance(each, str):
                yield from _within(_decoded(each))
            elif key not in OPAQUE:
                yield from _within(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _within(each)


def _decoded(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments
