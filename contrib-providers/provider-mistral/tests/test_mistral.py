"""What Mistral is asked, and how its answers are read."""

import json
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_api import FailureClass as F
from llm_gateway_provider_mistral.plugin import MistralProvider, Settings
from llm_gateway_provider_mistral.preparing import call_id
from llm_gateway_testkit import conformance
from llm_gateway_testkit import mistral_dialect as mistral
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.steps import Received

USER = gw.Message("user", (gw.TextPart("When is low tide?"),), text_only=True)
SCHEMA = {"type": "object", "properties": {"port": {"type": "string"}}}
TIDE = gw.Tool("get_tide", "The tide", {"$schema": "x", "$id": "y", **SCHEMA}, strict=True)
CALLS = [
    openai.ToolCall("a1B2c3D4e", "get_tide", ('{"port":"Brest"}',)),
    openai.ToolCall("f5G6h7I8j", "get_wind", ("{}",)),
]


def provider(**settings: Any) -> MistralProvider:
    return MistralProvider("mistral", Settings.model_validate({"api_key": "k-1", **settings}))


def chat(*messages: gw.Message, model: str = mistral.MODEL, **members: Any) -> gw.ChatRequest:
    dialect = members.pop("dialect", "openai.chat")
    return gw.ChatRequest(model, messages or (USER,), dialect=dialect, **members)


