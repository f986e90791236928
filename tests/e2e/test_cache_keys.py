"""From a client's bytes to the key of a kept answer, in every client dialect: whatever can change
the answer changes the key, wherever in the body it stands and whether anybody here knows it."""

import json
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import llm_gateway_api as gw
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from llm_gateway.caching import EFFECTS, IGNORED, Caching
from llm_gateway_frontend_anthropic import plugin as messages
from llm_gateway_frontend_openai import plugin as openai
from llm_gateway_frontend_rerank import plugin as rerank
from llm_gateway_frontend_responses import plugin as responses

Body = dict[str, Any]
Path = tuple[Any, ...]
FRONTENDS = {
    spec.dialect: spec.make()
    for plugin in (openai, messages, responses, rerank)
    for spec in plugin.llm_gateway_frontends()
}
SCHEMA = {"type": "object", "properties": {"at": {"type": "string", "enum": ["a", "b"]}}}
WHO = {
    "user": "u1",
    "metadata": {"team": "a"},
    "safety_identifier": "s1",
    "prompt_cache_key": "k1",
    "prompt_cache_retention": "24h",
}
CHAT: Body = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "Where?"},
                {"type": "image_url", "image_url": {"url": "https://a.example/a", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {
                    "type": "file",
                    "file": {"filename": "f", "file_data": "data:text/plain;base64,QQ=="},
                },
            ],
        },
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}},
                {"id": "c2", "type": "custom", "custom": {"name": "say", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "there"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "said"}]},
        {"role": "user", "content": "How deep?"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "find",
                "description": "Finds.",
                "parameters": SCHEMA,
                "strict": True,
            },
        },
        {"type": "custom", "custom": {"name": "say", "description": "Says."}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "find"}},
    "parallel_tool_calls": False,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "strict": True, "schema": SCHEMA},
    },
    "temperature": 0.5,
    "top_p": 0.9,
    "max_completion_tokens": 50,
    "n": 2,
    "seed": 7,
    "stop": ["a", "b"],
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "logit_bias": {"5": 10},
    "logprobs": True,
    "top_logprobs": 3,
    "reasoning_effort": "low",
    "verbosity": "low",
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"},
    "prediction": {"type": "content", "content": "so"},
    "service_tier": "default",
    "web_search_options": {"search_context_size": "low"},
    "unheard_of": {"deep": [1, {"deeper": "x"}]},
    **WHO,
}
BODIES: dict[str, Body] = {
    "openai.chat": CHAT,
    "openai.completions": {
        "model": "m",
        "prompt": "How deep?",
        "temperature": 0.5,
        "max_tokens": 9,
        "n": 2,
        "seed": 7,
        "stop": "a",
        "presence_penalty": 0.1,
        "unheard_of": 1,
        "user": "u1",
    },
    "openai.embeddings": {
        "model": "m",
        "input": ["How deep?", "How wide?"],
        "dimensions": 8,
        "encoding_format": "float",
        "unheard_of": 1,
        "user": "u1",
    },
    "anthropic.messages": {
        "model": "m",
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Where?"},
                    {"type": "image", "source": {"type": "url", "url": "https://a.example/a"}},
                    {
                        "type": "document",
                        "title": "t",
                        "source": {"type": "text", "media_type": "text/plain", "data": "d"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "c1", "name": "find", "input": {"at": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "is_error": False,
                        "content": [{"type": "text", "text": "there"}],
                    }
                ],
            },
            {"role": "assistant", "content": "It is there."},
            {"role": "user", "content": "How deep?"},
        ],
        "tools": [
            {
                "name": "find",
                "description": "Finds.",
                "input_schema": SCHEMA,
                "cache_control": {"type": "ephemeral"},
            }
        ],
        "tool_choice": {"type": "tool", "name": "find", "disable_parallel_tool_use": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["a"],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {
            "effort": "low",
            "format": {"type": "json_schema", "schema": SCHEMA},
        },
        "service_tier": "auto",
        "unheard_of": {"deep": 1},
        "metadata": {"user_id": "u1"},
    },
    "openai.responses": {
        "model": "m",
        "instructions": "Be brief.",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Where?"},
                    {"type": "input_image", "image_url": "https://a.example/a", "detail": "low"},
                ],
            },
            {"type": "function_call", "call_id": "c1", "name": "find", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "there"},
            {"role": "user", "content": "How deep?"},
        ],
        "tools": [
            {
                "type": "function",
                "name": "find",
                "description": "Finds.",
                "parameters": SCHEMA,
                "strict": True,
            }
        ],
        "tool_choice": {"type": "function", "name": "find"},
        "text": {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "temperature": 0.5,
        "top_p": 0.9,
        "top_logprobs": 3,
        "max_output_tokens": 50,
        "max_tool_calls": 3,
        "parallel_tool_calls": False,
        "include": ["message.output_text.logprobs", "file_search_call.results"],
        "service_tier": "default",
        "unheard_of": {"deep": 1},
        **WHO,
    },
    "cohere.rerank": {
        "model": "m",
        "query": "How deep?",
        "documents": ["one", "two"],
        "top_n": 1,
        "max_tokens_per_doc": 100,
        "return_documents": False,
        "unheard_of": 1,
    },
}
HEADERS: Mapping[str, Mapping[str, str]] = {
    "anthropic.messages": {"anthropic-version": "2023-06-01", "anthropic-beta": "one-2025-01-01"}
}


