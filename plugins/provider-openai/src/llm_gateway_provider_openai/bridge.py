"""A chat request as a Responses request, for models that demand it (openai.md, 10.5).

Which models those are is the table below; nothing else in this package names a model.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec

PATH = "/responses"
STATE = "openai_reasoning"
MIN_OUTPUT = 16
# Models that answer on /responses only.
ONLY = re.compile(r"^(gpt-5\.[45]-pro|o\d+-pro|(gpt-[\d.]+-)?codex|gpt-[\d.]+-codex)(-|$)")
# First match wins. True: refuses function tools while reasoning, and reasons by default.
REASONS_BY_DEFAULT = (
    (re.compile(r"^gpt-5\.[45](-|$)"), False),
    (re.compile(r"^gpt-5\.([6-9]|\d\d)(-|$)"), True),
    (re.compile(r"^gpt-([6-9]|\d\d)(\.\d+)?(-|$)"), True),
)
SAME = frozenset(
    {
        "temperature", "top_p", "top_logprobs", "parallel_tool_calls", "metadata", "user",
        "safety_identifier", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "service_tier", "moderation",
    }
)  # fmt: skip
HANDLED = frozenset(
    {"max_tokens", "reasoning_effort", "verbosity", "response_format", "store", "logprobs"}
)
HARMLESS = frozenset({"seed", "prediction"})
NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "stop": ([],),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "modalities": (["text"],),
}


def concerns(model: str) -> bool:
    """Whether requests to `model` may have to be bridged at all."""
    return ONLY.match(model) is not None or _by_default(model) is not None


def demanded(model: str, function_tools: bool, effort: object) -> bool:
    """Whether /chat/completions would refuse what /responses answers."""
    if ONLY.match(model):
        return True
    by_default = _by_default(model)
    if by_default is None:
        return False
    if effort == "max":
        return True
    active = by_default if effort is None else effort != "none"
    return function_tools and active


def head_demands(head: gw.RequestHead, model: str) -> bool:
    """`demanded` of a body that is not decoded; what cannot be read is left to the vendor."""
    if head.dialect != "openai.chat" or not concerns(model):
        return False
    tools, effort = _member(head, "tools"), _member(head, "reasoning_effort")
    functions = bool(_member(head, "functions")) or any(
        isinstance(each, dict) and each.get("type", "function") == "function"
        for each in (tools if isinstance(tools, list) else ())
    )
    return demanded(model, functions, effort)


def request_demands(request: gw.ChatRequest) -> bool:
    functions = any(each.kind == "function" for each in request.tools or ())
    return demanded(request.model, functions, request.params.get("reasoning_effort"))


def _by_default(model: str) -> bool | None:
    return next((active for rule, active in REASONS_BY_DEFAULT if rule.match(model)), None)


def _member(head: gw.RequestHead, name: str) -> Any:
    raw = head.fields.get(name)
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None


def encode(request: gw.ChatRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body, and the names of the parameters that were left out."""
    params = request.params
    body: dict[str, Any] = {
        "model": request.model,
        "input": [item for each in request.messages for item in _items(each)],
        "store": params.get("store") is True,
        "stream": request.stream,
        "include": ["reasoning.encrypted_content"],
    }
    body |= {name: params[name] for name in SAME if params.get(name) is not None}
    if (limit := params.get("max_tokens")) is not None:
        body["max_output_tokens"] = max(MIN_OUTPUT, limit) if isinstance(limit, int) else limit
    if (effort := params.get("reasoning_effort")) is not None:
        body["reasoning"] = {"effort": effort}
    if params.get("logprobs"):
        body["include"].append("message.output_text.logprobs")
    if text := _text(params):
        body["text"] = text
    if request.tools is not None:
        body["tools"] = [_tool(each) for each in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _choice(request.tool_choice)
    return body, _left_out(params)


def _left_out(params: gw.Params) -> tuple[str, ...]:
    dropped: list[str] = []
    for name, value in params.items():
        if name in SAME or name in HANDLED or value is None:
            continue
        if name not in HARMLESS and value not in NEUTRAL.get(name, ()):
            raise gw.UnsupportedParameterError(
                f"The model chosen does not take {name!r}; leave it out.", param=name
            )
        dropped.append(name)
    return tuple(dropped)


def _text(params: gw.Params) -> dict[str, Any]:
    text: dict[str, Any] = {}
    form = params.get("response_format")
    if isinstance(form, dict):
        schema = form.get("json_schema")
        flat = schema if isinstance(schema, dict) else {}
        text["format"] = {"type": form.get("type"), **flat}
    if params.get("verbosity") is not None:
        text["verbosity"] = params["verbosity"]
    return text


def _items(message: gw.Message) -> Iterator[dict[str, Any]]:
    """The input items of one message, in its order; text before a call stays before it."""
    content: list[dict[str, Any]] = []
    for part in message.parts:
        item = _item(part)
        if item is None:
            content.append(_part(part, message.role))
            continue
        if content:
            yield {"type": "message", "role": message.role, "content": content}
            content = []
        if item:
            yield item
    if content:
        yield {"type": "message", "role": message.role, "content": content}


def _item(part: gw.Part) -> dict[str, Any] | None:
    """What stands beside messages; empty for what is left out, None for content."""
    if isinstance(part, gw.ToolCallPart):
        custom = part.kind == "custom"
        return {
            "type": "custom_tool_call" if custom else "function_call",
            "call_id": part.id,
            "name": part.name,
            "input" if custom else "arguments": part.arguments,
        }
    if isinstance(part, gw.ToolResultPart):
        return {
            "type": "function_call_output",
            "call_id": part.call_id,
            "output": _output(part.parts),
        }
    if isinstance(part, gw.ReasoningPart):
        state = part.state.get(STATE)
        return dict(state) if isinstance(state, dict) else {}
    return None


def _output(parts: tuple[gw.Part, ...]) -> object:
    texts = [each.text for each in parts if isinstance(each, gw.TextPart)]
    if len(texts) == len(parts):
        return "".join(texts)
    return [_part(each, "user") for each in parts]


def _part(part: gw.Part, role: str) -> dict[str, Any]:
    if isinstance(part, gw.TextPart):
        kind = "output_text" if role == "assistant" else "input_text"
        return {"type": kind, "text": part.text}
    if isinstance(part, gw.RefusalPart):
        return {"type": "refusal", "refusal": part.text}
    if isinstance(part, gw.ImagePart):
        url = part.url or f"data:{part.media_type};base64,{part.data}"
        return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
    if isinstance(part, gw.FilePart):
        return _file(part)
    raise gw.UnsupportedParameterError(
        "The model chosen does not take this kind of content.", param="messages"
    )


def _file(part: gw.FilePart) -> dict[str, Any]:
    data = part.data
    if data is not None and part.media_type is not None:
        data = f"data:{part.media_type};base64,{data}"
    given = {
        "file_id": part.file_id,
        "file_url": part.url,
        "filename": part.filename,
        "file_data": data,
    }
    return {"type": "input_file", **{key: each for key, each in given.items() if each is not None}}


def _tool(tool: gw.Tool) -> dict[str, Any]:
    flat: dict[str, Any] = {"type": tool.kind, "name": tool.name}
    if tool.description is not None:
        flat["description"] = tool.description
    if tool.kind == "custom":
        form = tool.extra.get("format")
        grammar = form.get("grammar") if isinstance(form, dict) else None
        if isinstance(grammar, dict):
            return {**flat, "format": {"type": "grammar", **grammar}}
        return {**flat, **({"format": form} if form is not None else {})}
    # Chat's default is false; a value left out is not known to mean false here.
    return {**flat, "parameters": tool.parameters, "strict": bool(tool.strict)}


def _choice(choice: gw.ToolChoice) -> object:
    if choice.mode == "named":
        return {"type": choice.kind, "name": choice.names[0]}
    if choice.mode.startswith("allowed"):
        mode = "required" if choice.mode == "allowed_required" else "auto"
        tools = [{"type": choice.kind, "name": name} for name in choice.names]
        return {"type": "allowed_tools", "mode": mode, "tools": tools}
    return choice.mode