def sent(
    request: gw.ChatRequest, refusal: int | None = None, **settings: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body, which the strict vendor takes, and what was dropped."""
    call = provider(**settings).encode(request)
    path = call.url.removeprefix("https://api.mistral.ai")
    answer = mistral.strict("k-1")(Received("POST", path, dict(call.headers), call.body))
    assert (answer.status if answer else None) == refusal, answer
    return json.loads(call.body), call.dropped


EVERY = {
    "temperature": 0.5,
    "top_p": 1,
    "max_tokens": 9,
    "stop": ["a"],
    "seed": 7,
    "presence_penalty": -1,
    "frequency_penalty": 1.5,
    "n": 2,
    "logprobs": True,
    "top_logprobs": 2,
    "parallel_tool_calls": True,
    "reasoning_effort": "xhigh",
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
    "service_tier": "default",
    "prediction": {"type": "content", "content": [{"type": "text", "text": "Lo"}]},
    "response_format": {"type": "json_object"},
    "user": "u",
    "safety_identifier": "s",
    "store": True,
    "verbosity": "low",
    "prompt_cache_retention": "24h",
    "logit_bias": {},
    "modalities": ["text"],
    "web_search_options": None,
}


def test_every_field_set() -> None:
    """Only what the closed schema knows goes up; the rest is told of."""
    extra = {"safe_prompt": True, "top_k": 3, "odd": 1}

    body, dropped = sent(chat(params=EVERY, extra=extra, stream=True))

    assert {k: v for k, v in body.items() if k not in ("model", "messages")} == {
        "temperature": 0.5,
        "top_p": 1,
        "max_tokens": 9,
        "stop": ["a"],
        "random_seed": 7,
        "presence_penalty": -1,
        "frequency_penalty": 1.5,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "parallel_tool_calls": True,
        "reasoning_effort": "high",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "prediction": {"type": "content", "content": "Lo"},
        "response_format": {"type": "json_object"},
        "stream": True,
        "safe_prompt": True,
        "top_k": 3,
    }
    assert set(dropped) == {
        "user", "safety_identifier", "store", "verbosity", "prompt_cache_retention",
        "logit_bias", "modalities", "odd",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 1.8),
        ("top_p", 0),
        ("seed", -1),
        ("logit_bias", {"1": 2}),
        ("audio", {"voice": "x"}),
        ("modalities", ["audio"]),
        ("web_search_options", {}),
        ("moderation", {}),
    ],
)
def test_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        sent(chat(params={name: value}))

    assert (caught.value.status, caught.value.param) == (400, name)


def test_clamp_is_a_choice() -> None:
    assert sent(chat(params={"temperature": 1.8}), clamp=True)[0]["temperature"] == 1.5


@pytest.mark.parametrize(
    ("tier", "up", "told"),
    [
        ("auto", None, False),
        ("default", None, False),
        ("flex", None, True),
        ("standard_only", "standard_only", False),
    ],
)
def test_service_tier(tier: str, up: str | None, told: bool) -> None:
    body, dropped = sent(chat(params={"service_tier": tier}))

    assert body.get("service_tier") == up and ("service_tier" in dropped) is told


@pytest.mark.parametrize(
    ("effort", "up"),
    [
        ("none", "none"), ("minimal", "none"), ("low", "none"), ("medium", "high"),
        ("high", "high"), ("xhigh", "high"), ("max", "high"),
    ],
)  # fmt: skip
def test_reasoning_effort(effort: str, up: str) -> None:
    """Two efforts are known; a model that does not reason is not asked to."""
    asked = {"reasoning_effort": effort}

    body, dropped = sent(chat(params=asked))
    plain, left = sent(chat(model="mistral-large-2512", params=asked))

    assert body["reasoning_effort"] == up and not dropped
    assert "reasoning_effort" not in plain and left == ("reasoning_effort",)


def test_roles_and_names() -> None:
    """The developer is the system, and nobody has a name."""
    messages = (
        gw.Message("developer", (gw.TextPart("Be short."),), text_only=True),
        gw.Message("user", (gw.TextPart("Hi"),), name="Ann", text_only=True),
        gw.Message("system", (gw.TextPart("Now."),), text_only=True),
        USER,
    )

    body, dropped = sent(chat(*messages))

    assert [each["role"] for each in body["messages"]] == ["system", "user", "system", "user"]
    assert dropped == ("messages.name",)


def turn(*ids: str) -> tuple[gw.Message, gw.Message]:
    calls = tuple(gw.ToolCallPart(each, "get_tide", "") for each in ids)
    results = tuple(gw.ToolResultPart(each, ()) for each in reversed(ids))
    return gw.Message("assistant", calls), gw.Message("tool", results)


def test_call_ids_fit_and_stay_the_same() -> None:
    """Foreign ids become nine letters and digits in both places; the vendor's own stay."""
    body, _ = sent(chat(USER, *turn("call_abc-1", "call_abc-2"), tools=(TIDE,)))
    again, _ = sent(chat(USER, *turn("call_abc-1", "call_abc-2"), tools=(TIDE,)))
    own, _ = sent(chat(USER, *turn("a1B2c3D4e"), tools=(TIDE,)))

    calls = body["messages"][1]["tool_calls"]
    ids = [each["id"] for each in calls]
    assert [each["tool_call_id"] for each in body["messages"][2:]] == ids[::-1]
    assert len(set(ids)) == 2 and body == again
    assert ids[0] == call_id("call_abc-1") == "0h5gGINJu"
    assert own["messages"][1]["tool_calls"][0]["id"] == "a1B2c3D4e"
    assert [each["function"]["arguments"] for each in calls] == ["{}", "{}"]
    assert [each["content"] for each in body["messages"][2:]] == ["", ""]


def test_a_turn_stands_between_tool_and_user() -> None:
    """Which the vendor demands; between a tool and the assistant nothing is put."""
    said = gw.Message("assistant", (gw.TextPart("Nine."),), text_only=True)

    bridged, _ = sent(chat(USER, *turn("c1"), USER))
    plain, _ = sent(chat(USER, *turn("c1"), said, USER))
    off, _ = sent(chat(USER, *turn("c1"), USER), refusal=400, tool_user_bridge="")

    assert bridged["messages"][3] == {"role": "assistant", "content": "OK"}
    assert [each["role"] for each in plain["messages"]] == [
        "user", "assistant", "tool", "assistant", "user",
    ]  # fmt: skip
    assert len(off["messages"]) == 4


def test_an_assistant_at_the_end_is_continued() -> None:
    said = gw.Message("assistant", (gw.TextPart("The tide"),), text_only=True)

    body, _ = sent(chat(USER, said))

    assert body["messages"][-1] == {"role": "assistant", "content": "The tide", "prefix": True}


def test_its_text_comes_again() -> None:
    """At the beginning of the answer; a model that reasons is not asked to go on."""
    start = gw.Message("user", (gw.TextPart("Hi"),))

    assert provider().prefill(chat(start, model="mistral-large-latest")) == "repeats"
    assert provider().prefill(chat(start, model="magistral-medium-latest")) is None


def test_an_assistant_that_says_nothing_is_left_out() -> None:
    body, _ = sent(chat(USER, gw.Message("assistant", (gw.TextPart(""),)), USER))

    assert [each["role"] for each in body["messages"]] == ["user", "user"]


def test_tools() -> None:
    """A schema is always there and has no address of its own."""
    body, dropped = sent(chat(tools=(TIDE, gw.Tool("get_wind", extra={"odd": 1}))))

    functions = [each["function"] for each in body["tools"]]
    assert functions[0]["parameters"] == SCHEMA and functions[0]["strict"] is True
    assert functions[1]["parameters"] == {"type": "object", "properties": {}}
    assert dropped == ("odd",)
    with pytest.raises(gw.UnsupportedParameterError, match="function"):
        sent(chat(tools=(gw.Tool("x", kind="custom"),)))


@pytest.mark.parametrize(
    ("choice", "up", "names"),
    [
        (gw.ToolChoice("auto"), "auto", 2),
        (gw.ToolChoice("none"), "none", 2),
        (gw.ToolChoice("required"), "required", 2),
        (
            gw.ToolChoice("named", ("get_tide",)),
            {"type": "function", "function": {"name": "get_tide"}},
            2,
        ),
        (gw.ToolChoice("allowed", ("get_tide",)), "auto", 1),
        (gw.ToolChoice("allowed_required", ("get_tide",)), "required", 1),
    ],
)
def test_tool_choice(choice: gw.ToolChoice, up: object, names: int) -> None:
    body, _ = sent(chat(tools=(TIDE, gw.Tool("get_wind")), tool_choice=choice))

    assert body["tool_choice"] == up and len(body["tools"]) == names


def test_a_choice_without_tools() -> None:
    body, _ = sent(chat(tools=(), tool_choice=gw.ToolChoice("auto")))

    assert not body.keys() & {"tools", "tool_choice"}
    with pytest.raises(gw.UnsupportedParameterError, match="tool_choice"):
        sent(chat(tool_choice=gw.ToolChoice("required")))


def test_parts() -> None:
    """Pictures, sound, documents and files in the vendor's chunks."""
    parts = (
        gw.TextPart("What?", {"cache_control": {}}),
        gw.ImagePart(url="https://example.com/a.png", detail="original"),
        gw.ImagePart(media_type="image/png", data="AA"),
        gw.AudioPart("BB", "wav"),
        gw.FilePart("a.pdf", "application/pdf", "CC"),
        gw.FilePart(url="https://example.com/b.pdf"),
        gw.FilePart(file_id="f-1"),
    )

    body, dropped = sent(chat(gw.Message("user", parts)))

    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "input_audio", "input_audio": "BB"},
        {
            "type": "document_url",
            "document_url": "data:application/pdf;base64,CC",
            "document_name": "a.pdf",
        },
        {"type": "document_url", "document_url": "https://example.com/b.pdf"},
        {"type": "file", "file_id": "f-1"},
    ]
    assert dropped == ("cache_control",)


