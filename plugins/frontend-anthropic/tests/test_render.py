"""Events as answers: the grammar that the vendor's SDK asserts on, streamed and whole."""

import json
from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as some
from llm_gateway_frontend_anthropic.plugin import COUNT_TOKENS, MESSAGES

USAGE = gw.UsageReport(gw.Usage(150, 64, 3, 2, output=27, reasoning=11))
KINDS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
}


def head(stream: bool = True) -> gw.RequestHead:
    return gw.RequestHead("anthropic.messages", "chat", "claude-alias", stream, True, {}, b"")


def streamed(*events: gw.Event) -> list[dict[str, Any]]:
    """What is sent for `events`, one by one, checked against the grammar."""
    renderer = MESSAGES.renderer(head())
    out = b"".join(renderer.render([each]) for each in events) + renderer.finish()
    found = []
    for name, data in gw.SSEParser().feed_events(out):
        event = json.loads(data)
        assert event["type"] == name.decode()
        found.append(event)
    check(found)
    return found


def check(events: Sequence[dict[str, Any]]) -> None:
    """Blocks one by one from 0 on, each delta in a block of its kind, one start, one end."""
    kinds = [each["type"] for each in events]
    assert kinds[0] == "message_start" and kinds.count("message_start") == 1
    assert kinds[-2:] == ["message_delta", "message_stop"]
    open_kind, index = None, -1
    for each in events[1:-2]:
        if each["type"] == "content_block_start":
            assert open_kind is None and each["index"] == index + 1
            open_kind, index = each["content_block"]["type"], each["index"]
        else:
            assert open_kind is not None and each["index"] == index
            if each["type"] == "content_block_stop":
                open_kind = None
            else:
                assert each["delta"]["type"] in KINDS[open_kind]
    assert open_kind is None


def whole(*events: gw.Event) -> Any:
    renderer = MESSAGES.renderer(head(stream=False))
    assert renderer.render(events) == b""
    return json.loads(renderer.finish())


