"""Answers of Bedrock as events: streams cut anywhere, errors in every place, every meter."""

from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_provider_bedrock.decoding import (
    ConverseDecoder,
    CountDecoder,
    StreamDecoder,
    meters,
)
from llm_gateway_provider_bedrock.embeddings import embedder, written
from llm_gateway_provider_bedrock.plugin import BedrockProvider
from llm_gateway_provider_bedrock.settings import Settings
from llm_gateway_testkit import bedrock_dialect as bedrock
from llm_gateway_testkit import conformance, eventstream

F = gw.FailureClass
CALLS = [
    bedrock.ToolCall("tooluse_A1", "tide_at", ('{"port":', '"Brest"}')),
    bedrock.ToolCall("tooluse_B2", "wind_at", ()),
]
GOLDEN = bedrock.converse_stream(
    ["Looking it up."],
    tool_calls=CALLS,
    reasoning=bedrock.Reasoning(("Che", "ck")),
    usage=bedrock.usage(12, 31, read=5),
)
TEXT = bedrock.converse_stream()


def streamed(*frames: bytes, answer: str | None = None) -> list[gw.Event]:
    return conformance.decoded(lambda: StreamDecoder(answer), frames)


def whole(data: bytes, answer: str | None = None) -> list[gw.Event]:
    return conformance.decoded(lambda: ConverseDecoder(answer), [data])


def failure(*frames: bytes) -> gw.UpstreamError:
    with pytest.raises(gw.UpstreamError) as caught:
        streamed(*frames)
    return caught.value


def test_golden_stream() -> None:
    """Reasoning with its signature, text, two calls, the end, and usage behind it."""
    assert streamed(*GOLDEN) == [
        gw.Started(),
        gw.ReasoningDelta("Che"),
        gw.ReasoningDelta("ck"),
        gw.ReasoningDelta("", state={"bedrock.converse": {"signature": "c2ln"}}),
        gw.TextDelta("Looking it up."),
        gw.ToolCallDelta(0, "tooluse_A1", "tide_at"),
        gw.ToolCallDelta(0, arguments='{"port":'),
        gw.ToolCallDelta(0, arguments='"Brest"}'),
        gw.ToolCallDelta(1, "tooluse_B2", "wind_at"),
        gw.ToolCallDelta(1, arguments="{}"),
        gw.Finished("tool_calls", raw="tool_use"),
        gw.UsageReport(gw.Usage(input=12, cache_read=5, output=31)),
    ]


def test_golden_stream_any_cut() -> None:
    """At every byte, byte by byte, truncated everywhere, and with garbage."""
    conformance.check_decoder(StreamDecoder, b"".join(GOLDEN))


def test_whole_answer_has_the_same_content() -> None:
    """Streamed or not, an answer comes to the same texts, calls and usage."""
    data = bedrock.converse_answer(
        "Looking it up.",
        tool_calls=CALLS,
        reasoning=bedrock.Reasoning(("Check",)),
        usage=bedrock.usage(12, 31, read=5),
    ).body

    assert whole(data) == [
        gw.Started(),
        gw.ReasoningDelta("Check"),
        gw.ReasoningDelta("", state={"bedrock.converse": {"signature": "c2ln"}}),
        gw.TextDelta("Looking it up."),
        gw.ToolCallDelta(0, "tooluse_A1", "tide_at"),
        gw.ToolCallDelta(0, arguments='{"port":"Brest"}'),
        gw.ToolCallDelta(1, "tooluse_B2", "wind_at"),
        gw.ToolCallDelta(1, arguments="{}"),
        gw.Finished("tool_calls", raw="tool_use"),
        gw.UsageReport(gw.Usage(input=12, cache_read=5, output=31)),
    ]
    conformance.check_decoder(ConverseDecoder, data)


