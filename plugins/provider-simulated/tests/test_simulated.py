"""What the simulated provider answers, and which faults it has on request."""

import asyncio
import json
import math
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_provider_simulated import plugin
from llm_gateway_provider_simulated.answers import words
from llm_gateway_provider_simulated.instance import minimal

WEATHER = gw.Tool(
    "weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city", "days"],
    },
)
CLOCK = gw.Tool("clock")


def user(text: str) -> gw.Message:
    return gw.Message("user", (gw.TextPart(text),), text_only=True)


def chat(text: str = "Hello there", **changes: Any) -> gw.ChatRequest:
    model = changes.pop("model", "simulated")
    return gw.ChatRequest(model, (gw.Message("system", (gw.TextPart("x"),)), user(text)), **changes)


async def events(request: gw.CanonicalRequest, **settings: Any) -> list[gw.Event]:
    provider = plugin.SimulatedProvider("sim", plugin.SimulatedSettings(**settings))
    return [event async for event in provider.stream(request)]


def text_of(found: list[gw.Event], index: int = 0) -> str:
    deltas = (each for each in found if isinstance(each, gw.TextDelta) and each.index == index)
    return "".join(each.text for each in deltas)


def reasons(found: list[gw.Event]) -> list[str]:
    return [each.reason for each in found if isinstance(each, gw.Finished)]


async def test_text() -> None:
    """The answer says that it is simulated, repeats the question, and comes in words."""
    found = await events(chat())

    assert text_of(found) == 'This answer is simulated; no model was asked. You said: "Hello there"'
    assert isinstance(found[0], gw.Started) and found[0].model == "simulated"
    assert len([each for each in found if isinstance(each, gw.TextDelta)]) == 12
    assert reasons(found) == ["stop"]
    assert found[-1] == gw.UsageReport(gw.Usage(input=3, output=12))
    assert found == await events(chat()) != await events(chat("Other"))


async def test_text_length() -> None:
    """Long questions are shortened; short answers are filled up where configured."""
    shortened = text_of(await events(chat("a" * 5000)))
    filled = text_of(await events(chat(), words=50))

    assert len(shortened) < 300 and shortened.endswith('…"')
    assert len(filled.split()) == 50


@pytest.mark.parametrize(
    ("params", "text", "reason"),
    [
        ({"max_tokens": 3}, "This answer is", "length"),
        ({"max_tokens": 100}, None, "stop"),
        ({"max_tokens": None, "stop": None}, None, "stop"),
        ({"stop": ["asked", " is"]}, "This answer", "stop"),
        ({"stop": ["nowhere"]}, None, "stop"),
    ],
)
async def test_limits(params: dict[str, object], text: str | None, reason: str) -> None:
    """max_tokens cuts with length, stop with stop; absent and null change nothing."""
    found = await events(chat(params=params))

    assert text_of(found) == (text if text is not None else text_of(await events(chat())))
    assert reasons(found) == [reason]


async def test_choices() -> None:
    """Each of n choices is whole and has its own index."""
    found = await events(chat(params={"n": 2}))

    assert text_of(found, 0) == text_of(found, 1) != ""
    assert [each.index for each in found if isinstance(each, gw.Finished)] == [0, 1]


@pytest.mark.parametrize(
    ("text", "choice", "params", "names"),
    [
        ("please call:weather", None, {}, ["weather"]),
        ("call:weather call:clock", None, {}, ["weather", "clock"]),
        ("call:weather call:clock", None, {"parallel_tool_calls": False}, ["weather"]),
        ("call:nothing", None, {}, []),
        ("call:weather", gw.ToolChoice("none"), {}, []),
        ("hi", gw.ToolChoice("auto"), {}, []),
        ("hi", gw.ToolChoice("required"), {}, ["weather"]),
        ("call:weather", gw.ToolChoice("named", ("clock",)), {}, ["clock"]),
        ("call:weather", gw.ToolChoice("allowed", ("clock",)), {}, []),
    ],
)
async def test_tools(
    text: str, choice: gw.ToolChoice | None, params: dict[str, object], names: list[str]
) -> None:
    """A tool is called when it is forced or asked for by name, and never otherwise."""
    found = await events(chat(text, tools=(WEATHER, CLOCK), tool_choice=choice, params=params))

    calls = [each for each in found if isinstance(each, gw.ToolCallDelta)]
    assert [each.name for each in calls if each.name] == names
    assert reasons(found) == ["tool_calls" if names else "stop"]
    arguments = {each.call: json.loads(each.arguments) for each in calls if each.arguments}
    if names[:1] == ["weather"]:
        assert arguments[0] == {"city": "simulated", "days": 1}


async def test_tool_result() -> None:
    """After the tool's answer comes text, so that an agent's loop ends."""
    request = chat("call:clock", tools=(CLOCK,))
    call = gw.Message("assistant", (gw.ToolCallPart("c1", "clock", "{}"),))
    result = gw.Message("tool", (gw.ToolResultPart("c1", (gw.TextPart("noon"),)),))
    again = gw.ChatRequest("simulated", (*request.messages, call, result), tools=(CLOCK,))

    assert 'The tool answered: "noon"' in text_of(await events(again))


