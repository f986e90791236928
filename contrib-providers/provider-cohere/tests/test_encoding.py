"""What Cohere is asked, for each thing a client may ask."""

import json
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_provider_cohere.plugin import CohereProvider, Settings, make
from llm_gateway_testkit import cohere_dialect
from llm_gateway_testkit.steps import Received

USER = gw.Message("user", (gw.TextPart("When is low tide?"),), text_only=True)
SCHEMA = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
TIDE = gw.Tool("get_tide", "The tide", SCHEMA)
WIND = gw.Tool("get_wind")


def provider(**settings: Any) -> CohereProvider:
    made = make("cohere", Settings(api_key="k-1", **settings))
    assert isinstance(made, CohereProvider)
    return made


def sent(
    request: gw.ChatRequest, refusal: int | None = None, **settings: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body that goes up, which the strict vendor takes, and what was dropped."""
    call = provider(**settings).encode(request)
    path = call.url.removeprefix("https://api.cohere.com")
    answer = cohere_dialect.strict("k-1")(Received("POST", path, dict(call.headers), call.body))
    assert (answer.status if answer else None) == refusal, answer
    return json.loads(call.body), call.dropped


def chat(*messages: gw.Message, model: str = "command-a-03-2025", **members: Any) -> gw.ChatRequest:
    dialect = members.pop("dialect", "openai.chat")
    return gw.ChatRequest(model, messages or (USER,), dialect=dialect, **members)


def test_parameters_are_mapped_by_name() -> None:
    """The names are the vendor's; nothing that it does not know goes up."""
    given = {
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.5,
        "frequency_penalty": 0.25,
        "presence_penalty": 1,
        "stop": ["a", "b"],
        "seed": 7,
        "logprobs": True,
        "user": "u-1",
        "store": True,
        "n": 1,
        "parallel_tool_calls": True,
        "top_logprobs": None,
    }

    body, dropped = sent(chat(params=given, extra={"top_k": 3, "safety_mode": "OFF", "odd": 1}))

    assert {k: v for k, v in body.items() if k not in ("model", "messages", "stream")} == {
        "max_tokens": 5,
        "temperature": 0.0,
        "p": 0.5,
        "frequency_penalty": 0.25,
        "presence_penalty": 1,
        "stop_sequences": ["a", "b"],
        "seed": 7,
        "logprobs": True,
        "k": 3,
        "safety_mode": "OFF",
    }
    assert set(dropped) == {"user", "store", "odd"}


def test_one_call_at_a_time_cannot_be_asked_for_and_that_is_told() -> None:
    """Frameworks ask for it unasked; a refusal would keep their tools from Cohere."""
    body, dropped = sent(chat(params={"parallel_tool_calls": False}))
    assert "parallel_tool_calls" not in body
    assert tuple(dropped) == ("parallel_tool_calls",)


@pytest.mark.parametrize(("given", "taken"), [(0, 0.01), (1, 0.99), (0.3, 0.3)])
def test_top_p_ends(given: float, taken: float) -> None:
    """0 and 1 mean the ends of the vendor's narrower range."""
    assert sent(chat(params={"top_p": given}))[0]["p"] == taken


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 1.4),
        ("presence_penalty", -0.5),
        ("frequency_penalty", 2),
        ("top_p", 1.5),
        ("seed", -1),
        ("stop", ["a"] * 6),
        ("n", 2),
        ("top_logprobs", 2),
        ("logit_bias", {"1": 2}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x"}),
        ("web_search_options", {}),
        ("moderation", {}),
        ("response_format", {"type": "grammar"}),
    ],
)
def test_refused_by_name(name: str, value: object) -> None:
    """What the vendor cannot do is a 400 that names the field."""
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        sent(chat(params={name: value}))

    assert caught.value.status == 400
    assert (caught.value.param or "").startswith(name)


def test_clamp_is_a_choice() -> None:
    body, _ = sent(chat(params={"temperature": 1.4, "presence_penalty": -1}), clamp=True)

    assert (body["temperature"], body["presence_penalty"]) == (1, 0)