def found(
    dialect: str, body: Body, tenant: str = "t", **headers: str
) -> tuple[gw.Lookup, gw.CanonicalRequest] | None:
    """What caches are asked for `body`; None where it is refused or never kept."""
    frontend = FRONTENDS[dialect]
    sent = {**HEADERS.get(dialect, {}), **headers}
    arrival = gw.Arrival("r", "POST", "/", "", sent, "", 0.0, gw.Principal("k", tenant))
    try:
        head = frontend.parse(json.dumps(body).encode(), arrival)
        request = frontend.request(head)
    except gw.ClientError:
        return None
    call = SimpleNamespace(arrival=arrival, head=head, canonical=lambda: request, considered=None)
    nothing = cast(Any, None)
    caching = Caching((), 60.0, "p=1", nothing, nothing, nothing, semantic=True)
    lookup = caching.lookup(cast(Any, call))
    return None if lookup is None else (lookup, request)


def base(dialect: str) -> tuple[gw.Lookup, gw.CanonicalRequest]:
    given = found(dialect, BODIES[dialect])
    assert given is not None
    return given


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each member of `value`, however deep: where it is, and what it is."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, each in pairs:
        yield (*path, name), each
        if isinstance(each, (dict, list)):
            yield from places(each, (*path, name))


def put(value: Any, path: Path, *new: Any) -> Any:
    """`value` with `new` at `path`, or without what is there."""
    copied = dict(value) if isinstance(value, dict) else list(value)
    if len(path) > 1:
        copied[path[0]] = put(value[path[0]], path[1:], *new)
    elif new:
        copied[path[0]] = new[0]
    else:
        del copied[path[0]]
    return copied


def other(value: Any, data: st.DataObject) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + data.draw(st.text("abcxyz ./-", min_size=1, max_size=5))
    if isinstance(value, (int, float)):
        return value + data.draw(st.integers(1, 5))
    if isinstance(value, list):
        return [*value, *value[:1]]
    return {**value, "unheard": data.draw(st.one_of(st.none(), st.integers(), st.text()))}


PLACES = {dialect: list(places(body)) for dialect, body in BODIES.items()}
KNOWN = {name for body in BODIES.values() for name in body} | IGNORED | EFFECTS
# Said by the head of a body or of an answer, in the client's own form: `Caching` repeats events.
TRAVEL = {"stream": True, "stream_options": {"include_usage": True}}
STREAMED = ("openai.chat", "openai.completions", "anthropic.messages", "openai.responses")


@given(st.sampled_from(sorted(BODIES)), st.data())
def test_a_member_that_can_change_the_answer_changes_the_key(
    dialect: str, data: st.DataObject
) -> None:
    """Changed, set to null, or left out, at any depth. A key stays what it is only where the
    canonical request does, of which all is made that a provider is sent; with a cache no body
    is relayed."""
    path, value = data.draw(st.sampled_from(PLACES[dialect]))
    assume(path[0] not in WHO)
    kind = data.draw(st.sampled_from(["other", "gone", "null"]))
    new = [other(value, data)] if kind == "other" else [None] if kind == "null" else []
    changed = found(dialect, put(BODIES[dialect], path, *new))
    assume(changed is not None)
    assert changed is not None
    lookup, request = base(dialect)

    assert changed[0].key != lookup.key or changed[1] == request, (path, kind, new)


