"""How answers are read: reasons, meters, signatures and what has no canonical form."""

import re
import warnings
from typing import Any, get_args

import llm_gateway_api as gw
import pytest
from llm_gateway_provider_gemini.decoding import REASONS, GenerateDecoder
from llm_gateway_provider_gemini.errors import refused
from llm_gateway_testkit import gemini_dialect as gemini

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, on import
    from google.genai import types

OWN_ERRORS = {"PUP_LIMITED_DISABLED", "MISSING_THOUGHT_SIGNATURE"}


def read(
    *chunks: dict[str, Any], dialect: str = "openai.chat", stream: bool = True
) -> list[gw.Event]:
    decoder = GenerateDecoder(dialect, {}, stream, "g/m")
    events = [event for each in chunks for event in decoder.feed(gemini.sse(each))]
    return events + decoder.finish()


def of(events: list[gw.Event], kind: Any) -> list[Any]:
    return [each for each in events if isinstance(each, kind)]


@pytest.mark.parametrize("raw", [each.value for each in types.FinishReason])
def test_every_reason_that_the_vendor_has_is_read(raw: str) -> None:
    chunk = gemini.chunk([gemini.text("x")], raw, gemini.usage())
    if raw in OWN_ERRORS:
        with pytest.raises(gw.UpstreamError):
            read(chunk)
        return

    [end] = of(read(chunk), gw.Finished)

    assert end.raw == raw
    assert end.reason in get_args(gw.FinishReason)
    assert raw in REASONS or end.reason == "stop"


def test_a_reason_that_is_new_is_a_stop_after_content_and_a_block_without() -> None:
    [after] = of(read(gemini.chunk([gemini.text("x")], "BRAND_NEW")), gw.Finished)
    [without] = of(read(gemini.chunk(None, "BRAND_NEW")), gw.Finished)

    assert (after.reason, without.reason) == ("stop", "content_filter")


def test_text_before_a_block_is_kept() -> None:
    events = read(gemini.chunk([gemini.text("Lo")]), gemini.chunk(None, "SAFETY"))

    assert of(events, gw.TextDelta) == [gw.TextDelta("Lo")]
    assert of(events, gw.Finished) == [gw.Finished("content_filter", 0, "SAFETY")]


@pytest.mark.parametrize("reason", [each.value for each in types.BlockedReason])
def test_every_block_of_a_prompt_is_a_refusal(reason: str) -> None:
    events = read(gemini.blocked(reason))

    assert of(events, gw.RefusalDelta) == [gw.RefusalDelta(f"blocked: {reason}")]
    assert of(events, gw.Finished) == [gw.Finished("content_filter", 0, reason)]


@pytest.mark.parametrize(
    "raw", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"]
)
def test_malformed_answer_is_no_success_unless_the_client_has_seen_a_part(raw: str) -> None:
    chunks = gemini.chunk([gemini.text("x")]), gemini.chunk(None, raw)

    assert of(read(*chunks), gw.Finished) == [gw.Finished("error", 0, raw)]
    for given, stream in (chunks, False), (chunks[1:], True):
        with pytest.raises(gw.UpstreamError):
            read(*given, stream=stream)


def test_an_answer_cut_for_continuation_ends_by_its_length() -> None:
    [end] = of(read(gemini.chunk([gemini.text("x")], "CONTINUATION")), gw.Finished)

    assert end == gw.Finished("length", 0, "CONTINUATION")


def test_thoughts_alone_up_to_the_limit_are_an_answer() -> None:
    events = read(gemini.chunk(None, "MAX_TOKENS", gemini.usage(made=0, thoughts=9)))

    assert of(events, gw.Finished) == [gw.Finished("length", 0, "MAX_TOKENS")]


