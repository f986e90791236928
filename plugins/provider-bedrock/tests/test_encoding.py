"""What a canonical request becomes: turns, blocks, tools, parameters, by family of models."""

import json
from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_gateway_provider_bedrock.plugin import BedrockProvider
from llm_gateway_provider_bedrock.settings import Guardrail, Settings
from llm_gateway_testkit import bedrock_rules, invariants

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
OPUS = "global.anthropic.claude-opus-4-8"
OPUS_55 = "global.anthropic.claude-opus-5-5"
NOVA = "amazon.nova-pro-v1:0"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"
LLAMA = "meta.llama4-maverick-17b-instruct-v1:0"
GPT = "openai.gpt-oss-120b-1:0"
DEEPSEEK = "deepseek.v3.2"
RULES = bedrock_rules.ServiceModel()


def user(*parts: gw.Part | str) -> gw.Message:
    return gw.Message("user", tuple(map(part, parts)))


def assistant(*parts: gw.Part | str) -> gw.Message:
    return gw.Message("assistant", tuple(map(part, parts)))


def part(given: gw.Part | str) -> gw.Part:
    return gw.TextPart(given) if isinstance(given, str) else given


def call(id: str = "t1", name: str = "tide_at", arguments: str = "{}") -> gw.ToolCallPart:
    return gw.ToolCallPart(id, name, arguments)


def result(id: str = "t1", *parts: gw.Part | str, is_error: bool = False) -> gw.Message:
    answer = gw.ToolResultPart(id, tuple(map(part, parts)), is_error)
    return gw.Message("tool", (answer,))


def provider(**given: Any) -> BedrockProvider:
    return BedrockProvider("b", Settings(**{"region": "us-east-1", "api_key": "k", **given}))


def encoded(
    messages: Sequence[gw.Message], model: str = SONNET, **members: Any
) -> gw.UpstreamRequest:
    made = members.pop("provider", None) or provider()
    request = gw.ChatRequest(model, tuple(messages), **members)
    sent: gw.UpstreamRequest = made.encode(request)
    return sent


def body(messages: Sequence[gw.Message], model: str = SONNET, **members: Any) -> Any:
    """The body, once the vendor's own model and rules have nothing against it."""
    found = json.loads(encoded(messages, model, **members).body)
    operation = "ConverseStream" if members.get("stream") else "Converse"
    assert list(RULES.faults(operation, found)) == []
    assert bedrock_rules.turn_fault(found) is None
    return found


def refusal(messages: Sequence[gw.Message], model: str = SONNET, **members: Any) -> str | None:
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        encoded(messages, model, **members)
    return caught.value.param


HI = user("Hi")
TOOL = gw.Tool("tide_at", "When?", {"type": "object", "properties": {}})
OTHER = gw.Tool("wind_at")


# --- turns ---------------------------------------------------------------------------------


def test_parallel_results_are_one_turn() -> None:
    """Results of one turn stand together, in the order in which they came."""
    found = body(
        [HI, assistant(call("a"), call("b")), result("b", "2"), result("a", "1")], tools=(TOOL,)
    )

    assert [each["toolResult"]["toolUseId"] for each in found["messages"][2]["content"]] == [
        "b",
        "a",
    ]


@pytest.mark.parametrize("model", [SONNET, LLAMA])
def test_text_between_results_follows_them(model: str) -> None:
    """Results stand together behind their calls, whatever a client sends between them."""
    turn = [HI, assistant(call("a"), call("b")), user("wait"), result("a", "1")]

    found = body([*turn, user("quick"), result("b", "2")], model, tools=(TOOL,))

    blocks = [block for each in found["messages"][2:] for block in each["content"]]
    told = [
        each["toolResult"]["toolUseId"] if "toolResult" in each else each["text"] for each in blocks
    ]
    filler = ["."] if model == LLAMA else []
    assert told == ["a", "b", *filler, "wait", "quick"]