@pytest.mark.parametrize(
    ("choice", "word", "names"),
    [
        (None, None, ["get_tide", "get_wind"]),
        (gw.ToolChoice("auto"), None, ["get_tide", "get_wind"]),
        (gw.ToolChoice("none"), "NONE", ["get_tide", "get_wind"]),
        (gw.ToolChoice("required"), "REQUIRED", ["get_tide", "get_wind"]),
        (gw.ToolChoice("named", ("get_wind",)), "REQUIRED", ["get_wind"]),
        (gw.ToolChoice("allowed", ("get_tide",)), None, ["get_tide"]),
        (gw.ToolChoice("allowed_required", ("get_tide",)), "REQUIRED", ["get_tide"]),
    ],
)
def test_tool_choice(choice: gw.ToolChoice | None, word: str | None, names: list[str]) -> None:
    """The vendor cannot name a tool: it is offered no other."""
    body, _ = sent(chat(tools=(TIDE, WIND), tool_choice=choice))

    assert body.get("tool_choice") == word
    assert [each["function"]["name"] for each in body["tools"]] == names
    shapes = {"get_tide": SCHEMA, "get_wind": {"type": "object", "properties": {}}}
    assert all(
        each["function"]["parameters"] == shapes[each["function"]["name"]] for each in body["tools"]
    )


@pytest.mark.parametrize(
    ("tools", "choice"),
    [((), gw.ToolChoice("required")), ((TIDE,), gw.ToolChoice("named", ("x",)))],
)
def test_forced_tool_must_exist(tools: tuple[gw.Tool, ...], choice: gw.ToolChoice) -> None:
    with pytest.raises(gw.UnsupportedParameterError, match="tool_choice"):
        sent(chat(tools=tools, tool_choice=choice))


def test_custom_tools_are_refused() -> None:
    with pytest.raises(gw.UnsupportedParameterError, match="custom"):
        sent(chat(tools=(gw.Tool("x", kind="custom"),)))


def test_no_tools_is_no_member() -> None:
    body, _ = sent(chat(tools=(), tool_choice=gw.ToolChoice("auto")))

    assert "tools" not in body and "tool_choice" not in body


@pytest.mark.parametrize(("second", "member"), [(True, True), (None, None), (False, None)])
def test_strict_tools(second: bool | None, member: bool | None) -> None:
    """Strict holds for all tools or for none; a strict one among others is told of."""
    tools = (gw.Tool("a", strict=True), gw.Tool("b", strict=second))

    body, dropped = sent(chat(tools=tools))

    assert body.get("strict_tools") == member
    assert ("tools.strict" in dropped) is (member is None)


def test_tool_names_go_both_ways() -> None:
    """Names that the vendor does not allow are exchanged, also in the history, and restored."""
    call = gw.ToolCallPart("c1", "get-tide.v2", "")
    history = (
        USER,
        gw.Message("assistant", (call,)),
        gw.Message("tool", (gw.ToolResultPart("c1", ()),)),
    )
    request = chat(*history, tools=(gw.Tool("get_tide_v2"), gw.Tool("get-tide.v2"), gw.Tool("2x")))

    body, _ = sent(request)

    names = [each["function"]["name"] for each in body["tools"]]
    assert names == ["get_tide_v2", "get_tide_v2_2", "t_2x"]
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == "get_tide_v2_2"
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "c1", "content": ""}
    decoder = provider().encode(request).decoder()
    reply = cohere_dialect.chat_answer(
        tool_calls=[cohere_dialect.ToolCall("k", "get_tide_v2_2", ("{}",))]
    )
    events = decoder.feed(reply.body) + decoder.finish()
    assert next(e.name for e in events if isinstance(e, gw.ToolCallDelta)) == "get-tide.v2"


def test_system_is_one_turn_and_first() -> None:
    """System and developer turns of any place are merged in their order."""
    messages = (
        gw.Message("system", (gw.TextPart("A"),)),
        gw.Message("developer", (gw.TextPart("B"), gw.TextPart("C"))),
        USER,
        gw.Message("system", (gw.TextPart("D"),)),
    )

    merged, _ = sent(chat(*messages))
    as_user, _ = sent(chat(*messages), late_system="user")

    assert [each["role"] for each in merged["messages"]] == ["system", "user"]
    assert merged["messages"][0]["content"] == "A\n\nBC\n\nD"
    assert [each["role"] for each in as_user["messages"]] == ["system", "user", "user"]
    assert as_user["messages"][2]["content"] == "D"