def test_reasoning_goes_back_as_a_chunk() -> None:
    """First in the content, never under a key that the vendor refuses."""
    said = gw.Message("assistant", (gw.ReasoningPart("Hm."), gw.TextPart("Nine.")), extra={"x": 1})

    body, dropped = sent(chat(USER, said, USER))
    plain, left = sent(chat(USER, said, USER, model="mistral-large-2512"))

    assert body["messages"][1] == {
        "role": "assistant",
        "content": [
            mistral.think("Hm.", closed=True),
            {"type": "text", "text": "Nine."},
        ],
    }
    assert dropped == ("x",)
    assert plain["messages"][1]["content"] == [{"type": "text", "text": "Nine."}]
    assert set(left) == {"x", "reasoning"}


def test_structured_output() -> None:
    """A schema is always there; members that the vendor does not know are not."""
    given = {"name": "tide", "strict": True, "description": None}
    asked = {"response_format": {"type": "json_schema", "json_schema": given}}

    body, _ = sent(chat(params=asked))

    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"schema": {}, "name": "tide", "strict": True},
    }


def test_embeddings() -> None:
    """Numbers are asked for; one model has vectors of other sizes."""
    asked = {"dimensions": 256, "encoding_format": "base64", "user": "u"}
    request = gw.EmbeddingsRequest("codestral-embed", ("a", "b"), asked, {"odd": 1})

    call = provider().encode_embeddings(request)

    assert json.loads(call.body) == {
        "model": "codestral-embed",
        "input": ["a", "b"],
        "encoding_format": "float",
        "output_dimension": 256,
    }
    assert set(call.dropped) == {"user", "odd"}
    received = Received("POST", "/v1/embeddings", dict(call.headers), call.body)
    assert mistral.strict("k-1")(received) is None
    for wrong in (
        gw.EmbeddingsRequest("mistral-embed", ("a",), {"dimensions": 256}),
        gw.EmbeddingsRequest("mistral-embed", ((1, 2),)),
    ):
        with pytest.raises(gw.UnsupportedParameterError):
            provider().encode_embeddings(wrong)


