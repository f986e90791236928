"""What a client asks, in canonical form: the superset of the client dialects.

Three rules hold for all of it: a member that the caller omitted is absent, one that it
set to null is None, and zero is zero; members that no dialect table names are kept in
`extra`; nothing here knows a vendor.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from llm_gateway_api.errors import UnsupportedParameterError

Params: TypeAlias = Mapping[str, object]
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
Operation: TypeAlias = Literal["chat", "completions", "embeddings", "rerank", "count_tokens"]


class _Value(msgspec.Struct, frozen=True):
    """Base of the values below: immutable, compared by content, cheap to make."""


class Within(dict[str, Any]):
    """What an object that has a place in the canonical form holds beside: `extra` has it under
    that object's name."""


class RequestHead(msgspec.Struct, frozen=True):
    """What a frontend reads of a body without decoding its big members.

    `fields` maps each top-level member to its undecoded JSON; `body` is the whole as it
    was received (UTF-8, checked). `include_usage` says whether the client asked to see
    usage in a stream. `headers` are the dialect's own, which go with the body on the relay
    lane.
    """

    dialect: str
    operation: Operation
    model: str
    stream: bool
    include_usage: bool
    fields: Mapping[str, msgspec.Raw]
    body: bytes
    headers: Mapping[str, str] = {}


class TextPart(_Value, frozen=True, tag="text"):
    text: str
    extra: Params = {}


class ImagePart(_Value, frozen=True, tag="image"):
    """A picture: either `url` (http or https) or base64 `data` with its `media_type`."""

    url: str | None = None
    media_type: str | None = None
    data: str | None = None
    detail: str | None = None
    extra: Params = {}


class AudioPart(_Value, frozen=True, tag="audio"):
    """Base64 `data` in `format` (``wav``, ``mp3``); `id` names audio of an earlier answer."""

    data: str | None = None
    format: str | None = None
    id: str | None = None
    extra: Params = {}


class FilePart(_Value, frozen=True, tag="file"):
    """A document: `file_id`, or `url`, or base64 `data` with its `media_type`."""

    filename: str | None = None
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    extra: Params = {}


class ReasoningPart(_Value, frozen=True, tag="reasoning"):
    """Earlier reasoning. `state` is the vendor's opaque part (signature, encrypted
    content) by who can read it, and its maker (`MADE_BY`): the kernel returns it unchanged to
    the deployment that made it and empties it for any other."""

    text: str = ""
    state: Params = {}
    extra: Params = {}


class RefusalPart(_Value, frozen=True, tag="refusal"):
    text: str
    extra: Params = {}


class ToolCallPart(_Value, frozen=True, tag="tool_call"):
    """A call the model made. `arguments` is the model's own text, byte for byte: it may be
    empty or invalid JSON. For `kind` ``custom`` it is free text."""

    id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    extra: Params = {}


class ToolResultPart(_Value, frozen=True, tag="tool_result"):
    """The answer to the call `call_id`; `parts` may be empty."""

    call_id: str
    parts: tuple["Part", ...] = ()
    is_error: bool = False
    extra: Params = {}


class UnknownPart(_Value, frozen=True, tag="unknown"):
    """A part this version does not know: kept for its own `dialect`, refused elsewhere."""

    dialect: str
    raw: Params


Part: TypeAlias = (
    TextPart
    | ImagePart
    | AudioPart
    | FilePart
    | ReasoningPart
    | RefusalPart
    | ToolCallPart
    | ToolResultPart
    | UnknownPart
)


class Message(_Value, frozen=True):
    """One turn. `text_only` remembers that the client sent its content as a plain string;
    `content_null` that it sent null (an assistant turn that only calls tools)."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    text_only: bool = False
    extra: Params = {}


class Tool(_Value, frozen=True):
    """A function the model may call; `parameters` is JSON Schema, None when omitted.
    `kind` ``custom`` takes free text, with its grammar in `extra`; ``vendor`` is one that the
    vendor of the request's dialect runs or defines, whole in `extra`, refused elsewhere."""

    name: str
    description: str | None = None
    parameters: Params | None = None
    strict: bool | None = None
    kind: Literal["function", "custom", "vendor"] = "function"
    extra: Params = {}


def unsupported_tool(tool: Tool) -> UnsupportedParameterError:
    """What a provider raises for a tool of a kind that it does not have; never leave one out:
    the answer would be another."""
    kind = tool.kind if tool.kind != "vendor" else str(tool.extra.get("type") or tool.name)
    return UnsupportedParameterError(
        f"The provider chosen has no tools of the type {kind!r} (tool {tool.name!r}): leave it "
        "out, or make it a function.",
        param="tools",
    )


