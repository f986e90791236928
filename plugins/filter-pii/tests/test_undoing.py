"""A placeholder in an answer becomes its value, wherever the stream is cut."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
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
from llm_gateway_frontend_responses import plugin as responses
from llm_gateway_provider_anthropic import plugin as anthropic_provider
from llm_gateway_provider_azure_openai import plugin as azure_provider
from llm_gateway_provider_bedrock import plugin as bedrock_provider
from llm_gateway_provider_cohere import plugin as cohere_provider
from llm_gateway_provider_gemini import plugin as gemini_provider
from llm_gateway_provider_mistral import plugin as mistral_provider
from llm_gateway_provider_openai import plugin as openai_provider
from llm_gateway_provider_together import plugin as together_provider
from llm_gateway_testkit import (
    anthropic_dialect,
    azure_dialect,
    bedrock_dialect,
    cohere_dialect,
    gemini_dialect,
    mistral_dialect,
    openai_dialect,
    together_dialect,
    vendors,
)

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


def test_notes_beside_the_pieces_of_a_text_end_no_placeholder() -> None:
    """A vendor's content filter says something with each piece; it keeps its place."""
    undoing = Undoing(vault())
    note = gw.Unknown("d", {"safe": True})
    out = undoing.feed([gw.TextDelta("to [EMA"), note, gw.TextDelta("IL"), note])
    out += undoing.feed([gw.TextDelta("_1]"), note, gw.TextDelta("["), note, gw.Finished("stop")])

    assert out == [
        gw.TextDelta("to "),
        gw.TextDelta("ada@example.org"),
        note,
        note,
        note,
        gw.TextDelta("["),
        note,
        gw.Finished("stop"),
    ]


def test_unknown_parts_are_restored_too() -> None:
    undoing = Undoing(vault())

    assert undoing.feed([gw.Unknown("d", {"a": ["to [EMAIL_1]", 1]})]) == [
        gw.Unknown("d", {"a": ["to ada@example.org", 1]})
    ]


CUTS = (SAID[:8], SAID[8:30], SAID[30:])
WRITTEN = json.dumps(ARGUMENTS)
PIECES = (WRITTEN[:10], WRITTEN[10:15], WRITTEN[15:])
ROWS = {row.kind: row for row in vendors.vendors()}


Said = tuple[bytes, tuple[str, Any]]


def _openai_like(dialect: Any) -> Said:
    call = openai_dialect.ToolCall("a1b2c3d4e", "send", PIECES)
    return b"".join(dialect.chat_stream(CUTS, tool_calls=[call])), (MEANT, CALLED)


def _anthropic() -> Said:
    text = anthropic_dialect.text(SAID)
    call = anthropic_dialect.tool_use("c", "send", **ARGUMENTS)
    frames = anthropic_dialect.message_stream(text, call, stop_reason="tool_use")
    return b"".join(frames), (MEANT, CALLED)


def _gemini() -> Said:
    parts = [*map(gemini_dialect.text, CUTS), gemini_dialect.call("send", ARGUMENTS)]
    return b"".join(gemini_dialect.chat_stream(parts)), (MEANT, CALLED)


def _bedrock() -> Said:
    call = bedrock_dialect.ToolCall("tooluse_1", "send", PIECES)
    return b"".join(bedrock_dialect.converse_stream(CUTS, tool_calls=[call])), (MEANT, CALLED)


def _cohere(*calls: openai_dialect.ToolCall) -> Said:
    """Which calls, or says something."""
    frames = cohere_dialect.chat_stream(() if calls else CUTS, tool_calls=calls)
    return b"".join(frames), ("", CALLED) if calls else (MEANT, None)