def test_models() -> None:
    """Configured ones are filled with what is known."""
    rows = provider(models=["mistral-small-2603", {"id": "mine", "context_window": 5}]).models()

    assert [(each.id, each.context_window, each.input_price) for each in rows] == [
        ("mistral-small-2603", 262_000, "0.15"),
        ("mine", 5, None),
    ]
    assert provider().probe().url == "https://api.mistral.ai/v1/models"


# --- answers -----------------------------------------------------------------------------


def read(data: list[bytes] | bytes) -> list[gw.Event]:
    stream = isinstance(data, list)
    factory = provider().encode(chat(stream=stream)).decoder
    return conformance.decoded(factory, data if stream else [data])


def of(kind: type, events: list[gw.Event]) -> list[Any]:
    return [each for each in events if isinstance(each, kind)]


STREAMS = {
    "text": mistral.chat_stream(),
    "thinking": mistral.chat_stream(thinking=["Check", " tables."]),
    "calls": mistral.chat_stream([], tool_calls=CALLS),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_cut_truncated_and_with_garbage(name: str) -> None:
    conformance.check_decoder(provider().encode(chat(stream=True)).decoder, b"".join(STREAMS[name]))


@pytest.mark.parametrize(
    "answer",
    [
        mistral.chat_answer(),
        mistral.chat_answer(thinking="é"),
        mistral.chat_answer(tool_calls=CALLS),
    ],
)
def test_bodies_cut_truncated_and_with_garbage(answer: Any) -> None:
    conformance.check_decoder(provider().encode(chat()).decoder, answer.body)


def test_thinking_then_text() -> None:
    """Also where one chunk closes the thinking and begins the text."""
    for events in (
        read(STREAMS["thinking"]),
        read(mistral.chat_answer(thinking="Check tables.").body),
    ):
        kinds = [type(each) for each in events]
        assert "".join(each.text for each in of(gw.ReasoningDelta, events)) == "Check tables."
        assert "".join(each.text for each in of(gw.TextDelta, events)) == "Low tide"
        assert kinds.index(gw.ReasoningDelta) < kinds.index(gw.TextDelta)


def test_calls_with_finish_and_usage_in_one_chunk() -> None:
    """Calls first, then the finish, then the figures."""
    events = read(STREAMS["calls"])

    assert events[1:] == [
        gw.ToolCallDelta(0, "a1B2c3D4e", "get_tide", '{"port":"Brest"}'),
        gw.ToolCallDelta(1, "f5G6h7I8j", "get_wind", "{}"),
        gw.Finished("tool_calls", raw="tool_calls"),
        gw.UsageReport(gw.Usage(input=9, output=2)),
    ]


@pytest.mark.parametrize(
    ("calls", "ids"),
    [
        ([{"id": "aaaaaaaaa", "index": 0}, {"id": "bbbbbbbbb", "index": 0}], 2),
        ([{"id": "null", "index": 0}, {"id": "null", "index": 1}], 2),
    ],
)
def test_calls_that_share_an_index_or_have_no_id(calls: list[dict[str, Any]], ids: int) -> None:
    """Another id is another call; a missing one is made up, each its own."""
    given = [{**each, "function": {"name": "f", "arguments": {"a": 1}}} for each in calls]
    frames = [mistral.chunk({"tool_calls": given}, "tool_calls"), openai.DONE]

    found = of(gw.ToolCallDelta, read(frames))

    assert [each.call for each in found] == [0, 1]
    assert len({each.id for each in found}) == ids and "null" not in {each.id for each in found}
    assert [each.arguments for each in found] == ['{"a":1}', '{"a":1}']


@pytest.mark.parametrize(
    ("raw", "reason"),
    [("stop", "stop"), ("length", "length"), ("model_length", "length"), ("new", "stop")],
)
def test_finish_reasons(raw: str, reason: gw.FinishReason) -> None:
    for data in (
        mistral.chat_stream(finish_reason=raw),
        mistral.chat_answer(finish_reason=raw).body,
    ):
        assert of(gw.Finished, read(data)) == [gw.Finished(reason, raw=raw)]


@pytest.mark.parametrize(
    "data",
    [
        mistral.chat_stream(finish_reason="error"),
        mistral.chat_answer(finish_reason="error").body,
        [*mistral.chat_stream()[:2], openai.sse(json.loads(mistral.error_answer(500).body))],
        b'{"message":"Unauthorized"}',
    ],
    ids=["stream", "whole", "frame", "bare"],
)  # fmt: skip
def test_failures_inside_an_answer(data: list[bytes] | bytes) -> None:
    with pytest.raises(gw.UpstreamError) as caught:
        read(data)
    assert not isinstance(caught.value, gw.UpstreamTruncatedError)


@pytest.mark.parametrize("ends", [True, False])
def test_the_end_mark_may_be_missing(ends: bool) -> None:
    frames = mistral.chat_stream() if ends else mistral.chat_stream()[:-1]

    assert of(gw.Finished, read(frames))
    with pytest.raises(gw.UpstreamTruncatedError):
        read(mistral.chat_stream()[:-2])


@pytest.mark.parametrize(
    "cached", [{"prompt_tokens_details": {"cached_tokens": 64}}, {"num_cached_tokens": 64}]
)
def test_cached_tokens(cached: dict[str, Any]) -> None:
    body = json.loads(mistral.chat_answer().body)
    body["usage"] = mistral.usage(100, 5) | cached

    found = of(gw.UsageReport, read(json.dumps(body).encode()))

    assert found == [gw.UsageReport(gw.Usage(input=36, cache_read=64, output=5))]


# --- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "failure", "shown"),
    [
        (mistral.error_answer(400, "invalid_request_message_order", "3230"), F.CALLER_FAULT, 400),
        (mistral.error_answer(400, "invalid_function_call", "3280"), F.CALLER_FAULT, 400),
        (
            mistral.error_answer(
                400, message="Prompt is too large for model with 32768 maximum context length"
            ),
            F.CONTEXT_TOO_LONG,
            400,
        ),
        (mistral.error_answer(401), F.CREDENTIAL_REFUSED, 502),
        (mistral.answer({"detail": "Unauthorized"}, 401), F.CREDENTIAL_REFUSED, 502),
        (mistral.error_answer(402), F.ACCOUNT_EMPTY, 502),
        (mistral.error_answer(403), F.CREDENTIAL_REFUSED, 502),
        (mistral.error_answer(404), F.MODEL_GONE, 502),
        (mistral.error_answer(413), F.CALLER_FAULT, 413),
        (mistral.error_answer(422), F.CALLER_FAULT, 400),
        (mistral.error_answer(429, "rate_limited", "1300"), F.RATE_LIMITED, 429),
        (mistral.error_answer(429, "service_tier_capacity_exceeded", "3505"), F.RATE_LIMITED, 429),
        (mistral.error_answer(500), F.SERVER_ERROR, 502),
        (mistral.error_answer(502, "unreachable_backend"), F.SERVER_ERROR, 502),
        (mistral.error_answer(503), F.OVERLOADED, 503),
        (mistral.error_answer(504), F.SERVER_ERROR, 502),
    ],
)
def test_error_classes(answer: Any, failure: F, shown: int) -> None:
    error = provider().classify(answer.status, {}, answer.body)

    assert (error.failure, error.status) == (failure, shown)


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    ("kind", "code"), [("extra_forbidden", "unsupported_parameter"), ("missing", "invalid_value")]
)
def test_validation_errors_name_the_member(nested: bool, kind: str, code: str) -> None:
    """In both of the vendor's forms; they are the caller's 400."""
    detail = {"detail": [{"type": kind, "loc": ["body", "stream_options"], "msg": "Not so"}]}
    body = {"object": "error", "message": detail, "code": None} if nested else detail

    error = provider().classify(422, {}, json.dumps(body).encode())

    assert (error.status, error.code, error.param) == (400, code, "stream_options")
    assert error.message == "stream_options: Not so"


def test_retry_after() -> None:
    answer = mistral.error_answer(429, "rate_limited", "1300")

    assert provider().classify(429, {"retry-after": "7"}, answer.body).retry_after == 7.0