def content(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks, put together the way the SDK does."""
    blocks: list[dict[str, Any]] = []
    for each in events:
        if each["type"] == "content_block_start":
            blocks.append({**each["content_block"], "json": ""})
        elif each["type"] == "content_block_delta":
            for name, value in each["delta"].items():
                if name == "partial_json":
                    blocks[-1]["json"] += value
                elif name == "signature":
                    blocks[-1]["signature"] = value
                elif name == "citation":
                    blocks[-1].setdefault("citations", []).append(value)
                elif name != "type":
                    blocks[-1][name] += value
    for each in blocks:
        if text := each.pop("json"):
            each["input"] = json.loads(text)
    return blocks


ANSWER = [
    gw.Started("chatcmpl-1", "gpt"),
    gw.ReasoningDelta("Need two "),
    gw.ReasoningDelta("tides."),
    gw.ReasoningDelta("", state={"gemini": {"s": "c2ln"}}),
    gw.TextDelta("Checking."),
    gw.ToolCallDelta(0, "call_a1", "tide_at"),
    gw.ToolCallDelta(0, arguments='{"port":'),
    gw.ToolCallDelta(0, arguments='"Brest"}'),
    gw.ToolCallDelta(1, "call_b2", "tide_now"),
    gw.Finished("stop", 0, "stop"),
    USAGE,
]


def test_stream_of_thought_text_and_two_calls() -> None:
    events = streamed(*ANSWER)

    blocks = content(events)
    assert [each["type"] for each in blocks] == ["thinking", "text", "tool_use", "tool_use"]
    assert blocks[0]["signature"].startswith("gw1.")
    assert (blocks[2]["id"], blocks[2]["input"]) == ("call_a1", {"port": "Brest"})
    assert (blocks[3]["id"], blocks[3]["input"]) == ("call_b2", {})
    assert events[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None, "stop_details": None},
        "usage": {
            "input_tokens": 150,
            "cache_creation_input_tokens": 5,
            "cache_read_input_tokens": 64,
            "output_tokens": 38,
            "output_tokens_details": {"thinking_tokens": 11},
        },
    }


def test_whole_answer_is_what_the_stream_comes_to() -> None:
    message = whole(*ANSWER)

    assert message["content"] == content(streamed(*ANSWER))
    assert message["stop_reason"] == "tool_use"
    assert message["usage"]["cache_creation"] == {
        "ephemeral_5m_input_tokens": 3,
        "ephemeral_1h_input_tokens": 2,
    }
    assert message["model"] == "claude-alias"
    assert message["id"].startswith("msg_")


def test_id_of_the_vendor_is_kept() -> None:
    assert whole(gw.Started("msg_up1"), gw.Finished("stop"))["id"] == "msg_up1"


def test_start_shows_the_whole_shape_of_usage() -> None:
    """A reduced one broke coding agents."""
    start = streamed(gw.TextDelta("a"), gw.Finished("stop"))[0]["message"]

    assert start["usage"].keys() >= {"input_tokens", "output_tokens", "cache_creation"}
    assert start["content"] == [] and start["stop_reason"] is None


def test_fragments_of_arguments_pass_as_they_are() -> None:
    events = streamed(*ANSWER)

    pieces = [e["delta"]["partial_json"] for e in events if "partial_json" in e.get("delta", {})]
    assert pieces == ['{"port":', '"Brest"}']


def test_interleaved_calls_wait_for_each_other() -> None:
    events = [
        gw.ToolCallDelta(0, "a", "x"),
        gw.ToolCallDelta(1, "b", "y"),
        gw.ToolCallDelta(0, arguments='{"p":'),
        gw.ToolCallDelta(1, arguments='{"q":'),
        gw.ToolCallDelta(0, arguments="1}"),
        gw.ToolCallDelta(1, arguments="2}"),
        gw.Finished("tool_calls"),
    ]

    blocks = content(streamed(*events))

    assert [(each["id"], each["input"]) for each in blocks] == [("a", {"p": 1}), ("b", {"q": 2})]


def test_call_that_goes_on_after_its_end_is_an_error() -> None:
    renderer = MESSAGES.renderer(head())
    renderer.render([gw.ToolCallDelta(0, "a", "x"), gw.TextDelta("t")])

    with pytest.raises(gw.UpstreamTruncatedError):
        renderer.render([gw.ToolCallDelta(0, arguments="{}")])


def test_empty_text_opens_no_block() -> None:
    call = gw.ToolCallDelta(0, "a", "x", "{}")
    blocks = content(streamed(gw.TextDelta(""), call, gw.TextDelta(""), gw.Finished("stop")))

    assert [each["type"] for each in blocks] == ["tool_use"]


def test_unsigned_thought_is_marked_as_nobodys() -> None:
    """A relay that sent it to the vendor would be refused; the mark says to leave it out."""
    blocks = content(streamed(gw.ReasoningDelta("x"), gw.TextDelta("y"), gw.Finished("stop")))

    assert blocks[0]["signature"] == "gw1.e30"


def test_state_without_text_is_an_empty_thought() -> None:
    state = {"anthropic.messages": {"signature": "c2ln"}}
    blocks = content(streamed(gw.ReasoningDelta("", state=state), gw.Finished("stop")))

    assert blocks == [{"type": "thinking", "thinking": "", "signature": "c2ln"}]


def test_redacted_thought_is_its_own_block() -> None:
    state = {"anthropic.messages": {"redacted": "b3A="}}
    for blocks in (
        content(streamed(gw.ReasoningDelta("", state=state), gw.Finished("stop"))),
        whole(gw.ReasoningDelta("", state=state), gw.Finished("stop"))["content"],
    ):
        assert blocks == [{"type": "redacted_thinking", "data": "b3A="}]


@pytest.mark.parametrize(
    ("finished", "reason"),
    [
        (gw.Finished("stop", 0, "stop"), "end_turn"),
        (gw.Finished("length", 0, "length"), "max_tokens"),
        (gw.Finished("length", 0, "pause_turn"), "pause_turn"),
        (gw.Finished("tool_calls", 0, "tool_calls"), "end_turn"),
        (gw.Finished("content_filter"), "refusal"),
        (gw.Finished("error"), "end_turn"),
        (gw.Finished("stop", 0, "odd"), "end_turn"),
    ],
)
def test_stop_reason_without_a_call(finished: gw.Finished, reason: str) -> None:
    assert whole(gw.TextDelta("x"), finished)["stop_reason"] == reason


@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
def test_stop_reason_with_a_call_is_tool_use(reason: Any) -> None:
    assert whole(gw.ToolCallDelta(0, "a", "x"), gw.Finished(reason))["stop_reason"] == "tool_use"


def test_refusal_has_its_details() -> None:
    message = whole(gw.RefusalDelta("No."), gw.Finished("stop"))

    assert (message["content"], message["stop_reason"]) == ([], "refusal")
    assert message["stop_details"] == {"type": "refusal", "category": None, "explanation": "No."}


def test_what_only_this_dialect_knows_comes_back() -> None:
    citation = {"type": "char_location", "cited_text": "x"}
    block = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}

    def own(**raw: Any) -> gw.Event:
        return gw.Unknown("anthropic.messages", raw)

    events = [
        gw.TextDelta("A"),
        own(**{"break": True}),
        gw.TextDelta("B"),
        own(delta={"type": "citations_delta", "citation": citation}),
        own(block=block),
        own(stop={"stop_sequence": "END"}),
        gw.Unknown("other", {"x": 1}),
        gw.Finished("stop", 0, "stop_sequence"),
    ]

    renderer = MESSAGES.renderer(head())
    out = b"".join(renderer.render([each]) for each in events) + renderer.finish()
    shown = content([json.loads(data) for data in gw.SSEParser().feed(out)])
    message = whole(*events)
    assert (
        shown
        == message["content"]
        == [
            {"type": "text", "text": "A"},
            {"type": "text", "text": "B", "citations": [citation]},
            block,
        ]
    )
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")


@pytest.mark.parametrize("arguments", ["{bad", "[1]", "7"])
def test_arguments_that_are_no_object_fail_a_whole_answer(arguments: str) -> None:
    """Nothing is invented around them; another deployment may do better."""
    with pytest.raises(gw.UpstreamTruncatedError):
        whole(gw.ToolCallDelta(0, "a", "x", arguments), gw.Finished("stop"))


def test_further_choices_are_not_mixed_in() -> None:
    message = whole(gw.TextDelta("a"), gw.TextDelta("b", 1), gw.Finished("stop"))

    assert message["content"] == [{"type": "text", "text": "a"}]


def test_answer_without_content() -> None:
    assert content(streamed(gw.Finished("stop"))) == []
    assert whole(gw.Finished("stop"))["content"] == []


def test_count_is_all_input() -> None:
    renderer = COUNT_TOKENS.renderer(head(False))
    renderer.render([USAGE])

    assert json.loads(renderer.finish()) == {"input_tokens": 219}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_errors_have_the_vendors_types(status: int, kind: str) -> None:
    body = json.loads(MESSAGES.error(gw.GatewayError("m", status=status), "req_1"))

    assert (body["type"], body["error"]["type"], body["request_id"]) == ("error", kind, "req_1")


def test_context_overflow_is_worded_as_coding_agents_look_for_it() -> None:
    error = gw.UpstreamError(gw.FailureClass.CONTEXT_TOO_LONG, "maximum context length is 8")

    assert "prompt is too long" in json.loads(MESSAGES.error(error, "r"))["error"]["message"]


def test_error_frame_and_ping_say_their_names_twice() -> None:
    frames = MESSAGES.error_frame(gw.GatewayError("m"), "r") + MESSAGES.keep_alive()

    for name, data in gw.SSEParser().feed_events(frames):
        assert json.loads(data)["type"] == name.decode()


WORDS = some.sampled_from(["", "a", "é", '"'])
OWN_STATES = [{"redacted": "b3A="}, {"signature": "c2ln"}]
STATES = some.sampled_from(
    [{}, {"x": {"s": 1}}, *({"anthropic.messages": each} for each in OWN_STATES)]
)
EVENTS = some.one_of(
    some.builds(gw.TextDelta, WORDS),
    some.builds(gw.ReasoningDelta, WORDS, state=STATES),
    some.builds(gw.RefusalDelta, WORDS),
    some.builds(gw.Finished, some.sampled_from(["stop", "length", "tool_calls"])),
    some.builds(gw.ToolCallDelta, some.integers(0, 2), some.just("id"), some.just("n")),
    some.just(USAGE),
    some.just(gw.Started("msg_1")),
    some.just(gw.Unknown("anthropic.messages", {"break": True})),
)


@given(some.lists(EVENTS, max_size=12))
def test_any_events_make_a_well_formed_answer_or_an_error(events: list[gw.Event]) -> None:
    """Streamed and whole come to the same content; calls that end and go on are refused."""
    try:
        shown = streamed(*events)
    except gw.UpstreamTruncatedError:
        with pytest.raises(gw.UpstreamTruncatedError):
            whole(*events)
        return
    message = whole(*events)
    assert message["content"] == content(shown)
    assert message["stop_reason"] == shown[-2]["delta"]["stop_reason"]
