"""Events as answers: the grammar that the SDK asserts on, streamed and whole."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as some
from llm_gateway_frontend_responses.plugin import Dialect
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

DIALECT = Dialect()
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
USAGE = gw.UsageReport(gw.Usage(150, 64, 3, 2, output=27, reasoning=11))
ARRIVAL = gw.Arrival("t", "POST", "/", "", {}, "127.0.0.1", 0.0)
STARTED = gw.Started("resp_A1", "up", 1795000000)
DONE = {
    "output_text": ("text", "output_text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_summary_text": ("text", "reasoning_summary_text"),
    "function_call_arguments": ("arguments", "function_call_arguments"),
    "custom_tool_call_input": ("input", "custom_tool_call_input"),
}


def head(stream: bool = True, **members: Any) -> gw.RequestHead:
    body = {"model": "m", "input": "Hi", "stream": stream, **members}
    return DIALECT.parse(json.dumps(body).encode(), ARRIVAL)


def streamed(*events: gw.Event, **members: Any) -> list[dict[str, Any]]:
    """What is sent for `events`, one by one, checked against the grammar and the SDK."""
    renderer = DIALECT.renderer(head(**members))
    out = b"".join(renderer.render([each]) for each in events) + renderer.finish()
    found = []
    for name, data in gw.SSEParser().feed_events(out):
        event = json.loads(data)
        assert event["type"] == name.decode()
        found.append(event)
    Checker().check(found)
    accumulated(found)
    return found


def accumulated(events: Sequence[dict[str, Any]]) -> None:
    """The SDK's own accumulator and types take them."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    for each in events:
        state.handle_event(EVENT.validate_python(each))


def whole(*events: gw.Event, **members: Any) -> Any:
    renderer = DIALECT.renderer(head(stream=False, **members))
    assert renderer.render(events) == b""
    answer = json.loads(renderer.finish())
    Response.model_validate(answer)
    return answer


class Checker:
    """The grammar in words of its own: what the API's reference says of the order."""

    def __init__(self) -> None:
        self.items: dict[int, dict[str, Any]] = {}
        self.finished: dict[int, dict[str, Any]] = {}
        self.pieces: dict[tuple[int, int, str], str] = {}
        self.open_part: tuple[int, int] | None = None

    def check(self, events: Sequence[dict[str, Any]]) -> None:
        kinds = [each["type"] for each in events]
        assert kinds[:2] == ["response.created", "response.in_progress"]
        assert kinds[-1] in ("response.completed", "response.incomplete", "response.failed")
        assert [each["sequence_number"] for each in events] == list(range(len(events)))
        for each in events[2:-1]:
            self.step(each["type"].removeprefix("response."), each)
        final = events[-1]["response"]
        assert {each["response"]["id"] for each in events if "response" in each} == {final["id"]}
        assert self.open_part is None
        assert [self.finished[at] for at in range(len(self.items))] == final["output"]

    def step(self, kind: str, event: dict[str, Any]) -> None:
        at = event["output_index"]
        if kind == "output_item.added":
            assert at == len(self.items), "items are numbered as they come"
            self.items[at] = event["item"]
            return
        assert at in self.items and at not in self.finished
        if kind == "output_item.done":
            assert event["item"]["id"] == self.items[at]["id"]
            self.finished[at] = event["item"]
            return
        assert event["item_id"] == self.items[at]["id"]
        part = event.get("content_index", event.get("summary_index", 0))
        if kind in ("content_part.added", "reasoning_summary_part.added"):
            assert self.open_part is None
            self.open_part = (at, part)
        elif kind in ("content_part.done", "reasoning_summary_part.done"):
            assert self.open_part == (at, part)
            self.open_part = None
        elif kind.endswith(".delta"):
            name = kind.removesuffix(".delta")
            if "call" not in name:
                assert self.open_part == (at, part)
            key = (at, part, name)
            self.pieces[key] = self.pieces.get(key, "") + event["delta"]
        elif kind.endswith(".done"):
            member, name = DONE[kind.removesuffix(".done")]
            assert event[member] == self.pieces.get((at, part, name), "")
        else:
            assert kind == "output_text.annotation.added"


ANSWER: list[gw.Event] = [
    STARTED,
    gw.ReasoningDelta("Need two "),
    gw.ReasoningDelta("tides."),
    gw.ReasoningDelta("", state={"gemini": {"s": "c2ln"}}),
    gw.TextDelta("Checking."),
    gw.ToolCallDelta(0, "call_a1", "tide_at"),
    gw.ToolCallDelta(0, arguments='{"port":'),
    gw.ToolCallDelta(1, "call_b2", "run", kind="custom"),
    gw.ToolCallDelta(0, arguments='"Brest"}'),
    gw.ToolCallDelta(1, arguments="select 1", kind="custom"),
    gw.Finished("tool_calls"),
    USAGE,
]


def test_stream_of_thought_text_and_interleaved_calls() -> None:
    output = streamed(*ANSWER)[-1]["response"]["output"]

    assert [each["type"] for each in output] == [
        "reasoning",
        "message",
        "function_call",
        "custom_tool_call",
    ]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "Need two tides."}]
    assert (output[2]["call_id"], output[2]["arguments"]) == ("call_a1", '{"port":"Brest"}')
    assert (output[3]["call_id"], output[3]["input"]) == ("call_b2", "select 1")


def test_whole_answer_is_what_the_stream_comes_to() -> None:
    assert whole(*ANSWER) == streamed(*ANSWER)[-1]["response"]


