"""The relay lane: bytes pass as they came, however the network splits them."""

import json

import llm_gateway_api as gw
import msgspec
import pytest
from llm_gateway_dialect_openai.decoding import ChatStreamDecoder
from llm_gateway_dialect_openai.tee import StreamTee, WholeTee


def frame(**rest: object) -> bytes:
    made = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up-1", **rest}
    return (
        b"data: " + json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"
    )


def choice(delta: dict[str, object], reason: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "finish_reason": reason}]


ROLE = frame(choices=choice({"role": "assistant", "content": ""}))
TEXT = [
    frame(choices=choice({"content": each})) for each in ("Nied", "rigwasser über", ' "usage" ')
]
END = frame(choices=choice({}, "stop"))
USAGE = frame(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13})
DONE = b"data: [DONE]\n\n"
STREAM = b"".join([b": hello\n\n", ROLE, *TEXT, END, USAGE, DONE])


def head(*, usage: bool = True, model: str = "up-1") -> gw.RequestHead:
    return gw.RequestHead("openai.chat", "chat", model, True, usage, {}, b"")


def run(
    data: bytes, *cuts: int, usage: bool = True, model: str = "up-1"
) -> tuple[bytes, StreamTee]:
    tee = StreamTee(head(usage=usage, model=model), "up-1")
    out, last = b"", 0
    for cut in (*cuts, len(data)):
        out += tee.feed(data[last:cut])
        last = cut
    return out + tee.finish(), tee


@pytest.mark.parametrize("cut", range(len(STREAM)))
def test_bytes_pass_unchanged_at_any_split(cut: int) -> None:
    out, tee = run(STREAM, cut)

    assert out == STREAM
    assert tee.usage == gw.Usage(input=9, output=4)
    assert tee.finish_reason == "stop"


def test_it_can_tell_how_much_of_its_bytes_is_an_answer() -> None:
    """Text, reasoning and arguments in UTF-8, and nothing of what is around them."""
    calls = [{"index": 0, "id": "c", "function": {"name": "n", "arguments": '{"a":1}'}}]
    more = frame(choices=choice({"reasoning_content": "Hm", "tool_calls": calls}))
    _, tee = run(STREAM)

    assert isinstance(tee, gw.SupportsSaid)
    assert tee.said(STREAM + more) == len('Niedrigwasser über "usage" Hm{"a":1}'.encode())


def test_a_line_of_a_megabyte_is_the_same_a_byte_at_a_time() -> None:
    """On either lane, and in a time that grows with the line, not with its square."""
    text = "x" * 2**20
    stream = b"".join([ROLE, frame(choices=choice({"content": text})), END, USAGE, DONE])
    decoder, events = ChatStreamDecoder(), list[gw.Event]()
    for at in range(len(stream)):
        events += decoder.feed(stream[at : at + 1])
    events += decoder.finish()

    out, tee = run(stream, *range(1, len(stream)))

    assert out == stream
    assert tee.usage == gw.Usage(input=9, output=4)
    assert [each.text for each in events if isinstance(each, gw.TextDelta)] == [text]
    assert gw.UsageReport(gw.Usage(input=9, output=4)) in events


@pytest.mark.parametrize("cut", range(0, len(STREAM), 7))
def test_usage_frame_is_stripped_when_nobody_asked(cut: int) -> None:
    out, tee = run(STREAM, cut, usage=False)

    assert out == STREAM.replace(USAGE, b"")
    assert tee.usage == gw.Usage(input=9, output=4)


def test_null_usage_is_stripped_with_it() -> None:
    data = STREAM.replace(b'"finish_reason":null}]}', b'"finish_reason":null}],"usage":null}')

    out, _ = run(data, usage=False)

    assert out == STREAM.replace(USAGE, b"")


@pytest.mark.parametrize("colon", [b": ", b" :", b":\t", b" : "])
@pytest.mark.parametrize("cut", [0, len(ROLE + TEXT[0]) + 20, STREAM.index(END) + 30])
def test_spelling_of_the_members_does_not_matter(colon: bytes, cut: int) -> None:
    data = STREAM.replace(b'"finish_reason":', b'"finish_reason"' + colon)
    data = data.replace(b'"usage":', b'"usage"' + colon)

    out, tee = run(data, cut)

    assert out == data
    assert (tee.finish_reason, tee.usage) == ("stop", gw.Usage(input=9, output=4))


def test_finish_reason_that_only_the_last_frame_has() -> None:
    data = STREAM.replace(b',"finish_reason":null', b"")

    out, tee = run(data)

    assert (out, tee.finish_reason) == (data, "stop")