class ToolChoice(_Value, frozen=True):
    """`mode` ``named`` forces the one tool of `names`; ``allowed`` and ``allowed_required``
    restrict the choice to `names`."""

    mode: Literal["auto", "none", "required", "named", "allowed", "allowed_required"]
    names: tuple[str, ...] = ()
    kind: Literal["function", "custom"] = "function"
    extra: Params = {}


class ChatRequest(_Value, frozen=True, tag="chat"):
    """A chat turn in canonical form, the superset of the client dialects.

    `params` holds every tuning parameter by its canonical name (the reference table is in
    the plugin guide: ``temperature``, ``top_p``, ``max_tokens``, ``stop`` (a list),
    ``n``, ``seed``, ``presence_penalty``, ``frequency_penalty``, ``logit_bias``,
    ``logprobs``, ``top_logprobs``, ``response_format``, ``reasoning_effort``,
    ``thinking`` (a finer form of ``reasoning_effort``, which stands beside it),
    ``verbosity``, ``parallel_tool_calls``, ``user``, ``metadata``, ``service_tier``, …).
    Absent means omitted, None means null. `extra` holds members no dialect table names.
    `tools` is None when omitted and empty when the client sent an empty list. `lost` names
    members (``messages.NAME``, ``tool_choice.NAME``) that found no place here: they are told in
    ``x-gateway-dropped`` wherever the request is translated.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] | None = None
    tool_choice: ToolChoice | None = None
    params: Params = {}
    stream: bool = False
    extra: Params = {}
    dialect: str = ""
    lost: tuple[str, ...] = ()


ALL_NAMES = None  # every name


def unnamed(
    request: ChatRequest,
    turns: Collection[str] | None = (),
    parts: Collection[str] | None = (),
    tools: Collection[str] | None = (),
    choice: Collection[str] | None = (),
) -> list[str]:
    """Members below the top level of `request` that no dialect's table names, each once, as
    ``messages.NAME``, ``tools.NAME`` and ``tool_choice.NAME``: what a provider leaves out of them
    it adds to `UpstreamRequest.dropped`. `turns`, `parts`, `tools` and `choice` are the names
    that it writes."""
    found: dict[str, None] = {}
    for message in request.messages:
        if message.extra and turns is not ALL_NAMES:
            found |= _left("messages", message.extra, turns)
        if parts is not ALL_NAMES:
            _of_parts(message.parts, parts, found)
    for each in request.tools or ():
        if each.extra and tools is not ALL_NAMES and each.kind != "vendor":
            found |= _left("tools", each.extra, tools)
    chosen = request.tool_choice
    if chosen is not None and chosen.extra and choice is not ALL_NAMES:
        found |= _left("tool_choice", chosen.extra, choice)
    return list(found)


def joined(row: dict[str, Any], extra: Params) -> dict[str, Any]:
    """`row` with the members of `extra`, and its objects with what is `Within` them."""
    for name, value in extra.items():
        own = row.get(name)
        row[name] = {**value, **own} if isinstance(value, Within) and own else value
    return row


def beside(extra: Params, written: Collection[str] = ()) -> list[str]:
    """The names in `extra` but for the `written`, and for null, which asks for nothing."""
    found: list[str] = []
    for name, value in extra.items():
        if value is None:
            continue
        if isinstance(value, Within):
            found += [f"{name}.{each}" for each in value if each not in written]
        elif name not in written:
            found.append(name)
    return found


def _of_parts(given: tuple[Part, ...], written: Collection[str], found: dict[str, None]) -> None:
    for part in given:
        if extra := getattr(part, "extra", None):
            found |= _left("messages", extra, written)
        if type(part) is ToolResultPart:
            _of_parts(part.parts, written, found)


def _left(path: str, extra: Params, written: Collection[str]) -> dict[str, None]:
    return dict.fromkeys(f"{path}.{each}" for each in beside(extra, written))


class EmbeddingsRequest(_Value, frozen=True, tag="embeddings"):
    """Texts (or lists of token ids) to embed; answers keep their order."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    params: Params = {}
    extra: Params = {}
    dialect: str = ""


class RerankRequest(_Value, frozen=True, tag="rerank"):
    """Documents to rank against a query."""

    model: str
    query: str
    documents: tuple[str, ...]
    top_n: int | None = None
    params: Params = {}
    dialect: str = ""


CanonicalRequest: TypeAlias = ChatRequest | EmbeddingsRequest | RerankRequest