def test_document_beside_results_is_split_off() -> None:
    """The vendor refuses a document in a turn of results; a turn of the assistant parts them."""
    document = gw.FilePart("a.pdf", "application/pdf", "AAAA")

    found = body(
        [HI, assistant(call()), result("t1", "x"), user("and this", document)], tools=(TOOL,)
    )

    assert [each["role"] for each in found["messages"][2:]] == ["user", "assistant", "user"]
    assert found["messages"][3]["content"] == [{"text": "."}]


def test_some_families_take_results_alone() -> None:
    beside = [HI, assistant(call()), result("t1", "x"), user("thanks")]

    assert len(body(beside, LLAMA, tools=(TOOL,))["messages"]) == 5
    assert len(body(beside, SONNET, tools=(TOOL,))["messages"]) == 3


def test_empty_result_and_blank_text() -> None:
    """A blank text is left out, an empty result says so: the vendor refuses both."""
    found = body([HI, assistant(" \n", call()), result("t1"), user("")], tools=(TOOL,))

    assert [next(iter(each)) for each in found["messages"][1]["content"]] == ["toolUse"]
    (block,) = found["messages"][2]["content"]
    assert block["toolResult"]["content"] == [{"text": "(no output)"}]


def test_nothing_left_is_refused() -> None:
    assert refusal([user("  ")]) == "messages"


def test_error_status_where_the_family_has_one() -> None:
    turns = [HI, assistant(call()), result("t1", "no port", is_error=True)]

    assert (
        body(turns, tools=(TOOL,))["messages"][2]["content"][0]["toolResult"]["status"] == "error"
    )
    sent = encoded(turns, DEEPSEEK, tools=(TOOL,))
    assert "messages.is_error" in sent.dropped
    assert b"status" not in sent.body


def test_first_turn_of_the_assistant() -> None:
    """The vendor wants a user's turn first."""
    found = body([assistant("Welcome"), HI])

    assert [each["role"] for each in found["messages"]] == ["user", "assistant", "user"]


def test_prefill_where_the_model_has_it() -> None:
    assert body([HI, assistant("It is")])["messages"][-1]["role"] == "assistant"
    assert refusal([HI, assistant("It is")], OPUS) == "messages"


@pytest.mark.parametrize(
    ("model", "params", "how"),
    [
        (SONNET, {}, "continues"),
        (SONNET, {"reasoning_effort": "none", "thinking": None}, "continues"),
        (SONNET, {"reasoning_effort": "low"}, None),
        (NOVA, {}, "continues"),
        (OPUS, {}, None),
        (LLAMA, {}, None),
    ],
)
def test_who_goes_on_with_a_text(model: str, params: dict[str, Any], how: str | None) -> None:
    """Families that are known to, where they do not think."""
    asked = gw.ChatRequest(model, (HI,), params=params)

    assert provider().prefill(asked) == how


def test_system_at_the_start_and_in_the_middle() -> None:
    """A later instruction stays where it is: hoisted it would change the cached prefix."""
    messages = [
        gw.Message("system", (gw.TextPart("Be brief."),)),
        HI,
        assistant("Hello"),
        gw.Message("developer", (gw.TextPart("Now in French."),)),
        user("Again"),
    ]

    old, new = body(messages), body(messages, OPUS)

    assert old["system"] == new["system"] == [{"text": "Be brief."}]
    assert [each["role"] for each in old["messages"]] == ["user", "assistant", "user"]
    assert [each["role"] for each in new["messages"]] == ["user", "assistant", "system", "user"]


def test_arguments_byte_for_byte() -> None:
    """Arguments go back as the model wrote them; none is an empty object."""
    sent = encoded(
        [HI, assistant(call("a", arguments='{"b": 1.0, "a":2}'), call("b", arguments="")),
         result("a", "1"), result("b", "2")],
        tools=(TOOL,),
    )  # fmt: skip

    assert b'"input":{"b": 1.0, "a":2}' in sent.body
    assert b'"input":{}' in sent.body


@pytest.mark.parametrize("arguments", ["{", "[]", "7", '"x"', "[" * 5000])
def test_arguments_that_are_no_object(arguments: str) -> None:
    assert refusal([HI, assistant(call(arguments=arguments)), result("t1", "x")]) == "messages"


