"""Decodes a whole body into its canonical request."""

from typing import Any

from llm_gateway_api.errors import UnsupportedParameterError
from llm_gateway_api.reading import members as decoded_members
from llm_gateway_api.reading import rest, wrong
from llm_gateway_api.requests import (
    ChatRequest,
    EmbeddingsRequest,
    Message,
    RequestHead,
    TextPart,
)

from llm_gateway_frontend_openai.messages import decode_messages
from llm_gateway_frontend_openai.params import split
from llm_gateway_frontend_openai.tools import decode_choice, decode_tools

_HEAD = ("model", "stream")


def decode_chat(head: RequestHead) -> ChatRequest:
    members, options = _members(head)
    messages = decode_messages(members.pop("messages"))
    tools = decode_tools(members)
    lost: list[str] = []
    choice = decode_choice(members, lost)
    params, extra = split(members)
    if options:
        params["stream_options"] = options
    if isinstance(params.get("logprobs"), int) and not isinstance(params["logprobs"], bool):
        raise wrong("logprobs", "true or false")
    return ChatRequest(
        head.model,
        messages,
        tools,
        choice,
        params,
        head.stream,
        extra,
        head.dialect,
        tuple(lost),
    )


def decode_completion(head: RequestHead) -> ChatRequest:
    """One prompt becomes one user message: what a chat model can answer."""
    members, _ = _members(head)
    prompt = members.pop("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise UnsupportedParameterError(
            "The model chosen takes one text as 'prompt'.", param="prompt"
        )
    params, extra = split(members)
    for name in ("echo", "suffix", "logprobs"):
        if params.pop(name, None) not in (None, False, ""):
            raise UnsupportedParameterError(f"The model chosen has no {name!r}.", param=name)
    if params.pop("best_of", None) not in (None, 1):
        raise UnsupportedParameterError("The model chosen has no 'best_of'.", param="best_of")
    messages = (Message("user", (TextPart(prompt),), text_only=True),)
    return ChatRequest(head.model, messages, None, None, params, head.stream, extra, head.dialect)


def decode_embeddings(head: RequestHead) -> EmbeddingsRequest:
    members, _ = _members(head)
    inputs = _inputs(members.pop("input"))
    params, extra = split(members)
    if params.get("encoding_format") not in (None, "float", "base64"):
        raise wrong("encoding_format", "'float' or 'base64'")
    return EmbeddingsRequest(head.model, inputs, params, extra, head.dialect)


def _members(head: RequestHead) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is not in the head, and what the client says of its stream besides usage, which the
    gateway sees to."""
    members = decoded_members(head)
    for name in _HEAD:
        members.pop(name, None)
    given = members.pop("stream_options", None)
    return members, rest(given, "include_usage") if isinstance(given, dict) else {}


def _inputs(given: object) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list) or not given:
        raise wrong("input", "a string or a non-empty array")
    if all(_is_token(each) for each in given):
        return (tuple(given),)
    return tuple(_input(each, f"input[{at}]") for at, each in enumerate(given))


def _input(value: object, param: str) -> str | tuple[int, ...]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(_is_token(each) for each in value):
        return tuple(value)
    raise wrong(param, "a string or an array of token ids")


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
