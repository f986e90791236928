"""A body as a canonical request: every block and member, and what is wrong by its path."""

import json
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_frontend_anthropic.plugin import COUNT_TOKENS, MESSAGES
from llm_gateway_frontend_anthropic.thoughts import packed

OWN = "anthropic.messages"


def arrival(**headers: str) -> gw.Arrival:
    given = {"anthropic-version": "2023-06-01"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return gw.Arrival("req_1", "POST", "/v1/messages", "", given, "", 0.0)


def body(*messages: Any, **members: Any) -> bytes:
    found = messages or ({"role": "user", "content": "Hi"},)
    return json.dumps(
        {"model": "m", "max_tokens": 9, "messages": found, **members}, ensure_ascii=False
    ).encode()


def decoded(*messages: Any, **members: Any) -> gw.ChatRequest:
    return MESSAGES.request(MESSAGES.parse(body(*messages, **members), arrival()))


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def only(block: dict[str, Any]) -> gw.Part:
    return decoded(user(block)).messages[0].parts[0]


# --- head ------------------------------------------------------------------------------


def test_missing_version_is_a_400_and_a_future_one_is_taken() -> None:
    bare = gw.Arrival("r", "POST", "/v1/messages", "", {}, "", 0.0)

    with pytest.raises(gw.MalformedBodyError) as caught:
        MESSAGES.parse(body(), bare)

    assert caught.value.param == "anthropic-version"
    assert MESSAGES.parse(body(), arrival(anthropic_version="2031-01-01")).model == "m"
    with pytest.raises(gw.MalformedBodyError):
        MESSAGES.parse(body(), arrival(anthropic_version="newest"))


def test_headers_of_the_dialect_go_along_and_no_others() -> None:
    head = MESSAGES.parse(
        body(),
        arrival(
            anthropic_beta="a-1,b-2",
            anthropic_future="x",
            anthropic_workspace_id="w",
            authorization="Bearer secret",
            cookie="c",
            origin="o",
        ),
    )

    assert head.headers == {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "a-1,b-2",
        "anthropic-future": "x",
    }


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b'{"max_tokens":1,"messages":[{}]}', "model"),
        (b'{"model":7,"max_tokens":1,"messages":[{}]}', "model"),
        (b'{"model":"m","messages":[{}]}', "max_tokens"),
        (b'{"model":"m","max_tokens":-1,"messages":[{}]}', "max_tokens"),
        (b'{"model":"m","max_tokens":true,"messages":[{}]}', "max_tokens"),
        (b'{"model":"m","max_tokens":1}', "messages"),
        (b'{"model":"m","max_tokens":1,"messages":[]}', "messages"),
        (b'{"model":"m","max_tokens":1,"messages":"x"}', "messages"),
        (b'{"model":"m","max_tokens":1,"messages":[{}],"stream":1}', "stream"),
        (b"{", None),
        (b"[]", None),
    ],
)
def test_head_that_is_wrong_is_a_400_with_its_field(raw: bytes, param: str | None) -> None:
    with pytest.raises(gw.MalformedBodyError) as caught:
        MESSAGES.parse(raw, arrival())

    assert caught.value.param == param


def test_count_needs_no_max_tokens_and_is_never_a_stream() -> None:
    head = COUNT_TOKENS.parse(b'{"model":"m","messages":[{}],"stream":true}', arrival())

    assert (head.operation, head.stream) == ("count_tokens", False)


# --- messages --------------------------------------------------------------------------


def test_system_as_text_and_as_blocks_with_breakpoints() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", **mark}]

    plain, listed = decoded(system="S"), decoded(system=blocks)

    assert plain.messages[0] == gw.Message("system", (gw.TextPart("S"),), text_only=True)
    assert listed.messages[0].parts == (gw.TextPart("a"), gw.TextPart("b", mark))


def test_line_for_the_vendors_bookkeeping_is_left_out() -> None:
    blocks = [{"type": "text", "text": t} for t in ("x-anthropic-billing-header: a=1", "S")]

    assert decoded(system=blocks).messages[0].parts == (gw.TextPart("S"),)


def test_system_turn_inside_the_messages_keeps_its_place() -> None:
    turns = ({"role": "user", "content": "a"}, {"role": "system", "content": "b"})

    assert [each.role for each in decoded(*turns).messages] == ["user", "system"]


