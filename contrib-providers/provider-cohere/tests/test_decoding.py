"""How Cohere's answers are read: events, endings, usage, errors."""

import json
import time
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_api import FailureClass as F
from llm_gateway_provider_cohere.plugin import Settings, make
from llm_gateway_testkit import cohere_dialect as cohere
from llm_gateway_testkit import conformance

USER = gw.Message("user", (gw.TextPart("Hi"),))
CALLS = [
    cohere.ToolCall("get_tide_k3", "get_tide", ('{"port":', '"Brest"}')),
    cohere.ToolCall("get_wind_p9", "get_wind", ("{}",)),
]
USAGE = gw.UsageReport(gw.Usage(input=9, output=2, billed_input=9, billed_output=2))


def factory(stream: bool = True, **settings: Any) -> gw.DecoderFactory:
    provider = make("cohere", Settings(api_key="k", **settings))
    return provider.encode(gw.ChatRequest("command-a-03-2025", (USER,), stream=stream)).decoder


def read(data: bytes | list[bytes], **settings: Any) -> list[gw.Event]:
    stream = isinstance(data, list)
    return conformance.decoded(factory(stream, **settings), data if stream else [data])


def of(kind: type, events: list[gw.Event]) -> list[Any]:
    return [each for each in events if isinstance(each, kind)]


STREAMS = {
    "text": cohere.chat_stream(),
    "thinking": cohere.chat_stream(thinking=["Check.", " Table."]),
    "calls": cohere.chat_stream(plan=["I will", " look"], tool_calls=CALLS),
}
BODIES = {
    "text": cohere.chat_answer().body,
    "thinking": cohere.chat_answer(thinking="Hé.").body,
    "calls": cohere.chat_answer(plan="I look", tool_calls=CALLS).body,
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_cut_truncated_and_with_garbage(name: str) -> None:
    conformance.check_decoder(factory(), b"".join(STREAMS[name]))


@pytest.mark.parametrize("name", BODIES)
def test_bodies_cut_truncated_and_with_garbage(name: str) -> None:
    conformance.check_decoder(factory(False), BODIES[name])


def test_stream_of_thinking_and_text() -> None:
    """Two items of content, each under its own index, are reasoning and text of one choice."""
    events = read(STREAMS["thinking"])

    assert events == [
        gw.Started(cohere.ID, "command-a-03-2025"),
        gw.ReasoningDelta("Check."),
        gw.ReasoningDelta(" Table."),
        gw.TextDelta("Low"),
        gw.TextDelta(" tide"),
        gw.Unknown(
            "openai.chat:usage", {"billed_units": {"input_tokens": 9.0, "output_tokens": 2.0}}
        ),
        gw.Finished("stop", raw="COMPLETE"),
        USAGE,
    ]


def test_stream_of_two_calls() -> None:
    """The wire has one object and not a list; calls are numbered without gaps."""
    events = read(STREAMS["calls"])

    assert [each.text for each in of(gw.ReasoningDelta, events)] == ["I will", " look"]
    assert of(gw.ToolCallDelta, events) == [
        gw.ToolCallDelta(0, "get_tide_k3", "get_tide"),
        gw.ToolCallDelta(0, arguments='{"port":'),
        gw.ToolCallDelta(0, arguments='"Brest"}'),
        gw.ToolCallDelta(1, "get_wind_p9", "get_wind"),
        gw.ToolCallDelta(1, arguments="{}"),
    ]
    assert of(gw.Finished, events) == [gw.Finished("tool_calls", raw="TOOL_CALL")]


def test_plan_as_text() -> None:
    for data in (STREAMS["calls"], BODIES["calls"]):
        events = read(data, tool_plan="text")
        assert of(gw.TextDelta, events) and not of(gw.ReasoningDelta, events)


@pytest.mark.parametrize("ends", [True, False])
def test_a_call_without_arguments_has_an_empty_object(ends: bool) -> None:
    """Also where the vendor forgets to end the call."""
    frames = cohere.chat_stream(tool_calls=[cohere.ToolCall("a", "now", ())])
    if not ends:
        frames = [each for each in frames if b"tool-call-end" not in each]

    assert "".join(each.arguments for each in of(gw.ToolCallDelta, read(frames))) == "{}"
    whole = read(cohere.chat_answer(tool_calls=[cohere.ToolCall("a", "now", ("",))]).body)
    assert of(gw.ToolCallDelta, whole) == [gw.ToolCallDelta(0, "a", "now", "{}")]


def test_whole_answer() -> None:
    """Thinking, text and citations; a cited page is also an annotation."""
    citation = {
        "start": 0,
        "end": 3,
        "text": "Low",
        "sources": [
            {"type": "document", "id": "d", "document": {"url": "https://e.com", "title": "T"}}
        ],
    }

    events = read(cohere.chat_answer(thinking="Check.", citations=[citation]).body)

    assert of(gw.ReasoningDelta, events) == [gw.ReasoningDelta("Check.")]
    assert of(gw.TextDelta, events) == [gw.TextDelta("Low tide")]
    extension = of(gw.Unknown, events)[0].raw
    assert extension["citations"] == [citation]
    assert extension["annotations"][0]["url_citation"] == {
        "start_index": 0,
        "end_index": 3,
        "url": "https://e.com",
        "title": "T",
    }


@pytest.mark.parametrize("as_list", [True, False])
def test_citations_in_a_stream(as_list: bool) -> None:
    """One citation or a list of them; they are not lost."""
    one = {"start": 0, "end": 3, "text": "Low", "sources": []}
    given = {"citations": [one] if as_list else one}
    frames = cohere.chat_stream()
    event = {"type": "citation-start", "index": 0, "delta": {"message": given}}
    frames.insert(-1, cohere.sse(event))
    frames.insert(-1, cohere.sse({"type": "citation-end", "index": 0}))
    frames.insert(-1, cohere.sse({"type": "debug", "prompt": "x"}))

    events = read(frames)

    assert of(gw.Unknown, events)[0] == gw.Unknown("openai.chat", {"citations": [one]})


def test_logprobs() -> None:
    """An item that spans two tokens is one entry with their sum."""
    item = {"text": "Lé", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}
    wanted = {"content": [
        {"token": "Lé", "logprob": -0.75, "bytes": [76, 195, 169], "top_logprobs": []}
    ]}  # fmt: skip
    content = {"message": {"content": {"text": "Lé"}}}
    frames = cohere.chat_stream([])
    event = {"type": "content-delta", "index": 0, "delta": content, "logprobs": item}
    frames.insert(-1, cohere.sse(event))
    body = json.loads(cohere.chat_answer("Lé").body) | {"logprobs": [item]}

    for data in (frames, json.dumps(body).encode()):
        assert of(gw.TextDelta, read(data)) == [gw.TextDelta("Lé", logprobs=wanted)]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("ERROR_TOXIC", "content_filter"),
        ("ERROR_LIMIT", "length"),
        ("NEW_REASON", "stop"),
    ],
)
def test_finish_reasons(raw: str, reason: gw.FinishReason) -> None:
    for data in (
        cohere.chat_stream(finish_reason=raw),
        cohere.chat_answer(finish_reason=raw).body,
    ):
        assert of(gw.Finished, read(data)) == [gw.Finished(reason, raw=raw)]


