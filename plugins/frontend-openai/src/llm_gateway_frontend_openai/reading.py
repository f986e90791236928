"""Reads a Chat Completions body: first its head, the whole only where it must be translated.

Wire format: OpenAI's API reference, chat/create. Every complaint names the field.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, cast

import llm_gateway_api as gw
import msgspec

Json: TypeAlias = dict[str, Any]
ROLES = {"system", "developer", "user", "assistant", "tool"}
# Members that are no tuning parameter.
STRUCTURE = {"model", "messages", "tools", "tool_choice", "stream", "stream_options"}
PARAMS = {
    "temperature", "top_p", "n", "presence_penalty", "frequency_penalty", "logit_bias",
    "logprobs", "top_logprobs", "seed", "response_format", "reasoning_effort", "verbosity",
    "parallel_tool_calls", "user", "safety_identifier", "metadata", "service_tier", "store",
    "modalities", "audio", "prediction", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "moderation", "web_search_options",
}  # fmt: skip


def wrong(param: str, want: str) -> gw.MalformedBodyError:
    return gw.MalformedBodyError(f"{param} must be {want}.", param=param)


def head(
    body: bytes, dialect: str, operation: gw.Operation, needed: str, shapes: bytes
) -> gw.RequestHead:
    """The head of `body`; `needed` is the member that must be there, beginning with `shapes`."""
    fields = gw.top_level(body)
    model = member(fields, "model")
    if not isinstance(model, str) or not 0 < len(model) <= 256 or not model.isprintable():
        raise wrong("model", "a string of 1 to 256 printable characters")
    if needed not in fields:
        raise gw.MalformedBodyError(f"{needed} is missing.", param=needed)
    if bytes(fields[needed])[:1] not in [shapes[i : i + 1] for i in range(len(shapes))]:
        raise wrong(needed, "an array" if shapes == b"[" else "a string or an array")
    stream = member(fields, "stream")
    if stream is not None and not isinstance(stream, bool):
        raise wrong("stream", "true or false")
    options = member(fields, "stream_options")
    if options is not None:
        if not isinstance(options, dict):
            raise wrong("stream_options", "an object")
        if not stream:
            raise gw.MalformedBodyError(
                "stream_options is for streams only; set stream to true.", param="stream_options"
            )
    usage = bool(options and options.get("include_usage"))
    return gw.RequestHead(dialect, operation, model, bool(stream), usage, fields, body)


def member(fields: Mapping[str, msgspec.Raw], name: str) -> Any:
    """One member decoded; None where it is absent or null."""
    if name not in fields:
        return None
    try:
        return msgspec.json.decode(fields[name])
    except (msgspec.DecodeError, RecursionError) as error:
        raise wrong(name, "valid JSON") from error


def chat_request(found: gw.RequestHead) -> gw.ChatRequest:
    """The whole body in canonical form."""
    try:
        body: Json = msgspec.json.decode(found.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise gw.MalformedBodyError("The body is not valid JSON.") from error
    params: Json = {name: body[name] for name in PARAMS if name in body}
    for name in ("max_tokens", "max_completion_tokens"):
        if name in body:
            params["max_tokens"] = body[name]
    if "stop" in body:
        stop = body["stop"]
        params["stop"] = [stop] if isinstance(stop, str) else stop
    known = STRUCTURE | PARAMS | {"max_tokens", "max_completion_tokens", "stop"}
    tools, choice = tools_of(body), choice_of(body)
    known |= {"functions", "function_call"}
    return gw.ChatRequest(
        found.model,
        tuple(message(each, f"messages[{at}]") for at, each in enumerate(listed(body, "messages"))),
        tools,
        choice,
        params,
        found.stream,
        {name: value for name, value in body.items() if name not in known},
        found.dialect,
    )


def listed(body: Json, name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise wrong(name, "an array with at least one item")
    return value


def message(value: Any, at: str) -> gw.Message:
    if not isinstance(value, dict):
        raise wrong(at, "an object")
    role = value.get("role")
    content = value.get("content")
    if role == "function":
        result = gw.ToolResultPart(str(value.get("name", "")), contents(content, f"{at}.content"))
        return gw.Message("tool", (result,))
    if role not in ROLES:
        raise wrong(f"{at}.role", "one of " + ", ".join(sorted(ROLES)))
    parts = contents(content, f"{at}.content")
    if role == "tool":
        call_id = value.get("tool_call_id")
        if not isinstance(call_id, str):
            raise wrong(f"{at}.tool_call_id", "a string")
        parts = (gw.ToolResultPart(call_id, parts),)
    if role == "assistant":
        parts = (*reasoning(value), *parts, *calls(value, at))
        if isinstance(value.get("refusal"), str):
            parts = (*parts, gw.RefusalPart(value["refusal"]))
        if isinstance(value.get("audio"), dict):
            parts = (*parts, gw.AudioPart(id=value["audio"].get("id")))
    elif content is None:
        raise wrong(f"{at}.content", "a string or an array")
    known = {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio",
             "function_call", "reasoning_content", "reasoning"}  # fmt: skip
    return gw.Message(
        cast(gw.Role, role),
        parts,
        value.get("name"),
        isinstance(content, str),
        {name: each for name, each in value.items() if name not in known},
    )


def reasoning(value: Json) -> tuple[gw.Part, ...]:
    text = value.get("reasoning_content") or value.get("reasoning")
    return (gw.ReasoningPart(text),) if isinstance(text, str) and text else ()


def calls(value: Json, at: str) -> tuple[gw.Part, ...]:
    found: list[gw.Part] = []
    old = value.get("function_call")
    if isinstance(old, dict):
        name = str(old.get("name", ""))
        found.append(gw.ToolCallPart(name, name, str(old.get("arguments", ""))))
    for number, each in enumerate(value.get("tool_calls") or ()):
        where = f"{at}.tool_calls[{number}]"
        if not isinstance(each, dict) or not isinstance(each.get("id"), str):
            raise wrong(f"{where}.id", "a string")
        kind: Literal["function", "custom"] = "custom" if "custom" in each else "function"
        inner = each.get(kind)
        key = "input" if kind == "custom" else "arguments"
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise wrong(f"{where}.{kind}.name", "a string")
        if not isinstance(inner.get(key, ""), str):
            raise wrong(f"{where}.{kind}.{key}", "a string")
        found.append(gw.ToolCallPart(each["id"], inner["name"], inner.get(key, ""), kind))
    return tuple(found)


def contents(value: Any, at: str) -> tuple[gw.Part, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (gw.TextPart(value),)
    if not isinstance(value, list):
        raise wrong(at, "a string or an array")
    return tuple(part(each, f"{at}[{number}]") for number, each in enumerate(value))


def part(value: Any, at: str) -> gw.Part:
    if not isinstance(value, dict):
        raise wrong(at, "an object")
    kind = value.get("type")
    reader = READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise wrong(f"{at}.type", "one of " + ", ".join(sorted(READERS)))
    inner = value.get(kind)
    if kind not in ("text", "refusal"):
        if not isinstance(inner, dict):
            raise wrong(f"{at}.{kind}", "an object")
    elif not isinstance(inner, str):
        raise wrong(f"{at}.{kind}", "a string")
    extra = {name: each for name, each in value.items() if name not in ("type", kind)}
    return reader(inner, f"{at}.{kind}", extra)


def image(inner: Json, at: str, extra: Json) -> gw.Part:
    url = inner.get("url")
    if not isinstance(url, str):
        raise wrong(f"{at}.url", "a string")
    kind, data = unpacked(url)
    return gw.ImagePart(None if data else url, kind, data, inner.get("detail"), extra)


def audio(inner: Json, at: str, extra: Json) -> gw.Part:
    if not isinstance(inner.get("data"), str):
        raise wrong(f"{at}.data", "base64 text")
    return gw.AudioPart(inner["data"], inner.get("format"), extra=extra)


def file(inner: Json, at: str, extra: Json) -> gw.Part:
    given = inner.get("file_data")
    kind, data = unpacked(given) if isinstance(given, str) else (None, None)
    return gw.FilePart(
        inner.get("filename"), kind, data or given, None, inner.get("file_id"), extra
    )


def unpacked(url: str) -> tuple[str | None, str | None]:
    """Media type and base64 data of a data URL; (None, None) for any other."""
    if not url.startswith("data:"):
        return None, None
    kind, _, data = url[5:].partition(";base64,")
    return kind or None, data or None


READERS: dict[str, Callable[[Any, str, Json], gw.Part]] = {
    "text": lambda inner, at, extra: gw.TextPart(inner, extra),
    "refusal": lambda inner, at, extra: gw.RefusalPart(inner),
    "image_url": image,
    "input_audio": audio,
    "file": file,
}


def tools_of(body: Json) -> tuple[gw.Tool, ...] | None:
    given = body.get("tools")
    if given is None and isinstance(body.get("functions"), list):
        given = [{"type": "function", "function": each} for each in body["functions"]]
    if given is None:
        return None
    if not isinstance(given, list):
        raise wrong("tools", "an array")
    return tuple(tool(each, f"tools[{at}]") for at, each in enumerate(given))


def tool(value: Any, at: str) -> gw.Tool:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("function", "custom"):
        raise wrong(f"{at}.type", "function or custom")
    inner = value.get(kind)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise wrong(f"{at}.{kind}.name", "a string")
    known = {"name", "description", "parameters", "strict"}
    return gw.Tool(
        inner["name"],
        inner.get("description"),
        inner.get("parameters"),
        inner.get("strict"),
        kind,
        {name: each for name, each in inner.items() if name not in known},
    )


def choice_of(body: Json) -> gw.ToolChoice | None:
    given = body.get("tool_choice", body.get("function_call"))
    if given is None:
        return None
    if given in ("auto", "none", "required"):
        return gw.ToolChoice(given)
    if isinstance(given, dict):
        kind = given.get("type", "function")
        if kind == "allowed_tools":
            allowed = given.get("allowed_tools") or {}
            names = [each.get(each.get("type"), {}).get("name") for each in allowed.get("tools", ())]
            mode = "allowed_required" if allowed.get("mode") == "required" else "allowed"
            return gw.ToolChoice(mode, tuple(map(str, names)))  # type: ignore[arg-type]  # one of two literals
        name = (given.get(kind) or given).get("name")
        if kind in ("function", "custom") and isinstance(name, str):
            return gw.ToolChoice("named", (name,), kind)
    raise wrong("tool_choice", "auto, none, required or a tool's name object")