def test_long_ids_agree_and_stay_apart() -> None:
    """An id of 80 characters is the same in call and result, and another id is another."""
    long, alike = "call/" + "x" * 75, "call?" + "x" * 75

    found = body(
        [HI, assistant(call(long), call(alike)), result(long, "1"), result(alike, "2")],
        tools=(TOOL,),
    )

    uses = [each["toolUse"]["toolUseId"] for each in found["messages"][1]["content"]]
    results = [each["toolResult"]["toolUseId"] for each in found["messages"][2]["content"]]
    assert uses == results and len(set(uses)) == 2


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=100))
def test_any_id_becomes_a_legal_one(id: str) -> None:
    found = body([HI, assistant(call(id)), result(id, "x")], tools=(TOOL,))

    use, answer = (found["messages"][at]["content"][0] for at in (1, 2))
    assert use["toolUse"]["toolUseId"] == answer["toolResult"]["toolUseId"]


# --- parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media", "wanted"),
    [("image/png", "png"), ("image/jpg", "jpeg"), ("image/JPEG", "jpeg"), ("image/webp", "webp")],
)
def test_images(media: str, wanted: str) -> None:
    found = body([user("?", gw.ImagePart(None, media, "AAAA"))])

    image = found["messages"][0]["content"][1]["image"]
    assert image == {"format": wanted, "source": {"bytes": "AAAA"}}


@pytest.mark.parametrize(
    "given",
    [
        gw.ImagePart("https://example.org/a.png"),
        gw.ImagePart(None, "image/tiff", "AAAA"),
        gw.FilePart("a.exe", None, "AAAA"),
        gw.FilePart(None, None, None, None, "file-1"),
        gw.AudioPart("AAAA", "wav"),
        gw.UnknownPart("openai.chat", {"type": "hologram"}),
        gw.ToolCallPart("c", "grammar", "free text", "custom"),
    ],
)
def test_parts_that_cannot_be_sent_are_refused(given: gw.Part) -> None:
    """A part is never skipped: the answer would be another."""
    assert refusal([user("?", given)]) in ("messages", "tools")


def test_addresses_are_fetched_by_the_kernel() -> None:
    made = provider()

    assert made.inlines("image", "https://example.org/a.png")
    assert made.inlines("file", "https://example.org/a.pdf")


def test_image_for_a_model_without_eyes() -> None:
    assert refusal([user("?", gw.ImagePart(None, "image/png", "AAAA"))], GPT) == "messages"


def test_documents_are_numbered() -> None:
    """A client's file name never reaches the model; names are unique; a text is beside."""
    pdf, text = gw.FilePart("x y.pdf", "application/pdf", "AAAA"), gw.FilePart("n.md", None, "AAAA")

    found = body([user(pdf), assistant("ok"), user("and", text)])

    first, filler = found["messages"][0]["content"]
    assert first["document"]["name"] == "Document 1" and filler["text"]
    second = found["messages"][2]["content"][1]["document"]
    assert (second["name"], second["format"]) == ("Document 2", "md")


