"""What becomes of a canonical request."""

import json
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_provider_gemini.plugin import GeminiProvider, Settings
from llm_gateway_provider_gemini.signatures import SENTINEL, inside, packed, plain, shown
from llm_gateway_testkit import gemini_dialect
from llm_gateway_testkit.steps import Received

M25, M3 = "gemini-2.5-flash", "gemini-3.5-flash"
USER = gw.Message("user", (gw.TextPart("Tide?"),))
PNG = gw.ImagePart(media_type="image/png", data="iVBORw==")


def provider(**more: Any) -> GeminiProvider:
    return GeminiProvider("g", Settings.model_validate({"api_key": "AIza-1", **more}), None)


def chat(*messages: gw.Message, model: str = M3, **more: Any) -> gw.ChatRequest:
    return gw.ChatRequest(model, messages or (USER,), dialect="openai.chat", **more)


def sent(request: gw.ChatRequest, **settings: Any) -> dict[str, Any]:
    """The body; the strict vendor must take it."""
    upstream = provider(**settings).encode(request)
    path = upstream.url.partition(".com")[2]
    refusal = gemini_dialect.strict("AIza-1")(
        Received(upstream.method, path, upstream.headers, upstream.body)
    )
    assert refusal is None, refusal.body
    return json.loads(upstream.body)  # type: ignore[no-any-return]  # an object, as just checked


def refused(request: gw.ChatRequest) -> gw.ClientError:
    with pytest.raises(gw.ClientError) as found:
        provider().encode(request)
    return found.value


def calling(*calls: gw.ToolCallPart) -> gw.Message:
    return gw.Message("assistant", calls)


def result(call_id: str, text: str = "4 m", **more: Any) -> gw.Message:
    return gw.Message("tool", (gw.ToolResultPart(call_id, (gw.TextPart(text),), **more),))


# --- messages ---------------------------------------------------------------------------


def test_system_and_developer_before_the_first_turn_become_the_instruction() -> None:
    first = gw.Message("system", (gw.TextPart("a"),))
    second = gw.Message("developer", (gw.TextPart("b"),))

    body = sent(chat(first, second, USER))

    assert body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert len(body["contents"]) == 1


def test_system_message_between_call_and_result_comes_after_the_result() -> None:
    late = gw.Message("system", (gw.TextPart("b"),))

    body = sent(chat(USER, calling(gw.ToolCallPart("c", "f", "{}")), late, result("c")))

    parts = body["contents"][2]["parts"]
    assert [next(iter(each)) for each in parts] == ["functionResponse", "text"]


@pytest.mark.parametrize("messages", [(gw.Message("system", (gw.TextPart("a"),)),), ()])
def test_no_turn_at_all_is_refused(messages: tuple[gw.Message, ...]) -> None:
    with pytest.raises(gw.ClientError):
        provider().encode(gw.ChatRequest(M3, messages))


def test_history_that_starts_with_the_model_is_refused() -> None:
    assert refused(chat(gw.Message("assistant", (gw.TextPart("x"),)), USER)).param == "messages"


def test_result_for_an_unknown_call_is_refused_by_its_id() -> None:
    error = refused(chat(USER, calling(gw.ToolCallPart("c", "f", "{}")), result("other")))

    assert "other" in error.message


def test_call_without_a_result_is_refused_by_its_id() -> None:
    calls = calling(gw.ToolCallPart("c1", "f", "{}"), gw.ToolCallPart("c2", "f", "{}"))

    assert "c2" in refused(chat(USER, calls, result("c1"), USER)).message


