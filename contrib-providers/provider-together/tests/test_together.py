"""What Together is asked, and how its answers are read."""

import json
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_api import FailureClass as F
from llm_gateway_provider_together.plugin import Settings, TogetherProvider
from llm_gateway_testkit import conformance
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import together_dialect as together
from llm_gateway_testkit.steps import Received

USER = gw.Message("user", (gw.TextPart("When is low tide?"),), text_only=True)
CALLS = [
    openai.ToolCall("call_x1", "get_tide", ('{"port":', '"Brest"}')),
    openai.ToolCall("call_x2", "get_wind", ("{}",)),
]


def provider(**settings: Any) -> TogetherProvider:
    return TogetherProvider("together", Settings.model_validate({"api_key": "k-1", **settings}))


def chat(*messages: gw.Message, **members: Any) -> gw.ChatRequest:
    return gw.ChatRequest(together.MODEL, messages or (USER,), dialect="openai.chat", **members)


def taken(call: gw.UpstreamRequest) -> dict[str, Any]:
    """The body, which the strict vendor takes."""
    path = call.url.removeprefix("https://api.together.xyz")
    received = Received("POST", path, dict(call.headers), call.body)
    assert (refusal := together.strict("k-1")(received)) is None, refusal
    return dict(json.loads(call.body))


def sent(request: gw.ChatRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    call = provider().encode(request)
    return taken(call), call.dropped


def test_parameters() -> None:
    """Known ones go up by the vendor's names; the rest is told of."""
    given = {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 1,
        "stop": ["x"],
        "n": 2,
        "seed": 3,
        "presence_penalty": -1,
        "logit_bias": {},
        "user": "u",
        "store": False,
        "parallel_tool_calls": False,
        "service_tier": None,
    }

    body, dropped = sent(
        chat(params=given, extra={"top_k": 3, "min_p": 0.5, "odd": 1}, stream=True)
    )

    assert {k: v for k, v in body.items() if k not in ("model", "messages")} == {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 1,
        "stop": ["x"],
        "n": 2,
        "seed": 3,
        "presence_penalty": -1,
        "top_k": 3,
        "min_p": 0.5,
        "stream": True,
    }
    assert set(dropped) == {"logit_bias", "user", "store", "parallel_tool_calls", "odd"}


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ({"logprobs": True, "top_logprobs": 3}, 3),
        ({"logprobs": True}, 1),
        ({"logprobs": True, "top_logprobs": 0}, 1),
        ({"logprobs": False}, None),
        ({"logprobs": False, "top_logprobs": 0}, None),
    ],
)
def test_logprobs_are_one_number(given: dict[str, Any], number: int | None) -> None:
    """Never true or false, never the second member."""
    body, dropped = sent(chat(params=given))

    assert body.get("logprobs") == number and body.get("logprobs") is not True
    assert "top_logprobs" not in body and not dropped


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_logprobs", 21),
        ("logit_bias", {"1": 2}),
        ("audio", {"voice": "x"}),
        ("modalities", ["audio"]),
        ("web_search_options", {}),
        ("moderation", {}),
    ],
)
def test_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        sent(chat(params={"logprobs": True, name: value}))

    assert (caught.value.status, caught.value.param) == (400, name)


@pytest.mark.parametrize(
    ("effort", "members"),
    [
        ("none", {"reasoning": {"enabled": False}}),
        ("minimal", {"reasoning_effort": "low"}),
        ("medium", {"reasoning_effort": "medium"}),
        ("xhigh", {"reasoning_effort": "high"}),
        ("max", {"reasoning_effort": "high"}),
    ],
)
def test_reasoning_effort(effort: str, members: dict[str, Any]) -> None:
    body, _ = sent(chat(params={"reasoning_effort": effort}))

    assert {name: body[name] for name in body if name.startswith("reasoning")} == members


def test_messages() -> None:
    """The developer is the system, a picture has no detail, reasoning goes back."""
    image = gw.ImagePart(url="https://example.com/a.png", detail="low")
    call = gw.ToolCallPart("call_x1", "get_tide", "{}")
    messages = (
        gw.Message("developer", (gw.TextPart("Be short."),), text_only=True),
        gw.Message("user", (gw.TextPart("?"), image, gw.AudioPart("AA", "wav"))),
        gw.Message("assistant", (gw.ReasoningPart("Hm."), call)),
        gw.Message("tool", (gw.ToolResultPart("call_x1", (gw.TextPart("a"), gw.TextPart("b"))),)),
    )

    body, _ = sent(chat(*messages, tools=(gw.Tool("get_tide", strict=True),)))

    rows = body["messages"]
    assert [each["role"] for each in rows] == ["system", "user", "assistant", "tool"]
    assert rows[1]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "https://example.com/a.png"},
    }
    assert (rows[2]["reasoning"], rows[2]["content"]) == ("Hm.", None)
    assert rows[3]["content"] == "a\nb"


