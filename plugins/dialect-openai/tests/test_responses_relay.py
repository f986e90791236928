"""Clients of the Responses API at a provider that has it: bytes pass, and what was read along."""

import json
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_dialect_openai.bridge import Bridge
from llm_gateway_dialect_openai.responses import ResponsesBodyDecoder
from llm_gateway_dialect_openai.responses_tee import ResponsesStreamTee, ResponsesWholeTee
from llm_gateway_testkit import responses_dialect as native

STREAM = b"".join(native.text_stream(("Löw", '"response": tide')))


def head(model: str = native.MODEL) -> gw.RequestHead:
    return gw.RequestHead("openai.responses", "chat", model, True, True, {}, b"")


def tee(model: str = native.MODEL) -> ResponsesStreamTee:
    return ResponsesStreamTee(head(model), native.MODEL)


@pytest.mark.parametrize("step", [1, 2, 7, 4096])
def test_stream_passes_byte_for_byte_however_it_is_cut(step: int) -> None:
    lane = tee()

    out = b"".join(lane.feed(STREAM[at : at + step]) for at in range(0, len(STREAM), step))

    assert out + lane.finish() == STREAM
    assert (lane.finish_reason, lane.committed) == ("stop", True)
    assert lane.usage == gw.Usage(input=5, cache_read=4, output=3, reasoning=2)


def test_stream_of_crlf_passes() -> None:
    lane, data = tee(), STREAM.replace(b"\n", b"\r\n")

    assert lane.feed(data) + lane.finish() == data


def test_truncated_anywhere_before_its_end_is_a_fault() -> None:
    last = STREAM.rindex(b"event: response.completed")
    for end in range(last):
        lane = tee()
        with pytest.raises(gw.UpstreamTruncatedError):
            lane.feed(STREAM[:end])
            lane.finish()


def test_garbage_is_a_fault() -> None:
    for garbage in (b"data: {\n\n", b"data: []\n\n", b"data: \xff\n\n"):
        with pytest.raises(gw.UpstreamTruncatedError):
            tee().feed(garbage)


def test_nothing_of_an_answer_commits_before_an_item() -> None:
    lane, first = tee(), native.begun()

    for frame in first:
        lane.feed(frame)
    assert not lane.committed
    lane.feed(native.text_stream()[2])
    assert lane.committed


def test_the_models_name_is_exchanged_in_every_frame_that_has_it() -> None:
    lane = tee("alias")
    events = gw.SSEParser().feed_events(lane.feed(STREAM) + lane.finish())
    rows = [(name.decode(), json.loads(data)) for name, data in events]

    models = {row["response"]["model"] for _, row in rows if "response" in row}
    assert models == {"alias"}
    assert all(name == row["type"] for name, row in rows)
    assert len(rows) == len(native.text_stream())


@pytest.mark.parametrize(
    "frame",
    [
        native.event("error", 3, code="server_error", message="Broke.", param=None),
        native.event(
            "response.failed",
            3,
            response=native.response(status="failed", error={"code": "x", "message": "Broke."}),
        ),
    ],
)
def test_error_inside_a_stream_is_raised(frame: bytes) -> None:
    lane = tee()
    lane.feed(b"".join(native.text_stream()[:5]))

    with pytest.raises(gw.UpstreamError) as raised:
        lane.feed(frame)
    assert raised.value.failure is gw.FailureClass.SERVER_ERROR


def test_whole_answer_passes_byte_for_byte_and_a_call_is_a_finish_reason() -> None:
    body = json.dumps(native.response(native.CALL), indent=1).encode()
    lane = ResponsesWholeTee(head(), native.MODEL)
    lane.feed(body)

    assert lane.finish() == body
    assert lane.finish_reason == "tool_calls"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"status":"in_progress"}'])
def test_whole_answer_that_is_none_is_a_fault(body: bytes) -> None:
    lane = ResponsesWholeTee(head(), native.MODEL)
    lane.feed(body)

    with pytest.raises(gw.UpstreamTruncatedError):
        lane.finish()


SEARCH: dict[str, Any] = {"type": "web_search", "search_context_size": "low"}
SEARCHED: dict[str, Any] = {"type": "web_search_call", "id": "ws_1", "status": "completed"}


def request(dialect: str) -> gw.ChatRequest:
    message = gw.Message("assistant", (gw.UnknownPart("openai.responses", SEARCHED),))
    tools = (gw.Tool("web_search", kind="vendor", extra=SEARCH),)
    return gw.ChatRequest("m", (message,), tools, dialect=dialect)


def test_tools_that_the_vendor_runs_reach_it_from_its_own_dialect() -> None:
    body = Bridge("openai.responses").encode(request("openai.responses"))

    assert (body["tools"], body["input"]) == ([SEARCH], [SEARCHED])


def test_tools_of_another_vendor_are_refused_by_name() -> None:
    with pytest.raises(gw.UnsupportedParameterError, match="web_search") as raised:
        Bridge("anthropic.messages").encode(request("anthropic.messages"))

    assert raised.value.param == "tools"


def test_what_a_tool_of_the_vendors_did_is_kept_for_clients_of_the_dialect() -> None:
    decoder = ResponsesBodyDecoder()
    decoder.feed(native.answer(SEARCHED, native.message()).body)

    assert gw.Unknown("openai.responses", {"item": SEARCHED}) in decoder.finish()


def test_reasoning_of_other_names_than_effort_reaches_the_vendor() -> None:
    params = {"reasoning_effort": "low", "reasoning.summary": "auto", "include": ["x"]}
    asked = gw.ChatRequest("m", (), params=params, dialect="openai.responses")

    body = Bridge("openai.responses").encode(asked)

    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["include"] == ["reasoning.encrypted_content", "x"]


def test_it_can_tell_how_much_of_its_bytes_is_an_answer() -> None:
    """Each piece once, although the whole is said again at the end."""
    lane = tee()

    assert isinstance(lane, gw.SupportsSaid)
    assert lane.said(b"".join(native.text_stream(["Low", " tide"]))) == len("Low tide")