def test_reasoning_comes_back_to_who_made_it() -> None:
    """Signed and redacted reasoning goes back verbatim and first; other reasoning does not."""
    signed = gw.ReasoningPart("Check", {"bedrock.converse": {"signature": "c2ln"}})
    hidden = gw.ReasoningPart("", {"bedrock.converse": {"redacted": "AAAA"}})
    turns = [HI, assistant("Hm", signed, hidden), HI]

    content = body(turns)["messages"][1]["content"]

    assert content == [
        {"reasoningContent": {"reasoningText": {"text": "Check", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "AAAA"}},
        {"text": "Hm"},
    ]
    assert "reasoning" in encoded(turns, NOVA).dropped
    for state in ({}, {"anthropic.messages": {"signature": "c2ln"}}, {"bedrock.converse": 7}):
        foreign = encoded([HI, assistant(gw.ReasoningPart("Check", state), "Hm"), HI])
        assert "reasoning" in foreign.dropped


MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def test_reasoning_that_the_model_refuses_is_left_out_for_a_second_try() -> None:
    """A budget for reasoning, which demands what stood before a call, goes too."""
    own = {"bedrock.converse": {"signature": "b3RoZXI="}}
    turns = [user("Tide?"), assistant(gw.ReasoningPart("Hm", own), call()), result("t1", "14:10")]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    sent = encoded(turns, tools=(TOOL,), params={"thinking": thinking})
    words = b'{"message":"messages.1.content.0: Invalid `signature` in `thinking` block"}'
    refusal = gw.RefusedCall(sent, {}, 400, {"x-amzn-errortype": "ValidationException"}, words)

    again = provider().again(refusal)

    assert again is not None and again.dropped == (*sent.dropped, "reasoning")
    before, after = json.loads(sent.body), json.loads(again.body)
    assert "reasoningContent" in before["messages"][1]["content"][0]
    assert after["messages"][1]["content"] == before["messages"][1]["content"][1:]
    assert "thinking" in before["additionalModelRequestFields"]
    assert "additionalModelRequestFields" not in after
    assert provider().again(gw.RefusedCall(again, {}, 400, {}, words)) is None


def test_cache_points() -> None:
    """A mark becomes a point behind what it marks, before documents, as an own tool."""
    document = gw.FilePart("a.pdf", "application/pdf", "AAAA", extra=MARK)
    system = gw.Message("system", (gw.TextPart("Rules.", MARK),))
    tool = msgspec.structs.replace(TOOL, extra=MARK)
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}

    found = body([system, user("Read", document)], tools=(tool,))

    assert found["system"] == [{"text": "Rules."}, point]
    assert found["toolConfig"]["tools"][1] == point
    kinds = [next(iter(each)) for each in found["messages"][0]["content"]]
    assert kinds == ["text", "cachePoint", "document"]
    sent = encoded([system, HI], LLAMA)
    assert sent.dropped == ("cache_control",) and b"cachePoint" not in sent.body
    assert body([system, HI], NOVA)["system"][1] == {"cachePoint": {"type": "default"}}


# --- tools ---------------------------------------------------------------------------------


def test_history_with_tools_but_none_offered() -> None:
    """The vendor demands the tools that earlier turns speak of."""
    found = body([HI, assistant(call()), result("t1", "x")])

    (row,) = found["toolConfig"]["tools"]
    assert row["toolSpec"]["name"] == "tide_at" and "toolChoice" not in found["toolConfig"]


@pytest.mark.parametrize(
    ("mode", "names", "model", "wanted"),
    [
        ("auto", (), SONNET, None),
        ("required", (), SONNET, {"any": {}}),
        ("named", ("tide_at",), SONNET, {"tool": {"name": "tide_at"}}),
        ("named", ("tide_at",), NOVA, {"tool": {"name": "tide_at"}}),
        ("named", ("tide_at",), GPT, {"any": {}}),
        ("allowed_required", ("tide_at",), SONNET, {"any": {}}),
        ("allowed", ("tide_at",), SONNET, None),
    ],
)
def test_tool_choice(mode: Any, names: tuple[str, ...], model: str, wanted: object) -> None:
    found = body([HI], model, tools=(TOOL, OTHER), tool_choice=gw.ToolChoice(mode, names))

    assert found["toolConfig"].get("toolChoice") == wanted
    narrowed = mode.startswith("allowed") or (wanted == {"any": {}} and mode == "named")
    assert len(found["toolConfig"]["tools"]) == (1 if narrowed else 2)


def test_no_tool_may_be_called() -> None:
    """Without history the tools are left out; with it they stay, and a word forbids them."""
    none = gw.ToolChoice("none")

    assert "toolConfig" not in body([HI], tools=(TOOL,), tool_choice=none)
    found = body([HI, assistant(call()), result("t1", "x")], tools=(TOOL,), tool_choice=none)
    assert found["toolConfig"]["tools"] and "Do not call" in found["system"][-1]["text"]


