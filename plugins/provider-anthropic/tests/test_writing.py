"""A canonical request as a body: every rule of the vendor, every parameter's outcome."""

import json
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_provider_anthropic.plugin import AnthropicProvider, Settings
from llm_gateway_testkit.anthropic_dialect import strict
from llm_gateway_testkit.steps import Received

OLD = "claude-sonnet-4-5"
NEW = "claude-sonnet-5-5"
TIDE = gw.Tool("tide_at", "When?", {"type": "object", "properties": {"port": {"type": "string"}}})


def user(*parts: gw.Part | str) -> gw.Message:
    return gw.Message(
        "user", tuple(gw.TextPart(p) if isinstance(p, str) else p for p in parts), text_only=True
    )


def provider(**settings: Any) -> AnthropicProvider:
    return AnthropicProvider("anthropic", Settings(api_key="sk-ant-1", **settings))


def request(
    *messages: gw.Message, model: str = OLD, stream: bool = False, **rest: Any
) -> gw.ChatRequest:
    given = {name: rest.pop(name) for name in ("tools", "tool_choice", "extra") if name in rest}
    dialect = rest.pop("dialect", "openai.chat")
    found = messages or (user("Hi"),)
    return gw.ChatRequest(model, found, params=rest, stream=stream, dialect=dialect, **given)


def sent(asked: gw.ChatRequest, **settings: Any) -> tuple[Any, tuple[str, ...]]:
    """The body, which a strict vendor takes, and what was dropped."""
    up = provider(**settings).encode(asked)
    problem = strict("sk-ant-1")(Received("POST", "/v1/messages", up.headers, up.body))
    assert problem is None, problem.body
    return json.loads(up.body), up.dropped


def body(asked: gw.ChatRequest, **settings: Any) -> Any:
    return sent(asked, **settings)[0]


def refused(asked: gw.ChatRequest, **settings: Any) -> gw.GatewayError:
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        provider(**settings).encode(asked)
    return caught.value


# --- messages --------------------------------------------------------------------------


