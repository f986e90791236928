"""A growing conversation only grows upstream, so that the vendor's cache of prefixes holds."""

from typing import Any

import llm_gateway_api as gw
import msgspec
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_provider_gemini.plugin import GeminiProvider, Settings

PROVIDER = GeminiProvider("g", Settings.model_validate({"api_key": "AIza-1"}), None)
TEXT = st.text(max_size=8)
RESULTS = st.sampled_from(["", "4 m", '{"a": 1}', "[1]", "7"])


def _user(text: str) -> list[gw.Message]:
    return [gw.Message("user", (gw.TextPart(text),))]


def _system(text: str) -> list[gw.Message]:
    return [gw.Message("system", (gw.TextPart(text),))]


def _answer(text: str) -> list[gw.Message]:
    return [gw.Message("assistant", (gw.ReasoningPart("hm"), gw.TextPart(text)))]


def _calls(results: list[str], reverse: bool) -> list[gw.Message]:
    ids = [f"c{at}" for at in range(len(results))]
    calls = tuple(gw.ToolCallPart(each, "f", '{"a": 1}') for each in ids)
    answers = [
        gw.Message("tool", (gw.ToolResultPart(each, (gw.TextPart(text),)),))
        for each, text in zip(ids, results, strict=True)
    ]
    return [gw.Message("assistant", calls), *(reversed(answers) if reverse else answers)]


STEPS = st.one_of(
    TEXT.map(_user),
    TEXT.map(_system),
    TEXT.map(_answer),
    st.builds(_calls, st.lists(RESULTS, min_size=1, max_size=3), st.booleans()),
)


def contents(messages: list[gw.Message], model: str) -> tuple[Any, bytes]:
    body = PROVIDER.encode(gw.ChatRequest(model, tuple(messages))).body
    found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return bytes(found.get("systemInstruction", b"")), bytes(found["contents"])


@given(
    st.lists(STEPS, max_size=4), st.lists(STEPS, min_size=1, max_size=4), st.sampled_from([2, 3])
)
def test_the_next_turn_extends_the_bytes_of_this_one(
    before: list[list[gw.Message]], after: list[list[gw.Message]], generation: int
) -> None:
    model = "gemini-2.5-pro" if generation == 2 else "gemini-3.5-flash"
    start = [*_system("Be brief."), *_user("Tide?")]
    now = start + [each for step in before for each in step]
    then = now + [each for step in after for each in step]

    instruction, shorter = contents(now, model)
    same, longer = contents(then, model)

    assert instruction == same
    assert longer.startswith(shorter.rstrip(b"]}"))
