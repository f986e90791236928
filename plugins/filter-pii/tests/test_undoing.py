"""A placeholder in an answer becomes its value, wherever the stream is cut."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway.lanes import TranslateLane
from llm_gateway_filter_pii.undoing import Undoing
from llm_gateway_filter_pii.vault import Vault
from llm_gateway_frontend_anthropic import plugin as messages
from llm_gateway_frontend_openai import plugin as completions
from llm_gateway_provider_anthropic import plugin as anthropic_provider
from llm_gateway_provider_openai import plugin as openai_provider
from llm_gateway_testkit import anthropic_dialect, openai_dialect
from pydantic import SecretStr

VALUES = {"[EMAIL_1]": "ada@example.org", "[NAME_1]": 'Maeve "Mo" O\'Neill'}
SAID = "Hi [NAME_1], I wrote to [EMAIL_1] and [EMAIL_2] [EMAIL"
MEANT = 'Hi Maeve "Mo" O\'Neill, I wrote to ada@example.org and [EMAIL_2] [EMAIL'
ARGUMENTS = {"to": "[EMAIL_1]", "text": ["Dear [NAME_1]", "[", 7]}
CALLED = {"to": "ada@example.org", "text": ['Dear Maeve "Mo" O\'Neill', "[", 7]}


def vault() -> Vault:
    found = Vault()
    found.values = dict(VALUES)
    return found


def texts(events: Sequence[gw.Event]) -> str:
    return "".join(each.text for each in events if isinstance(each, gw.TextDelta))


@pytest.mark.parametrize("first", range(len(SAID) + 1))
def test_every_cut_of_a_text(first: int) -> None:
    for second in range(first, len(SAID) + 1):
        undoing = Undoing(vault())
        pieces = SAID[:first], SAID[first:second], SAID[second:]
        out = [e for piece in pieces for e in undoing.feed([gw.TextDelta(piece)])]
        out += undoing.feed([gw.Finished("stop")])
        assert texts(out) == MEANT
        assert out[-1] == gw.Finished("stop")
        assert undoing.finish() == []


@given(st.lists(st.integers(0, 60)), st.sampled_from(["function", "custom"]))
def test_arguments_stay_json(cuts: list[int], kind: Any) -> None:
    """A value with quotes is escaped in a function's arguments and plain in free text."""
    said = json.dumps(ARGUMENTS)
    undoing = Undoing(vault())
    ends = [*sorted(cuts), len(said)]
    pieces = [said[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    events: list[gw.Event] = [gw.ToolCallDelta(0, "c", "send", kind=kind)]
    events += [gw.ToolCallDelta(0, arguments=piece) for piece in pieces]
    out = [e for each in events for e in undoing.feed([each])]
    out += undoing.feed([gw.Finished("tool_calls")])
    whole = "".join(each.arguments for each in out if isinstance(each, gw.ToolCallDelta))

    if kind == "function":
        assert json.loads(whole) == CALLED
    else:
        assert whole == said.replace("[EMAIL_1]", "ada@example.org").replace(
            "[NAME_1]", VALUES["[NAME_1]"]
        )
    assert out[0] == gw.ToolCallDelta(0, "c", "send", kind=kind)


def test_choices_and_channels_do_not_mix() -> None:
    undoing = Undoing(vault())
    out = undoing.feed([gw.TextDelta("[EMA"), gw.TextDelta("[EMAIL_", 1)])
    out += undoing.feed([gw.TextDelta("IL_1]"), gw.TextDelta("1]", 1)])
    out += undoing.feed([gw.ReasoningDelta("[NA"), gw.TextDelta("ME_1]")])
    out += undoing.finish()

    assert out == [
        gw.TextDelta("ada@example.org"),
        gw.TextDelta("ada@example.org", 1),
        gw.ReasoningDelta("[NA"),
        gw.TextDelta("ME_1]"),
    ]


def test_what_an_event_carries_beside_its_text_is_not_held_back() -> None:
    undoing = Undoing(vault())
    signed = gw.ReasoningDelta("", state={"signature": "s"})

    assert undoing.feed([gw.TextDelta("[EM", logprobs=[1])]) == [gw.TextDelta("", logprobs=[1])]
    assert undoing.feed([signed]) == [gw.TextDelta("[EM"), signed]


def test_unknown_parts_are_restored_too() -> None:
    undoing = Undoing(vault())

    assert undoing.feed([gw.Unknown("d", {"a": ["to [EMAIL_1]", 1]})]) == [
        gw.Unknown("d", {"a": ["to ada@example.org", 1]})
    ]


DIALECTS = {
    "openai": (
        openai_provider,
        "openai",
        b"".join(
            openai_dialect.chat_stream(
                [SAID[:30], SAID[30:]],
                tool_calls=[openai_dialect.ToolCall("c", "send", ["", json.dumps(ARGUMENTS)])],
            )
        ),
    ),
    "anthropic": (
        anthropic_provider,
        "anthropic",
        b"".join(
            anthropic_dialect.message_stream(
                anthropic_dialect.text(SAID),
                anthropic_dialect.tool_use("c", "send", **ARGUMENTS),
                stop_reason="tool_use",
            )
        ),
    ),
}
BODY = {
    "model": "m",
    "stream": True,
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
}


def decoder(plugin: Any) -> gw.Decoder:
    (spec,) = [each for each in plugin.llm_gateway_providers() if "chat" in each.surfaces][:1]
    settings = spec.settings(api_key=SecretStr("k"))
    message = gw.Message("user", (gw.TextPart("hi"),))
    made = spec.make("p", settings).encode(gw.ChatRequest("m", (message,), stream=True))
    found: gw.Decoder = made.decoder()
    return found


def frontend(plugin: Any, dialect: str) -> gw.Frontend:
    found: gw.Frontend = next(
        each for each in plugin.llm_gateway_frontends() if each.operation == "chat"
    ).make()
    return found


def data_lines(out: bytes) -> Iterator[Any]:
    for line in out.decode().split("\n"):
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def answer_of(dialect: str, out: bytes) -> tuple[str, Any]:
    text = arguments = ""
    for each in data_lines(out):
        if dialect == "openai":
            delta = each["choices"][0]["delta"] if each["choices"] else {}
            text += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                arguments += call["function"].get("arguments") or ""
        elif each["type"] == "content_block_delta":
            text += each["delta"].get("text", "")
            arguments += each["delta"].get("partial_json", "")
    return text, json.loads(arguments)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_round_trip_of_streams_cut_at_every_byte(dialect: str) -> None:
    """From the vendor's bytes to the client's, in each dialect."""
    plugin, _, stream = DIALECTS[dialect]
    front = frontend(completions if dialect == "openai" else messages, dialect)
    version = {"anthropic-version": "2023-06-01"}
    arrival = gw.Arrival("r", "POST", "/", "", version, "", 0.0)
    head = front.parse(json.dumps(BODY).encode(), arrival)
    cuts = [(at,) for at in range(len(stream))] + [tuple(range(1, len(stream)))]
    for cut in cuts:
        lane = TranslateLane(decoder(plugin), front.renderer(head), [Undoing(vault())])
        ends = [*cut, len(stream)]
        out = b"".join(lane.feed(stream[a:b]) for a, b in zip([0, *ends], ends, strict=False))
        assert answer_of(dialect, out + lane.finish()) == (MEANT, CALLED)