def test_redacted_reasoning() -> None:
    hidden = bedrock.Reasoning(redacted="AAAA")
    wanted = gw.ReasoningDelta("", state={"bedrock.converse": {"redacted": "AAAA"}})

    assert wanted in streamed(*bedrock.converse_stream(reasoning=hidden))
    assert wanted in whole(bedrock.converse_answer(reasoning=hidden).body)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "stop"),  # without any call
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_model_output", "error"),
        ("malformed_tool_use", "error"),
        ("a_word_of_tomorrow", "stop"),
    ],
)
def test_every_stop_reason(raw: str, wanted: Any) -> None:
    """In a stream and whole; the vendor's own word is kept."""
    end = gw.Finished(wanted, raw=raw)

    assert end in streamed(*bedrock.converse_stream(stop_reason=raw))
    assert end in whole(bedrock.converse_answer(stop_reason=raw).body)


@pytest.mark.parametrize("raw", ["malformed_model_output", "malformed_tool_use"])
def test_malformed_before_any_content(raw: str) -> None:
    """Nothing was said, so another try may do better."""
    assert failure(*bedrock.converse_stream([], stop_reason=raw)).failure is F.SERVER_ERROR
    with pytest.raises(gw.UpstreamError):
        whole(bedrock.converse_answer("", stop_reason=raw).body)


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (bedrock.usage(12, 31), gw.Usage(input=12, output=31)),
        (
            bedrock.usage(12, 31, read=5, write=7),
            gw.Usage(input=12, cache_read=5, cache_write=7, output=31),
        ),
        (
            bedrock.usage(12, 31, write=7, _5m=3, _1h=4),
            gw.Usage(input=12, cache_write=3, cache_write_1h=4, output=31),
        ),
        (
            {"inputTokens": 17, "outputTokens": 31, "totalTokens": 48, "cacheReadInputTokens": 5},
            gw.Usage(input=12, cache_read=5, output=31),
        ),
        ({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}, gw.Usage()),
        ({}, gw.Usage()),
        ({"inputTokens": None, "outputTokens": "x"}, gw.Usage()),
    ],
    ids=["plain", "cache", "by time to live", "inclusive", "zero", "none", "nonsense"],
)
def test_meters_are_disjoint(usage: Any, wanted: gw.Usage) -> None:
    assert meters(usage) == wanted


def test_guardrail_speaks_in_the_text_and_the_trace() -> None:
    data = bedrock.converse_answer(
        "Sorry.", stop_reason="guardrail_intervened", trace={"guardrail": {"inputAssessment": {}}}
    ).body

    events = whole(data)

    assert gw.TextDelta("Sorry.") in events
    assert isinstance(events[-1], gw.Unknown) and "trace" in events[-1].raw


def test_citations_keep_their_text() -> None:
    block = {"citationsContent": {"content": [{"text": "As said"}], "citations": [{}]}}
    body = {
        "output": {"message": {"role": "assistant", "content": [block]}},
        "stopReason": "end_turn",
        "usage": bedrock.usage(),
    }

    assert gw.TextDelta("As said") in whole(conformance.json.dumps(body).encode())


def test_tools_of_the_server_are_no_calls() -> None:
    """A tool that the vendor runs itself asks nothing of the client."""
    use = {"toolUse": {"toolUseId": "s1", "name": "search", "type": "server_tool_use"}}
    where = {"contentBlockIndex": 0}
    frames = [
        eventstream.event("contentBlockStart", {**where, "start": use}),
        eventstream.event("contentBlockDelta", {**where, "delta": {"toolUse": {"input": "{}"}}}),
        eventstream.event("contentBlockStop", where),
        eventstream.event("messageStop", {"stopReason": "end_turn"}),
    ]

    assert streamed(*frames) == [gw.Finished("stop", raw="end_turn")]


def test_answer_through_a_tool_is_text() -> None:
    """The tool that stands for the answer's form is no call."""
    call = bedrock.ToolCall("j", "json_answer", ('{"a":', "1}"))
    frames = bedrock.converse_stream([], tool_calls=[call])
    text = [gw.TextDelta('{"a":'), gw.TextDelta("1}"), gw.Finished("stop", raw="tool_use")]

    assert streamed(*frames, answer="json_answer")[1:4] == text
    found = whole(bedrock.converse_answer(None, tool_calls=[call]).body, "json_answer")
    assert found[1:3] == [gw.TextDelta('{"a":1}'), text[2]]


