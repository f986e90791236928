"""Addresses, credentials, parameters by base model, notes of the filter, errors."""

import json
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_api import FailureClass as F
from llm_gateway_provider_azure_openai.plugin import Settings, make
from llm_gateway_testkit import azure_dialect as azure
from llm_gateway_testkit import conformance
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.steps import Received
from pydantic import ValidationError

RESOURCE = "https://tides.openai.azure.com"
USER = gw.Message("user", (gw.TextPart("When is low tide?"),), text_only=True)
TOOL = gw.Tool("get_tide", parameters={"type": "object"})


def provider(**settings: Any) -> Any:
    given = {"api_key": "k-1", "endpoint": f"{RESOURCE}/", **settings}
    return make("azure_openai", Settings.model_validate(given))


def asked(model: str = "prod", **members: Any) -> gw.ChatRequest:
    return gw.ChatRequest(model, (USER,), dialect="openai.chat", **members)


def sent(request: gw.ChatRequest, **settings: Any) -> tuple[gw.UpstreamRequest, Any]:
    """The call and its body, which the strict vendor takes."""
    call = provider(**settings).encode(request)
    path = call.url.removeprefix(RESOURCE)
    received = Received("POST", path, dict(call.headers), call.body)
    assert (refusal := azure.strict("k-1")(received)) is None, refusal
    return call, json.loads(call.body)


