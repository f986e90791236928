"""How deep a body's JSON may nest."""

import pytest
from llm_gateway.malformed import refuse_deep
from llm_gateway_api import MalformedBodyError


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[[[]]]",
        b'{"a": [{"b": 1}]}',
        b"[" + b"{}," * 100 + b"1]",
        b'["' + b"[{" * 100 + b'"]',
        b'["\\"' + b"[{" * 100 + b'"]',
    ],
)
def test_what_nests_no_deeper_passes(body: bytes) -> None:
    """Brackets in texts, and many side by side, are no depth."""
    refuse_deep(body, 3)


@pytest.mark.parametrize("body", [b"[[[[]]]]", b'{"a":{"b":{"c":{}}}}', b"[" * 5, b'["[",[[[1]]]]'])
def test_what_nests_deeper_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBodyError, match=r"3 levels \(server\.max_json_depth\)"):
        refuse_deep(body, 3)