@pytest.mark.parametrize("model", [OPUS_55, DEEPSEEK, LLAMA])
def test_choice_that_cannot_be_forced(model: str) -> None:
    choice = gw.ToolChoice("required")

    assert refusal([HI], model, tools=(TOOL,), tool_choice=choice) == "tool_choice"


def test_choice_without_tools() -> None:
    assert refusal([HI], tools=(), tool_choice=gw.ToolChoice("required")) == "tool_choice"
    named = gw.ToolChoice("named", ("gone",))
    assert refusal([HI], tools=(TOOL,), tool_choice=named) == "tool_choice"


def test_empty_things_of_tools() -> None:
    """No tools, no description, no parameters, no name."""
    assert "toolConfig" not in body([HI], tools=())
    (row,) = body([HI], tools=(gw.Tool("x", "", {}),))["toolConfig"]["tools"]
    assert row["toolSpec"] == {
        "name": "x",
        "inputSchema": {"json": {"type": "object", "properties": {}}},
    }
    assert refusal([HI], tools=(gw.Tool(""),)) == "tools"
    assert refusal([HI], tools=(gw.Tool("x", kind="custom"),)) == "tools"


def test_forced_choice_takes_reasoning_out() -> None:
    """Claude refuses both; the choice shapes the answer, so reasoning goes, and is told."""
    sent = encoded(
        [HI],
        tools=(TOOL,),
        tool_choice=gw.ToolChoice("required"),
        params={"reasoning_effort": "low"},
    )

    assert b"thinking" not in sent.body and sent.dropped == ("reasoning_effort",)


def test_one_call_at_a_time() -> None:
    serial = {"parallel_tool_calls": False}

    found = body([HI], tools=(TOOL,), params=serial)

    assert found["additionalModelRequestFields"] == {
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}
    }
    assert "toolChoice" not in found["toolConfig"]
    assert refusal([HI], NOVA, tools=(TOOL,), params=serial) == "parallel_tool_calls"
    assert "toolConfig" not in body([HI], NOVA, params=serial)


def test_schema_of_a_family_that_takes_little() -> None:
    """Nova refuses other keywords on the first level; what is left out is told."""
    given = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}

    sent = encoded([HI], NOVA, tools=(gw.Tool("x", None, given),))

    (row,) = json.loads(sent.body)["toolConfig"]["tools"]
    assert set(row["toolSpec"]["inputSchema"]["json"]) == {"type", "properties", "required"}
    assert sent.dropped == ("tools.parameters.additionalProperties",)
    assert encoded([HI], tools=(gw.Tool("x", None, given),)).dropped == ()


def test_strict_tools() -> None:
    strict = msgspec.structs.replace(TOOL, strict=True)

    assert body([HI], tools=(strict,))["toolConfig"]["tools"][0]["toolSpec"]["strict"] is True
    assert "tools.strict" in encoded([HI], NOVA, tools=(strict,)).dropped