@pytest.mark.parametrize(
    ("raw", "failure"), [("ERROR", F.SERVER_ERROR), ("TIMEOUT", F.NO_FIRST_CONTENT)]
)
def test_finishes_that_are_failures(raw: str, failure: F) -> None:
    """They are raised, and no client takes them for an end."""
    for data in (
        cohere.chat_stream(finish_reason=raw, error="model failed"),
        cohere.chat_answer(finish_reason=raw).body,
    ):
        with pytest.raises(gw.UpstreamError) as caught:
            read(data)
        assert caught.value.failure is failure


@pytest.mark.parametrize("data", [[b'data: {"message":"boom"}\n\n'], b'{"message":"boom"}'])
def test_an_error_after_status_200(data: bytes | list[bytes]) -> None:
    with pytest.raises(gw.UpstreamError, match="boom"):
        read(data)


def test_a_stream_without_its_end_is_truncated() -> None:
    with pytest.raises(gw.UpstreamTruncatedError):
        read(STREAMS["text"][:-1])
    assert read([*STREAMS["text"], b"data: [DONE]\n\n"])[-1] == USAGE


@pytest.mark.parametrize(
    ("usage", "meters"),
    [
        (
            cohere.usage(410, 40, cached=10, billed=30),
            gw.Usage(400, cache_read=10, output=40, billed_input=30, billed_output=40),
        ),
        (
            {"billed_units": {"input_tokens": 3.0, "output_tokens": 1.0}},
            gw.Usage(3, output=1, billed_input=3, billed_output=1),
        ),
        ({"tokens": {"input_tokens": 3.0, "output_tokens": 1.0}}, gw.Usage(3, output=1)),
    ],
)
def test_usage(usage: dict[str, Any], meters: gw.Usage) -> None:
    """Floats become whole numbers; what is charged stands beside what was counted."""
    body = json.loads(cohere.chat_answer().body) | {"usage": usage}

    assert of(gw.UsageReport, read(json.dumps(body).encode())) == [gw.UsageReport(meters)]


