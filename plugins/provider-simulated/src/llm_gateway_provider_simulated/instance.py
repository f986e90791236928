"""The smallest JSON value that a schema allows, for answers that must fit one.

Covers what clients send for structured output and tools; of a keyword it does not know it
takes no notice. References that lead in circles end in null.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import llm_gateway_api as gw

MAX_DEPTH = 24
MAX_VALUES = 2000
_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


@dataclass(slots=True)
class _Root:
    """The whole schema, for references, and how many values may still be made: a small
    schema that refers to itself twice would otherwise have millions."""

    schema: Mapping[str, Any]
    left: int = MAX_VALUES


def minimal(schema: object) -> Any:
    """Return an instance of `schema` with its required members only.

    Raises:
        UnsupportedParameterError: it is no schema.
    """
    root = _Root(schema if isinstance(schema, Mapping) else {})
    try:
        return _minimal(root.schema, root, 0)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise gw.UnsupportedParameterError(f"The JSON schema is not valid: {error}.") from error


def _minimal(schema: object, root: _Root, depth: int) -> Any:
    root.left -= 1
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH or root.left < 0:
        return None
    schema = _resolved(schema, root.schema)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = _kind(schema)
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        count = min(_whole(schema.get("minItems")), 64)
        prefix = _listed(schema.get("prefixItems"))[:count]
        rest = [schema.get("items")] * (count - len(prefix))
        return [_minimal(each, root, depth + 1) for each in (*prefix, *rest)]
    if kind in ("integer", "number"):
        return _number(schema, kind)
    if kind == "string":
        return _string(schema)
    return False if kind == "boolean" else None


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow ``$ref``, take the first of a choice, and lay all of ``allOf`` together."""
    for _ in range(MAX_DEPTH):
        merged = {key: value for key, value in schema.items() if key not in _CHOICES}
        parts = list(_listed(schema.get("allOf")))
        if isinstance(schema.get("$ref"), str):
            parts.append(_pointed(schema["$ref"], root))
        for choice in ("anyOf", "oneOf"):
            parts += _listed(schema.get(choice))[:1]
        if not parts:
            return schema
        for part in parts:
            if isinstance(part, Mapping):
                merged = _together(merged, part)
        schema = merged
    return {}


_CHOICES = frozenset({"allOf", "anyOf", "oneOf", "$ref"})


def _together(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {**one, **other}
    if "properties" in one and "properties" in other:
        both["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        both["required"] = [*one["required"], *other["required"]]
    return both


def _pointed(reference: str, root: Mapping[str, Any]) -> object:
    found: object = root
    for step in reference.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if _listed(kind):
        return str(_listed(kind)[0])
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema else "string" if "minLength" in schema else "null"


def _object(schema: Mapping[str, Any], root: _Root, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    names = dict.fromkeys(str(name) for name in _listed(schema.get("required")))
    return {name: _minimal(known.get(name), root, depth + 1) for name in names}


def _number(schema: Mapping[str, Any], kind: str) -> float:
    step = schema.get("multipleOf") or 1
    low, high = schema.get("minimum", 0), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = max(low, schema["exclusiveMinimum"] + (step if kind == "integer" else step / 2))
    value = math.ceil(low / step) * step if kind == "integer" else low
    if high is not None and value > high:
        value = math.floor(high) if kind == "integer" else high
    return int(value) if kind == "integer" else value


def _string(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(str(schema.get("format")), "simulated")
    text = text.ljust(min(_whole(schema.get("minLength")), 4096), "x")
    longest = schema.get("maxLength")
    return text[:longest] if isinstance(longest, int) else text


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