def test_usage_is_renamed_with_its_details() -> None:
    assert whole(*ANSWER)["usage"] == {
        "input_tokens": 219,
        "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 5},
        "output_tokens": 38,
        "output_tokens_details": {"reasoning_tokens": 11},
        "total_tokens": 257,
    }


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("error", "failed", None),
    ],
)
def test_finish_reason_is_a_status(reason: gw.FinishReason, status: str, why: Any) -> None:
    last = streamed(STARTED, gw.TextDelta("Lo"), gw.Finished(reason))[-1]

    answer = last["response"]
    assert (last["type"], answer["status"]) == (f"response.{status}", status)
    assert answer["incomplete_details"] == why
    assert (answer["error"] is None) == (status != "failed")
    assert answer["output"][0]["status"] == ("incomplete" if why else "completed")


def test_refusal_is_a_part_of_its_own() -> None:
    answer = whole(gw.TextDelta("Well."), gw.RefusalDelta("No"), gw.Finished("stop"))

    assert [each["type"] for each in answer["output"][0]["content"]] == ["output_text", "refusal"]
    assert answer["output"][0]["content"][1]["refusal"] == "No"


def test_logprobs_and_annotations_stand_with_their_text() -> None:
    logprob = {"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": []}
    note = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    nested = {"type": note["type"], "url_citation": {k: v for k, v in note.items() if k != "type"}}

    events = streamed(
        gw.TextDelta("a", logprobs={"content": [logprob]}),
        gw.Unknown("openai.chat", {"annotations": [nested]}),
        gw.Finished("stop"),
    )

    part = events[-1]["response"]["output"][0]["content"][0]
    assert (part["logprobs"], part["annotations"]) == ([logprob], [note])


def test_what_was_asked_is_echoed_and_null_is_the_default() -> None:
    tool = {"type": "function", "name": "f", "parameters": {}, "strict": True}
    answer = whole(
        gw.Finished("stop"), tools=[tool], temperature=None, top_p=0.5, text={"verbosity": "low"}
    )

    assert (answer["tools"], answer["temperature"], answer["top_p"]) == ([tool], 1.0, 0.5)
    assert answer["text"] == {"verbosity": "low", "format": {"type": "text"}}
    assert (answer["store"], answer["model"]) == (False, "m")


def test_state_comes_back_with_its_text_though_the_summary_was_lost() -> None:
    item = whole(*ANSWER)["output"][0]
    for sent in (item, {**item, "summary": []}):
        request = DIALECT.request(head(input=[sent, {"role": "user", "content": "and?"}]))
        assert request.messages[0].parts == (
            gw.ReasoningPart("Need two tides.", {"gemini": {"s": "c2ln"}}),
        )


def test_error_frame_is_an_event_and_raises_in_the_sdk() -> None:
    error = gw.UnsupportedParameterError("No.", param="max_tokens")
    ((name, data),) = gw.SSEParser().feed_events(DIALECT.error_frame(error, "r"))

    told = json.loads(data)
    assert (name, told["type"], told["param"]) == (b"error", "error", "max_output_tokens")
    assert told["error"]["message"] == told["message"] == "No."


TEXTS = some.text("ab ü", max_size=4)
STATES: Any = some.sampled_from([{}, {"v": {"s": "x"}}])


CITED = {
    "type": "url_citation",
    "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 0},
}


def searched(number: int) -> dict[str, Any]:
    """What a tool that the vendor runs did."""
    action = {"type": "search", "query": "q"}
    kind = "web_search_call"
    return {"id": f"ws_{number}", "type": kind, "status": "completed", "action": action}


@some.composite
def pieces(draw: Any) -> gw.Event:
    kind = draw(
        some.sampled_from(
            ["text", "think", "refuse", "call", "note", "item", "usage", "cite", "tool"]
        )
    )
    text = draw(TEXTS)
    if kind == "call":
        call = draw(some.integers(0, 3))
        tool: Any = "custom" if call % 2 else "function"
        return gw.ToolCallDelta(call, f"call_{call}", f"f{call}", text, kind=tool)
    made: dict[str, gw.Event] = {
        "text": gw.TextDelta(text),
        "think": gw.ReasoningDelta(text, state=draw(STATES)),
        "refuse": gw.RefusalDelta(text),
        "note": gw.Unknown("other", {"x": text}),
        "item": gw.TextDelta(text, index=1),
        "usage": USAGE,
        "cite": gw.Unknown("openai.chat", {"annotations": [CITED]}),
        "tool": gw.Unknown("openai.responses", {"item": searched(draw(some.integers()))}),
    }
    return made[kind]


@given(some.lists(pieces(), max_size=12), some.sampled_from(["stop", "length", "error"]))
def test_any_order_of_events_is_well_formed(events: list[gw.Event], reason: Any) -> None:
    """And the whole answer is what the stream comes to."""
    seen: set[str] = set()
    for each in list(events):
        if isinstance(each, gw.Unknown) and isinstance(item := each.raw.get("item"), dict):
            if item["id"] in seen:  # a vendor names each of its items once
                events.remove(each)
            seen.add(item["id"])
    all_of = [STARTED, *events, gw.Finished(reason)]

    assert streamed(*all_of)[-1]["response"] == whole(*all_of)


def frames() -> Iterator[bytes]:
    renderer = DIALECT.renderer(head())
    for each in ANSWER:
        yield renderer.render([each])


def test_nothing_is_written_before_content() -> None:
    """Another provider may still be asked until then."""
    assert next(frames()) == b""