def test_result_takes_the_name_of_its_call_and_older_models_get_no_id() -> None:
    messages = (USER, calling(gw.ToolCallPart("c", "tide_at", "{}")), result("c"))

    old, new = sent(chat(*messages, model=M25)), sent(chat(*messages))

    row = old["contents"][2]["parts"][0]["functionResponse"]
    assert row == {"name": "tide_at", "response": {"output": "4 m"}}
    assert new["contents"][2]["parts"][0]["functionResponse"]["id"] == "c"


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ("", {"output": ""}),
        ("4 m", {"output": "4 m"}),
        ('"4"', {"output": '"4"'}),
        ("4.20", {"output": 4.2}),
        ("[1]", {"output": [1]}),
        ("null", {"output": "null"}),
        ('{"a":{"$ref":"x"}}', {"output": '{"a":{"$ref":"x"}}'}),
        ("[" * 3000, {"output": "[" * 3000}),
    ],
)
def test_a_result_is_an_object_whatever_it_holds(text: str, response: dict[str, Any]) -> None:
    body = sent(chat(USER, calling(gw.ToolCallPart("c", "f", "{}")), result("c", text)))

    assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == response


def test_failed_tool_says_so() -> None:
    failed = result("c", "no such port", is_error=True)

    body = sent(chat(USER, calling(gw.ToolCallPart("c", "f", "{}")), failed))

    row = body["contents"][2]["parts"][0]["functionResponse"]
    assert row["response"] == {"error": "no such port"}


@pytest.mark.parametrize(
    ("arguments", "args"),
    [
        ("", {}),
        ("{}", {}),
        ('{"a": 1}', {"a": 1}),
        ("{bad", {"input": "{bad"}),
        ("7", {"input": "7"}),
    ],
)
def test_arguments_are_an_object_whatever_the_model_wrote(arguments: str, args: Any) -> None:
    body = sent(chat(USER, calling(gw.ToolCallPart("c", "f", arguments)), result("c")))

    assert body["contents"][1]["parts"][0]["functionCall"]["args"] == args


def test_arguments_go_back_byte_for_byte() -> None:
    arguments = '{"n": 1.50, "big": 123456789012345678901234567890}'

    body = provider().encode(chat(USER, calling(gw.ToolCallPart("c", "f", arguments)), result("c")))

    assert arguments.encode() in body.body


def test_picture_in_a_result_goes_inside_or_after_it() -> None:
    answer = gw.Message("tool", (gw.ToolResultPart("c", (gw.TextPart("x"), PNG)),))
    messages = (USER, calling(gw.ToolCallPart("c", "f", "{}")), answer)

    new, old = sent(chat(*messages)), sent(chat(*messages, model=M25))

    blob = {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}
    assert new["contents"][2]["parts"][0]["functionResponse"]["parts"] == [blob]
    assert old["contents"][2]["parts"][1] == blob


# --- signatures -------------------------------------------------------------------------


def signed(signature: str | None = None, call_id: str = "c") -> gw.ToolCallPart:
    google = {"google": {"thought_signature": signature}}
    return gw.ToolCallPart(call_id, "f", "{}", extra={"extra_content": google} if signature else {})


def test_signature_beside_the_call_goes_back() -> None:
    body = sent(chat(USER, calling(signed("c2ln")), result("c")))

    assert body["contents"][1]["parts"][0]["thoughtSignature"] == "c2ln"


def test_signature_inside_the_id_goes_back_and_the_id_is_plain_again() -> None:
    call_id = packed("c", "+/+/c2ln", f"g/{M3}")

    body = sent(chat(USER, calling(signed(None, call_id)), result(call_id)))

    part = body["contents"][1]["parts"][0]
    assert (part["thoughtSignature"], part["functionCall"]["id"]) == ("+/+/c2ln", "c")
    assert plain("call_x") == "call_x" and inside("call_x", f"g/{M3}") is None


@pytest.mark.parametrize("maker", ["g/gemini-3-pro", "vertex/gemini-3.5-flash"])
def test_signature_of_another_model_or_platform_stays_here(maker: str) -> None:
    """Beside a call, in its id and on a text alike; the stand-in takes its place, which is told."""
    beside = gw.ToolCallPart("a", "f", "{}", extra=shown("c2ln", maker))
    within = gw.ToolCallPart(packed("b", "c2ln", maker), "f", "{}")
    texts = gw.Message("assistant", (gw.TextPart("Low."),), extra=shown("c2ln", maker))
    turns = (USER, calling(beside), result("a"), calling(within), result(within.id), texts, USER)

    found = [
        part.get("thoughtSignature")
        for content in sent(chat(*turns))["contents"]
        if content["role"] == "model"
        for part in content["parts"]
    ]

    assert found == [SENTINEL, SENTINEL, None]
    assert "reasoning" in provider().encode(chat(*turns)).dropped