def test_null_usage_in_every_frame_passes_where_usage_was_asked_for() -> None:
    data = STREAM.replace(b'"finish_reason":null}]}', b'"finish_reason":null}],"usage":null}')

    out, tee = run(data)

    assert (out, tee.usage) == (data, gw.Usage(input=9, output=4))


def test_usage_in_every_frame_counts_as_the_last_says() -> None:
    running = b'"finish_reason":null}],"usage":{"prompt_tokens":9,"completion_tokens":1}}'
    data = STREAM.replace(b'"finish_reason":null}]}', running)

    out, tee = run(data)

    assert (out, tee.usage) == (data, gw.Usage(input=9, output=4))


def test_each_name_of_a_model_is_exchanged() -> None:
    """Some servers leave the name empty in the first frame, or spell it in another way later."""
    first = ROLE.replace(b'"up-1"', b'""')
    last = END.replace(b'"up-1"', b'"up-1-2026"')
    data = b"".join([first, *TEXT, last, DONE])

    for cut in range(0, len(data), 11):
        out, _ = run(data, cut, model="public")
        assert out.count(b'"model":"public"') == 5


def test_error_in_the_same_read_as_content_is_raised() -> None:
    error = b'data: {"error":{"message":"slow","type":"x","code":"rate_limit_exceeded"}}\n\n'

    with pytest.raises(gw.UpstreamError):
        run(ROLE + b"".join(TEXT) + error + TEXT[0])


@pytest.mark.parametrize("cut", range(0, len(STREAM), 5))
def test_model_name_is_exchanged_where_it_was_rewritten(cut: int) -> None:
    out, _ = run(STREAM, cut, model="public")

    assert out == STREAM.replace(b'"model":"up-1"', b'"model":"public"')


@pytest.mark.parametrize("cut", range(STREAM.index(END)))
def test_stream_cut_before_its_finish_is_an_error(cut: int) -> None:
    with pytest.raises(gw.UpstreamTruncatedError):
        run(STREAM[:cut])


def test_missing_done_is_supplied() -> None:
    out, _ = run(STREAM.removesuffix(DONE))

    assert out == STREAM


def test_crlf_is_kept() -> None:
    data = STREAM.replace(b"\n", b"\r\n")

    out, tee = run(data)

    assert out == data
    assert tee.finish_reason == "stop"


def test_commit_is_the_first_content_and_not_the_role() -> None:
    tee = StreamTee(head(), "up-1")

    tee.feed(ROLE)
    before = tee.committed
    tee.feed(TEXT[0])

    assert (before, tee.committed) == (False, True)


def test_error_inside_a_stream_is_raised_by_its_code() -> None:
    error = b'data: {"error":{"message":"slow","type":"x","code":"rate_limit_exceeded"}}\n\n'
    tee = StreamTee(head(), "up-1")
    tee.feed(ROLE)

    with pytest.raises(gw.UpstreamError) as caught:
        tee.feed(error)

    assert caught.value.failure is gw.FailureClass.RATE_LIMITED


def test_both_lanes_see_the_same() -> None:
    """The decoder of the translate lane and the tee agree on text, usage and reason."""
    decoder = ChatStreamDecoder()
    events = [*decoder.feed(STREAM), *decoder.finish()]
    _, tee = run(STREAM)

    assert "".join(e.text for e in events if isinstance(e, gw.TextDelta)) == (
        'Niedrigwasser über "usage" '
    )
    assert [e.usage for e in events if isinstance(e, gw.UsageReport)] == [tee.usage]
    assert [e.reason for e in events if isinstance(e, gw.Finished)] == [tee.finish_reason]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"choices":[]}', b"\xff\xfe"])
def test_whole_answer_that_is_none_is_an_error(body: bytes) -> None:
    tee = WholeTee(head(), "up-1")
    tee.feed(body)

    with pytest.raises(gw.UpstreamTruncatedError):
        tee.finish()


@pytest.mark.parametrize("ended", [(), (0,), (1,)])
def test_stream_of_two_choices_needs_two_ends(ended: tuple[int, ...]) -> None:
    """One finished choice does not make up for another that was cut."""
    asked = gw.RequestHead("openai.chat", "chat", "up-1", True, True, {"n": msgspec.Raw(b"2")}, b"")
    tee = StreamTee(asked, "up-1")
    tee.feed(TEXT[0])
    for each in ended:
        tee.feed(frame(choices=[{"index": each, "delta": {}, "finish_reason": "stop"}]))

    with pytest.raises(gw.UpstreamTruncatedError):
        tee.finish()