def test_plain_text_with_a_system_message() -> None:
    system = gw.Message("system", (gw.TextPart("Be brief."),), text_only=True)

    assert body(request(system, user("Hi"), max_tokens=50)) == {
        "model": OLD,
        "system": [{"type": "text", "text": "Be brief."}],
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


def test_leading_system_and_developer_messages_keep_their_order() -> None:
    rows = [("system", "a"), ("developer", "b"), ("system", "c")]
    given = [gw.Message(role, (gw.TextPart(said),)) for role, said in rows]  # type: ignore[arg-type]  # roles

    assert [each["text"] for each in body(request(*given, user("Hi")))["system"]] == ["a", "b", "c"]


def test_later_system_message_stays_in_its_place() -> None:
    """As a turn of its own where the model has one, else as words of the user."""
    late = gw.Message("system", (gw.TextPart("Now in French."),))
    given = (user("Hi"), late, user("Go on"))

    new, old = (body(request(*given, model=model))["messages"] for model in (NEW, OLD))

    assert [each["role"] for each in new] == ["user", "system", "user"]
    assert [each["text"] for each in old[0]["content"]] == ["Hi", "Now in French.", "Go on"]


def test_picture_in_a_system_message_is_refused() -> None:
    system = gw.Message("system", (gw.ImagePart(url="https://x.test/a.png"),))

    assert refused(request(system, user("Hi"))).param == "messages"


def called(*ids: str) -> gw.Message:
    parts = tuple(gw.ToolCallPart(each, "tide_at", '{"port": "Brest"}') for each in ids)
    return gw.Message("assistant", parts)


def result(id: str, *parts: gw.Part, **rest: Any) -> gw.Message:
    return gw.Message("tool", (gw.ToolResultPart(id, parts, **rest),))


def test_results_and_the_words_after_them_are_one_user_turn() -> None:
    turns = (
        user("Hi"),
        called("a", "b"),
        result("a", gw.TextPart("1")),
        result("b", gw.TextPart("2")),
        user("Thanks"),
    )

    content = body(request(*turns, tools=(TIDE,)))["messages"][2]["content"]

    assert [each["type"] for each in content] == ["tool_result", "tool_result", "text"]
    assert [each.get("tool_use_id") for each in content[:2]] == ["a", "b"]


def test_results_in_reverse_order_and_behind_words_go_first() -> None:
    late = gw.Message("system", (gw.TextPart("Hurry."),))
    turns = (user("Hi"), called("a", "b"), result("b"), late, result("a"))

    old, new = (body(request(*turns, tools=(TIDE,), model=m))["messages"] for m in (OLD, NEW))

    assert [each.get("tool_use_id") for each in old[2]["content"]] == ["b", "a", None]
    assert [each.get("tool_use_id") for each in new[2]["content"]] == ["b", "a"]
    assert new[3]["role"] == "system"


def test_empty_result_has_no_content_and_an_error_says_so() -> None:
    turns = (user("Hi"), called("a"), result("a", gw.TextPart(""), is_error=True))

    content = body(request(*turns, tools=(TIDE,)))["messages"][2]["content"]

    assert content == [{"type": "tool_result", "tool_use_id": "a", "is_error": True}]


def test_result_may_hold_a_picture() -> None:
    picture = gw.ImagePart(media_type="image/png", data="aGk=")
    turns = (user("Hi"), called("a"), result("a", gw.TextPart("See"), picture))

    inner = body(request(*turns, tools=(TIDE,)))["messages"][2]["content"][0]["content"]

    assert [each["type"] for each in inner] == ["text", "image"]


@pytest.mark.parametrize(
    "turns",
    [
        (user("Hi"), result("x")),
        (user("Hi"), called("a"), user("and?")),
        (user("Hi"), called("a", "b"), result("a")),
        (user("Hi"), called("a"), result("a"), called("b")),
    ],
)
def test_unpaired_call_or_result_is_refused_here(turns: tuple[gw.Message, ...]) -> None:
    assert refused(request(*turns, tools=(TIDE,))).param == "messages"


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
def test_empty_arguments_are_an_empty_object(arguments: str) -> None:
    call = gw.Message("assistant", (gw.ToolCallPart("a", "tide_at", arguments),))

    turn = body(request(user("Hi"), call, result("a"), tools=(TIDE,)))["messages"][1]

    assert turn["content"][0]["input"] == {}


@pytest.mark.parametrize("arguments", ["[1]", "{bad", "7"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    call = gw.Message("assistant", (gw.ToolCallPart("call_9", "tide_at", arguments),))

    assert "call_9" in refused(request(user("Hi"), call, result("call_9"))).message


def test_foreign_ids_are_rewritten_alike_in_call_and_result() -> None:
    foreign = "functions.Bash:0"
    turns = (user("Hi"), called(foreign, "functions_Bash_0"), result("functions_Bash_0"))

    made = body(request(*turns, result(foreign), tools=(TIDE,)))["messages"]

    ids = [each["id"] for each in made[1]["content"]]
    assert ids == [made[2]["content"][1]["tool_use_id"], made[2]["content"][0]["tool_use_id"]]
    assert len(set(ids)) == 2 and all(each.replace("_", "").isalnum() for each in ids)


def test_turns_of_one_role_are_merged_and_empty_ones_left_out() -> None:
    empty = gw.Message("assistant", (gw.TextPart(" "),))

    turns = body(request(user("a"), empty, user("b", ""), user("c")))["messages"]

    assert [each["text"] for each in turns[0]["content"]] == ["a", "b", "c"]
    assert len(turns) == 1


def test_prefill_goes_where_the_model_takes_it() -> None:
    start = gw.Message("assistant", (gw.TextPart("The tide is  "),))

    turns = body(request(user("Hi"), start))["messages"]

    assert turns[1]["content"] == [{"type": "text", "text": "The tide is"}]
    error = refused(request(user("Hi"), start, model="claude-opus-4-6"))
    assert (error.code, error.param) == ("unsupported_value", "messages")


@pytest.mark.parametrize(
    ("model", "params", "how"),
    [
        (OLD, {}, "continues"),
        (OLD, {"reasoning_effort": "none"}, "continues"),
        (OLD, {"thinking": {"type": "disabled"}}, "continues"),
        (OLD, {"reasoning_effort": "high"}, None),
        (OLD, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, None),
        ("claude-sonnet-4-6", {}, None),
        (NEW, {}, None),
        ("a-name-of-ours", {}, None),
    ],
)
def test_who_goes_on_with_a_text(model: str, params: dict[str, Any], how: str | None) -> None:
    """Models that are known to, where they do not think."""
    assert provider().prefill(request(model=model, **params)) == how


def test_own_thoughts_come_back_byte_for_byte_and_foreign_ones_do_not() -> None:
    mine = "anthropic.messages"
    turn = gw.Message(
        "assistant",
        (
            gw.ReasoningPart("Hm é", {mine: {"signature": "c2ln"}}),
            gw.ReasoningPart("", {mine: {"redacted": "b3A="}}),
            gw.ReasoningPart("foreign", {"other": {"blob": "x"}}),
            gw.ReasoningPart("unsigned"),
            gw.ToolCallPart("a", "tide_at", "{}"),
        ),
    )

    made, dropped = sent(request(user("Hi"), turn, result("a"), tools=(TIDE,), model=NEW))

    assert made["messages"][1]["content"][:-1] == [
        {"type": "thinking", "thinking": "Hm é", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "b3A="},
    ]
    assert dropped == ("reasoning",)


# --- media -----------------------------------------------------------------------------


def content(part: gw.Part) -> Any:
    return body(request(user(part)))["messages"][0]["content"][0]


def test_pictures_by_address_and_by_value() -> None:
    url = content(gw.ImagePart(url="https://x.test/a.png"))
    data = content(gw.ImagePart(media_type="image/jpg", data="aG\nk="))

    assert url["source"] == {"type": "url", "url": "https://x.test/a.png"}
    assert data["source"] == {"type": "base64", "media_type": "image/jpeg", "data": "aGk="}


def test_documents_as_pdf_as_text_and_by_address() -> None:
    pdf = content(gw.FilePart("a.pdf", "application/pdf", "aGk="))
    plain = content(gw.FilePart(media_type="text/plain", data="aGk="))
    url = content(gw.FilePart(url="https://x.test/a.pdf"))

    assert (pdf["title"], pdf["source"]["type"]) == ("a.pdf", "base64")
    assert plain["source"] == {"type": "text", "media_type": "text/plain", "data": "hi"}
    assert url["source"] == {"type": "url", "url": "https://x.test/a.pdf"}


@pytest.mark.parametrize(
    "part",
    [
        gw.ImagePart(media_type="image/bmp", data="aGk="),
        gw.ImagePart(url="http://x.test/a.png"),
        gw.AudioPart("aGk=", "wav"),
        gw.FilePart("a.zip", "application/zip", "aGk="),
        gw.FilePart("a.txt", "text/plain", "/w=="),
        gw.UnknownPart("openai.chat", {"type": "hologram"}),
    ],
)
def test_what_the_model_cannot_see_is_refused(part: gw.Part) -> None:
    """A lost picture would change the answer."""
    assert refused(request(user(part))).param == "messages"


def test_cache_breakpoints_of_any_client_are_kept() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    system = gw.Message("system", (gw.TextPart("S", mark),))
    tool = gw.Tool("tide_at", parameters={"type": "object"}, extra=mark)

    made = body(request(system, user(gw.TextPart("Hi", mark | {"other": 1})), tools=(tool,)))

    assert made["system"][0] == {"type": "text", "text": "S", **mark}
    assert made["messages"][0]["content"][0] == {"type": "text", "text": "Hi", **mark}
    assert made["tools"][0]["cache_control"] == mark["cache_control"]


# --- tools -----------------------------------------------------------------------------


def chosen(choice: gw.ToolChoice | None, **rest: Any) -> Any:
    return body(request(tools=(TIDE,), tool_choice=choice, **rest)).get("tool_choice")


@pytest.mark.parametrize(
    ("choice", "parallel", "made"),
    [
        (None, None, None),
        (gw.ToolChoice("auto"), None, None),
        (gw.ToolChoice("auto"), False, {"type": "auto", "disable_parallel_tool_use": True}),
        (gw.ToolChoice("none"), None, {"type": "none"}),
        (gw.ToolChoice("none"), False, {"type": "none"}),
        (gw.ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (gw.ToolChoice("named", ("tide_at",)), None, {"type": "tool", "name": "tide_at"}),
        (gw.ToolChoice("allowed", ("tide_at",)), None, None),
        (gw.ToolChoice("allowed_required", ("tide_at",)), None, {"type": "any"}),
    ],
)
def test_tool_choice(choice: gw.ToolChoice | None, parallel: bool | None, made: object) -> None:
    rest = {} if parallel is None else {"parallel_tool_calls": parallel}

    assert chosen(choice, **rest) == made


def test_allowed_tools_are_all_that_is_sent() -> None:
    other = gw.Tool("other")

    made = body(request(tools=(TIDE, other), tool_choice=gw.ToolChoice("allowed", ("other",))))

    assert [each["name"] for each in made["tools"]] == ["other"]


def test_empty_tools_take_their_choice_along() -> None:
    made = body(request(tools=(), tool_choice=gw.ToolChoice("required")))

    assert not made.keys() & {"tools", "tool_choice"}


def test_tool_without_parameters_gets_an_empty_object() -> None:
    made = body(request(tools=(gw.Tool("now"),)))

    assert made["tools"] == [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]


def test_strict_tool_is_sanitised_where_the_model_takes_it() -> None:
    tool = gw.Tool("t", parameters={"type": "object", "properties": {}}, strict=True)

    made, _ = sent(request(tools=(tool,)))
    loose, dropped = sent(request(tools=(tool,), model="claude-sonnet-4"))

    assert made["tools"][0]["strict"] is True
    assert made["tools"][0]["input_schema"]["additionalProperties"] is False
    assert "strict" not in loose["tools"][0] and dropped == ("tools.strict",)


@pytest.mark.parametrize(
    "tools",
    [
        (TIDE, TIDE),
        (gw.Tool("c", kind="custom"),),
        (gw.Tool("w", kind="vendor", extra={"type": "web"}),),
    ],
)
def test_tools_that_cannot_be_are_refused(tools: tuple[gw.Tool, ...]) -> None:
    assert refused(request(tools=tools)).param == "tools"


def test_forced_choice_where_the_model_refuses_it() -> None:
    """A 400 here that says so, or auto where the operator prefers it."""
    choice = gw.ToolChoice("required")
    asked = request(tools=(TIDE,), tool_choice=choice, model=NEW)

    assert refused(asked).param == "tool_choice"
    assert "tool_choice" not in body(asked, downgrade_tool_choice=True)
    haiku = request(tools=(TIDE,), tool_choice=choice, model="claude-haiku-5-5")
    assert body(haiku)["tool_choice"] == {"type": "any"}


# --- parameters ------------------------------------------------------------------------


def test_missing_max_tokens_is_the_models_own_or_the_settings() -> None:
    assert body(request())["max_tokens"] == 4096
    assert body(request(model="claude-haiku-4-5"))["max_tokens"] == 21_333
    assert body(request(model="claude-haiku-4-5", stream=True))["max_tokens"] == 64_000
    assert body(request(), default_max_tokens=99)["max_tokens"] == 99


def test_limit_above_the_models_own_is_clamped() -> None:
    made = body(request(model="claude-haiku-4-5", max_tokens=128_000, stream=True))

    assert made["max_tokens"] == 64_000


def test_long_answer_is_streamed_upstream_though_the_client_wants_it_whole() -> None:
    up = provider().encode(request(max_tokens=60_000))

    assert up.stream and json.loads(up.body)["stream"] is True
    assert type(up.decoder()).__name__ == "StreamDecoder"
    assert not provider().encode(request(max_tokens=21_333)).stream


@pytest.mark.parametrize(
    ("model", "version", "made", "dropped"),
    [
        (OLD, "2023-06-01", 1.0, ()),
        (OLD, "2026-10-21", None, ("temperature",)),
        ("claude-opus-4-8", "2023-06-01", None, ("temperature",)),
        ("claude-opus-4-70", "2023-06-01", None, ("temperature",)),
        ("claude-opus-4-6", "2023-06-01", 1.0, ()),
        ("claude-3-5-sonnet-20241022", "2023-06-01", 1.0, ()),
    ],
)
def test_temperature(
    model: str, version: str, made: float | None, dropped: tuple[str, ...]
) -> None:
    found = sent(request(model=model, temperature=1.7), api_version=version)

    assert (found[0].get("temperature"), found[1]) == (made, dropped)


def test_zero_is_not_omitted() -> None:
    assert body(request(temperature=0))["temperature"] == 0


def test_default_of_the_vendor_is_no_loss() -> None:
    assert sent(request(model="claude-sonnet-5", temperature=1))[1] == ()


def test_temperature_wins_over_top_p() -> None:
    made, dropped = sent(request(temperature=0.5, top_p=0.9))

    assert (made["temperature"], "top_p" in made, dropped) == (0.5, False, ("top_p",))


def test_stop_without_blank_entries_and_without_a_limit() -> None:
    made = body(request(stop=["a", " ", "b", "c", "d", "e", "\n"]))

    assert made["stop_sequences"] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("tier", "made"),
    [("auto", "auto"), ("priority", "auto"), ("default", "standard_only"), ("flex", None)],
)
def test_service_tier(tier: str, made: str | None) -> None:
    found, dropped = sent(request(service_tier=tier))

    assert found.get("service_tier") == made
    assert dropped == (() if made else ("service_tier",))


def test_user_is_sent_hashed_and_only_where_configured() -> None:
    assert sent(request(user="jo@example.com"))[1] == ("user",)

    made = body(request(user="jo@example.com"), send_user=True)

    assert len(made["metadata"]["user_id"]) == 64


@pytest.mark.parametrize(
    "params",
    [
        {"n": 2},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"audio": {"voice": "x"}},
        {"modalities": ["text", "audio"]},
        {"web_search_options": {}},
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(params: dict[str, Any]) -> None:
    assert refused(request(**params)).param == next(iter(params))


@pytest.mark.parametrize(
    "name", ["frequency_penalty", "presence_penalty", "seed", "verbosity", "prediction"]
)
def test_tuning_without_counterpart_is_dropped_and_told(name: str) -> None:
    assert sent(request(**{name: 3}))[1] == (name,)


def test_null_and_what_does_nothing_is_no_loss() -> None:
    quiet = {"n": 1, "logprobs": False, "top_logprobs": 0, "seed": None}
    quiet |= {"presence_penalty": 0, "frequency_penalty": 0, "temperature": None}

    made, dropped = sent(request(**quiet))

    assert dropped == () and made.keys() == {"model", "max_tokens", "messages"}


def test_unknown_members_of_another_dialect_are_told() -> None:
    assert sent(request(extra={"future_option": 1}))[1] == ("future_option",)


def test_extension_object_is_merged_and_native_names_are_taken() -> None:
    extra = {"anthropic": {"inference_geo": "us"}, "thinking": {"type": "disabled"}}

    made, dropped = sent(request(extra=extra))

    assert (made["inference_geo"], made["thinking"], dropped) == ("us", {"type": "disabled"}, ())


def test_own_dialect_keeps_what_it_does_not_know() -> None:
    extra = {"context_management": {"edits": []}}
    up = provider().encode(request(dialect="anthropic.messages", extra=extra, max_tokens=5))

    assert json.loads(up.body)["context_management"] == {"edits": []}


# --- thinking --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "word"),
    [
        (OLD, "high", {"type": "enabled", "budget_tokens": 16384}, None),
        (OLD, "minimal", {"type": "enabled", "budget_tokens": 1024}, None),
        (OLD, "none", None, None),
        ("claude-opus-4-6", "xhigh", {"type": "adaptive"}, "high"),
        ("claude-opus-4-8", "xhigh", {"type": "adaptive", "display": "summarized"}, "xhigh"),
        ("claude-opus-4-8", "none", {"type": "disabled"}, None),
        ("claude-opus-5", "max", {"type": "adaptive", "display": "summarized"}, "max"),
        (NEW, "minimal", {"type": "adaptive", "display": "summarized"}, "low"),
        ("claude-fable-5-1", "none", None, "low"),
        ("claude-opus-5-5", "none", None, "low"),
    ],
)
def test_reasoning_effort_by_family(
    model: str, effort: str, thinking: object, word: str | None
) -> None:
    made = body(request(model=model, reasoning_effort=effort, max_tokens=5000))

    assert made.get("thinking") == thinking
    assert made.get("output_config", {}).get("effort") == word


def test_least_of_a_model_that_thinks_between_tools() -> None:
    up = provider().encode(request(model=NEW, reasoning_effort="none"))

    assert json.loads(up.body)["thinking"] == {"type": "between_tools"}


def test_budget_is_added_to_the_limit_and_takes_the_temperature() -> None:
    made, dropped = sent(request(reasoning_effort="high", max_tokens=500, temperature=0.2))

    assert made["max_tokens"] == 16884
    assert "temperature" not in made and dropped == ("temperature",)


def test_effort_of_a_model_without_thought_is_dropped() -> None:
    assert sent(request(model="claude-3-5-haiku-20241022", reasoning_effort="low"))[1] == (
        "reasoning_effort",
    )


def test_manual_thinking_gives_way_to_a_forced_tool_and_to_bare_calls() -> None:
    forced = request(tools=(TIDE,), tool_choice=gw.ToolChoice("required"), reasoning_effort="low")
    bare = request(user("Hi"), called("a"), result("a"), tools=(TIDE,), reasoning_effort="low")

    for each in (forced, bare):
        made, dropped = sent(each)
        assert "thinking" not in made and dropped == ("reasoning_effort",)


@pytest.mark.parametrize(
    ("model", "given", "made"),
    [
        (OLD, {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 4096}),
        (NEW, {"type": "enabled", "budget_tokens": 1024}, "adaptive"),
        ("claude-fable-5-1", {"type": "disabled"}, None),
        ("claude-opus-4-8", {"type": "adaptive"}, {"type": "adaptive"}),
    ],
)
def test_thinking_spelled_out_is_kept_or_brought_near(
    model: str, given: dict[str, Any], made: Any
) -> None:
    """Coding agents ask unknown models for what current ones take."""
    found = body(request(model=model, thinking=given, max_tokens=9000)).get("thinking")

    assert (found["type"] if isinstance(made, str) else found) == made


# --- structured output -----------------------------------------------------------------


def formatted(schema: dict[str, Any], **rest: Any) -> Any:
    given = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return body(request(response_format=given, **rest))["output_config"]["format"]


def test_schema_is_brought_into_the_vendors_subset() -> None:
    schema = {
        "type": "object",
        "properties": {
            "hour": {"type": "integer", "minimum": 0, "description": "When"},
            "port": {"oneOf": [{"type": "string", "format": "uuid"}, {"$ref": "#/$defs/P"}]},
            "tags": {"type": "array", "minItems": 2, "items": {"type": "string"}},
        },
        "required": ["hour"],
        "$defs": {"P": {"type": "object", "properties": {}}},
    }

    assert formatted(schema)["schema"] == {
        "type": "object",
        "properties": {
            "hour": {"type": "integer", "description": 'When\n\n{"minimum":0}'},
            "port": {"anyOf": [{"type": "string", "format": "uuid"}, {"$ref": "#/$defs/P"}]},
            "tags": {
                "type": "array",
                "items": {"type": "string"},
                "description": '{"minItems":2}',
            },
        },
        "required": ["hour"],
        "$defs": {"P": {"type": "object", "properties": {}, "additionalProperties": False}},
        "additionalProperties": False,
    }


def test_schema_of_the_own_dialect_is_left_alone() -> None:
    schema = {"type": "object", "properties": {}, "maxProperties": 3}

    assert formatted(schema, dialect="anthropic.messages")["schema"] == schema


def test_schema_that_says_nothing_is_refused() -> None:
    given = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"title": "x"}}}

    assert refused(request(response_format=given)).param == "response_format"
    old = request(response_format=given, model="claude-opus-4-1")
    assert refused(old).param == "response_format"


