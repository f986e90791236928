"""Whatever a client sends is an answer or a 4xx that names the field, never a bug."""

import json
from collections.abc import Iterator
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_frontend_openai.dialects import CHAT, COMPLETIONS, EMBEDDINGS

ARRIVAL = gw.Arrival("req_1", "POST", "/", "", {}, "127.0.0.1", 0.0)
VALUES: list[Any] = [
    None, True, 1, -1, 1.5, 10**30, "x", "", [], [1], [None], [[]], {}, {"a": 1}, {"type": 1},
    [{"type": []}], [{"role": []}], [{"role": "user", "content": 1}],
]  # fmt: skip
BODY: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
}  # fmt: skip


def mutations(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key in value:
            for each in (*VALUES, *mutations(value[key])):
                yield {**value, key: each}
    elif isinstance(value, list):
        for at in range(len(value)):
            for each in (*VALUES, *mutations(value[at])):
                yield [*value[:at], each, *value[at + 1 :]]


def read(dialect: Any, body: Any) -> None:
    head = dialect.parse(json.dumps(body).encode(), ARRIVAL)
    dialect.request(head)
    dialect.renderer(head)


def test_any_one_wrong_value_is_taken_or_refused() -> None:
    for body in mutations(BODY):
        try:
            read(CHAT, body)
        except gw.GatewayError as error:
            assert 400 <= error.status < 500


@pytest.mark.parametrize("dialect", [CHAT, COMPLETIONS, EMBEDDINGS])
def test_any_member_of_any_kind_is_taken_or_refused(dialect: Any) -> None:
    names = [
        *BODY,
        "prompt",
        "input",
        "encoding_format",
        "echo",
        "dimensions",
        "stop",
        "n",
        "logprobs",
    ]
    for name in names:
        for value in VALUES:
            try:
                read(
                    dialect,
                    {"model": "m", "messages": [], "prompt": "p", "input": "i", name: value},
                )
            except gw.GatewayError as error:
                assert 400 <= error.status < 500


def test_a_wrong_role_is_named_with_its_place() -> None:
    with pytest.raises(gw.MalformedBodyError) as caught:
        read(CHAT, {"model": "m", "messages": [{"role": "wizard", "content": "x"}]})

    assert caught.value.param == "messages[0].role"