def test_results_come_before_the_rest_of_their_turn() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}
    found = decoded(
        user(
            {"type": "text", "text": "t"},
            {"type": "tool_result", "tool_use_id": "a", "content": "1"},
            {"type": "tool_result", "tool_use_id": "b", "is_error": True},
            {"type": "tool_result", "tool_use_id": "c", "content": [image]},
        )
    ).messages

    assert [each.role for each in found] == ["tool", "user"]
    assert found[0].parts == (
        gw.ToolResultPart("a", (gw.TextPart("1"),)),
        gw.ToolResultPart("b", (), True),
        gw.ToolResultPart("c", (gw.ImagePart("https://x.test/a.png"),)),
    )


def test_assistant_turn_with_thoughts_text_and_calls() -> None:
    state = {"gemini": {"signature": "c2ln"}}
    blocks = [
        {"type": "thinking", "thinking": "Hm", "signature": "bmF0aXZl"},
        {"type": "thinking", "thinking": "", "signature": packed(state)},
        {"type": "redacted_thinking", "data": "b3A="},
        {"type": "text", "text": "So"},
        {"type": "tool_use", "id": "t1", "name": "n", "input": {"b": 1, "a": [1.0]}},
    ]

    parts = decoded({"role": "user", "content": "x"}, {"role": "assistant", "content": blocks})

    assert parts.messages[1].parts == (
        gw.ReasoningPart("Hm", {OWN: {"signature": "bmF0aXZl"}}),
        gw.ReasoningPart("", state),
        gw.ReasoningPart("", {OWN: {"redacted": "b3A="}}),
        gw.TextPart("So"),
        gw.ToolCallPart("t1", "n", '{"b":1,"a":[1.0]}'),
    )


@pytest.mark.parametrize("signature", ["gw1.!!", "gw1.", "gw1.W10", "gw1.e30"])
def test_packed_state_that_is_none_is_no_state(signature: str) -> None:
    block = {"type": "thinking", "thinking": "x", "signature": signature}
    found = decoded({"role": "user", "content": "x"}, {"role": "assistant", "content": [block]})

    assert found.messages[1].parts == (gw.ReasoningPart("x"),)


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "a"}},
            gw.ImagePart(None, "image/png", "a"),
        ),
        (
            {
                "type": "document",
                "title": "T",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "a"},
            },
            gw.FilePart("T", "application/pdf", "a"),
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}},
            gw.FilePart(url="https://x.test/a.pdf"),
        ),
        (
            {
                "type": "document",
                "title": "T",
                "source": {"type": "text", "media_type": "text/plain", "data": "d"},
            },
            gw.TextPart("T\n\nd"),
        ),
        (
            {
                "type": "search_result",
                "title": "T",
                "source": "s",
                "content": [{"type": "text", "text": "c"}],
            },
            gw.TextPart("T\ns\nc"),
        ),
        (
            {"type": "container_upload", "file_id": "f"},
            gw.UnknownPart(OWN, {"type": "container_upload", "file_id": "f"}),
        ),
    ],
)
def test_blocks_of_the_user(block: dict[str, Any], part: gw.Part) -> None:
    assert only(block) == part


def test_document_of_pieces_is_its_title_and_pieces() -> None:
    pieces = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    source = {"type": "content", "content": pieces}
    found = decoded(user({"type": "document", "title": "T", "source": source}))

    assert found.messages[0].parts == tuple(gw.TextPart(each) for each in "Tab")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("x", "messages.0"),
        ({"role": "robot", "content": "x"}, "messages.0.role"),
        ({"role": "user"}, "messages.0.content"),
        ({"role": "user", "content": [7]}, "messages.0.content.0"),
        ({"role": "user", "content": [{}]}, "messages.0.content.0.type"),
        (user({"type": "text"}), "messages.0.content.0.text"),
        (user({"type": "image"}), "messages.0.content.0.source"),
        (user({"type": "tool_result"}), "messages.0.content.0.tool_use_id"),
        (
            user({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text"}]}),
            "messages.0.content.0.content.0.text",
        ),
        (
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "n", "input": "x"}],
            },
            "messages.0.content.0.input",
        ),
        (
            {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
            "messages.0.content",
        ),
    ],
)
def test_message_that_is_wrong_is_told_by_its_path(message: Any, param: str) -> None:
    with pytest.raises(gw.MalformedBodyError) as caught:
        decoded(message)

    assert caught.value.param == param


