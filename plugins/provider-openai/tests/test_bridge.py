"""Where chat refuses what /responses takes, the provider asks /responses."""

import json

import llm_gateway_api as gw
import pytest
from llm_gateway_dialect_openai.responses import ResponsesStreamDecoder
from llm_gateway_provider_openai.plugin import OpenAIProvider, Settings

TOOL = {"type": "function", "function": {"name": "f"}}


def provider(**more: object) -> OpenAIProvider:
    return OpenAIProvider("x", Settings.model_validate({"api_key": "sk-x", **more}))


def head(model: str, **more: object) -> gw.RequestHead:
    body = json.dumps({"model": model, "messages": [], **more}).encode()
    return gw.RequestHead("openai.chat", "chat", model, False, False, gw.top_level(body), body)


@pytest.mark.parametrize(
    ("model", "more", "bridged"),
    [
        ("gpt-4o", {"tools": [TOOL]}, False),
        ("gpt-5.4", {"tools": [TOOL]}, False),
        ("gpt-5.4", {"tools": [TOOL], "reasoning_effort": "low"}, True),
        ("gpt-6-sol", {"tools": [TOOL]}, True),
        ("gpt-6-sol", {"tools": [TOOL], "reasoning_effort": "none"}, False),
        ("gpt-6-sol", {}, False),
        ("gpt-5.4-pro", {}, True),
    ],
)
def test_what_chat_refuses_is_not_relayed(
    model: str, more: dict[str, object], bridged: bool
) -> None:
    assert (provider().splice(head(model, **more), model) is None) is bridged


def test_compatible_server_is_never_bridged() -> None:
    own = provider(base_url="http://127.0.0.1:9/v1")

    assert own.splice(head("gpt-6-sol", tools=[TOOL]), "gpt-6-sol") is not None


def test_bridged_request_goes_to_responses_and_stores_nothing() -> None:
    request = gw.ChatRequest(
        "gpt-6-sol", (gw.Message("user", (gw.TextPart("hi"),)),), tools=(gw.Tool("f"),)
    )

    sent = provider().encode(request)

    assert sent.url == "https://api.openai.com/v1/responses"
    assert json.loads(sent.body)["store"] is False


@pytest.mark.parametrize(
    ("model", "sealed"),
    [
        ("gpt-4o", False),
        ("gpt-4.1-mini", False),
        ("gpt-5-chat-latest", False),
        ("o3", True),
        ("gpt-5", True),
        ("gpt-6-sol", True),
    ],
)
def test_only_models_that_reason_are_asked_for_encrypted_reasoning(
    model: str, sealed: bool
) -> None:
    """On both lanes of the Responses dialect; the others would refuse the request."""
    body = json.dumps({"model": model, "input": "hi"}).encode()
    native = "openai.responses"
    given = gw.RequestHead(native, "chat", model, False, True, gw.top_level(body), body)
    message = gw.Message("user", (gw.TextPart("hi"),))

    relayed = provider().splice(given, model)
    translated = provider().encode(gw.ChatRequest(model, (message,), dialect=native))

    assert relayed is not None
    for sent in (json.loads(relayed.body), json.loads(translated.body)):
        assert sent["store"] is False
        assert bool(sent.get("include")) is sealed


def test_wrapped_reasoning_is_unwrapped_and_not_relayed() -> None:
    item = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gw1.e30"}
    body = json.dumps({"model": "o3", "input": [item]}).encode()
    head = gw.RequestHead("openai.responses", "chat", "o3", False, True, gw.top_level(body), body)

    assert provider().splice(head, "o3") is None


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"openai.responses": {"type": "reasoning", "id": "rs", "x_odd": 1}}, ()),
        ({"openai.responses": {"type": "reasoning", "id": "rs"}, gw.MADE_BY: "x"}, ("x_odd",)),
        ({}, ("x_odd", "reasoning")),
    ],
    ids=["an item of the client's own", "one that the gateway packed", "one without a state"],
)
def test_what_nobody_knows_of_a_thought_goes_with_its_item_or_is_told(
    state: dict[str, object], told: tuple[str, ...]
) -> None:
    turns = (
        gw.Message("assistant", (gw.ReasoningPart("Hm.", state, {"x_odd": 1}),)),
        gw.Message("user", (gw.TextPart("and?"),)),
    )

    sent = provider().encode(gw.ChatRequest("gpt-5.4-pro", turns, dialect="openai.responses"))

    assert sent.dropped == told
    assert (b"x_odd" in sent.body) is not bool(told)


def test_the_choice_of_a_tool_keeps_what_nobody_knows() -> None:
    named = gw.ToolChoice("named", ("f",), extra={"x_odd": 1})
    request = gw.ChatRequest(
        "gpt-5.4-pro",
        (gw.Message("user", (gw.TextPart("hi"),)),),
        (gw.Tool("f"),),
        named,
        dialect="openai.responses",
    )

    assert json.loads(provider().encode(request).body)["tool_choice"] == {
        "type": "function",
        "name": "f",
        "x_odd": 1,
    }


def test_server_that_is_not_known_to_have_responses_is_asked_for_chat() -> None:
    own = provider(base_url="http://127.0.0.1:9/v1")

    assert not own.relays("openai.responses") and provider().relays("openai.responses")


def events(*rows: dict[str, object]) -> bytes:
    return b"".join(gw.frame(json.dumps(row).encode(), str(row["type"]).encode()) for row in rows)


RESPONSE = {"id": "r1", "object": "response", "created_at": 1, "model": "gpt-6-sol", "output": []}
STREAM = events(
    {"type": "response.created", "response": RESPONSE},
    {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": "Low"},
    {
        "type": "response.completed",
        "response": {
            **RESPONSE,
            "status": "completed",
            "usage": {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14},
        },
    },
)


@pytest.mark.parametrize("cut", range(len(STREAM)))
def test_responses_stream_is_the_same_at_any_split(cut: int) -> None:
    whole, split = ResponsesStreamDecoder(), ResponsesStreamDecoder()

    expected = [*whole.feed(STREAM), *whole.finish()]
    found = [*split.feed(STREAM[:cut]), *split.feed(STREAM[cut:]), *split.finish()]

    assert found == expected
    assert gw.TextDelta("Low") in found
    assert any(isinstance(each, gw.Finished) for each in found)


def test_more_stop_sequences_than_the_vendor_takes_are_refused_with_the_limit() -> None:
    """At its own address; another server says itself what it takes."""
    asked = gw.ChatRequest(
        "gpt-4o", (gw.Message("user", (gw.TextPart("Hi"),)),), params={"stop": list("abcdef")}
    )

    with pytest.raises(gw.UnsupportedParameterError, match="at most 4") as caught:
        provider().encode(asked)

    assert caught.value.param == "stop"
    own = provider(base_url="http://127.0.0.1:9/v1").encode(asked)
    assert json.loads(own.body)["stop"] == list("abcdef")
