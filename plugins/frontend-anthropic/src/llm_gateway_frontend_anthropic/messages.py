"""Decodes ``system`` and ``messages`` with their content blocks."""

from collections.abc import Callable
from typing import Any

import msgspec
from llm_gateway_api.reading import Object, array, mapping, optional_text, rest, text, within, wrong
from llm_gateway_api.requests import (
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)

from llm_gateway_frontend_anthropic.thoughts import DIALECT, unpacked

# A coding agent's own line for the vendor's bookkeeping, which would spoil prompt caches.
BILLING = "x-anthropic-billing-header:"


def decode_system(value: object) -> tuple[Message, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (Message("system", (TextPart(value),), text_only=True),) if value else ()
    parts = [_part(each, f"system.{at}") for at, each in enumerate(array(value, "system"))]
    for at, each in enumerate(parts):
        if not isinstance(each, TextPart):
            raise wrong(f"system.{at}.type", "'text'")
    if parts and isinstance(parts[0], TextPart) and parts[0].text.startswith(BILLING):
        del parts[0]
    return (Message("system", tuple(parts)),) if parts else ()


def decode_messages(value: object) -> tuple[Message, ...]:
    found: list[Message] = []
    for at, each in enumerate(array(value, "messages")):
        found += _message(each, f"messages.{at}")
    return tuple(found)


def _message(value: object, path: str) -> list[Message]:
    """One turn; a user turn with tool results is the results and then the rest."""
    given = mapping(value, path)
    role = given.get("role")
    if role not in ("user", "assistant", "system"):
        raise wrong(f"{path}.role", "'user', 'assistant' or 'system'")
    extra = rest(given, "role", "content")
    content = given.get("content")
    if isinstance(content, str):
        return [Message(role, (TextPart(content),), text_only=True, extra=extra)]
    where = f"{path}.content"
    blocks = array(content, where)
    parts: list[Part] = []
    for at, each in enumerate(blocks):
        parts += _blocks(each, f"{where}.{at}")
    results = tuple(each for each in parts if isinstance(each, ToolResultPart))
    others = tuple(each for each in parts if not isinstance(each, ToolResultPart))
    if results and role != "user":
        raise wrong(where, "free of tool_result blocks, which belong to the user")
    found = [Message("tool", results, extra={} if others else extra)] if results else []
    return [*found, Message(role, others, extra=extra)] if others else found


def _blocks(value: object, path: str) -> list[Part]:
    """The parts of one block: a document of pieces has several."""
    given = mapping(value, path)
    source = given.get("source")
    pieces = isinstance(source, dict) and source.get("type") == "content"
    if pieces and given.get("type") == "document":
        return _pieces(given, source, f"{path}.source.content")
    return [_part(given, path)]


def _pieces(given: Object, source: Any, path: str) -> list[Part]:
    title = [TextPart(given["title"])] if isinstance(given.get("title"), str) else []
    content = source.get("content")
    if isinstance(content, str):
        return [*title, TextPart(content)]
    return [*title, *(_part(each, f"{path}.{at}") for at, each in enumerate(array(content, path)))]


_SOURCE = ("type", "media_type", "data", "url")


def _part(value: object, path: str) -> Part:
    given = mapping(value, path)
    kind = text(given.get("type"), f"{path}.type")
    reader = _PARTS.get(kind)
    return reader(given, path) if reader else UnknownPart(DIALECT, given)


def _text(given: Object, path: str) -> Part:
    return TextPart(text(given.get("text"), f"{path}.text"), rest(given, "type", "text"))


def _image(given: Object, path: str) -> Part:
    where = f"{path}.source"
    source = mapping(given.get("source"), where)
    extra = rest(given, "type", "source") | within("source", source, *_SOURCE)
    kind = source.get("type")
    if kind == "base64":
        data = text(source.get("data"), f"{where}.data")
        return ImagePart(
            None, text(source.get("media_type"), f"{where}.media_type"), data, None, extra
        )
    if kind == "url":
        return ImagePart(text(source.get("url"), f"{where}.url"), extra=extra)
    return UnknownPart(DIALECT, dict(given))


def _document(given: Object, path: str) -> Part:
    where = f"{path}.source"
    source = mapping(given.get("source"), where)
    extra = rest(given, "type", "source", "title") | within("source", source, *_SOURCE)
    title, kind = optional_text(given, "title", path), source.get("type")
    if kind == "base64":
        media = text(source.get("media_type"), f"{where}.media_type")
        data = text(source.get("data"), f"{where}.data")
        return FilePart(title or "document.pdf", media, data, extra=extra)
    if kind == "url":
        return FilePart(title, url=text(source.get("url"), f"{where}.url"), extra=extra)
    if kind == "text":
        said = text(source.get("data"), f"{where}.data")
        return TextPart(f"{title}\n\n{said}" if title else said, _marks(extra))
    return UnknownPart(DIALECT, dict(given))


def _search_result(given: Object, path: str) -> Part:
    """What was found, as words: its title, its source, its text."""
    where = f"{path}.content"
    found = [text(given.get(name), f"{path}.{name}") for name in ("title", "source")]
    for at, each in enumerate(array(given.get("content"), where)):
        found.append(text(mapping(each, f"{where}.{at}").get("text"), f"{where}.{at}.text"))
    return TextPart("\n".join(found), _marks(given))


def _marks(given: Object) -> dict[str, Any]:
    return {name: given[name] for name in ("cache_control",) if name in given}


def _tool_use(given: Object, path: str) -> Part:
    arguments = mapping(given.get("input"), f"{path}.input")
    return ToolCallPart(
        text(given.get("id"), f"{path}.id"),
        text(given.get("name"), f"{path}.name"),
        msgspec.json.encode(arguments).decode(),
        extra=rest(given, "type", "id", "name", "input"),
    )


def _tool_result(given: Object, path: str) -> Part:
    call, where = text(given.get("tool_use_id"), f"{path}.tool_use_id"), f"{path}.content"
    parts: list[Part] = []
    content = given.get("content")
    if isinstance(content, str):
        parts += [TextPart(content)] if content else []
    elif content is not None:
        for at, each in enumerate(array(content, where)):
            parts += _blocks(each, f"{where}.{at}")
    failed = given.get("is_error")
    if failed is not None and not isinstance(failed, bool):
        raise wrong(f"{path}.is_error", "true or false")
    extra = rest(given, "type", "tool_use_id", "content", "is_error")
    return ToolResultPart(call, tuple(parts), bool(failed), extra)


def _thinking(given: Object, path: str) -> Part:
    thought = text(given.get("thinking"), f"{path}.thinking")
    state = unpacked(text(given.get("signature", ""), f"{path}.signature"))
    return ReasoningPart(thought, state, rest(given, "type", "thinking", "signature"))


def _redacted(given: Object, path: str) -> Part:
    data = text(given.get("data"), f"{path}.data")
    return ReasoningPart("", unpacked(data, "redacted"), rest(given, "type", "data"))


_PARTS: dict[str, Callable[[Object, str], Part]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
}
