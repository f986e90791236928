"""Shapes, limits, and characters that nobody sees."""

import json
from typing import Any

import llm_gateway_api as gw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_filter_validation import plugin
from llm_gateway_filter_validation.characters import Characters, Kind
from llm_gateway_filter_validation.settings import ValidationSettings

USER = {"role": "user", "content": "hi"}
BOTH: frozenset[Kind] = frozenset({"control", "invisible"})
# Seen by nobody, in the order of their numbers.
HIDDEN = ["\0", "\b", "\x0b", "\f", "\x1b", "\x7f", "\x85", "\u00ad", "\u200b", "\u202e",
          "\u2066", "\ufeff", "\U000e0041", "\U000e01ef"]  # fmt: skip
# Looks like them and is text.
TEXT = ["\t", "\n", "\r", "é", "\u200d", "\u200c", "\u200e", "\ufe0f", "ﬀ", "👩\u200d💻", "日本",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\\u0000", "\\b", "\\\\f", '"', "\\", "/"]  # fmt: skip


def admission(body: object, operation: gw.Operation = "chat") -> gw.Admission:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    head = gw.RequestHead("d", operation, "m", False, False, fields, data)
    arrival = gw.Arrival("r", "POST", "/v1/chat/completions", "", {}, "127.0.0.1", 0.0)
    return gw.Admission(arrival, head)


async def checked(
    body: object, operation: gw.Operation = "chat", **settings: object
) -> gw.Seen | gw.Refusal:
    model = ValidationSettings.model_validate({"counts": True, **settings})
    return await plugin.ValidationFilter(model).inspect(admission(body, operation))


async def refused(body: object, operation: gw.Operation = "chat", **settings: object) -> Any:
    answer = await checked(body, operation, **settings)
    return (answer.code, answer.param) if isinstance(answer, gw.Refusal) else None


def chat(*messages: object, **members: object) -> dict[str, object]:
    return {"model": "m", "messages": messages, **members}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ("hi", "messages"),
        ({}, "messages"),
        ([USER, "hi"], "messages[1]"),
        ([[USER]], "messages[0]"),
        ([None], "messages[0]"),
        ([{"content": "hi"}], "messages[0].role"),
        ([{"role": "root", "content": "hi"}], "messages[0].role"),
        ([{"role": 1, "content": "hi"}], "messages[0].role"),
        ([{"role": None}], "messages[0].role"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([{"role": "user", "content": {"text": "hi"}}], "messages[0].content"),
        ([{"role": "user", "content": True}], "messages[0].content"),
    ],
)
async def test_shapes(messages: object, param: str) -> None:
    """Checked without a word in the configuration, and the field is named."""
    assert await refused({"model": "m", "messages": messages}) == ("invalid_body", param)


@pytest.mark.parametrize(
    "body",
    [
        chat(),
        chat(USER, {"role": "assistant", "content": None, "tool_calls": []}),
        chat({"role": "assistant", "tool_calls": []}, {"role": "function", "content": ""}),
        chat({"role": "user", "content": [{"type": "text", "text": "x"}], "new": {"a": [1]}}),
        {"model": "m", "input": "hi"},
        {"model": "m", "input": ["hi", {"type": "function_call", "arguments": "{"}, USER]},
        {"model": "m", "prompt": ["a", [1, 2]]},
        chat(*[USER] * 500),
        chat({"role": "user", "content": "x" * 200_000}),
    ],
)
async def test_what_may_pass(body: object) -> None:
    """Without the section, nothing is counted; what is passed on is the very same."""
    seen = admission(body)

    assert await plugin.ValidationFilter(ValidationSettings()).inspect(seen) is seen


async def test_an_item_with_a_wrong_role() -> None:
    body = {"model": "m", "input": [{"role": "root", "content": "x"}]}

    assert await refused(body) == ("invalid_body", "input[0].role")


def test_a_section_that_stands_counts() -> None:
    """With its defaults; unless it says itself that it does not."""
    (spec,) = plugin.llm_gateway_settings()
    absent = ValidationSettings()

    assert spec.switch == "counts" and not absent.counts
    assert absent.max_request_size_bytes == 10_485_760
    assert absent.max_message_length == 100_000


async def test_number_of_messages() -> None:
    """Of a chat; texts to embed are no messages."""
    five = {"max_messages": 5}

    assert await refused(chat(*[USER] * 5), **five) is None
    assert await refused(chat(*[USER] * 6), **five) == ("too_many_messages", "messages")
    assert await refused({"input": [USER] * 6}, **five) == ("too_many_messages", "input")
    assert await refused({"input": ["a"] * 6}, "embeddings", **five) is None
    assert await refused(chat(*[USER] * 500), max_messages=None, counts=True) is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat({"role": "user", "content": "x" * 10}), None),
        (chat(USER, {"role": "user", "content": "x" * 11}), "messages[1]"),
        (chat({"role": "user", "content": "\u00fc" * 10}), None),
        (chat({"role": "user", "content": [{"type": "text", "text": "x" * 6}] * 2}), "messages[0]"),
        (chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x" * 99}}]}),
         None),
        (chat({"role": "tool", "content": [{"data": "x" * 99, "media_type": "x" * 99}]}), None),
        (chat(USER, system="x" * 11), "system"),
        ({"input": "x" * 11}, "input"),
        ({"input": [{"type": "message", "role": "user", "content": "x" * 11}]}, "input[0]"),
        ({"prompt": ["a", "x" * 11]}, "prompt[1]"),
        ({"prompt": "x" * 11}, "prompt"),
        ({"query": "q", "documents": ["a", {"text": "x" * 11}]}, "documents[1]"),
        ({"instructions": "x" * 11, "input": "a"}, "instructions"),
    ],
)  # fmt: skip
async def test_length_of_text(body: object, param: str | None) -> None:
    """In characters, of all text of one message; pictures are none."""
    found = await refused(body, max_message_length=10)

    assert found == (None if param is None else ("message_too_long", param))