@pytest.mark.parametrize(
    ("status", "text", "failure", "shown"),
    [
        (400, "invalid request", F.CALLER_FAULT, 400),
        (400, "too many tokens: 9 > 8", F.CONTEXT_TOO_LONG, 400),
        (401, "invalid api token", F.CREDENTIAL_REFUSED, 502),
        (402, "billing limit", F.ACCOUNT_EMPTY, 502),
        (403, "no access", F.CREDENTIAL_REFUSED, 502),
        (404, "model 'x' not found", F.MODEL_GONE, 502),
        (422, "unprocessable", F.CALLER_FAULT, 400),
        (429, "too many requests", F.RATE_LIMITED, 429),
        (429, "You are using a Trial key, which is limited to 1000 API calls / month",
         F.ACCOUNT_EMPTY, 502),
        (498, "blocked", F.CONTENT_POLICY, 400),
        (500, "oops", F.SERVER_ERROR, 502),
        (501, "not implemented", F.MODEL_GONE, 502),
        (502, "oops", F.SERVER_ERROR, 502),
        (503, "busy", F.OVERLOADED, 503),
        (504, "late", F.SERVER_ERROR, 502),
    ],
)  # fmt: skip
def test_error_classes(status: int, text: str, failure: F, shown: int) -> None:
    provider = make("cohere", Settings(api_key="k"))

    for body in (json.dumps({"message": text, "id": "x"}), json.dumps({"data": text}), text):
        error = provider.classify(status, {}, body.encode())
        assert (error.failure, error.status) == (failure, shown)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], wait: float | None) -> None:
    provider = make("cohere", Settings(api_key="k"))

    assert provider.classify(429, headers, b"{}").retry_after == wait


def test_retry_after_from_the_reset_time() -> None:
    """The reset is a Unix time; what is left of it is the wait."""
    provider = make("cohere", Settings(api_key="k"))

    error = provider.classify(429, {"x-ratelimit-reset": str(time.time() + 20)}, b"{}")

    assert error.retry_after is not None and 15 < error.retry_after <= 20


def test_the_vendors_words_hold_no_secret() -> None:
    provider = make("cohere", Settings(api_key="k"))

    words = f"bad token Bearer abc {'a1' * 20} at https://x.example/y " + "z" * 900
    error = provider.classify(400, {}, json.dumps({"message": words}).encode())

    assert "abc" not in error.message and "a1a1" not in error.message
    assert "x.example" not in error.message and len(error.message) <= 500


def lists(count: int) -> gw.DecoderFactory:
    provider = make("cohere", Settings(api_key="k"))
    assert isinstance(provider, gw.SupportsEmbeddings)
    inputs = tuple("x" for _ in range(count))
    return provider.encode_embeddings(gw.EmbeddingsRequest("embed-v4.0", inputs)).decoder


def test_vectors_of_several_calls() -> None:
    """They are numbered through, and their usage is summed."""
    first = cohere.embed_answer([(0.5, -1.0), (1.0, 2.0)], tokens=3)
    second = cohere.embed_answer([(3.0, 4.0)], tokens=1)
    data = first.body + gw.BODY_SEPARATOR + second.body

    conformance.check_any_cut(lists(3), data)
    conformance.check_truncation(lists(3), data)
    events = conformance.decoded(lists(3), [data])
    assert [each.index for each in of(gw.EmbeddingVector, events)] == [0, 1, 2]
    assert events[-2:] == [gw.UsageReport(gw.Usage(input=4)), gw.Finished("stop")]


def test_missing_vectors_are_an_error() -> None:
    with pytest.raises(gw.UpstreamTruncatedError, match="lacks"):
        conformance.decoded(lists(3), [cohere.embed_answer([(1.0,)]).body])
    with pytest.raises(gw.UpstreamError, match="no embeddings"):
        conformance.decoded(lists(1), [b"{}"])


def test_places() -> None:
    """The vendor's order and its search units."""
    provider = make("cohere", Settings(api_key="k"))
    assert isinstance(provider, gw.SupportsRerank)
    factory = provider.encode_rerank(gw.RerankRequest("rerank-v3.5", "q", ("a", "b"))).decoder
    data = cohere.rerank_answer([(1, 0.75), (0, 0.5)], units=2).body

    conformance.check_decoder(factory, data)
    assert conformance.decoded(factory, [data]) == [
        gw.Started(cohere.ID),
        gw.RankedDocument(1, 0.75),
        gw.RankedDocument(0, 0.5),
        gw.UsageReport(gw.Usage(search_units=2)),
        gw.Finished("stop"),
    ]
