"""The relay lane: bytes pass as they came, however the network splits them."""

import json

import llm_gateway_api as gw
import pytest
from llm_gateway_provider_anthropic.decoding import StreamDecoder
from llm_gateway_provider_anthropic.plugin import AnthropicProvider, Settings
from llm_gateway_provider_anthropic.tee import CountTee, StreamTee, WholeTee
from llm_gateway_testkit import conformance
from llm_gateway_testkit.anthropic_dialect import (
    MODEL,
    block_start,
    block_stop,
    error_event,
    event,
    message,
    message_end,
    message_start,
    message_stream,
    text,
    thinking,
    tool_use,
)

FRAMES = message_stream(
    thinking("Check."), text('Say "error" or message_stop, ü'), tool_use("t1", "n", port="Brest")
)
STREAM = b"".join(FRAMES)


def head(model: str = MODEL, body: bytes = b"{}", stream: bool = True) -> gw.RequestHead:
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "a,b"}
    fields = gw.top_level(body)
    return gw.RequestHead("anthropic.messages", "chat", model, stream, True, fields, body, headers)


def run(data: bytes, *cuts: int, model: str = MODEL) -> tuple[bytes, StreamTee]:
    tee = StreamTee(head(model), MODEL)
    out, last = b"", 0
    for cut in (*cuts, len(data)):
        out += tee.feed(data[last:cut])
        last = cut
    return out + tee.finish(), tee


def test_bytes_pass_unchanged_at_any_split() -> None:
    for cut in range(len(STREAM)):
        out, tee = run(STREAM, cut)

        assert out == STREAM
        assert (tee.usage, tee.finish_reason) == (gw.Usage(input=12, output=31), "tool_calls")


def test_bytes_pass_one_by_one_with_crlf_and_with_cr() -> None:
    for data in (STREAM, STREAM.replace(b"\n", b"\r\n"), STREAM.replace(b"\n", b"\r")):
        assert run(data, *range(1, len(data)))[0] == data


def test_model_name_is_exchanged_where_it_was_rewritten() -> None:
    wanted = STREAM.replace(f'"model":"{MODEL}"'.encode(), b'"model":"public"', 1)

    for cut in range(len(STREAM)):
        assert run(STREAM, cut, model="public")[0] == wanted


def test_stream_cut_anywhere_before_its_end_is_an_error() -> None:
    """The last event counts where only its blank line is missing."""
    for cut in range(len(STREAM.rstrip())):
        with pytest.raises(gw.UpstreamTruncatedError):
            run(STREAM[:cut])


def test_commit_is_the_first_content_and_not_the_start() -> None:
    tee = StreamTee(head(), MODEL)
    seen = []

    for frame in [message_start(), event("ping"), block_start(0, type="text", text=""), *TEXT]:
        tee.feed(frame)
        seen.append(tee.committed)

    assert seen == [False, False, False, True]


TEXT = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})]


@pytest.mark.parametrize("before", [1, 5, 9])
def test_error_inside_a_stream_is_raised_by_its_type(before: int) -> None:
    tee = StreamTee(head(), MODEL)
    tee.feed(b"".join(FRAMES[:before]))

    with pytest.raises(gw.UpstreamError) as caught:
        tee.feed(error_event("overloaded_error"))

    assert caught.value.failure is gw.FailureClass.OVERLOADED


def test_both_lanes_see_the_same() -> None:
    events = conformance.decoded(StreamDecoder, [STREAM])
    _, tee = run(STREAM)

    assert [e.usage for e in events if isinstance(e, gw.UsageReport)][-1] == tee.usage
    assert [e.reason for e in events if isinstance(e, gw.Finished)] == [tee.finish_reason]


def test_refusal_without_content_is_an_answer() -> None:
    out, tee = run(b"".join([message_start(), *message_end("refusal")]))

    assert out and tee.committed and tee.finish_reason == "content_filter"


def test_call_without_arguments_commits() -> None:
    tee = StreamTee(head(), MODEL)

    tee.feed(message_start() + block_start(0, type="tool_use", id="t", name="n", input={}))

    assert tee.committed
    assert tee.feed(block_stop(0)) == block_stop(0)


def test_whole_answer_passes_byte_for_byte_but_for_the_name() -> None:
    body = json.dumps(message(), indent=1).encode()
    same, other = WholeTee(head(), MODEL), WholeTee(head("public"), MODEL)
    for tee in (same, other):
        tee.feed(body[:9])
        tee.feed(body[9:])

    assert same.finish() == body
    assert json.loads(other.finish()) == message(model="public")
    assert same.usage == gw.Usage(input=12, output=31) and same.finish_reason == "stop"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"type":"message"}', b"\xff\xfe", b'{"type":"error"}']
)
def test_whole_answer_that_is_none_is_an_error(body: bytes) -> None:
    for tee in (WholeTee(head(), MODEL), CountTee(head(), MODEL)):
        tee.feed(body)
        with pytest.raises(gw.UpstreamError):
            tee.finish()


def test_count_passes_and_is_no_usage() -> None:
    tee = CountTee(head(), MODEL)
    tee.feed(b'{"input_tokens": 42}')

    assert (tee.finish(), tee.usage) == (b'{"input_tokens": 42}', None)


BODY = b'{ "model": "public", "future": {"b":1,  "a":2}, "messages": [] }'


def test_splice_changes_the_name_and_nothing_else() -> None:
    provider = AnthropicProvider("a", Settings(api_key="k-1"))
    same = provider.splice(head("public", BODY), "public")
    other = provider.splice(head("public", BODY), MODEL)

    assert same is not None and other is not None
    assert same.body == BODY
    assert b'{"b":1,  "a":2}' in other.body and json.loads(other.body)["model"] == MODEL
    assert {name: same.headers[name] for name in ("anthropic-version", "anthropic-beta")} == {
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a,b",
    }


def test_thoughts_packed_for_another_vendor_are_not_relayed() -> None:
    """They would be a 400; translation leaves them out."""
    provider = AnthropicProvider("a", Settings(api_key="k-1"))
    body = b'{"model":"m","messages":[{"signature":"gw1.e30"}]}'

    assert provider.splice(head("m", body), "m") is None


def test_it_can_tell_how_much_of_its_bytes_is_an_answer() -> None:
    """Text, thoughts and arguments, and nothing of what is around them."""
    data = b"".join(message_stream(text("Low tide"), tool_use("toolu_1", "tide_at", port="Brest")))
    tee = StreamTee(head(), MODEL)

    assert isinstance(tee, gw.SupportsSaid)
    assert tee.said(data) == len("Low tide") + len('{"port":"Brest"}')