def test_interleaved_calls_keep_their_identity() -> None:
    """A piece belongs to the call of its block, whatever comes between."""

    def piece(block: int, text: str) -> bytes:
        delta = {"toolUse": {"input": text}}
        payload = {"contentBlockIndex": block, "delta": delta}
        return eventstream.event("contentBlockDelta", payload)

    def start(block: int, id: str) -> bytes:
        use = {"toolUse": {"toolUseId": id, "name": "t"}}
        payload = {"contentBlockIndex": block, "start": use}
        return eventstream.event("contentBlockStart", payload)

    end = eventstream.event("messageStop", {"stopReason": "tool_use"})
    frames = [start(7, "a"), start(3, "b"), piece(3, "{"), piece(7, "{"), piece(3, "}"), end]

    found = [each for each in streamed(*frames) if isinstance(each, gw.ToolCallDelta)]

    assert [(each.call, each.arguments) for each in found[2:]] == [(1, "{"), (0, "{"), (1, "}")]


def test_unknown_events_and_members_are_skipped() -> None:
    frames = [TEXT[0], eventstream.event("tomorrowsEvent", {"x": 1}), *TEXT[1:]]

    assert streamed(*frames) == streamed(*TEXT)


def test_end_without_message_stop() -> None:
    """The vendor's SDK takes this for a whole answer; it is a cut."""
    assert failure(*TEXT[:-2]).failure is F.BROKEN_BEFORE_COMMIT
    assert failure().failure is F.BROKEN_BEFORE_COMMIT


def test_end_without_metadata() -> None:
    """The answer is whole; its usage is not known."""
    events = streamed(*TEXT[:-1])

    assert events[-1] == gw.Finished("stop", raw="end_turn")


def test_corrupt_checksum() -> None:
    """Nothing behind a damaged frame is believed."""
    damaged = bytearray(TEXT[1])
    damaged[-1] ^= 1

    assert failure(TEXT[0], bytes(damaged), *TEXT[2:]).failure is F.BROKEN_BEFORE_COMMIT


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("internalServerException", F.SERVER_ERROR),
        ("modelStreamErrorException", F.SERVER_ERROR),
        ("validationException", F.CALLER_FAULT),
        ("throttlingException", F.RATE_LIMITED),
        ("serviceUnavailableException", F.OVERLOADED),
        ("modelTimeoutException", F.NO_FIRST_CONTENT),
        ("exceptionOfTomorrow", F.SERVER_ERROR),
    ],
)
def test_exceptions_inside_a_stream(name: str, wanted: F) -> None:
    """By their name, known to the vendor's model or not; before content and after."""
    broken = eventstream.exception(name, "no")

    assert failure(TEXT[0], broken).failure is wanted
    assert failure(*TEXT[:3], broken).failure is wanted


def test_original_status_of_the_model() -> None:
    """A 4xx of the model behind the service is the caller's, a 5xx is not."""
    name = "modelStreamErrorException"

    assert failure(eventstream.exception(name, "x", originalStatusCode=400)).status == 400
    busy = failure(eventstream.exception(name, "x", originalStatusCode=429))
    assert busy.failure is F.RATE_LIMITED
    broken = failure(eventstream.exception(name, "x", originalStatusCode=500))
    assert broken.failure is F.SERVER_ERROR


def test_errors_without_a_payload() -> None:
    error = failure(TEXT[0], eventstream.error("InternalFailure", "x"))

    assert error.failure is F.SERVER_ERROR


def test_unknown_operation_is_an_error() -> None:
    """A status of 200 with an error in its body, for a stream and for a whole answer."""
    data = bedrock.unknown_operation().body

    assert failure(data).failure is F.MODEL_GONE
    with pytest.raises(gw.UpstreamError) as caught:
        whole(data)
    assert caught.value.failure is F.MODEL_GONE


