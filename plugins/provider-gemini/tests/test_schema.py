"""JSON Schema in the vendor's subset: nothing is lost without a word."""

from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_provider_gemini.schema import cleaned


def clean(schema: Any) -> tuple[dict[str, Any], set[str]]:
    lost: set[str] = set()
    return cleaned(schema, "schema", lost), lost


@pytest.mark.parametrize(
    ("schema", "wanted", "lost"),
    [
        ({"const": "a"}, {"enum": ["a"]}, set()),
        (
            {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9},
            {"type": "integer", "minimum": 1, "maximum": 8},
            set(),
        ),
        (
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "number", "description": "exclusiveMinimum: 0"},
            {"exclusiveMinimum"},
        ),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}, set()),
        (
            {"type": "object", "propertyNames": {"pattern": "a"}, "description": "d"},
            {"type": "object", "description": 'd (propertyNames: {"pattern": "a"})'},
            {"propertyNames"},
        ),
        ({"type": "array"}, {"type": "array", "items": {}}, set()),
        ({"$schema": "x", "examples": [1], "type": "string"}, {"type": "string"}, set()),
        (
            {"type": "string", "format": "email"},
            {"type": "string", "description": "format: email"},
            {"format"},
        ),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}, set()),
        (
            {
                "properties": {"a": {"$ref": "#/definitions/A", "title": "A"}},
                "definitions": {"A": True},
            },
            {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {}}},
            set(),
        ),
        (
            {"allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"required": ["b", "a"]}]},
            {"properties": {"a": {}}, "required": ["a", "b"]},
            set(),
        ),
        (
            {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {"t": {"$ref": "#/$defs/T"}}}}},
            {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {"t": {"$ref": "#/$defs/T"}}}}},
            set(),
        ),
        (
            {"properties": {"title": {"type": "string"}}},
            {"properties": {"title": {"type": "string"}}},
            set(),
        ),
    ],
)
def test_schema_becomes_the_subset(schema: Any, wanted: Any, lost: set[str]) -> None:
    assert clean(schema) == (wanted, lost)


def test_order_of_properties_is_kept() -> None:
    found, _ = clean({"properties": {name: {} for name in "zyx"}})

    assert list(found["properties"]) == ["z", "y", "x"]


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": 5},
        {"allOf": [{"$ref": "#/x"}]},
        {"properties": {"a": 7}},
        {"anyOf": ["x"]},
        {"$ref": 5},
        {"type": "integer", "exclusiveMinimum": 0, "minimum": "x"},
    ],
)
def test_what_is_no_schema_is_the_callers_error(schema: Any) -> None:
    with pytest.raises(gw.ClientError):
        clean(schema)


def test_depth_has_a_bound() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100):
        schema = {"items": schema}

    with pytest.raises(gw.ClientError):
        clean(schema)


KEYS = st.sampled_from(
    [
        "type", "const", "enum", "items", "properties", "anyOf", "allOf", "required", "minimum",
        "exclusiveMinimum", "format", "not", "$ref", "$defs", "title", "description",
        "additionalProperties", "multipleOf",
    ]
)  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["integer", "array", "a", "#/$defs/a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_any_object_is_cleaned_or_refused(schema: dict[str, Any]) -> None:
    try:
        once, _ = clean(schema)
    except gw.ClientError:
        return
    assert clean(once)[0] == once