# --- parameters ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "wanted", "dropped"),
    [
        (SONNET, {"temperature": 0.5}, ("top_p",)),
        (OPUS, None, ("temperature", "top_p")),
        (NOVA, {"temperature": 0.5, "topP": 0.9}, ()),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_sampling(model: str, wanted: object, dropped: tuple[str, ...], turned: bool) -> None:
    """What a family takes does not depend on the order of the parameters."""
    params = {"temperature": 0.5, "top_p": 0.9}
    if turned:
        params = dict(reversed(params.items()))

    sent = encoded([HI], model, params=params)

    assert json.loads(sent.body).get("inferenceConfig") == wanted
    assert tuple(sorted(sent.dropped)) == dropped


def test_zero_null_and_omitted() -> None:
    """Three different things."""
    assert body([HI], params={"temperature": 0})["inferenceConfig"] == {"temperature": 0}
    assert "inferenceConfig" not in body([HI], params={"temperature": None, "stop": None})
    assert "inferenceConfig" not in body([HI])
    assert encoded([HI], params={"temperature": None, "seed": None}).dropped == ()


def test_bounds_and_stops() -> None:
    found = encoded([HI], NOVA, params={"temperature": 1.7, "stop": ["END", "\n"]})

    assert json.loads(found.body)["inferenceConfig"] == {"temperature": 1, "stopSequences": ["END"]}
    assert found.dropped == ("stop",)


@pytest.mark.parametrize(
    ("model", "effort", "fields", "output"),
    [
        (SONNET, "low", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, None),
        (SONNET, "none", None, None),
        (
            OPUS,
            "xhigh",
            {"thinking": {"type": "adaptive", "display": "summarized"}},
            {"effort": "xhigh"},
        ),
        (OPUS, "none", {"thinking": {"type": "disabled"}}, None),
        (OPUS_55, "none", None, {"effort": "low"}),
        (
            OPUS_55,
            "minimal",
            {"thinking": {"type": "adaptive", "display": "summarized"}},
            {"effort": "low"},
        ),
        (
            NOVA_2,
            "low",
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}},
            None,
        ),
        (GPT, "xhigh", {"reasoning_effort": "high"}, None),
    ],
)
def test_reasoning_effort(model: str, effort: str, fields: object, output: object) -> None:
    found = body([HI], model, params={"reasoning_effort": effort})

    assert found.get("additionalModelRequestFields") == fields
    assert found.get("outputConfig") == output


@pytest.mark.parametrize("model", [NOVA, DEEPSEEK, LLAMA])
def test_effort_where_nobody_reasons(model: str) -> None:
    sent = encoded([HI], model, params={"reasoning_effort": "low"})

    assert sent.dropped == ("reasoning_effort",) and b"additional" not in sent.body


def test_unknown_effort() -> None:
    assert refusal([HI], params={"reasoning_effort": "heroic"}) == "reasoning_effort"


def test_most_effort_of_nova_takes_no_limits() -> None:
    params = {"max_tokens": 9, "temperature": 0.1, "reasoning_effort": "high"}

    sent = encoded([HI], NOVA_2, params=params)

    assert set(sent.dropped) == {"max_tokens", "temperature"}
    assert b"inferenceConfig" not in sent.body


def test_thinking_of_the_other_dialect() -> None:
    """Anthropic's own form is exact where the family takes it, and translated where not."""
    asked = {"type": "enabled", "budget_tokens": 2000}

    assert body([HI], params={"thinking": asked})["additionalModelRequestFields"] == {
        "thinking": asked
    }
    adaptive = body([HI], OPUS, params={"thinking": asked})
    assert adaptive["additionalModelRequestFields"]["thinking"]["type"] == "adaptive"
    assert encoded([HI], LLAMA, params={"thinking": asked}).dropped == ("reasoning_effort",)


def test_top_k_by_family() -> None:
    assert body([HI], params={"top_k": 5})["additionalModelRequestFields"] == {"top_k": 5}
    nova = body([HI], NOVA, params={"top_k": 5})
    assert nova["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 5}}
    assert encoded([HI], OPUS, params={"top_k": 5}).dropped == ("top_k",)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 2), ("logprobs", True), ("top_logprobs", 3), ("modalities", ["text", "audio"]),
     ("audio", {"voice": "x"}), ("web_search_options", {})],
)  # fmt: skip
def test_refused_by_name(name: str, value: object) -> None:
    assert refusal([HI], params={name: value}) == name


def test_harmless_values_pass() -> None:
    params = {"n": 1, "logprobs": False, "top_logprobs": 0, "modalities": ["text"], "audio": None}

    assert encoded([HI], params=params).dropped == ()


@pytest.mark.parametrize(
    "name",
    ["seed", "presence_penalty", "frequency_penalty", "logit_bias", "user", "store", "verbosity",
     "metadata", "prompt_cache_key", "anything"],
)  # fmt: skip
def test_dropped_and_told(name: str) -> None:
    sent = encoded([HI], params={name: {"a": "b"}}, extra={"future_option": 1})

    assert set(sent.dropped) == {name, "future_option"}


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FORM = {"type": "json_schema", "json_schema": {"name": "A", "schema": SCHEMA, "strict": True}}