@pytest.mark.parametrize(
    "part",
    [
        gw.FilePart("a.pdf", "application/pdf", "AA"),
        gw.AudioPart(id="a-1"),
        gw.UnknownPart("openai.chat", {"type": "odd"}),
    ],
)
def test_other_parts_are_refused_by_place(part: gw.Part) -> None:
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        sent(chat(gw.Message("user", (gw.TextPart("x"), part))))

    assert caught.value.param == "messages[0].content"


def test_the_vendors_own_parts_pass() -> None:
    video = {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}

    body, _ = sent(chat(gw.Message("user", (gw.UnknownPart("openai.chat", video),))))

    assert body["messages"][0]["content"] == [video]


@pytest.mark.parametrize(
    ("choice", "up", "tools"),
    [
        (gw.ToolChoice("required"), "required", 2),
        (gw.ToolChoice("named", ("a",)), {"type": "function", "function": {"name": "a"}}, 2),
        (gw.ToolChoice("allowed", ("a",)), "auto", 1),
        (gw.ToolChoice("allowed_required", ("a",)), "required", 1),
    ],
)
def test_tool_choice(choice: gw.ToolChoice, up: object, tools: int) -> None:
    body, _ = sent(chat(tools=(gw.Tool("a"), gw.Tool("b")), tool_choice=choice))

    assert body["tool_choice"] == up and len(body["tools"]) == tools


def test_custom_tools_are_refused() -> None:
    with pytest.raises(gw.UnsupportedParameterError, match="function"):
        sent(chat(tools=(gw.Tool("x", kind="custom"),)))


def test_embeddings_and_rankings() -> None:
    """One size, one form; what the gateway does itself is not asked for."""
    asked = gw.EmbeddingsRequest("e", ("a",), {"encoding_format": "base64", "user": "u"}, {"x": 1})
    ranked = gw.RerankRequest("r", "q", ("a", "b"), 1, {"return_documents": True, "priority": 1})

    vectors, ranks = provider().encode_embeddings(asked), provider().encode_rerank(ranked)

    assert taken(vectors) == {"model": "e", "input": ["a"]}
    assert set(vectors.dropped) == {"user", "x"}
    assert taken(ranks) == {"model": "r", "query": "q", "documents": ["a", "b"], "top_n": 1}
    assert ranks.dropped == ("priority",)
    for wrong in (
        gw.EmbeddingsRequest("e", ("a",), {"dimensions": 5}),
        gw.EmbeddingsRequest("e", ((1, 2),)),
    ):
        with pytest.raises(gw.UnsupportedParameterError):
            provider().encode_embeddings(wrong)


def test_the_list_of_models_may_be_a_bare_array() -> None:
    for answer in (together.models_answer("a"), openai.models_answer("a")):
        probe = provider().probe()
        assert conformance.decoded(probe.decoder, [answer.body]) == [gw.Finished("stop")]
    assert "openai/gpt-oss-120b" in {each.id for each in provider().models()}


# --- answers -----------------------------------------------------------------------------


def read(data: list[bytes] | bytes) -> list[gw.Event]:
    stream = isinstance(data, list)
    factory = provider().encode(chat(stream=stream)).decoder
    return conformance.decoded(factory, data if stream else [data])


def of(kind: type, events: list[gw.Event]) -> list[Any]:
    return [each for each in events if isinstance(each, kind)]


