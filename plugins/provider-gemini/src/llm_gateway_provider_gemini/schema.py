"""JSON Schema as the vendor takes it: what it does not know is folded into descriptions.

The vendor answers 400 to a keyword that it does not know, and to a node with ``$ref`` that
has other members. A constraint that is taken out stays readable for the model.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import llm_gateway_api as gw

MAX_DEPTH = 64
KEPT = frozenset(
    {
        "$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum",
        "items", "prefixItems", "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf",
        "properties", "additionalProperties", "required", "propertyOrdering",
    }
)  # fmt: skip
# Says nothing about the values, or says it about the schema itself.
SILENT = frozenset({"$schema", "$comment", "examples", "example", "discriminator", "deprecated"})
FORMATS = frozenset({"date-time", "date", "time"})
Walk = Callable[[Any, int], Any]


def cleaned(schema: Mapping[str, Any], where: str, lost: set[str]) -> dict[str, Any]:
    """`schema` in the vendor's subset; the keywords that became words are added to `lost`.

    Raises:
        ClientError: it is no schema, or cannot be said in the subset; `where` names it.
    """
    try:
        return _cleaned(schema, where, lost)
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise gw.MalformedBodyError(f"{where!r} is no JSON Schema.", param=where) from error


def _cleaned(schema: Mapping[str, Any], where: str, lost: set[str]) -> dict[str, Any]:
    def walk(node: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise gw.UnsupportedParameterError(
                f"The schema nests more than {MAX_DEPTH} levels deep.", param=where
            )
        if isinstance(node, bool):
            return {} if node else {"description": "no value is allowed here"}
        if not isinstance(node, dict):
            raise gw.MalformedBodyError(f"{where!r} holds a schema that is no object.", param=where)
        if "$ref" in node:
            return _reference(node)
        return _node(_merged(node, where), walk, depth, lost)

    found: dict[str, Any] = walk(dict(schema), 0)
    defs = schema.get("$defs", schema.get("definitions"))
    if "$ref" in schema and isinstance(defs, dict):
        found["$defs"] = {name: walk(each, 1) for name, each in defs.items()}
    return found


def _reference(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node with ``$ref``: nothing may stand beside it but other ``$`` members."""
    kept = {name: each for name, each in node.items() if name in ("$anchor", "$id")}
    return {"$ref": node["$ref"].replace("#/definitions/", "#/$defs/"), **kept}


def _node(node: dict[str, Any], walk: Walk, depth: int, lost: set[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    told: list[str] = []
    for name, value in node.items():
        if name in SILENT or (name == "title" and not isinstance(value, str)):
            continue
        if name == "const":
            kept["enum"] = [value]
        elif name in ("exclusiveMinimum", "exclusiveMaximum") and _integral(node, value):
            _bound(kept, node, name, value)
        elif name == "format" and value not in FORMATS:
            told.append(f"format: {value}")
            lost.add(name)
        elif name == "definitions" and isinstance(value, dict):
            kept["$defs"] = {key: walk(each, depth + 1) for key, each in value.items()}
        elif name not in KEPT:
            told.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
            lost.add(name)
        elif name not in kept:
            kept[name] = _value(name, value, walk, depth)
    if "array" in _types(kept) and "items" not in kept and "prefixItems" not in kept:
        kept["items"] = {}
    if told:
        words = "; ".join(told)
        before = kept.get("description")
        kept["description"] = f"{before} ({words})" if before else words
    return kept


def _value(name: str, value: Any, walk: Walk, depth: int) -> Any:
    if name in ("properties", "$defs") and isinstance(value, dict):
        return {key: walk(each, depth + 1) for key, each in value.items()}
    if name in ("anyOf", "oneOf", "prefixItems") and isinstance(value, list):
        return [walk(each, depth + 1) for each in value]
    if name == "items":
        return walk(value, depth + 1)
    if name == "additionalProperties" and not isinstance(value, bool):
        return walk(value, depth + 1)
    return value


def _types(node: Mapping[str, Any]) -> tuple[Any, ...]:
    kind = node.get("type")
    return tuple(kind) if isinstance(kind, list) else (kind,)


def _integral(node: Mapping[str, Any], value: Any) -> bool:
    return type(value) is int and "integer" in _types(node)


def _bound(kept: dict[str, Any], node: Mapping[str, Any], name: str, value: int) -> None:
    """An exclusive bound of an integer as the inclusive one; the stricter of two counts."""
    if name == "exclusiveMinimum":
        kept["minimum"] = max(value + 1, node.get("minimum", value + 1))
    else:
        kept["maximum"] = min(value - 1, node.get("maximum", value - 1))


def _merged(node: dict[str, Any], where: str) -> dict[str, Any]:
    """`node` with its ``allOf`` laid over it, one level at a time."""
    merged = {name: value for name, value in node.items() if name != "allOf"}
    for each in node.get("allOf") or ():
        if not isinstance(each, dict) or "$ref" in each:
            raise gw.UnsupportedParameterError(
                "This provider cannot take a schema with a reference inside 'allOf'; "
                "write its members out.",
                param=where,
            )
        for name, value in _merged(each, where).items():
            if name == "properties":
                merged[name] = {**merged.get(name, {}), **value}
            elif name == "required":
                merged[name] = list(dict.fromkeys([*merged.get(name, ()), *value]))
            else:
                merged.setdefault(name, value)
    return merged