def test_json_object_becomes_an_instruction() -> None:
    made = body(request(response_format={"type": "json_object"}))

    assert "JSON" in made["system"][-1]["text"]


# --- the rest --------------------------------------------------------------------------


def test_next_turn_extends_the_bytes_of_this_one() -> None:
    """Prompt caches compare bytes: whatever a client adds, what was sent stays."""
    system = gw.Message("system", (gw.TextPart("S"),))
    late = gw.Message("system", (gw.TextPart("Late"),))
    turns = [system, user("Hi"), called("a"), result("a"), called("b")]
    turns += [result("b"), gw.Message("assistant", (gw.TextPart("done"),)), user("more"), late]

    for model in (OLD, NEW):
        before = b""
        for count in (2, 4, 6, 8):
            up = provider().encode(request(*turns[:count], tools=(TIDE,), model=model)).body
            assert up.startswith(before)
            before = up.removesuffix(b"]}").removesuffix(b"]}")


def test_count_is_the_same_without_what_only_an_answer_needs() -> None:
    asked = request(tools=(TIDE,), max_tokens=9, temperature=0.5, stop=["x"], stream=True)
    up = provider().encode_count(asked)

    assert up.url == "https://api.anthropic.com/v1/messages/count_tokens" and not up.stream
    assert json.loads(up.body).keys() == {"model", "messages", "tools"}
    assert strict()(Received("POST", "/v1/messages/count_tokens", up.headers, up.body)) is None