# --- members ---------------------------------------------------------------------------


def test_parameters_by_their_canonical_names() -> None:
    found = decoded(
        temperature=0,
        top_p=0.5,
        top_k=3,
        stop_sequences=["a"],
        service_tier="standard_only",
        metadata={"user_id": "u"},
        cache_control={"type": "ephemeral"},
    )

    assert found.params == {
        "max_tokens": 9,
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 3,
        "cache_control": {"type": "ephemeral"},
        "stop": ["a"],
        "service_tier": "default",
        "user": "u",
    }


@pytest.mark.parametrize(
    ("thinking", "effort", "word"),
    [
        (None, None, None),
        (None, "max", "max"),
        ({"type": "adaptive"}, None, None),
        ({"type": "adaptive"}, "xhigh", "xhigh"),
        ({"type": "enabled", "budget_tokens": 1024}, None, "low"),
        ({"type": "enabled", "budget_tokens": 4096}, None, "medium"),
        ({"type": "enabled", "budget_tokens": 8192}, None, "high"),
        ({"type": "disabled"}, "high", "none"),
        ({"type": "between_tools"}, None, "minimal"),
    ],
)
def test_thinking_as_effort(thinking: Any, effort: str | None, word: str | None) -> None:
    config = {} if effort is None else {"effort": effort}
    found = decoded(thinking=thinking, output_config=config).params

    assert found.get("reasoning_effort") == word
    assert found.get("thinking") == thinking


def test_format_is_a_json_schema() -> None:
    form = {"type": "json_schema", "schema": {"type": "object"}}
    found = decoded(output_config={"format": form, "future": 1})

    assert found.params["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "strict": True, "schema": {"type": "object"}},
    }
    assert found.extra == {"output_config": {"future": 1}}


def test_unknown_members_live_on() -> None:
    found = decoded(context_management={"edits": []}, container=None, future=1)

    assert found.extra == {"context_management": {"edits": []}, "future": 1}


def test_tools_functions_and_the_vendors_own() -> None:
    own = {"type": "web_search_20260318", "name": "web_search"}
    found = decoded(
        tools=[
            {"name": "n", "description": "d", "input_schema": {"type": "object"}, "strict": True},
            {"type": "custom", "name": "c", "input_schema": {}, "defer_loading": True},
            own,
        ]
    ).tools

    assert found == (
        gw.Tool("n", "d", {"type": "object"}, True),
        gw.Tool("c", None, {}, extra={"defer_loading": True}),
        gw.Tool("web_search", kind="vendor", extra=own),
    )


@pytest.mark.parametrize(
    ("choice", "mode", "parallel"),
    [
        ({"type": "auto"}, gw.ToolChoice("auto"), None),
        (
            {"type": "any", "disable_parallel_tool_use": True},
            gw.ToolChoice("required"),
            False,
        ),
        ({"type": "tool", "name": "n"}, gw.ToolChoice("named", ("n",)), None),
        ({"type": "none"}, gw.ToolChoice("none"), None),
    ],
)
def test_tool_choice(choice: Any, mode: gw.ToolChoice, parallel: bool | None) -> None:
    found = decoded(tools=[], tool_choice=choice)

    assert (found.tool_choice, found.params.get("parallel_tool_calls")) == (mode, parallel)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": 1.5}, "top_k"),
        ({"stop_sequences": [1]}, "stop_sequences.0"),
        ({"system": 7}, "system"),
        ({"system": [{"type": "image"}]}, "system.0.source"),
        ({"tools": [{"name": "n"}]}, "tools.0.input_schema"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "all"}}, "tool_choice.type"),
        ({"thinking": True}, "thinking"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    ],
)
def test_member_that_is_wrong_is_told_by_its_path(members: dict[str, Any], param: str) -> None:
    with pytest.raises(gw.MalformedBodyError) as caught:
        decoded(**members)

    assert caught.value.param == param