@pytest.mark.parametrize(
    "payload", [b"[]", b"null", b"{", b'{"contentBlockIndex":0}', b'{"delta":{"text":"x"}}']
)
def test_payloads_that_make_no_sense(payload: bytes) -> None:
    headers = {":event-type": "contentBlockDelta", ":message-type": "event"}

    assert failure(eventstream.message(headers, payload)).failure is F.BROKEN_BEFORE_COMMIT


# --- errors --------------------------------------------------------------------------------


def provider() -> BedrockProvider:
    return BedrockProvider("b", Settings(region="us-east-1", api_key="k"))


def classified(name: str, message: str = "no", **options: Any) -> gw.UpstreamError:
    answer = bedrock.error_answer(name, message, **options)
    return provider().classify(answer.status, answer.headers, answer.body)


@pytest.mark.parametrize(
    ("name", "wanted", "status"),
    [
        ("ValidationException", F.CALLER_FAULT, 400),
        ("AccessDeniedException", F.CREDENTIAL_REFUSED, 502),
        ("UnrecognizedClientException", F.CREDENTIAL_REFUSED, 502),
        ("InvalidSignatureException", F.CREDENTIAL_REFUSED, 502),
        ("ResourceNotFoundException", F.MODEL_GONE, 502),
        ("ThrottlingException", F.RATE_LIMITED, 429),
        ("ModelNotReadyException", F.OVERLOADED, 503),
        ("ServiceQuotaExceededException", F.ACCOUNT_EMPTY, 502),
        ("ModelTimeoutException", F.NO_FIRST_CONTENT, 504),
        ("ModelErrorException", F.SERVER_ERROR, 502),
        ("InternalServerException", F.SERVER_ERROR, 502),
        ("ServiceUnavailableException", F.OVERLOADED, 503),
    ],
)
def test_every_exception(name: str, wanted: F, status: int) -> None:
    """The name in the header decides, without its suffix."""
    error = classified(name)

    assert (error.failure, error.status) == (wanted, status)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("Input is too long for requested model.", F.CONTEXT_TOO_LONG),
        ("prompt is too long: 210000 tokens > 200000 maximum", F.CONTEXT_TOO_LONG),
        (
            "Invocation of model ID x with on-demand throughput isn't supported.",
            F.MODEL_GONE,
        ),
        ("The provided model identifier is invalid.", F.MODEL_GONE),
        ("temperature must be at most 1", F.CALLER_FAULT),
    ],
)
def test_words_of_a_validation(message: str, wanted: F) -> None:
    assert classified("ValidationException", message).failure is wanted


def test_no_access_to_one_model_is_no_refused_credential() -> None:
    """The account's other models work."""
    words = "You don't have access to the model with the specified model ID."

    assert classified("AccessDeniedException", words).failure is F.MODEL_GONE


def test_original_status_of_a_whole_answer() -> None:
    assert classified("ModelErrorException", originalStatusCode=422).failure is F.CALLER_FAULT


def test_name_in_the_body() -> None:
    """Where no header names it, the body does."""
    body = b'{"__type":"com.amazon.coral.service#ThrottlingException","Message":"x"}'

    assert provider().classify(400, {}, body).failure is F.RATE_LIMITED


def test_no_name_at_all() -> None:
    assert provider().classify(503, {}, b"<html>").failure is F.OVERLOADED
    assert provider().classify(418, {}, b"").failure is F.CALLER_FAULT


def test_wait_of_a_proxy() -> None:
    assert classified("ThrottlingException", headers={"retry-after": "7"}).retry_after == 7
    assert classified("ThrottlingException").retry_after is None


def test_secrets_stay_inside() -> None:
    """Account numbers, key ids and addresses of a vendor's words do not reach a client."""
    said = (
        "User: arn:aws:sts::123456789012:assumed-role/x is not authorized; key AKIAABCDEFGH1234, "
        "see https://internal.example/x"
    )

    for name in ("AccessDeniedException", "ValidationException", "ThrottlingException"):
        text = classified(name, said).message
        assert not any(each in text for each in ("123456789012", "AKIAABCD", "internal.example"))