STREAMS = {
    "text": together.chat_stream(),
    "reasoning": together.chat_stream(reasoning=["Need", " it"], logprobs=-0.5),
    "calls": together.chat_stream([], tool_calls=CALLS),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_cut_truncated_and_with_garbage(name: str) -> None:
    factory = provider().encode(chat(stream=True)).decoder

    conformance.check_decoder(factory, b"".join(STREAMS[name]))


@pytest.mark.parametrize(
    "answer",
    [together.chat_answer(), together.chat_answer(reasoning="é", tool_calls=CALLS)],
    ids=["text", "calls"],
)
def test_bodies_cut_truncated_and_with_garbage(answer: Any) -> None:
    conformance.check_decoder(provider().encode(chat()).decoder, answer.body)


def test_rankings_cut_truncated_and_with_garbage() -> None:
    data = together.rerank_answer([(1, 0.75), (0, 0.5)]).body
    factory = provider().encode_rerank(gw.RerankRequest("r", "q", ("a", "b"))).decoder

    conformance.check_decoder(factory, data)
    assert conformance.decoded(factory, [data])[1:3] == [
        gw.RankedDocument(1, 0.75),
        gw.RankedDocument(0, 0.5),
    ]


def test_calls_with_empty_ids_and_names_in_later_pieces() -> None:
    """Indexes are floats; a repeated empty id is the same call."""
    found = of(gw.ToolCallDelta, read(STREAMS["calls"]))

    assert [(each.call, each.id, each.name) for each in found if each.id] == [
        (0, "call_x1", "get_tide"),
        (1, "call_x2", "get_wind"),
    ]
    texts = ["".join(e.arguments for e in found if e.call == call) for call in (0, 1)]
    assert texts == ['{"port":"Brest"}', "{}"]


def test_calls_that_share_an_index() -> None:
    """Another id is another call."""
    pieces = [
        {"index": 0, "id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for each in ("a", "b")
    ]
    frames = [together.chunk({"tool_calls": [each]}) for each in pieces]

    found = of(gw.ToolCallDelta, read([*frames, together.chunk({}, "stop"), openai.DONE]))

    assert [(each.call, each.id) for each in found] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_under_either_name(name: str) -> None:
    frames = [together.chunk({name: "Hm."}), together.chunk({"content": "x"}, "eos"), openai.DONE]

    assert of(gw.ReasoningDelta, read(frames)) == [gw.ReasoningDelta("Hm.")]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [("eos", "stop"), ("stop", "stop"), ("length", "length"), ("tool_calls", "tool_calls")],
)
def test_finish_reasons(raw: str, reason: gw.FinishReason) -> None:
    for data in (
        together.chat_stream(finish_reason=raw),
        together.chat_answer(finish_reason=raw).body,
    ):
        assert of(gw.Finished, read(data)) == [gw.Finished(reason, raw=raw)]


def test_logprobs_of_a_chunk_are_a_number() -> None:
    """Also where it is 0: the model was sure."""
    for number in (-0.5, 0.0):
        found = of(gw.TextDelta, read(together.chat_stream(["Low"], logprobs=number)))
        entry = {"token": "Low", "logprob": number, "bytes": None, "top_logprobs": []}
        assert found == [gw.TextDelta("Low", logprobs={"content": [entry]})]


@pytest.mark.parametrize(
    ("given", "tops"),
    [
        (
            {
                "tokens": ["Low"],
                "token_ids": [1],
                "token_logprobs": [-0.5],
                "top_logprobs": [{"Low": -0.5, "High": -1.0}],
            },
            ["Low", "High"],
        ),
        ({"tokens": ["Low"], "token_logprobs": [-0.5], "top_logprobs": None}, []),
    ],
)
def test_logprobs_of_a_whole_answer_are_lists(given: dict[str, Any], tops: list[str]) -> None:
    found: Any = of(gw.TextDelta, read(together.chat_answer("Low", logprobs=given).body))[0]

    entry = found.logprobs["content"][0]
    assert (entry["token"], entry["logprob"]) == ("Low", -0.5)
    assert [each["token"] for each in entry["top_logprobs"]] == tops


def test_logprobs_in_openais_form_pass() -> None:
    given = {"content": [{"token": "Low", "logprob": -0.5, "bytes": [1], "top_logprobs": []}]}

    assert of(gw.TextDelta, read(together.chat_answer(logprobs=given).body))[0].logprobs == given


@pytest.mark.parametrize(
    "usage",
    [
        together.usage(100, 5, cached=64),
        together.usage(100, 5) | {"prompt_tokens_details": {"cached_tokens": 64}},
    ],
)
def test_cached_tokens(usage: dict[str, Any]) -> None:
    body = json.loads(together.chat_answer().body) | {"usage": usage}

    assert of(gw.UsageReport, read(json.dumps(body).encode())) == [
        gw.UsageReport(gw.Usage(input=36, cache_read=64, output=5))
    ]


@pytest.mark.parametrize(
    "frame", [{"error": {"message": "boom"}}, {"error": "boom"}, {"message": "boom"}]
)
def test_errors_inside_a_stream(frame: dict[str, Any]) -> None:
    with pytest.raises(gw.UpstreamError) as caught:
        read([*together.chat_stream()[:1], openai.sse(frame)])

    assert caught.value.failure is F.SERVER_ERROR


# --- errors ------------------------------------------------------------------------------

LONG = "inputs tokens + max_new_tokens must be <= 8193. Given: 9000"


@pytest.mark.parametrize(
    ("status", "words", "failure", "shown"),
    [
        (400, "bad", F.CALLER_FAULT, 400),
        (400, LONG, F.CONTEXT_TOO_LONG, 400),
        (403, LONG, F.CONTEXT_TOO_LONG, 400),
        (401, "key", F.CREDENTIAL_REFUSED, 502),
        (402, "spending limit", F.ACCOUNT_EMPTY, 502),
        (403, "no access", F.CREDENTIAL_REFUSED, 502),
        (404, "model", F.MODEL_GONE, 502),
        (408, "late", F.SERVER_ERROR, 502),
        (413, "big", F.CALLER_FAULT, 413),
        (422, "no", F.CALLER_FAULT, 400),
        (429, "slow", F.RATE_LIMITED, 429),
        (500, "oops", F.SERVER_ERROR, 502),
        (503, "busy", F.OVERLOADED, 503),
        (504, "late", F.SERVER_ERROR, 502),
        (529, "busy", F.OVERLOADED, 503),
    ],
)
def test_error_classes(status: int, words: str, failure: F, shown: int) -> None:
    """In each of the vendor's three forms; what may not be tried again is not."""
    for body in ({"error": {"message": words}}, {"error": words}, {"message": words}):
        error = provider().classify(status, {}, json.dumps(body).encode())
        assert (error.failure, error.status) == (failure, shown)
    assert not gw.FAILURES[F.ACCOUNT_EMPTY].retry_same


def test_retry_after() -> None:
    assert provider().classify(429, {"retry-after": "7"}, b"{}").retry_after == 7.0