def test_text_beside_calls_is_the_plan() -> None:
    """Text and shown reasoning beside calls go back as the plan; nothing empty is sent."""
    calls = (gw.ToolCallPart("c1", "get_tide", "{}"), gw.ToolCallPart("c2", "get_tide", "{}"))
    results = (gw.ToolResultPart("c2", (gw.TextPart("b"),)), gw.ToolResultPart("c1", (), True))
    plan = gw.ReasoningPart("I look.")
    turn = gw.Message("assistant", (plan, gw.TextPart("Now."), *calls))

    body, _ = sent(chat(USER, turn, gw.Message("tool", results), tools=(TIDE,)))

    row = body["messages"][1]
    assert row["tool_plan"] == "I look.\nNow." and "content" not in row
    assert [each["tool_call_id"] for each in body["messages"][2:]] == ["c2", "c1"]
    assert [each["content"] for each in body["messages"][2:]] == ["b", "Error: "]
    bare, _ = sent(chat(USER, gw.Message("assistant", calls), gw.Message("tool", results)))
    assert "tool_plan" not in bare["messages"][1]


def test_reasoning_goes_back_to_models_that_reason() -> None:
    turn = gw.Message("assistant", (gw.ReasoningPart("Hm."), gw.TextPart("Nine.")))

    thinks, _ = sent(chat(USER, turn, USER, model="command-a-reasoning-08-2025"))
    plain, _ = sent(chat(USER, turn, USER))

    assert thinks["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "Nine."},
    ]
    assert plain["messages"][1]["content"] == "Nine."


def test_repeated_call_ids_become_unique() -> None:
    """The second use of an id is numbered in the call and in its answer, always the same."""

    def turn(answer: str) -> tuple[gw.Message, ...]:
        call = gw.ToolCallPart("call_1", "get_tide", "{}")
        result = gw.ToolResultPart("call_1", (gw.TextPart(answer),))
        return gw.Message("assistant", (call,)), gw.Message("tool", (result,))

    body, _ = sent(chat(USER, *turn("a"), USER, *turn("b"), *turn("c")))

    rows = body["messages"]
    ids = [call["id"] for each in rows for call in each.get("tool_calls", ())]
    assert ids == ["call_1", "call_1_2", "call_1_3"]
    assert [each["tool_call_id"] for each in rows if each["role"] == "tool"] == ids


def test_a_longer_history_extends_the_shorter() -> None:
    """What was sent before is sent again byte for byte, so that a prompt cache can serve."""
    turn = gw.Message("assistant", (gw.ToolCallPart("c1", "get-tide", "{ }"),))
    result = gw.Message("tool", (gw.ToolResultPart("c1", (gw.TextPart("9"),)),))
    tools = (gw.Tool("get-tide"),)
    first = sent(chat(USER, turn, result, tools=tools))[0]["messages"]

    second = sent(chat(USER, turn, result, USER, turn, result, tools=tools))[0]["messages"]

    assert json.dumps(second[: len(first)]) == json.dumps(first)


def test_an_unknown_answer_is_for_the_vendor_to_refuse() -> None:
    sent(chat(USER, gw.Message("tool", (gw.ToolResultPart("x", ()),))), refusal=400)


def test_images() -> None:
    """An address and data go up as they are; the finest detail is called high."""
    parts = (
        gw.TextPart("What is it?"),
        gw.ImagePart(url="https://example.com/a.png", detail="original"),
        gw.ImagePart(media_type="image/png", data="AAAA"),
    )

    body, _ = sent(chat(gw.Message("user", parts), model="command-a-vision-07-2025"))

    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {
            "type": "image_url",
            "image_url": {"url": "https://example.com/a.png", "detail": "high"},
        },
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]


@pytest.mark.parametrize(
    "part",
    [
        gw.AudioPart("AA", "wav"),
        gw.FilePart("a.pdf", "application/pdf", "AA"),
        gw.UnknownPart("openai.chat", {"type": "video_url"}),
    ],
)
def test_other_parts_are_refused_by_place(part: gw.Part) -> None:
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        sent(chat(gw.Message("user", (gw.TextPart("x"), part))))

    assert caught.value.param == "messages[0].content"


def test_names_and_strange_members_of_messages_are_told_of() -> None:
    cited = {"citations": [{"start": 0, "end": 1}]}
    turn = gw.Message("assistant", (gw.TextPart("x"),), extra={**cited, "odd": 1})

    body, dropped = sent(chat(gw.Message("user", (gw.TextPart("x"),), name="Ann"), turn, USER))

    assert dropped == ("messages.name", "messages.odd")
    assert body["messages"][1] == {"role": "assistant", "content": "x", **cited}