async def test_json() -> None:
    """A schema is answered by JSON that fits it."""
    form = {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER.parameters}}

    found = await events(chat(params={"response_format": form}))

    assert json.loads(text_of(found)) == {"city": "simulated", "days": 1}
    found = await events(chat(params={"response_format": {"type": "json_object"}}))
    assert json.loads(text_of(found)) == {"simulated": True}


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"const": 5}, 5),
        ({"enum": ["a", "b"]}, "a"),
        ({"type": ["string", "null"], "maxLength": 3}, "sim"),
        ({"type": "string", "minLength": 11}, "simulatedxx"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "number", "exclusiveMinimum": 0}, 0.5),
        ({"type": "integer", "minimum": 3, "multipleOf": 5}, 5),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"enum": [1]}}}, 1),
        ({"$ref": "#", "type": "object"}, None),
        ({"allOf": [{"required": ["a"]}, {"properties": {"a": {"const": 1}}}]}, {"a": 1}),
        ({"required": ["a"], "properties": {"a": {"$ref": "#/none"}}}, {"a": None}),
        (None, None),
    ],
)
def test_minimal(schema: object, instance: object) -> None:
    """The smallest value that each keyword allows."""
    assert minimal(schema) == instance


def test_minimal_circle() -> None:
    """A schema that requires itself for ever ends all the same."""
    again = {"$ref": "#"}
    schema = {"properties": {"a": again, "b": again, "c": again}, "required": ["a", "b", "c"]}

    assert json.dumps(minimal(schema)).startswith('{"a": {"a":')


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": "a"},
        {"type": "integer", "minimum": 1e400},
        {"allOf": [{"required": 5}, {"required": ["a"]}]},
    ],
)
def test_minimal_invalid(schema: object) -> None:
    """What is no schema is the caller's fault."""
    with pytest.raises(gw.UnsupportedParameterError):
        minimal(schema)


@pytest.mark.parametrize("text", ["", "a", " a  b\nc ", "  "])
def test_words(text: str) -> None:
    """Words joined are the text again."""
    assert "".join(words(text)) == text


async def test_embeddings() -> None:
    """Vectors have length 1, depend on their text alone, and are as long as asked."""
    request = gw.EmbeddingsRequest("simulated-embedding", ("a b", "c", (1, 2), "a b"))

    found = await events(request)
    vectors = [each.values for each in found if isinstance(each, gw.EmbeddingVector)]

    assert [len(each) for each in vectors] == [64] * 4
    assert all(math.isclose(sum(x * x for x in each), 1.0) for each in vectors)
    assert vectors[0] == vectors[3] != vectors[1]
    assert gw.UsageReport(gw.Usage(input=7)) in found
    short = await events(gw.EmbeddingsRequest("m", ("a",), {"dimensions": 8}))
    assert isinstance(short[1], gw.EmbeddingVector) and len(short[1].values) == 8
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        await events(gw.EmbeddingsRequest("m", ("a",), {"dimensions": 0}))
    assert caught.value.param == "dimensions"


async def test_rerank() -> None:
    """Documents are ranked by the words that they share with the query."""
    found = await events(gw.RerankRequest("m", "red car", ("blue", "a red car", "red"), top_n=2))

    ranked = [each for each in found if isinstance(each, gw.RankedDocument)]
    assert ranked == [gw.RankedDocument(1, 1.0), gw.RankedDocument(2, 0.5)]


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (400, gw.FailureClass.CALLER_FAULT),
        (401, gw.FailureClass.CREDENTIAL_REFUSED),
        (429, gw.FailureClass.RATE_LIMITED),
        (500, gw.FailureClass.SERVER_ERROR),
        (503, gw.FailureClass.OVERLOADED),
    ],
)
async def test_error(status: int, failure: gw.FailureClass) -> None:
    """An error asked for, in the text or the model's name, comes before any content."""
    for request in (chat(f"simulate:error={status}"), chat(model=f"simulate:error={status}")):
        with pytest.raises(gw.UpstreamError) as caught:
            await events(request)
        assert (caught.value.failure, caught.value.upstream_status) == (failure, status)


async def test_cut() -> None:
    """A cut stream has begun and raises before its end."""
    provider = plugin.SimulatedProvider("sim", plugin.SimulatedSettings())
    found: list[gw.Event] = []

    with pytest.raises(gw.UpstreamTruncatedError):
        async for event in provider.stream(chat("simulate:cut")):
            found.append(event)

    assert text_of(found).startswith("This answer is") and not reasons(found)


async def test_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are those of the settings and of the request, in seconds."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    await events(chat("simulate:delay_ms=500"), latency_ms=250, chunk_delay_ms=10)

    assert waits[0] == 0.75 and set(waits[1:]) == {0.01}


def test_models() -> None:
    """Two models by itself; those of the configuration instead, where it names any."""
    own = plugin.SimulatedProvider("sim", plugin.SimulatedSettings()).models()
    settings = plugin.SimulatedSettings.model_validate({"models": ["a", {"id": "b"}]})

    assert [each.id for each in own] == ["simulated", "simulated-embedding"]
    models = plugin.SimulatedProvider("sim", settings).models()
    assert [each.id for each in models] == ["a", "b"]


def test_declaration() -> None:
    """One kind, which serves when nothing is configured, and is no HTTP."""
    (spec,) = plugin.llm_gateway_providers()

    assert (spec.kind, spec.standalone) == ("simulated", True)
    assert isinstance(spec.make("simulated", spec.settings()), gw.DirectProvider)


async def test_a_tool_of_a_vendor_is_refused_by_name() -> None:
    """There is nothing here that could run it, and an answer without it would be another."""
    search = gw.Tool("web_search", kind="vendor", extra={"type": "web_search_20250305"})

    with pytest.raises(gw.UnsupportedParameterError) as caught:
        await events(chat(tools=(CLOCK, search)))

    assert caught.value.param == "tools" and "web_search_20250305" in caught.value.message