def test_signatures_that_the_vendor_refuses_are_replaced_for_a_second_try() -> None:
    """Of whomever they are: nobody says who made one that a client brought along."""
    call = signed("c2ln")
    request = provider().encode(chat(USER, calling(call), result("c"), USER))
    told = gemini_dialect.error_answer(400, "Corrupted thought signature.")
    refusal = gw.RefusedCall(request, {}, told.status, told.headers, told.body)

    again = provider().again(refusal)

    assert again is not None and again.dropped == ("reasoning",)
    part = json.loads(again.body)["contents"][1]["parts"][0]
    assert part["thoughtSignature"] == SENTINEL
    assert provider().again(gw.RefusedCall(again, {}, 400, {}, told.body)) is None
    assert provider().again(gw.RefusedCall(request, {}, 400, {}, b"{}")) is None


@pytest.mark.parametrize("text", ["c2ln", "YQ==", "YWI=", "+/8="])
def test_packed_ids_fit_every_dialect_and_unpack(text: str) -> None:
    call_id = packed("call_1", text, "g/m")

    assert call_id.replace("_", "").replace("-", "").isalnum()
    assert (plain(call_id), inside(call_id, "g/m")) == ("call_1", text)


def test_stand_in_signs_the_first_call_of_each_step_only() -> None:
    first = calling(gw.ToolCallPart("a", "f", "{}"), gw.ToolCallPart("b", "f", "{}"))
    second = calling(gw.ToolCallPart("c", "f", "{}"))

    body = sent(chat(USER, first, result("a"), result("b"), second, result("c")))

    found = [
        part.get("thoughtSignature")
        for content in body["contents"]
        for part in content["parts"]
        if "functionCall" in part
    ]
    assert found == [SENTINEL, None, SENTINEL]


def test_older_models_get_no_stand_in() -> None:
    body = sent(chat(USER, calling(gw.ToolCallPart("a", "f", "{}")), result("a"), model=M25))

    assert "thoughtSignature" not in body["contents"][1]["parts"][0]


def test_signature_of_a_text_goes_back_on_it() -> None:
    extra = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    turn = gw.Message("assistant", (gw.TextPart("Low."),), extra=extra)

    body = sent(chat(USER, turn, USER))

    assert body["contents"][1]["parts"] == [{"text": "Low.", "thoughtSignature": "c2ln"}]


def test_summaries_of_thoughts_are_not_sent_back() -> None:
    turn = gw.Message("assistant", (gw.ReasoningPart("Hm"), gw.TextPart("Low.")))

    assert sent(chat(USER, turn, USER))["contents"][1]["parts"] == [{"text": "Low."}]


# --- media ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        gw.ImagePart(media_type="image/gif", data="R0lG"),
        gw.ImagePart(media_type="image/png", data="no base64!"),
        gw.ImagePart(url="https://example.org/a.png"),
        gw.AudioPart(id="audio_1"),
        gw.FilePart(file_id="file-1"),
        gw.FilePart(filename="a.unknown", data="AAAA"),
        gw.UnknownPart("openai.chat", {"type": "hologram"}),
    ],
)
def test_a_part_that_the_vendor_cannot_take_is_refused(part: gw.Part) -> None:
    assert refused(chat(gw.Message("user", (part,)))).param == "messages"


def test_media_beyond_the_limit_is_refused_as_too_large() -> None:
    request = chat(gw.Message("user", (gw.ImagePart(media_type="image/png", data="A" * 400),)))

    with pytest.raises(gw.BodyTooLargeError):
        provider(max_inline_bytes=200).encode(request)


