"""Decodes a whole body into its canonical request (OpenAI's API reference, responses/create)."""

from collections.abc import Mapping
from typing import Any

from llm_gateway_api.errors import UnsupportedParameterError
from llm_gateway_api.reading import array, decoded, mapping, optional_text, rest, text, wrong
from llm_gateway_api.requests import ChatRequest, Message, RequestHead, TextPart

from llm_gateway_frontend_responses.items import decode_input
from llm_gateway_frontend_responses.tools import decode_choice, decode_tools
from llm_gateway_frontend_responses.wire import DIALECT

# Answered by the head, or true of every answer.
_HEAD = frozenset(
    {
        "model", "stream", "store", "background", "background_options",
        "previous_response_id", "conversation", "stream_options",
    }
)  # fmt: skip
_NUMBER = ("a number", (int, float))
_INTEGER = ("an integer", (int,))
_BOOL = ("true or false", (bool,))
_TEXT = ("a string", (str,))
_OBJECT = ("an object", (dict,))
# The name here, its canonical name, what it must be.
_PLAIN: Mapping[str, tuple[str, tuple[str, tuple[type, ...]]]] = {
    "temperature": ("temperature", _NUMBER),
    "top_p": ("top_p", _NUMBER),
    "top_logprobs": ("top_logprobs", _INTEGER),
    "max_output_tokens": ("max_tokens", _INTEGER),
    "max_tool_calls": ("max_tool_calls", _INTEGER),
    "parallel_tool_calls": ("parallel_tool_calls", _BOOL),
    "metadata": ("metadata", _OBJECT),
    "user": ("user", _TEXT),
    "safety_identifier": ("safety_identifier", _TEXT),
    "prompt_cache_key": ("prompt_cache_key", _TEXT),
    "prompt_cache_options": ("prompt_cache_options", _OBJECT),
    "prompt_cache_retention": ("prompt_cache_retention", _TEXT),
    "service_tier": ("service_tier", _TEXT),
    "moderation": ("moderation", _OBJECT),
}
_LOGPROBS = "message.output_text.logprobs"
# Reasoning always comes with its state.
_GIVEN = ("reasoning.encrypted_content",)
_NATIVE = {
    "prompt": "stored prompts are the vendor's; send 'instructions' and 'input'",
    "context_management": "the gateway compacts no context; leave it out",
}


def decode_request(head: RequestHead) -> ChatRequest:
    members = {n: decoded(raw, n) for n, raw in head.fields.items() if n not in _HEAD}
    _refuse(members)
    messages = _instructions(members) + decode_input(members.pop("input", None))
    tools = decode_tools(members.pop("tools", None))
    lost: list[str] = []
    choice = decode_choice(members.pop("tool_choice", None), lost)
    params: dict[str, Any] = {}
    for name, (canonical, (expected, types)) in _PLAIN.items():
        if name in members:
            params[canonical] = _checked(members.pop(name), name, expected, types)
    _take_text(members, params)
    _take_reasoning(members, params)
    _take_include(members, params)
    extra = {name: value for name, value in members.items() if value is not None}
    return ChatRequest(
        head.model, messages, tools, choice, params, head.stream, extra, DIALECT, tuple(lost)
    )


def _refuse(members: dict[str, Any]) -> None:
    for name, why in _NATIVE.items():
        if members.pop(name, None):
            raise UnsupportedParameterError(f"{name!r}: {why}.", param=name)
    cut = members.pop("truncation", None)
    if cut is not None and text(cut, "truncation") != "disabled":
        raise UnsupportedParameterError(
            f"'truncation': the gateway shortens no input, so {cut!r} cannot be; "
            "send 'disabled' or leave it out.",
            param="truncation",
        )


def _instructions(members: dict[str, Any]) -> tuple[Message, ...]:
    given = members.pop("instructions", None)
    if given is None:
        return ()
    return (Message("system", (TextPart(text(given, "instructions")),), text_only=True),)


def _checked(value: Any, name: str, expected: str, types: tuple[type, ...]) -> Any:
    if value is None:
        return None
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise wrong(name, expected)
    if name == "max_output_tokens" and isinstance(value, int) and value < 1:
        raise wrong(name, "at least 1")
    return value


def _take_text(members: dict[str, Any], params: dict[str, Any]) -> None:
    """The form of the answer, and how much of it."""
    given = members.pop("text", None)
    if given is None:
        return
    config = mapping(given, "text")
    if (verbosity := optional_text(config, "verbosity", "text")) is not None:
        params["verbosity"] = verbosity
    if (form := config.get("format")) is not None:
        params["response_format"] = _form(mapping(form, "text.format"))
    if left := rest(config, "format", "verbosity"):
        members["text"] = left


def _form(form: dict[str, Any]) -> dict[str, Any]:
    kind = text(form.get("type"), "text.format.type")
    if kind != "json_schema":
        return form
    text(form.get("name"), "text.format.name")
    mapping(form.get("schema"), "text.format.schema")
    return {"type": kind, kind: {n: v for n, v in rest(form, "type").items() if v is not None}}


def _take_reasoning(members: dict[str, Any], params: dict[str, Any]) -> None:
    given = members.pop("reasoning", None)
    if given is None:
        return
    for name, value in mapping(given, "reasoning").items():
        if value is None:
            continue
        if name == "effort":
            params["reasoning_effort"] = text(value, "reasoning.effort")
        else:
            params[f"reasoning.{name}"] = value


def _take_include(members: dict[str, Any], params: dict[str, Any]) -> None:
    given = members.pop("include", None)
    if given is None:
        return
    listed = array(given, "include")
    wanted = [text(each, f"include[{at}]") for at, each in enumerate(listed)]
    if _LOGPROBS in wanted:
        params["logprobs"] = True
    if left := [each for each in wanted if each != _LOGPROBS and each not in _GIVEN]:
        params["include"] = left
