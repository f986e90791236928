"""A JSON Schema as the vendor's structured output takes it.

What it does not know (minimum, pattern, …) moves into the description, where the model
still reads it; the order of properties is kept, because answers follow it.
"""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec

MAX_DEPTH = 64
_PLAIN = ("type", "enum", "const", "description", "title", "required")
_CHOICES = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_NAMED = ("$defs", "definitions", "properties")
_FORMATS = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"]
)
_DECIDES = ("type", "anyOf", "oneOf", "allOf", "enum", "const", "$ref", "properties")


def accepted(schema: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """`schema` in the vendor's subset of JSON Schema."""
    if depth > MAX_DEPTH:
        raise _wrong(f"nests deeper than {MAX_DEPTH} levels")
    if "$ref" in schema:
        ref: dict[str, Any] = {"$ref": schema["$ref"]}
        return ref | _definitions(schema, depth)
    if not any(each in schema for each in _DECIDES):
        raise _wrong("has a part without type, enum, const, anyOf, allOf or $ref")
    found: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    for key, value in schema.items():
        if not _taken(found, key, value, depth):
            moved[key] = value
    if _is_object(schema):
        found.setdefault("type", "object")
        found["additionalProperties"] = False
        moved.pop("additionalProperties", None)
    if moved:
        words = msgspec.json.encode(moved).decode()
        before = found.get("description")
        found["description"] = f"{before}\n\n{words}" if before else words
    return found


def _taken(found: dict[str, Any], key: str, value: Any, depth: int) -> bool:
    """Put `key` into `found` if the vendor knows it."""
    if key in _PLAIN:
        found[key] = value
    elif key in _NAMED:
        found[key] = {name: _inner(each, depth) for name, each in _mapping(value, key).items()}
    elif key in _CHOICES:
        found[_CHOICES[key]] = [_inner(each, depth) for each in value]
    elif key == "items" and isinstance(value, dict):
        found[key] = _inner(value, depth)
    elif (key == "minItems" and value in (0, 1)) or (
        key == "format" and isinstance(value, str) and value in _FORMATS
    ):
        found[key] = value
    else:
        return False
    return True


def _definitions(schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in ("$defs", "definitions"):
        if key in schema:
            _taken(found, key, schema[key], depth)
    return found


def _inner(value: Any, depth: int) -> dict[str, Any]:
    return accepted(_mapping(value, "a part"), depth + 1)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(f"has {what} that is no object")
    return value


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return (
        kind == "object" or "properties" in schema or (isinstance(kind, list) and "object" in kind)
    )


def _wrong(why: str) -> gw.UnsupportedParameterError:
    return gw.UnsupportedParameterError(
        f"The JSON schema {why}; the model cannot take it.", param="response_format"
    )