# The provider, and what its server says with placeholders, with what a client is to read.
VENDORS: dict[str, tuple[Any, Said]] = {
    "openai": (openai_provider, _openai_like(openai_dialect)),
    "anthropic": (anthropic_provider, _anthropic()),
    "azure_openai": (azure_provider, _openai_like(azure_dialect)),
    "gemini": (gemini_provider, _gemini()),
    "bedrock": (bedrock_provider, _bedrock()),
    "cohere": (cohere_provider, _cohere()),
    "cohere calls": (
        cohere_provider,
        _cohere(openai_dialect.ToolCall("send_k3", "send", PIECES)),
    ),
    "mistral": (mistral_provider, _openai_like(mistral_dialect)),
    "together": (together_provider, _openai_like(together_dialect)),
}
OFFERS: dict[str, Any] = {"fetch": None, "clock": time.time}
MESSAGES = [{"role": "user", "content": "hi"}]
CLIENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "openai.chat": (completions, {"messages": MESSAGES}),
    "anthropic.messages": (messages, {"messages": MESSAGES, "max_tokens": 9}),
    "openai.responses": (responses, {"input": MESSAGES}),
}


def decoder(name: str) -> gw.Decoder:
    """A fresh one of the vendor, for a stream."""
    kind = name.partition(" ")[0]
    row = ROWS[kind]
    (spec,) = [each for each in VENDORS[name][0].llm_gateway_providers() if each.kind == kind]
    key, path = row.address
    settings = spec.settings.model_validate({key: f"http://127.0.0.1:9{path}", **row.settings})
    message = gw.Message("user", (gw.TextPart("hi"),))
    asked = gw.ChatRequest(row.model, (message,), stream=True, params={"max_tokens": 9})
    made = spec.make("p", settings, *(OFFERS[each] for each in spec.needs))
    found: gw.Decoder = made.encode(asked).decoder()
    return found


def frontend(dialect: str) -> tuple[gw.Frontend, gw.RequestHead]:
    plugin, members = CLIENTS[dialect]
    (spec,) = [each for each in plugin.llm_gateway_frontends() if each.dialect == dialect]
    made: gw.Frontend = spec.make()
    version = {"anthropic-version": "2023-06-01"}
    arrival = gw.Arrival("r", "POST", "/", "", version, "", 0.0)
    body = json.dumps({"model": "m", "stream": True, **members})
    return made, made.parse(body.encode(), arrival)


def data_lines(out: bytes) -> Iterator[Any]:
    for line in out.decode().split("\n"):
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def answer_of(dialect: str, out: bytes) -> tuple[str, Any]:
    """What a client of the dialect reads: the text, and the arguments of the call."""
    text = arguments = ""
    for each in data_lines(out):
        if dialect == "openai.chat":
            delta = each["choices"][0]["delta"] if each["choices"] else {}
            text += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                arguments += call["function"].get("arguments") or ""
        elif each["type"] == "content_block_delta":
            text += each["delta"].get("text", "")
            arguments += each["delta"].get("partial_json", "")
        elif each["type"] == "response.output_text.delta":
            text += each["delta"]
        elif each["type"] == "response.function_call_arguments.delta":
            arguments += each["delta"]
    return text, json.loads(arguments) if arguments else None


def through(kind: str, dialect: str, pieces: Iterable[bytes]) -> tuple[str, Any]:
    front, head = frontend(dialect)
    lane = TranslateLane(decoder(kind), front.renderer(head), [Undoing(vault())])
    out = b"".join([lane.feed(each) for each in pieces])
    return answer_of(dialect, out + lane.finish())


@pytest.mark.parametrize("kind", VENDORS)
def test_round_trip_of_streams_cut_at_every_byte(kind: str) -> None:
    """From the bytes of each vendor to a client's, with values in the text and inside the
    arguments of a call."""
    stream, meant = VENDORS[kind][1]
    dialect = "anthropic.messages" if kind == "anthropic" else "openai.chat"
    for at in range(len(stream)):
        assert through(kind, dialect, (stream[:at], stream[at:])) == meant, at


@pytest.mark.parametrize("dialect", CLIENTS)
@pytest.mark.parametrize("kind", VENDORS)
def test_round_trip_byte_by_byte_for_every_client(kind: str, dialect: str) -> None:
    stream, meant = VENDORS[kind][1]

    assert through(kind, dialect, (bytes([each]) for each in stream)) == meant