# --- the other operations ------------------------------------------------------------------


def test_count() -> None:
    conformance.check_decoder(CountDecoder, bedrock.count_answer(5).body)

    assert conformance.decoded(CountDecoder, [bedrock.count_answer(5).body]) == [
        gw.UsageReport(gw.Usage(input=5)),
        gw.Finished("stop"),
    ]


def embedding(model: str, *texts: str | tuple[int, ...], **params: Any) -> Any:
    request = gw.EmbeddingsRequest(model, texts, params)
    return written(request, embedder(model))


def test_titan_one_text_a_call() -> None:
    found = embedding(bedrock.TITAN, "a", "b", "c", dimensions=512, user="u")
    bodies = [bedrock.titan_answer((float(at),), 3).body for at in range(3)]

    assert [each["inputText"] for each in found.bodies] == ["a", "b", "c"]
    assert found.dropped == ("user",)
    events = conformance.decoded(found.decoder, [gw.BODY_SEPARATOR.join(bodies)])
    assert events == [
        *(gw.EmbeddingVector(at, (float(at),)) for at in range(3)),
        gw.UsageReport(gw.Usage(input=9)),
        gw.Finished("stop"),
    ]
    conformance.check_decoder(found.decoder, gw.BODY_SEPARATOR.join(bodies))


@pytest.mark.parametrize("by_type", [False, True])
def test_cohere_ninety_six_texts_a_call(by_type: bool) -> None:
    model = "cohere.embed-v4:0" if by_type else bedrock.COHERE
    found = embedding(model, *["text"] * 200)

    assert [len(each["texts"]) for each in found.bodies] == [96, 96, 8]
    bodies = [bedrock.cohere_answer([(1.0,)] * size, by_type=by_type).body for size in (96, 96, 8)]
    events = conformance.decoded(found.decoder, [gw.BODY_SEPARATOR.join(bodies)])
    assert len(events) == 202
    assert events[-2] == gw.UsageReport(gw.Usage(input=400, estimated=True))


def test_forms_of_each_embedder() -> None:
    v4 = embedding("cohere.embed-v4:0", "a", dimensions=256, input_type="search_query")

    assert v4.bodies == (
        {
            "texts": ["a"],
            "input_type": "search_query",
            "embedding_types": ["float"],
            "output_dimension": 256,
        },
    )
    old = embedding("amazon.titan-embed-text-v1", "a", normalize=True)
    assert old.bodies == ({"inputText": "a"},) and old.dropped == ("normalize",)


@pytest.mark.parametrize(
    ("model", "texts", "params", "param"),
    [
        (bedrock.TITAN, ((1, 2),), {}, "input"),
        (bedrock.TITAN, ("a", " "), {}, "input[1]"),
        (bedrock.TITAN, ("a",), {"dimensions": 300}, "dimensions"),
        ("amazon.titan-embed-text-v1", ("a",), {"dimensions": 1024}, "dimensions"),
        (bedrock.COHERE, ("a",), {"input_type": "poem"}, "input_type"),
        (bedrock.MODEL, ("a",), {}, "model"),
    ],
)
def test_embeddings_that_cannot_be_made(model: str, texts: Any, params: Any, param: str) -> None:
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        embedding(model, *texts, **params)

    assert caught.value.param == param


@pytest.mark.parametrize(
    "data",
    [b"{}", b'{"embedding":[]}', b'{"embedding":["x"]}', b'{"embedding":[1e999]}', b"[1]"],
)
def test_vectors_that_are_none(data: bytes) -> None:
    found = embedding(bedrock.TITAN, "a")

    with pytest.raises(gw.UpstreamTruncatedError):
        conformance.decoded(found.decoder, [data])


def test_vectors_must_be_as_many_as_texts() -> None:
    found = embedding(bedrock.COHERE, "a", "b")

    with pytest.raises(gw.UpstreamTruncatedError):
        conformance.decoded(found.decoder, [bedrock.cohere_answer([(1.0,)]).body])