@pytest.mark.parametrize(
    ("dialect", "path"),
    [(dialect, path) for dialect in BODIES for path, value in PLACES[dialect]
     if len(path) == 1 and path[0] not in WHO],
    ids=str,
)  # fmt: skip
def test_no_parameter_can_be_left_out_unnoticed(dialect: str, path: Path) -> None:
    """Each parameter of each dialect, and the unknown one."""
    changed = found(dialect, put(BODIES[dialect], path))

    assert changed is None or changed[0].key != base(dialect)[0].key


@given(
    st.sampled_from(sorted(BODIES)),
    st.text(min_size=1, max_size=12),
    st.one_of(st.booleans(), st.integers(-9, 9), st.text(), st.lists(st.integers(0, 3))),
)
def test_a_member_that_nobody_knows_is_part_of_the_key(
    dialect: str, name: str, value: object
) -> None:
    assume(name not in KNOWN)
    changed = found(dialect, {**BODIES[dialect], name: value})
    assume(changed is not None)
    assert changed is not None

    assert changed[0].key != base(dialect)[0].key


@given(st.sampled_from(sorted(BODIES)), st.data())
def test_who_asks_and_how_the_answer_travels_is_not(dialect: str, data: st.DataObject) -> None:
    """As the documentation says; another member of `metadata` is one that nobody knows."""
    names = ["user_id"] if dialect == "anthropic.messages" else sorted(WHO)
    name = data.draw(st.sampled_from(names))
    value: Any = {"user_id": data.draw(st.text())} if name == "user_id" else WHO[name]
    if isinstance(value, str):
        value = data.draw(st.text())
    body = {**BODIES[dialect], "metadata" if name == "user_id" else name: value}
    if dialect in STREAMED and data.draw(st.booleans()):
        body |= TRAVEL if dialect.startswith("openai.c") else {"stream": True}
    changed = found(dialect, body)
    assert changed is not None
    lookup = base(dialect)[0]
    bare = {key: each for key, each in BODIES[dialect].items() if key not in WHO}
    without = found(dialect, bare)
    assert without is not None

    assert changed[0].key == lookup.key == without[0].key
    assert changed[0].partition == lookup.partition == without[0].partition


@pytest.mark.parametrize("dialect", BODIES)
def test_headers_count_where_the_dialect_has_some(dialect: str) -> None:
    """Those that a provider would be sent; no other one."""
    body, lookup = BODIES[dialect], base(dialect)[0]
    same = {
        "user-agent": "x",
        "x-request-id": "r-2",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-stainless-retry-count": "1",
        "x-forwarded-for": "203.0.113.7",
        "accept-language": "de",
    }
    unlike = [{"anthropic-beta": "two-2025-01-01"}, {"anthropic-version": "2024-01-01"}]
    others = [found(dialect, body, **each) for each in unlike]

    for name, value in same.items():
        kept = found(dialect, body, **{name: value})
        assert kept is not None and kept[0].key == lookup.key, name
    for changed in others:
        assert changed is not None
        assert (changed[0].key != lookup.key) == (dialect in HEADERS)


@pytest.mark.parametrize("dialect", BODIES)
def test_the_same_bytes_of_two_tenants_share_nothing(dialect: str) -> None:
    (mine, _), theirs = base(dialect), found(dialect, BODIES[dialect], "other")
    assert theirs is not None

    assert mine.key != theirs[0].key
    assert not mine.partition or mine.partition != theirs[0].partition


def test_one_question_in_two_dialects_is_two() -> None:
    """The answer of one may hold what the other has no place for."""
    keys = {base(dialect)[0].key for dialect in BODIES}
    plain: Body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    both = [found(each, plain) for each in ("openai.chat", "anthropic.messages")]

    assert len(keys) == len(BODIES)
    assert len({each[0].key for each in both if each is not None}) == 2


@pytest.mark.parametrize("name", sorted(EFFECTS))
def test_what_a_vendor_would_keep_is_never_repeated(name: str) -> None:
    assert found("openai.chat", {**CHAT, name: True}) is None