@pytest.mark.parametrize(
    ("url", "mode", "inlined"),
    [
        ("https://example.org/a.png", "inline", True),
        ("https://example.org/a.png", "passthrough", False),
        ("https://example.org/a", "passthrough", True),
        ("gs://bucket/a.png", "inline", False),
        ("https://youtu.be/x", "inline", False),
        ("https://generativelanguage.googleapis.com/v1beta/files/x", "inline", False),
        ("https://youtu.be.example.org/x", "inline", True),
    ],
)
def test_addresses_the_vendor_reads_are_not_fetched(url: str, mode: str, inlined: bool) -> None:
    assert provider(remote_media=mode).inlines("image", url) is inlined


def test_address_is_passed_through_with_its_type() -> None:
    part = gw.ImagePart(url="https://example.org/a.jpg?x=1")

    body = sent(chat(gw.Message("user", (part,))), remote_media="passthrough")

    assert body["contents"][0]["parts"] == [
        {"fileData": {"fileUri": "https://example.org/a.jpg?x=1", "mimeType": "image/jpeg"}}
    ]


# --- tools ------------------------------------------------------------------------------

TOOL = gw.Tool("f", parameters={"type": "object", "properties": {"a": {"type": "string"}}})
OTHER = gw.Tool("g")


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (gw.ToolChoice("auto"), None),
        (gw.ToolChoice("none"), {"mode": "NONE"}),
        (gw.ToolChoice("required"), {"mode": "ANY"}),
        (gw.ToolChoice("named", ("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (gw.ToolChoice("allowed", ("f",)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
        (gw.ToolChoice("allowed_required", ("g",)), {"mode": "ANY", "allowedFunctionNames": ["g"]}),
    ],
)
def test_tool_choice(choice: gw.ToolChoice, config: dict[str, Any] | None) -> None:
    body = sent(chat(tools=(TOOL, OTHER), tool_choice=choice))

    assert (body.get("toolConfig") or {}).get("functionCallingConfig") == config


def test_tool_choice_of_a_tool_that_is_not_there_is_refused() -> None:
    request = chat(tools=(TOOL,), tool_choice=gw.ToolChoice("named", ("x",)))

    assert refused(request).param == "tool_choice"


@pytest.mark.parametrize("tools", [None, ()])
def test_forced_choice_without_tools_is_refused_and_auto_is_not(tools: Any) -> None:
    assert "tools" not in sent(chat(tools=tools, tool_choice=gw.ToolChoice("auto")))
    assert refused(chat(tools=tools, tool_choice=gw.ToolChoice("required"))).param == "tool_choice"


def test_tool_without_parameters_has_no_schema() -> None:
    empty = gw.Tool("h", description="", parameters={"type": "object", "properties": {}})

    body = sent(chat(tools=(OTHER, empty)))

    assert body["tools"] == [{"functionDeclarations": [{"name": "g"}, {"name": "h"}]}]


def test_a_tool_that_is_no_function_is_refused_by_its_name() -> None:
    error = refused(chat(tools=(TOOL, gw.Tool("x", kind="custom"))))

    assert error.param == "tools" and "'x'" in error.message


def test_name_the_vendor_refuses_is_changed_and_changed_back() -> None:
    upstream = provider().encode(chat(tools=(gw.Tool("7-of-9"),)))
    name = json.loads(upstream.body)["tools"][0]["functionDeclarations"][0]["name"]
    decoder = upstream.decoder()
    decoder.feed(gemini_dialect.chat_answer([gemini_dialect.call(name)]).body)

    [call] = [each for each in decoder.finish() if isinstance(each, gw.ToolCallDelta)]

    assert name != "7-of-9" and call.name == "7-of-9"


# --- parameters -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-flash-lite", "minimal", {"thinkingBudget": 512, "includeThoughts": True}),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 1, "includeThoughts": True}),
        ("gemini-2.5-pro", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-2.5-pro", "xhigh", {"thinkingBudget": 32768, "includeThoughts": True}),
        ("gemini-3.5-flash", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.8-flash", "none", {"thinkingLevel": "LOW"}),
        ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-4-argon", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        ("gemini-4-argon", "max", {"thinkingLevel": "HIGH", "includeThoughts": True}),
    ],
)
def test_reasoning_effort(model: str, effort: str, config: dict[str, Any]) -> None:
    body = sent(chat(model=model, params={"reasoning_effort": effort}))

    assert body["generationConfig"]["thinkingConfig"] == config


@pytest.mark.parametrize("first", ["thinking", "reasoning_effort"])
@pytest.mark.parametrize(
    ("model", "thinking", "effort", "config"),
    [
        (M25, {"type": "enabled", "budget_tokens": 2000}, "low", {"thinkingBudget": 2000}),
        (M25, {"type": "enabled", "budget_tokens": 99999}, None, {"thinkingBudget": 24576}),
        (M3, {"type": "enabled", "budget_tokens": 2000}, "high", {"thinkingLevel": "HIGH"}),
        (M3, {"type": "enabled", "budget_tokens": 2000}, None, {"thinkingLevel": "MEDIUM"}),
        (M3, {"type": "adaptive"}, None, {}),
        (M3, {"type": "disabled"}, None, {"thinkingLevel": "MINIMAL"}),
    ],
)
def test_thinking_in_tokens_wins_where_the_model_counts_them(
    first: str, model: str, thinking: Any, effort: str | None, config: dict[str, Any]
) -> None:
    given = {"thinking": thinking, "reasoning_effort": effort}
    params = {first: given[first], **given}

    found = sent(chat(model=model, params=params))["generationConfig"]["thinkingConfig"]

    shown = {} if thinking["type"] == "disabled" else {"includeThoughts": True}
    assert found == {**config, **shown}


def test_unknown_effort_is_refused() -> None:
    assert refused(chat(params={"reasoning_effort": "huge"})).param == "reasoning_effort"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"stop": list("abcdef")}, "stop"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(params: Any, param: str) -> None:
    assert refused(chat(params=params)).param == param