def test_classic_address() -> None:
    """The deployment stands in the path, the version in the query, the key in its own header."""
    call, body = sent(asked("my-gpt"), api_version="2024-10-21")

    assert call.url == (
        f"{RESOURCE}/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    )
    assert call.headers["api-key"] == "k-1" and "authorization" not in call.headers
    assert body["model"] == "my-gpt"


@pytest.mark.parametrize(
    ("version", "query"), [(None, ""), ("v1", ""), ("preview", "?api-version=preview")]
)
def test_v1_address(version: str | None, query: str) -> None:
    """No version is needed, and the model is the deployment."""
    call, body = sent(asked("prod"), api_version=version)

    assert call.url == f"{RESOURCE}/openai/v1/chat/completions{query}"
    assert body["model"] == "prod"


@pytest.mark.parametrize(
    "given", [RESOURCE, f"{RESOURCE}/", f"{RESOURCE}/openai", f"{RESOURCE}/openai/v1/"]
)
def test_any_form_of_the_endpoint(given: str) -> None:
    for name in ("endpoint", "base_url"):
        made = provider(**{"endpoint": None, name: given})
        assert made.encode(asked()).url == f"{RESOURCE}/openai/v1/chat/completions"


def test_a_gateway_of_ones_own_before_the_resource() -> None:
    made = provider(endpoint="https://apim.example/tides/llm")

    assert made.encode(asked()).url == "https://apim.example/tides/llm/openai/v1/chat/completions"


def test_a_clients_name_cannot_leave_the_path() -> None:
    call = provider(api_version="2024-10-21").encode(asked("../x?y"))

    assert "/deployments/..%2Fx%3Fy/chat/completions?" in call.url


@pytest.mark.parametrize(
    "wrong",
    [
        {"family": "classic"},
        {"family": "v1", "api_version": "2024-10-21"},
        {"api_version": "2024"},
        {"entra": {"managed_identity": True}},
        {"api_key": "", "entra": {}},
        {"api_key": "", "entra": {"managed_identity": True, "client_secret": "s"}},
        {"api_key": "", "entra": {"client_secret": "s"}},
    ],
)
def test_settings_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        provider(**wrong)


@pytest.mark.parametrize(
    ("base", "version", "field"),
    [
        ("gpt-6-sol", None, "max_completion_tokens"),
        ("gpt-6-sol", "2024-10-21", "max_completion_tokens"),
        ("gpt-5.4-mini", None, "max_completion_tokens"),
        ("o3", "2024-10-21", "max_completion_tokens"),
        ("gpt-4o", None, "max_tokens"),
        ("gpt-4.1-2025-04-14", "2024-10-21", "max_tokens"),
        (None, None, "max_completion_tokens"),
        (None, "2024-02-01", "max_tokens"),
    ],
)
def test_the_base_model_decides_the_limits_name(
    base: str | None, version: str | None, field: str
) -> None:
    """Also of a deployment that is called after nothing, or after another model."""
    for name in ("prod", "gpt-4"):
        deployments = {name: {"base_model": base}}
        request = asked(name, params={"max_tokens": 5})
        _, body = sent(request, api_version=version, deployments=deployments)
        assert {each: body[each] for each in body if "max" in each} == {field: 5}


@pytest.mark.parametrize(
    ("version", "extra", "told"),
    [
        (None, {}, True),
        ("2024-10-21", {}, True),
        ("2024-02-01", {}, False),
        (None, {"data_sources": [{"type": "azure_search"}]}, False),
    ],
)
def test_stream_options_only_where_they_are_taken(
    version: str | None, extra: dict[str, Any], told: bool
) -> None:
    _, body = sent(asked(stream=True, extra=extra), api_version=version)

    assert body.get("stream_options") == ({"include_usage": True} if told else None)
    assert body.get("data_sources") == extra.get("data_sources")


@pytest.mark.parametrize(
    ("base", "effort", "bridged"),
    [
        ("gpt-5.4", "high", True),
        ("gpt-5.4", None, False),
        ("gpt-6-sol", None, True),
        ("gpt-6-sol", "none", False),
        ("gpt-4o", "high", False),
        (None, "high", False),
    ],
)
@pytest.mark.parametrize("version", [None, "2024-10-21"])
def test_tools_of_reasoning_models_are_asked_on_responses(
    base: str | None, effort: str | None, bridged: bool, version: str | None
) -> None:
    """Which lies on v1, whatever the other addresses are."""
    params = {} if effort is None else {"reasoning_effort": effort}
    deployments = {"prod": {"base_model": base}}

    call, body = sent(
        asked(tools=(TOOL,), params=params), api_version=version, deployments=deployments
    )

    assert call.url.endswith("/openai/v1/responses") is bridged
    assert body["model"] == "prod" and ("input" in body) is bridged


def test_operators_rules_go_over_those_of_models() -> None:
    quirks = {"max_tokens_field": "max_tokens"}
    rule = {"parameters": [{"models": "prod", "drop": ["seed"]}]}
    request = asked(params={"max_tokens": 5, "seed": 1})

    _, body = sent(request, quirks=quirks)
    call, ruled = sent(request, quirks=rule)

    assert body["max_tokens"] == 5
    assert "seed" not in ruled and call.dropped == ("seed",)
    assert ruled["max_completion_tokens"] == 5


def test_deployments_are_the_models() -> None:
    rows = provider(deployments={"prod": {"base_model": "gpt-6-sol"}, "x": {}}).models()
    listed = provider(models=["a"], deployments={"prod": {}}).models()

    assert [(each.id, each.context_window, each.input_price) for each in rows] == [
        ("prod", 922_000, "2"),
        ("x", None, None),
    ]
    assert [each.id for each in listed] == ["a"]


@pytest.mark.parametrize(
    ("version", "url"),
    [
        (None, f"{RESOURCE}/openai/v1/models"),
        ("2024-10-21", f"{RESOURCE}/openai/models?api-version=2024-10-21"),
    ],
)
def test_probe(version: str | None, url: str) -> None:
    assert provider(api_version=version).probe().url == url


def test_embeddings() -> None:
    request = gw.EmbeddingsRequest("emb", ("a",), {"dimensions": 5}, dialect="openai.embeddings")

    call = provider(api_version="2024-10-21").encode_embeddings(request)

    assert call.url == f"{RESOURCE}/openai/deployments/emb/embeddings?api-version=2024-10-21"
    assert json.loads(call.body) == {"model": "emb", "input": ["a"], "dimensions": 5}


def read(frames: list[bytes] | bytes, **settings: Any) -> list[gw.Event]:
    stream = isinstance(frames, list)
    factory = provider(**settings).encode(asked(stream=stream)).decoder
    return conformance.decoded(factory, frames if stream else [frames])


def of(kind: type, events: list[gw.Event]) -> list[Any]:
    return [each for each in events if isinstance(each, kind)]


def test_streams_cut_truncated_and_with_garbage() -> None:
    data = b"".join(azure.chat_stream(include_usage=True))

    conformance.check_decoder(provider().encode(asked(stream=True)).decoder, data)


def test_streams_with_notes_cut_and_with_garbage() -> None:
    """A note after the finish says nothing of the text: without it the answer is whole."""
    data = b"".join(azure.chat_stream(notes=True, include_usage=True))
    factory = provider().encode(asked(stream=True)).decoder

    conformance.check_any_cut(factory, data)
    conformance.check_garbage(factory, data)
    conformance.check_sse_forms(factory, data)


def test_bodies_cut_truncated_and_with_garbage() -> None:
    conformance.check_decoder(provider().encode(asked()).decoder, azure.chat_answer().body)


def test_the_first_chunk_is_not_the_answers() -> None:
    """It has no id and no choice; what it says of the prompt is kept, the id is the next one's."""
    events = read(azure.chat_stream(include_usage=True))

    started = of(gw.Started, events)
    assert [(each.id, each.model) for each in started] == [(openai.ID, azure.BASE_MODEL)]
    assert started[0].extra["prompt_filter_results"] == azure.PROMPT_RESULTS
    assert isinstance(events[0], gw.Started)


@pytest.mark.parametrize("shown", [True, False])
def test_notes_between_deltas_and_after_the_end(shown: bool) -> None:
    """The text stays whole, there is one finish; the notes are kept or hidden."""
    frames = azure.chat_stream(notes=True, include_usage=True)
    frames.insert(-1, azure.note())

    events = read(frames, content_filter_results=shown)

    assert "".join(each.text for each in of(gw.TextDelta, events)) == "Low tide"
    assert [each.reason for each in of(gw.Finished, events)] == ["stop"]
    assert of(gw.UsageReport, events) == [gw.UsageReport(gw.Usage(input=9, output=2))]
    assert bool(of(gw.Unknown, events)) is shown


@pytest.mark.parametrize("shown", [True, False])
def test_notes_of_a_whole_answer(shown: bool) -> None:
    events = read(azure.chat_answer().body, content_filter_results=shown)

    assert ("prompt_filter_results" in of(gw.Started, events)[0].extra) is shown
    assert any("content_filter_results" in each.raw for each in of(gw.Unknown, events)) is shown


def test_a_filtered_answer_keeps_its_text() -> None:
    """The text may stop in mid word, and no usage comes."""
    events = read(azure.chat_stream(["Lo"], finish_reason="content_filter"))

    assert of(gw.Finished, events) == [gw.Finished("content_filter", raw="content_filter")]
    assert of(gw.TextDelta, events)[0].text == "Lo" and not of(gw.UsageReport, events)


@pytest.mark.parametrize(
    ("code", "failure"),
    [("content_filter", F.CONTENT_POLICY), ("content_filter_error", F.SERVER_ERROR)],
)
def test_the_filters_error_in_a_stream(code: str, failure: F) -> None:
    """A refusal counts against nobody; a filter that failed is the server's fault."""
    frames = [*azure.chat_stream()[:3], openai.error_frame("filtered", code)]

    with pytest.raises(gw.UpstreamError) as caught:
        read(frames)

    assert caught.value.failure is failure
    assert gw.FAILURES[F.CONTENT_POLICY].breaker is False


@pytest.mark.parametrize("inner", ["innererror", "inner_error"])
def test_a_blocked_prompt(inner: str) -> None:
    """The code, the param and the categories that the vendor's sentence does not name."""
    answer = azure.blocked_answer(inner)

    error = provider().classify(400, {}, answer.body)

    assert (error.failure, error.status) == (F.CONTENT_POLICY, 400)
    assert (error.code, error.param) == ("content_filter", "prompt")
    assert "violence (medium)" in error.message and "jailbreak" not in error.message


@pytest.mark.parametrize(
    ("status", "code", "words", "failure", "shown"),
    [
        (400, "content_filter", "filtered", F.CONTENT_POLICY, 400),
        (400, "context_length_exceeded", "long", F.CONTEXT_TOO_LONG, 400),
        (400, "OperationNotSupported", "no chat", F.MODEL_GONE, 502),
        (400, "unsupported_parameter", "no", F.CALLER_FAULT, 400),
        (400, None, "API version not supported", F.MODEL_GONE, 502),
        (401, "401", "denied", F.CREDENTIAL_REFUSED, 502),
        (401, "PermissionDenied", "denied", F.CREDENTIAL_REFUSED, 502),
        (403, None, "private network", F.CREDENTIAL_REFUSED, 502),
        (404, "DeploymentNotFound", "none", F.MODEL_GONE, 502),
        (404, "404", "Resource not found", F.MODEL_GONE, 502),
        (408, "timeout", "late", F.SERVER_ERROR, 502),
        (424, None, "search index", F.MODEL_GONE, 502),
        (429, "429", "slow", F.RATE_LIMITED, 429),
        (429, "RateLimitReached", "slow", F.RATE_LIMITED, 429),
        (429, "too_many_requests", "slow", F.RATE_LIMITED, 429),
        (500, "InternalServerError", "oops", F.SERVER_ERROR, 502),
        (503, "NoCapacity", "busy", F.OVERLOADED, 503),
        (503, None, "busy", F.OVERLOADED, 503),
        (504, None, "late", F.NO_FIRST_CONTENT, 504),
    ],
)
def test_error_classes(status: int, code: str | None, words: str, failure: F, shown: int) -> None:
    answer = azure.error_answer(status, code, words)

    error = provider().classify(status, {}, answer.body)

    assert (error.failure, error.status) == (failure, shown)


@pytest.mark.parametrize(
    "body",
    [
        b'{"statusCode":401,"message":"Access denied"}',
        b"<html><body>401 Unauthorized</body></html>",
    ],
)
def test_errors_of_what_stands_before_the_resource(body: bytes) -> None:
    made = provider()

    assert made.classify(401, {}, body).failure is F.CREDENTIAL_REFUSED
    assert made.classify(502, {}, body).failure is F.SERVER_ERROR


@pytest.mark.parametrize(
    ("headers", "words", "wait"),
    [
        ({"retry-after-ms": "250", "retry-after": "9"}, "", 0.25),
        ({"retry-after": "9"}, "", 9.0),
        ({"x-ratelimit-reset-tokens": "7"}, "", 7.0),
        ({"x-rate-limit-reset-tokens": "8"}, "", 8.0),
        ({"x-ratelimit-reset-tokens": "-1"}, "", None),
        ({"x-ratelimit-remaining-tokens": "-1"}, "", None),
        ({}, "Please retry after 12 seconds.", 12.0),
        ({}, "slow", None),
    ],
)
def test_when_to_come_again(headers: dict[str, str], words: str, wait: float | None) -> None:
    answer = azure.error_answer(429, "429", words)

    assert provider().classify(429, headers, answer.body).retry_after == wait


@pytest.mark.parametrize("header", ["retry-after", "x-ratelimit-reset-tokens"])
def test_a_wait_of_a_day_is_a_used_up_quota(header: str) -> None:
    """Which nobody waits for: the next deployment is asked at once."""
    error = provider().classify(429, {header: "86400"}, azure.error_answer(429).body)

    assert error.failure is F.ACCOUNT_EMPTY and error.retry_after is None
