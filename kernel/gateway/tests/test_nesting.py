"""How deep a body's JSON may nest."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway.nesting import refuse_deep
from llm_gateway_api import MalformedBodyError

TEXTS = st.text('a\\"{}[],:é\n', max_size=6)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=30,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[[[]]]",
        b'{"a": [{"b": 1}]}',
        b"[" + b"{}," * 100 + b"1]",
        b"[" + b'{"a":[1]},' * 100 + b"1]",
        b"[" + b"[ { } , [ ] ], " * 100 + b"1]",
        b'["' + b"[{" * 100 + b'"]',
        b'["\\"' + b"[{" * 100 + b'"]',
        b'["\\\\",[1],"[[[[","]",{"{":"{"},"\\\\\\"[[[["]',
    ],
)
def test_what_nests_no_deeper_passes(body: bytes) -> None:
    """Brackets in texts, and many side by side, are no depth."""
    refuse_deep(body, 3)


@pytest.mark.parametrize(
    "body",
    [
        b"[[[[]]]]",
        b'{"a":{"b":{"c":{}}}}',
        b"[" * 5,
        b'["[",[[[1]]]]',
        b'["\\\\",[[[1]]]]',
        b"[" + b"[[]]," * 100 + b"[[[]]]]",
        b"[" * 100 + b"]" * 100,
    ],
)
def test_what_nests_deeper_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBodyError, match=r"3 levels \(server\.max_json_depth\)"):
        refuse_deep(body, 3)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_the_limit_is_that_of_the_deepest_value(value: Any, ascii: bool, indent: int) -> None:
    """Whatever texts hold, and however it is written."""
    body = json.dumps(value, ensure_ascii=ascii, indent=indent).encode()
    levels = depth(value)

    refuse_deep(body, levels)
    if levels:
        with pytest.raises(MalformedBodyError):
            refuse_deep(body, levels - 1)
