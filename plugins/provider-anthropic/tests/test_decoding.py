"""Answers as events: every block, every stop reason, every meter, wherever the bytes split."""

import json
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_provider_anthropic.decoding import BodyDecoder, CountDecoder, StreamDecoder
from llm_gateway_testkit import conformance
from llm_gateway_testkit.anthropic_dialect import (
    block_delta,
    block_start,
    block_stop,
    event,
    message_end,
    message_start,
    message_stream,
    text,
    thinking,
    tool_use,
)

CONTENT = [
    thinking("Check the tide."),
    text("Looking it üp."),
    tool_use("toolu_01", "tide_at", port="Brest"),
]
FRAMES = message_stream(*CONTENT)
STREAM = b"".join(FRAMES)
TEXT = [
    block_start(1, type="text", text=""),
    block_delta(1, "text_delta", text="Low"),
    block_stop(1),
]
FINISH = message_end("tool_use")
STOP = FINISH[-1]
SIGNED = gw.ReasoningDelta("", state={"anthropic.messages": {"signature": "c2ln"}})
EVENTS = [
    gw.Started("msg_Scripted1", "claude-sonnet-4-6"),
    gw.UsageReport(gw.Usage(input=12, output=1)),
    gw.ReasoningDelta("Check t"),
    gw.ReasoningDelta("he tide."),
    SIGNED,
    gw.TextDelta("Looking"),
    gw.TextDelta(" it üp."),
    gw.ToolCallDelta(0, "toolu_01", "tide_at"),
    gw.ToolCallDelta(0, arguments='{"port":'),
    gw.ToolCallDelta(0, arguments='"Brest"}'),
    gw.UsageReport(gw.Usage(input=12, output=31)),
    gw.Finished("tool_calls", 0, "tool_use"),
]


def read(*frames: bytes) -> list[gw.Event]:
    return conformance.decoded(StreamDecoder, frames)