@pytest.mark.parametrize(
    ("model", "params", "dropped"),
    [
        ("gemini-3.8-flash", {"temperature": 0, "top_p": 1}, ("temperature", "top_p")),
        (
            M3,
            {"presence_penalty": 1, "frequency_penalty": 0},
            ("frequency_penalty", "presence_penalty"),
        ),
        (M3, {"user": "u", "parallel_tool_calls": False}, ("parallel_tool_calls", "user")),
        (M3, {"metadata": {"a": "b"}, "service_tier": "scale"}, ("metadata", "service_tier")),
        (M3, {"user": None, "temperature": None, "parallel_tool_calls": True}, ()),
    ],
)
def test_a_knob_that_the_model_lacks_is_dropped_and_named(
    model: str, params: Any, dropped: tuple[str, ...]
) -> None:
    upstream = provider().encode(chat(model=model, params=params))

    assert upstream.dropped == dropped
    assert "generationConfig" not in json.loads(upstream.body)


def test_dropped_names_cannot_break_a_header() -> None:
    upstream = provider().encode(chat(extra={"x\r\nset-cookie": 1, "mirostat": 2}))

    assert upstream.dropped == ("mirostat", "other")


def test_zero_is_sent_and_null_is_not() -> None:
    body = sent(chat(params={"temperature": 0, "top_p": None, "seed": 0}))

    assert body["generationConfig"] == {"temperature": 0, "seed": 0}


@pytest.mark.parametrize(
    ("seed", "wanted"), [(7, 7), (2**31, 0), (2**40 + 5, 5), (-(2**31), -(2**31))]
)
def test_seed_is_folded_into_32_bits(seed: int, wanted: int) -> None:
    assert sent(chat(params={"seed": seed}))["generationConfig"]["seed"] == wanted


def test_logprobs_where_the_model_has_them() -> None:
    body = sent(chat(model=M25, params={"logprobs": True, "top_logprobs": 3}))

    assert body["generationConfig"] == {"responseLogprobs": True, "logprobs": 3}