def test_key_goes_in_exactly_one_header() -> None:
    plain, bearer = provider().encode(request()), provider(bearer=True).encode(request())

    assert plain.headers["x-api-key"] == "sk-ant-1" and "authorization" not in plain.headers
    assert bearer.headers["authorization"] == "Bearer sk-ant-1"
    assert "x-api-key" not in bearer.headers


def test_version_that_never_was_is_taken_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    up = provider(api_version="2024-01-01").encode(request())

    assert up.headers["anthropic-version"] == "2023-06-01"
    assert "2024-01-01" in caplog.text


def test_unknown_version_is_refused_naming_the_known() -> None:
    with pytest.raises(ValueError, match="2023-06-01 or 2026-10-21"):
        provider(api_version="2025-01-01")


def test_base_url_is_replaced_exactly() -> None:
    given = provider(base_url="https://proxy.test/anthropic/")

    assert given.encode(request()).url == "https://proxy.test/anthropic/v1/messages"
    assert given.probe().url == "https://proxy.test/anthropic/v1/models?limit=1"


def test_models_are_the_table_or_what_is_configured() -> None:
    known = {each.id: each for each in provider().models()}
    own = provider(models=["claude-haiku-4-5-20251001", {"id": "m", "context_window": 9}]).models()

    assert known["claude-opus-5-5"].context_window == 1_000_000
    assert known["claude-haiku-4-5"].max_output == 64_000
    assert [(each.id, each.context_window) for each in own] == [
        ("claude-haiku-4-5-20251001", 200_000),
        ("m", 9),
    ]