@pytest.mark.parametrize(
    ("found", "usage"),
    [
        (gemini.usage(40, 12, 30), gw.Usage(input=40, output=12, reasoning=30)),
        (
            {**gemini.usage(40, 42, 30), "totalTokenCount": 82},
            gw.Usage(input=40, output=12, reasoning=30),
        ),
        ({"promptTokenCount": 4, "totalTokenCount": 4}, gw.Usage(input=4)),
        ({"promptTokenCount": None, "candidatesTokenCount": "x"}, gw.Usage()),
        (gemini.usage(10, 2, cachedContentTokenCount=10), gw.Usage(cache_read=10, output=2)),
    ],
)
def test_meters_are_disjoint_whichever_way_the_vendor_counts(
    found: dict[str, Any], usage: gw.Usage
) -> None:
    [report] = of(read(gemini.chunk([gemini.text("x")], "STOP", found)), gw.UsageReport)

    assert report.usage == usage


def test_signature_on_an_empty_text_is_kept() -> None:
    part = {"text": "", "thoughtSignature": "c2ln"}

    events = read(gemini.chunk([gemini.text("x")]), gemini.chunk([part], "STOP"))

    made = {"made_by": "g/m"}
    shown = {"extra_content": {"google": {"thought_signature": "c2ln"}, "gateway": made}}
    assert of(events, gw.Unknown) == [gw.Unknown("openai.chat", shown)]


def test_clients_that_echo_ids_alone_get_the_signature_inside_the_id() -> None:
    part = gemini.call("f", id="fc_1", signature="c2ln")

    [call] = of(read(gemini.chunk([part], "STOP"), dialect="anthropic"), gw.ToolCallDelta)

    assert re.fullmatch("fc_1__thought__c2ln__by__[0-9a-f]{10}", call.id) and call.extra == {}


def test_calls_are_numbered_over_the_whole_answer_with_ids_of_their_own() -> None:
    one, two = gemini.call("f", {"a": 1}), gemini.call("f", {"a": 1})

    first = of(read(gemini.chunk([one, two]), gemini.chunk([one], "STOP")), gw.ToolCallDelta)
    again = of(read(gemini.chunk([one, two]), gemini.chunk([one], "STOP")), gw.ToolCallDelta)

    assert [each.call for each in first] == [0, 1, 2]
    assert len({each.id for each in first}) == 3
    assert first == again


def test_logprobs_have_the_shape_of_the_clients_dialect() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "e", "logProbability": -1}]}],
    }

    events = read(gemini.chunk([gemini.text("é")], "STOP", logprobsResult=result))

    [delta] = of(events, gw.TextDelta)
    [row] = delta.logprobs["content"]
    assert (row["token"], row["logprob"], row["bytes"]) == ("é", -0.5, [195, 169])
    assert row["top_logprobs"] == [{"token": "e", "logprob": -1.0, "bytes": [101]}]


def test_pictures_and_notes_go_to_the_client_that_has_a_place_for_them() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}
    grounding = {"webSearchQueries": ["tide"]}
    chunk = gemini.chunk([picture], "STOP", groundingMetadata=grounding)

    images, notes = of(read(chunk), gw.Unknown)

    url = "data:image/png;base64,iVBORw=="
    assert images.raw == {"images": [{"type": "image_url", "image_url": {"url": url}}]}
    assert notes.raw == {"google": {"groundingMetadata": grounding}}
    assert of(read(chunk, dialect="anthropic"), gw.Unknown) == []


@pytest.mark.parametrize(
    ("answer", "failure", "wait"),
    [
        (gemini.error_answer(429, retry="17s"), "rate_limited", 17.0),
        (gemini.error_answer(429, retry="2.5s"), "rate_limited", 2.5),
        (gemini.error_answer(429, retry="soon"), "rate_limited", None),
        (gemini.error_answer(429, retry="9s", quota="RequestsPerDayPerX"), "account_empty", None),
    ],
)
def test_the_vendors_delay_is_that_of_its_details(
    answer: Any, failure: str, wait: float | None
) -> None:
    error = refused(answer.status, {}, answer.body)

    assert (error.failure, error.retry_after) == (failure, wait)


def test_words_of_the_vendor_lose_what_is_secret() -> None:
    words = "Bad AIzaSyA1234567890 of projects/p-1 by x@y.example, see https://console.example/p"

    message = refused(400, {}, gemini.error_answer(400, words).body).message

    for secret in ("AIza", "p-1", "y.example", "console"):
        assert secret not in message