def test_structured_output() -> None:
    """The schema stands beside the type, without name and strictness."""
    given = {"name": "tide", "strict": True, "schema": SCHEMA}
    asked = {"response_format": {"type": "json_schema", "json_schema": given}}

    body, _ = sent(chat(params=asked))

    assert body["response_format"] == {"type": "json_object", "json_schema": SCHEMA}
    for kind in ("text", "json_object"):
        plain, _ = sent(chat(params={"response_format": {"type": kind}}))
        assert plain["response_format"] == {"type": kind}
    with pytest.raises(gw.UnsupportedParameterError, match="not both") as caught:
        sent(chat(params=asked, tools=(TIDE,)))
    assert caught.value.param == "response_format"


@pytest.mark.parametrize(
    ("effort", "thinking"),
    [
        ("none", {"type": "disabled"}),
        ("high", {"type": "enabled"}),
        ("low", {"type": "enabled", "token_budget": 500}),
    ],
)
def test_reasoning_effort(effort: str, thinking: dict[str, Any]) -> None:
    """Only a model that reasons is told to think or not."""
    asked = {"reasoning_effort": effort}
    settings = {"thinking_tokens": {"low": 500}}

    body, dropped = sent(chat(model="command-a-reasoning-08-2025", params=asked), **settings)
    plain, left = sent(chat(params=asked), **settings)

    assert body["thinking"] == thinking and not dropped
    assert "thinking" not in plain and left == ("reasoning_effort",)


def test_configured_model_reasons() -> None:
    """What is configured of a model wins over what is known."""
    entry = {"id": "my-model", "capabilities": ["chat", "reasoning"]}

    body, _ = sent(chat(model="my-model", params={"reasoning_effort": "high"}), models=[entry])

    assert body["thinking"] == {"type": "enabled"}


def test_models() -> None:
    known = {each.id: each for each in provider().models()}
    mine = provider(models=["command-a-03-2025", {"id": "x", "context_window": 5}]).models()

    assert known["command-a-03-2025"].context_window == 256_000
    assert [(each.id, each.context_window) for each in mine] == [
        ("command-a-03-2025", 256_000),
        ("x", 5),
    ]


def test_probe_costs_no_tokens() -> None:
    call = provider().probe()

    assert (call.method, call.url) == ("GET", "https://api.cohere.com/v1/models?page_size=1")


def embed(*inputs: str, **members: Any) -> gw.UpstreamRequest:
    return provider().encode_embeddings(gw.EmbeddingsRequest("embed-v4.0", inputs, **members))


def test_embeddings_are_asked_in_pages() -> None:
    """More than 96 texts become several calls, in order."""
    call = embed(*(str(each) for each in range(200)))

    pages = [json.loads(each.body) for each in (call, *call.then)]
    assert [len(page["texts"]) for page in pages] == [96, 96, 8]
    assert [text for page in pages for text in page["texts"]] == [str(each) for each in range(200)]
    for each in (call, *call.then):
        asked = Received("POST", "/v2/embed", dict(each.headers), each.body)
        assert cohere_dialect.strict("k-1")(asked) is None
    assert pages[0]["input_type"] == "search_document" and pages[0]["truncate"] == "NONE"


def test_embedding_parameters() -> None:
    call = embed(
        "a",
        params={"dimensions": 1024, "encoding_format": "base64", "user": "u"},
        extra={"input_type": "search_query", "odd": 1},
    )

    body = json.loads(call.body)
    assert (body["output_dimension"], body["input_type"]) == (1024, "search_query")
    assert body["embedding_types"] == ["float"] and set(call.dropped) == {"user", "odd"}
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        embed("a", params={"dimensions": 100})
    assert caught.value.param == "dimensions"
    with pytest.raises(gw.UnsupportedParameterError, match="token ids"):
        provider().encode_embeddings(gw.EmbeddingsRequest("embed-v4.0", ((1, 2),)))


def test_ranking() -> None:
    request = gw.RerankRequest(
        "rerank-v3.5", "tide", ("a", "b"), 1, {"max_tokens_per_doc": 9, "return_documents": True}
    )

    call = provider().encode_rerank(request)

    assert json.loads(call.body) == {
        "model": "rerank-v3.5",
        "query": "tide",
        "documents": ["a", "b"],
        "top_n": 1,
        "max_tokens_per_doc": 9,
    }
    assert call.dropped == ()