def test_schema_is_a_string() -> None:
    found = body([HI], params={"response_format": FORM})

    inner = found["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert inner["name"] == "A" and json.loads(inner["schema"]) == SCHEMA


def test_schema_by_a_tool() -> None:
    """A family without structured output answers through a tool, unless others are offered."""
    found = body([HI], NOVA, params={"response_format": FORM})

    assert found["toolConfig"]["toolChoice"] == {"tool": {"name": "json_answer"}}
    assert refusal([HI], NOVA, tools=(TOOL,), params={"response_format": FORM}) == "response_format"
    assert refusal([HI], LLAMA, params={"response_format": FORM}) == "response_format"
    only = body([HI], GPT, params={"response_format": FORM})
    assert only["toolConfig"]["toolChoice"] == {"any": {}}
    empty = {"response_format": {"type": "json_schema", "json_schema": {"name": "A"}}}
    assert refusal([HI], params=empty) == "response_format"


def test_json_without_a_schema() -> None:
    asked = {"response_format": {"type": "json_object"}}

    assert body([HI], params=asked)["toolConfig"]["toolChoice"] == {"tool": {"name": "json_answer"}}
    assert encoded([HI], OPUS_55, params=asked).dropped == ("response_format",)
    assert refusal([HI], params={"response_format": {"type": "yaml"}}) == "response_format"
    assert "toolConfig" not in body([HI], params={"response_format": {"type": "text"}})


def test_service_tier() -> None:
    assert body([HI], params={"service_tier": "flex"})["serviceTier"] == {"type": "flex"}
    assert encoded([HI], params={"service_tier": "auto"}).dropped == ()
    assert encoded([HI], params={"service_tier": "scale"}).dropped == ("service_tier",)


def test_guardrail_of_the_operator() -> None:
    """It stands in every request, and no client can put another in its place."""
    made = provider(guardrail=Guardrail(identifier="gr1", version="2", stream_processing="async"))
    wanted = {"guardrailIdentifier": "gr1", "guardrailVersion": "2"}

    plain, stream = body([HI], provider=made), body([HI], provider=made, stream=True)

    assert plain["guardrailConfig"] == wanted
    assert stream["guardrailConfig"] == {**wanted, "streamProcessingMode": "async"}
    other = {"bedrock": {"guardrailConfig": wanted}}
    assert refusal([HI], provider=made, extra=other) == "bedrock.guardrailConfig"
    assert body([HI], extra=other)["guardrailConfig"] == wanted


def test_extension() -> None:
    """What no client dialect has is taken from `bedrock`; what is not known there is refused."""
    extra = {
        "bedrock": {
            "performanceConfig": {"latency": "optimized"},
            "additionalModelRequestFields": {"anthropic_beta": ["x"]},
        }
    }

    found = body([HI], params={"top_k": 1}, extra=extra)

    assert found["performanceConfig"] == {"latency": "optimized"}
    assert found["additionalModelRequestFields"] == {"top_k": 1, "anthropic_beta": ["x"]}
    assert refusal([HI], extra={"bedrock": {"messages": []}}) == "bedrock.messages"
    assert refusal([HI], extra={"bedrock": 7}) == "bedrock"


def test_settings_of_every_request() -> None:
    made = provider(default_max_tokens=50, send_metadata=True)

    found = body([HI], provider=made, params={"metadata": {"team": "a"}})

    assert found["inferenceConfig"] == {"maxTokens": 50}
    assert found["requestMetadata"] == {"team": "a"}
    own = body([HI], provider=made, params={"max_tokens": 7})
    assert own["inferenceConfig"] == {"maxTokens": 7}


# --- addresses -----------------------------------------------------------------------------


def test_path_of_any_model() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    host = "https://bedrock-runtime.us-east-1.amazonaws.com"

    assert encoded([HI], SONNET).url == (
        f"{host}/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    )
    assert encoded([HI], arn, stream=True).url == (
        f"{host}/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3A"
        "application-inference-profile%2Fabc123/converse-stream"
    )


def test_family_behind_an_arn() -> None:
    """An ARN that does not show its model is looked up in the settings."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    known = provider(base_models={arn: OPUS})
    shown = f"arn:aws:bedrock:us-east-1:1:inference-profile/{OPUS}"

    for model, made in ((arn, known), (shown, provider())):
        sent = encoded([HI], model, provider=made, params={"temperature": 0.1})
        assert sent.dropped == ("temperature",)
    assert encoded([HI], arn, params={"temperature": 0.1}).dropped == ()


def test_arn_of_another_region() -> None:
    """A client cannot send a request to a region that is not configured."""
    arn = "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-pro-v1:0"

    with pytest.raises(gw.ModelNotFoundError, match="eu-west-1"):
        encoded([HI], arn)


@pytest.mark.parametrize("model", ["", "x" * 2049])
def test_names_that_are_none(model: str) -> None:
    with pytest.raises(gw.ModelNotFoundError):
        encoded([HI], model)


def test_count_of_tokens() -> None:
    """The prompt's parts, in the form of CountTokens."""
    request = gw.ChatRequest(SONNET, (HI,), (TOOL,), params={"max_tokens": 5, "top_k": 3})

    sent = provider().encode_count(request)

    assert sent.url.endswith("/count-tokens")
    found = json.loads(sent.body)
    assert list(RULES.faults("CountTokens", found)) == []
    assert set(found["input"]["converse"]) == {
        "messages",
        "toolConfig",
        "additionalModelRequestFields",
    }


def test_probe_costs_no_tokens() -> None:
    sent = provider().probe()

    assert (sent.method, sent.body) == ("GET", b"")
    assert sent.url == (
        "https://bedrock.us-east-1.amazonaws.com/foundation-models?byOutputModality=TEXT"
    )


# --- prefix stability ----------------------------------------------------------------------

_TEXTS = st.sampled_from(["Hi", "", " ", "more", "é\n"])
_PARTS = st.one_of(
    _TEXTS.map(gw.TextPart),
    st.builds(gw.TextPart, _TEXTS, st.just({"cache_control": {"type": "ephemeral"}})),
    st.just(gw.ImagePart(None, "image/png", "AAAA")),
    st.just(gw.FilePart("a.pdf", "application/pdf", "AAAA")),
)
_TURNS = st.one_of(
    st.lists(_PARTS, min_size=1, max_size=3).map(lambda parts: [user(*parts)]),
    _TEXTS.map(lambda text: [gw.Message("system", (gw.TextPart(text),))]),
    _TEXTS.map(lambda text: [user("?"), assistant(text or "yes", gw.ReasoningPart("r"))]),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True).map(
        lambda ids: [
            user("go"),
            assistant(*(call(each) for each in ids)),
            *(result(each, "x") for each in reversed(ids)),
        ]
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    turns=st.lists(_TURNS, min_size=1, max_size=6),
    model=st.sampled_from([SONNET, OPUS_55, NOVA, LLAMA]),
)
def test_a_longer_conversation_extends_a_shorter_one(
    turns: list[list[gw.Message]], model: str
) -> None:
    """Turn by turn the bytes only grow: what the vendor cached stays a prefix."""
    shorter: list[gw.Message] = [user("Start")]
    seen = _content(shorter, model)
    for turn in turns:
        shorter = [*shorter, *turn]
        now = _content(shorter, model)
        assert now[: len(seen)] == seen
        seen = now


def _content(messages: Sequence[gw.Message], model: str) -> list[str]:
    """Each block with its role, in order. A conversation that ends with the assistant, which
    some models refuse, is asked with a further turn that is taken off again."""
    try:
        found = body(messages, model, tools=(TOOL,))
    except gw.UnsupportedParameterError:
        return _content([*messages, user("End")], model)[:-1]
    return [
        f"{turn['role']} {json.dumps(block)}"
        for turn in found["messages"]
        for block in turn["content"]
    ]


def test_unknown_members_inside_are_never_lost_in_silence() -> None:
    invariants.check_unknown_inside(provider(), gw.ChatRequest(SONNET, (), dialect="openai.chat"))