def test_operator_can_say_that_a_model_has_more() -> None:
    models = [{"id": "gemini-9", "capabilities": ["logprobs", "penalties"]}]

    upstream = provider(models=models).encode(
        chat(model="gemini-9", params={"logprobs": True, "presence_penalty": 1})
    )

    assert upstream.dropped == ()
    assert json.loads(upstream.body)["generationConfig"]["presencePenalty"] == 1


def test_json_beside_tools_is_refused_for_older_models() -> None:
    params = {"response_format": {"type": "json_object"}}

    assert refused(chat(model=M25, tools=(TOOL,), params=params)).param == "response_format"
    assert sent(chat(tools=(TOOL,), params=params))["generationConfig"] == {
        "responseMimeType": "application/json"
    }


def test_extensions_of_the_vendor_in_either_spelling() -> None:
    google = {
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "thinkingConfig": {"thinking_budget": 5},
        "tools": [{"google_search": {}}],
    }

    body = sent(chat(model=M25, extra={"extra_body": {"google": google}}))

    assert body["safetySettings"][0]["threshold"] == "BLOCK_NONE"
    assert body["generationConfig"] == {"thinkingConfig": {"thinkingBudget": 5}}
    assert body["tools"] == [{"googleSearch": {}}]


@pytest.mark.parametrize("key", ["contents", "system_instruction", "x"])
def test_an_extension_cannot_replace_what_the_request_says(key: str) -> None:
    assert refused(chat(extra={"google": {key: []}})).param == f"google.{key}"


@pytest.mark.parametrize("model", ["../../x", "a/b", "x?alt=y", "", "x:countTokens"])
def test_a_model_name_cannot_change_the_destination(model: str) -> None:
    with pytest.raises(gw.ModelNotFoundError):
        provider().encode(chat(model=model))


def test_tokens_are_counted_with_system_and_tools() -> None:
    upstream = provider().encode_count(chat(tools=(TOOL,)))
    path = upstream.url.partition(".com")[2]
    received = Received("POST", path, upstream.headers, upstream.body)
    decoder = upstream.decoder()

    assert gemini_dialect.strict()(received) is None
    assert decoder.feed(gemini_dialect.count_answer(7).body) == []
    assert decoder.finish() == [gw.UsageReport(gw.Usage(input=7)), gw.Finished("stop")]


def test_probe_asks_for_the_list() -> None:
    probe = provider().probe()

    assert (probe.method, probe.url) == (
        "GET",
        "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1",
    )


# --- embeddings -------------------------------------------------------------------------


def embed(*inputs: Any, model: str = "gemini-embedding-2", **params: Any) -> gw.EmbeddingsRequest:
    return gw.EmbeddingsRequest(model, inputs, params)


def test_each_input_is_a_request_of_its_own() -> None:
    body = json.loads(provider().encode_embeddings(embed("a", "b", "c")).body)

    assert [each["content"]["parts"] for each in body["requests"]] == [
        [{"text": "a"}],
        [{"text": "b"}],
        [{"text": "c"}],
    ]


def test_token_ids_are_refused_by_their_place() -> None:
    with pytest.raises(gw.UnsupportedParameterError) as found:
        provider().encode_embeddings(embed("a", (1, 2)))

    assert found.value.param == "input[1]"


def test_usage_that_the_vendor_does_not_give_is_estimated_and_marked() -> None:
    decoder = provider().encode_embeddings(embed("abcd")).decoder()
    decoder.feed(b'{"embeddings": [{"values": [1.0]}]}')

    [report] = [each for each in decoder.finish() if isinstance(each, gw.UsageReport)]

    assert report.usage.estimated and report.usage.input > 0


def test_another_number_of_vectors_is_an_error() -> None:
    decoder = provider().encode_embeddings(embed("a", "b")).decoder()
    decoder.feed(b'{"embeddings": [{"values": [1.0]}]}')

    with pytest.raises(gw.UpstreamError):
        decoder.finish()