def whole(**members: Any) -> list[gw.Event]:
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    body |= {"stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 2}}
    return conformance.decoded(BodyDecoder, [json.dumps(body | members).encode()])


def test_stream_of_the_reference() -> None:
    assert read(*FRAMES) == EVENTS


def test_no_split_cut_or_garbage_makes_the_decoder_lie() -> None:
    """At every byte, truncated everywhere, with CRLF, comments and garbage."""
    conformance.check_decoder(StreamDecoder, STREAM)


def test_whole_answer_survives_the_same() -> None:
    body = {
        "id": "msg_1",
        "type": "message",
        "model": "m",
        "content": [
            {"type": "text", "text": "Low"},
            {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }
    conformance.check_decoder(BodyDecoder, json.dumps(body).encode())


def test_tool_without_arguments_gets_an_empty_object() -> None:
    events = read(
        message_start(),
        block_start(0, type="tool_use", id="t1", name="now", input={}),
        block_stop(0),
        *FINISH,
    )

    assert [e for e in events if isinstance(e, gw.ToolCallDelta)] == [
        gw.ToolCallDelta(0, "t1", "now"),
        gw.ToolCallDelta(0, arguments="{}"),
    ]


def test_input_in_the_start_is_kept_where_no_piece_comes() -> None:
    events = read(
        message_start(),
        block_start(0, type="tool_use", id="t1", name="now", input={"a": 1}),
        block_stop(0),
        *FINISH,
    )

    assert gw.ToolCallDelta(0, arguments='{"a":1}') in events


def test_parallel_calls_are_numbered_without_gaps() -> None:
    """Whatever blocks stand between them."""
    events = read(
        message_start(),
        block_start(0, type="tool_use", id="t1", name="a", input={}),
        block_delta(0, "input_json_delta", partial_json='{"x":1}'),
        block_stop(0),
        *TEXT,
        block_start(2, type="tool_use", id="t2", name="b", input={}),
        block_delta(2, "input_json_delta", partial_json='{"y":2}'),
        block_stop(2),
        *FINISH,
    )

    calls = [e for e in events if isinstance(e, gw.ToolCallDelta)]
    assert [(c.call, c.id, c.arguments) for c in calls] == [
        (0, "t1", ""),
        (0, None, '{"x":1}'),
        (1, "t2", ""),
        (1, None, '{"y":2}'),
    ]


def test_signature_replaces_and_is_not_appended() -> None:
    events = read(
        message_start(),
        block_start(0, type="thinking", thinking="", signature="early"),
        block_delta(0, "signature_delta", signature="wrong"),
        block_delta(0, "signature_delta", signature="c2ln"),
        block_stop(0),
        *FINISH,
    )

    assert [e for e in events if isinstance(e, gw.ReasoningDelta)] == [SIGNED]


def test_redacted_thinking_comes_whole_in_its_start() -> None:
    events = read(
        message_start(),
        block_start(0, type="redacted_thinking", data="b3BhcXVl"),
        block_stop(0),
        *FINISH,
    )

    state = {"anthropic.messages": {"redacted": "b3BhcXVl"}}
    assert gw.ReasoningDelta("", state=state) in events


def test_later_usage_overwrites_and_absent_figures_stay() -> None:
    usage = {"input_tokens": 20, "cache_read_input_tokens": 7, "output_tokens": 5}
    events = read(
        message_start(cache_creation_input_tokens=4), *TEXT, *message_end("end_turn", **usage)
    )

    reports = [e.usage for e in events if isinstance(e, gw.UsageReport)]
    assert reports[-1] == gw.Usage(input=20, cache_read=7, cache_write=4, output=5)


def test_every_meter_is_disjoint() -> None:
    """Cache writes by their time to live, thinking apart from what is seen."""
    events = whole(
        usage={
            "input_tokens": 12,
            "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 100,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "output_tokens": 31,
            "output_tokens_details": {"thinking_tokens": 9},
            "service_tier": "standard",
        }
    )

    usage = next(e.usage for e in events if isinstance(e, gw.UsageReport))
    assert usage == gw.Usage(12, 100, 10, 20, output=22, reasoning=9)
    assert (usage.input_total, usage.output_total) == (142, 31)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "length"),
        ("compaction", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
        (None, "stop"),
    ],
)
def test_every_stop_reason_streamed_and_whole(raw: str | None, reason: str) -> None:
    assert read(message_start(), *message_end(raw))[-1] == gw.Finished(reason, 0, raw)  # type: ignore[arg-type]  # one of the reasons
    assert whole(stop_reason=raw)[-1] == gw.Finished(reason, 0, raw)  # type: ignore[arg-type]  # one of the reasons


def test_refusal_tells_its_explanation() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    events = whole(stop_reason="refusal", stop_details=details)

    assert events[-3:] == [
        gw.Unknown("anthropic.messages", {"stop": {"stop_details": details}}),
        gw.RefusalDelta("Not this."),
        gw.Finished("content_filter", 0, "refusal"),
    ]


def test_matched_stop_sequence_is_told() -> None:
    told = {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    events = read(message_start(), *TEXT, event("message_delta", delta=told, usage={}), STOP)

    assert gw.Unknown("anthropic.messages", {"stop": {"stop_sequence": "END"}}) in events


def test_unknown_events_and_deltas_are_ignored() -> None:
    frames = [FRAMES[0], event("something_new", index=1), *FRAMES[1:3]]
    frames += [block_delta(0, "new_delta", x=1), *FRAMES[3:]]

    assert read(*frames) == EVENTS


def test_blocks_of_server_tools_are_kept_for_their_dialect() -> None:
    result = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
    events = read(
        message_start(),
        block_start(0, type="server_tool_use", id="s1", name="web_search", input={}),
        block_delta(0, "input_json_delta", partial_json='{"query":"tide"}'),
        block_stop(0),
        event("content_block_start", index=1, content_block=result),
        block_stop(1),
        *message_end(),
    )

    call = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "tide"}}
    assert [e.raw for e in events if isinstance(e, gw.Unknown)] == [
        {"block": call},
        {"block": result},
    ]


def test_citations_are_kept_and_part_texts_stay_apart() -> None:
    citation = {"type": "char_location", "cited_text": "x", "document_index": 0}
    blocks = [
        {"type": "text", "text": "A"},
        {"type": "text", "text": "B", "citations": [citation]},
    ]
    events = whole(content=blocks)[1:5]

    assert events == [
        gw.TextDelta("A"),
        gw.Unknown("anthropic.messages", {"break": True}),
        gw.TextDelta("B"),
        gw.Unknown(
            "anthropic.messages", {"delta": {"type": "citations_delta", "citation": citation}}
        ),
    ]


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("overloaded_error", "overloaded"),
        ("api_error", "server_error"),
        ("rate_limit_error", "rate_limited"),
        ("invalid_request_error", "caller_fault"),
    ],
)
def test_error_inside_a_stream_is_raised_by_its_type(kind: str, failure: str) -> None:
    error = event("error", error={"type": kind, "message": "x"}, request_id="req_1")

    for before in ([], [message_start()], [message_start(), *TEXT]):
        with pytest.raises(gw.UpstreamError) as caught:
            read(*before, error)
        assert caught.value.failure == failure


@pytest.mark.parametrize("count", range(len(FRAMES)))
def test_stream_without_message_stop_was_cut(count: int) -> None:
    with pytest.raises(gw.UpstreamTruncatedError):
        read(*FRAMES[:count])


def test_count_is_read_as_input() -> None:
    events = conformance.decoded(CountDecoder, [b'{"input_tokens":42}'])

    assert events == [gw.UsageReport(gw.Usage(input=42)), gw.Finished("stop")]
    conformance.check_decoder(CountDecoder, b'{"input_tokens":42}')
