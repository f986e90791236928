"""The vendor's SDK takes what the scripted dialect says, and says what the dialect takes."""

import json
from typing import Any

import anthropic as sdk
import pytest
from llm_gateway_testkit import anthropic_dialect as claude
from llm_gateway_testkit.scripted import Received, ScriptedProvider, Stream

ASKED: Any = [{"role": "user", "content": "Hi"}]
CONTENT = [
    claude.thinking("Hm é."),
    claude.text("Low tide"),
    claude.tool_use("toolu_1", "tide_at", port="Brest"),
    claude.tool_use("toolu_2", "now"),
]


async def test_the_sdk_reads_whole_answers_streams_counts_and_errors() -> None:
    async with (
        ScriptedProvider(validator=claude.strict("k-1")) as provider,
        sdk.AsyncAnthropic(base_url=provider.url, api_key="k-1", max_retries=0) as client,
    ):
        provider.enqueue(claude.message_answer(*CONTENT), Stream(claude.message_stream(*CONTENT)))
        rest: Any = {"model": claude.MODEL, "max_tokens": 9, "messages": ASKED}
        whole = await client.messages.create(**rest)
        async with client.messages.stream(**rest) as stream:
            streamed = await stream.get_final_message()
        assert [each.model_dump() for each in whole.content] == [
            each.model_dump(exclude={"parsed_output"}) for each in streamed.content
        ]
        assert whole.stop_reason == streamed.stop_reason == "tool_use"
        provider.enqueue(claude.count_answer(7), claude.error_answer(529))
        count = await client.messages.count_tokens(model=claude.MODEL, messages=ASKED)
        assert count.input_tokens == 7
        with pytest.raises(sdk.APIStatusError) as caught:
            await client.messages.create(**rest)
        assert caught.value.type == "overloaded_error"
        with pytest.raises(sdk.AuthenticationError):
            await client.with_options(api_key="wrong").messages.create(**rest)


USER = {"role": "user", "content": "Hi"}
CALL = {"type": "tool_use", "id": "a", "name": "n", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"future": 1}, "future: Extra inputs"),
        ({"max_tokens": None}, None),
        ({"messages": [{"role": "tool", "content": "x"}]}, "turn:tool"),
        ({"messages": [{**USER, "name": "x"}]}, "messages.0.name: Extra"),
        ({"messages": [{"role": "user", "content": [claude.text(" ")]}]}, "non-empty"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "text: Field required"),
        ({"messages": [USER, {"role": "assistant", "content": [CALL]}]}, "without"),
        ({"messages": [{"role": "user", "content": [RESULT]}]}, "do not match"),
        (
            {
                "messages": [
                    USER,
                    {"role": "assistant", "content": [CALL]},
                    {"role": "user", "content": [claude.text("x"), RESULT]},
                ]
            },
            "must come first",
        ),
        ({"tools": [{"name": "n"}]}, "tools.0.input_schema: Field required"),
        ({"tool_choice": {"type": "auto"}}, "only be specified while"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "at least 1024"),
    ],
)
def test_strictness(change: dict[str, Any], words: str | None) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [USER], **change}
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    sent = Received("POST", "/v1/messages", headers, json.dumps(body).encode())

    refusal = claude.strict("k")(sent)

    assert (refusal is None) if words is None else (refusal and words in refusal.body.decode())


def test_version_and_exactly_one_key_are_needed() -> None:
    body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
    version = {"anthropic-version": "2023-06-01"}

    def status(**headers: str) -> int | None:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = claude.strict("k")(Received("POST", "/v1/messages", version | given, body))
        return None if answer is None else answer.status

    assert status(x_api_key="k") is None
    assert status(authorization="Bearer k") is None
    assert status(x_api_key="k", authorization="Bearer k") == 401
    assert status() == 401
    assert status(x_api_key="k", anthropic_version="2024-01-01") == 400