async def test_size_of_a_body() -> None:
    """By its claim where it makes one, by its bytes anyhow, plugins' routes too."""
    settings = ValidationSettings(counts=True, max_request_size_bytes=100)
    early, late = plugin.size(settings), plugin.ValidationFilter(settings)
    assert early is not None
    arrival = gw.Arrival("r", "POST", "/", "", {"content-length": "101"}, "", 0.0)
    fits = gw.Arrival("r", "POST", "/", "", {"content-length": "100"}, "", 0.0)
    odd = gw.Arrival("r", "POST", "/", "", {"content-length": "\u00b2"}, "", 0.0)

    answers = [
        await early.inspect(arrival),
        await late.inspect(admission(chat({"role": "user", "content": "x" * 100}))),
        await late.inspect_endpoint(arrival, b"x" * 101),
    ]

    assert [each.status for each in answers if isinstance(each, gw.Refusal)] == [413] * 3
    assert await early.inspect(fits) is fits and await early.inspect(odd) is odd
    assert await late.inspect_endpoint(fits, b"x" * 100) is None
    assert plugin.size(ValidationSettings()) is None


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("sign", HIDDEN)
async def test_refused(sign: str, escaped: bool) -> None:
    """Escaped or as they are, by the path of the text that holds them."""
    if not escaped and sign < " ":
        return  # JSON has them escaped only
    body = chat(USER, {"role": "user", "content": [{"type": "text", "text": f"a{sign}b"}]})
    data = json.dumps(body, ensure_ascii=escaped).encode()

    found = await refused(data, control_characters="refuse", invisible_characters="refuse")

    assert found == ("invisible_characters", "messages[1].content[0].text")
    assert await refused(data) is None


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("text", TEXT)
async def test_text_is_left_alone(text: str, escaped: bool) -> None:
    """What scripts, emoji and code need is neither refused nor cleaned."""
    data = json.dumps(chat({"role": "user", "content": text}), ensure_ascii=escaped).encode()
    seen = admission(data)

    for policy in ("refuse", "clean"):
        settings = ValidationSettings.model_validate(
            {"control_characters": policy, "invisible_characters": policy}
        )
        assert await plugin.ValidationFilter(settings).inspect(seen) is seen


async def test_one_kind_only() -> None:
    data = chat({"role": "user", "content": "\x1b[31m"})

    assert await refused(data, invisible_characters="refuse") is None
    assert await refused(data, control_characters="refuse") is not None


pieces = st.lists(st.sampled_from(HIDDEN + TEXT + ["u0000", "a", "\\"]), max_size=12)


@given(pieces, st.booleans())
def test_cleaning_is_the_same_before_and_after_decoding(parts: list[str], escaped: bool) -> None:
    """Taken out of the bytes, exactly those are gone that are hidden in the text."""
    characters = Characters(BOTH)
    text = "".join(parts)
    flag = TEXT[11]
    plain = "\0".join(
        "".join(sign for sign in piece if sign not in HIDDEN) for piece in text.split(flag)
    ).replace("\0", flag)

    cleaned = characters.cleaned(json.dumps({"a": text}, ensure_ascii=escaped))

    assert json.loads(cleaned) == {"a": plain}
    assert characters.in_text(text) is (plain != text)
    assert plain == text or characters.maybe_in(json.dumps(text, ensure_ascii=escaped).encode())


async def test_a_cleaned_request_is_otherwise_the_same() -> None:
    """Body and fields agree, and spaces, order and numbers are as they were sent."""
    data = (
        b'{ "model":"m","n":1.0e0, '
        b'"messages" : [{"role":"user","content":"a\\u0000\xe2\x80\xaeb"}]}'
    )

    seen = await checked(data, control_characters="clean", invisible_characters="clean")

    assert isinstance(seen, gw.Admission)
    assert seen.head.body == (
        b'{ "model":"m","n":1.0e0, "messages" : [{"role":"user","content":"ab"}]}'
    )
    assert bytes(seen.head.fields["messages"]) == b'[{"role":"user","content":"ab"}]'


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b'{"messages":[],"mess\\u0000ages":[]}', "body"),
        (b'{"messages":[{"role":"user","ro\\u0000le":"system"}]}', "messages[0]"),
        (b'{"messages":[],"model":"m\\u0000"}', "model"),
        (b'{"messages":[{"role":"user","a":"\\u0000","a":"b"}]}', "body"),
    ],
)
async def test_cleaning_makes_no_other_member(data: bytes, param: str) -> None:
    """Whoever reads the names after us would see two of one; these are refused."""
    assert await refused(data, control_characters="clean") == ("invisible_characters", param)


@pytest.mark.parametrize("cut", range(64))
async def test_escapes_cut_short_are_no_500(cut: int) -> None:
    """Half an escape is refused by the decoder, or is text."""
    text = "\\\\u0000\\u0000\\ud83c\\udff4\\udb40\\udc67\\udb40\\udc7f\\b\\f\\\\\\u202e"[:cut]
    data = b'{"messages":[{"role":"user","content":"' + text.encode() + b'"}]}'
    try:
        seen = admission(data)
    except msgspec.DecodeError:
        return
    settings = ValidationSettings(control_characters="clean", invisible_characters="refuse")

    answer = await plugin.ValidationFilter(settings).inspect(seen)

    assert isinstance(answer, gw.Admission) or answer.status == 400  # type: ignore[union-attr]  # else a refusal
