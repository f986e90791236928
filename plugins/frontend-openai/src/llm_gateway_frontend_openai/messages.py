"""Decodes chat messages and their parts (openai.md, section 3)."""

from collections.abc import Callable
from typing import Any

from llm_gateway_api.reading import (
    Object,
    array,
    data_url,
    mapping,
    optional_text,
    rest,
    text,
    within,
    wrong,
)
from llm_gateway_api.requests import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)

from llm_gateway_frontend_openai import reasoning

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_SPEAKING = ("user", "assistant", "system", "developer")  # a text alone says all of their turn
_CALLING = ("tool_calls", "function_call", "audio", "refusal", "reasoning_content")
_REASONING = ("reasoning", "reasoning_details")
_KNOWN = frozenset({"role", "content", "name", "tool_call_id", *_CALLING, *_REASONING})


def decode_messages(value: object) -> tuple[Message, ...]:
    given = array(value, "messages")
    if not given:
        raise wrong("messages", "a non-empty array")
    return tuple([_message(each, f"messages[{at}]") for at, each in enumerate(given)])


def _message(value: object, path: str) -> Message:
    given = mapping(value, path)
    role, content = given.get("role"), given.get("content")
    if len(given) == 2 and isinstance(content, str) and role in _SPEAKING:
        return Message(role, (TextPart(content),), None, True)
    if role not in _ROLES:
        raise wrong(f"{path}.role", f"one of {', '.join(_ROLES)}")
    plain = isinstance(content, str)
    parts = (TextPart(content),) if isinstance(content, str) else _content(given, role, path)
    name = optional_text(given, "name", path)
    if role in ("tool", "function"):
        return _result(given, role, parts, path)
    if role == "assistant":
        parts = _assistant(given, parts, path)
    return Message(role, parts, name, plain, _unnamed(given))


def _unnamed(given: Object) -> dict[str, Any]:
    return {} if given.keys() <= _KNOWN else rest(given, *_KNOWN)


def _content(given: Object, role: str, path: str) -> tuple[Part, ...]:
    """The parts of a content that is no string."""
    content = given.get("content")
    where = f"{path}.content"
    if isinstance(content, list):
        return tuple(_part(each, f"{where}[{at}]") for at, each in enumerate(content))
    if content is not None:
        raise wrong(where, "a string or an array of parts")
    if role == "function":
        return ()
    if role != "assistant" or not any(given.get(each) for each in _CALLING):
        raise wrong(where, "a string or an array of parts")
    return ()


def _result(given: Object, role: str, parts: tuple[Part, ...], path: str) -> Message:
    if role == "function":
        call_id = f"call_{text(given.get('name'), f'{path}.name')}"
    else:
        call_id = text(given.get("tool_call_id"), f"{path}.tool_call_id")
    result = ToolResultPart(call_id, parts)
    plain = isinstance(given.get("content"), str)
    return Message("tool", (result,), None, plain, _unnamed(given))


def _assistant(given: Object, parts: tuple[Part, ...], path: str) -> tuple[Part, ...]:
    found: list[Part] = []
    thought = optional_text(given, "reasoning_content", path)
    details = given.get("reasoning_details")
    listed = [] if details is None else array(details, f"{path}.reasoning_details")
    found.extend(reasoning.parts(thought or optional_text(given, "reasoning", path), listed))
    found.extend(parts)
    if refusal := optional_text(given, "refusal", path):
        found.append(RefusalPart(refusal))
    if given.get("audio") is not None:
        audio = mapping(given["audio"], f"{path}.audio")
        id_ = text(audio.get("id"), f"{path}.audio.id")
        found.append(AudioPart(id=id_, extra=within("audio", audio, "id")))
    if given.get("tool_calls") is not None:
        where = f"{path}.tool_calls"
        calls = array(given["tool_calls"], where)
        found.extend(_call(each, f"{where}[{at}]") for at, each in enumerate(calls))
    if given.get("function_call") is not None:
        found.append(_legacy_call(given["function_call"], f"{path}.function_call"))
    return tuple(found)


def _call(value: object, path: str) -> ToolCallPart:
    given = mapping(value, path)
    id_ = text(given.get("id"), f"{path}.id")
    if given.get("type") == "custom":
        custom = mapping(given.get("custom"), f"{path}.custom")
        name = text(custom.get("name"), f"{path}.custom.name")
        free = text(custom.get("input"), f"{path}.custom.input")
        extra = rest(given, "id", "type", "custom") | within("custom", custom, "name", "input")
        return ToolCallPart(id_, name, free, "custom", extra)
    if given.get("type", "function") != "function":
        raise wrong(f"{path}.type", "'function' or 'custom'")
    function = mapping(given.get("function"), f"{path}.function")
    name = text(function.get("name"), f"{path}.function.name")
    arguments = text(function.get("arguments", ""), f"{path}.function.arguments")
    extra = rest(given, "id", "type", "function", "index")
    extra |= within("function", function, "name", "arguments")
    return ToolCallPart(id_, name, arguments, "function", extra)


def _legacy_call(value: object, path: str) -> ToolCallPart:
    given = mapping(value, path)
    name = text(given.get("name"), f"{path}.name")
    arguments = text(given.get("arguments", ""), f"{path}.arguments")
    extra = within("function", given, "name", "arguments")
    return ToolCallPart(f"call_{name}", name, arguments, "function", extra)


def _part(value: object, path: str) -> Part:
    given = mapping(value, path)
    kind = given.get("type")
    if not isinstance(kind, str):
        raise wrong(f"{path}.type", "a string")
    reader = _PARTS.get(kind)
    return reader(given, path) if reader else UnknownPart("openai.chat", given)


def _text(given: Object, path: str) -> Part:
    return TextPart(text(given.get("text"), f"{path}.text"), rest(given, "type", "text"))


def _refusal(given: Object, path: str) -> Part:
    said = text(given.get("refusal"), f"{path}.refusal")
    return RefusalPart(said, rest(given, "type", "refusal"))


def _image(given: Object, path: str) -> Part:
    where = f"{path}.image_url"
    image = mapping(given.get("image_url"), where)
    url = text(image.get("url"), f"{where}.url")
    detail = optional_text(image, "detail", where)
    extra = rest(given, "type", "image_url") | within("image_url", image, "url", "detail")
    if inline := data_url(url):
        return ImagePart(None, inline[0], inline[1], detail, extra)
    if not url.startswith(("http://", "https://")):
        raise wrong(f"{where}.url", "an http(s) URL or a base64 data URL")
    return ImagePart(url, None, None, detail, extra)


def _audio(given: Object, path: str) -> Part:
    where = f"{path}.input_audio"
    audio = mapping(given.get("input_audio"), where)
    data = text(audio.get("data"), f"{where}.data")
    format_ = text(audio.get("format"), f"{where}.format")
    extra = rest(given, "type", "input_audio") | within("input_audio", audio, "data", "format")
    return AudioPart(data, format_, None, extra)


def _file(given: Object, path: str) -> Part:
    where = f"{path}.file"
    file = mapping(given.get("file"), where)
    filename = optional_text(file, "filename", where)
    extra = rest(given, "type", "file")
    extra |= within("file", file, "filename", "file_id", "file_data")
    file_id = optional_text(file, "file_id", where)
    data = optional_text(file, "file_data", where)
    if (file_id is None) == (data is None):
        raise wrong(where, "an object with either 'file_id' or 'file_data'")
    inline = data_url(data) if data is not None else None
    media_type, data = inline if inline else (None, data)
    return FilePart(filename, media_type, data, None, file_id, extra)


_PARTS: dict[str, Callable[[dict[str, Any], str], Part]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
}
