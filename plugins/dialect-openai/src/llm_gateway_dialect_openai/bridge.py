"""A chat request as a Responses request, for what a vendor's chat API refuses.

Which models demand that is the provider's to say (`DialectProvider.bridged`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import llm_gateway_api as gw

from llm_gateway_dialect_openai.parameters import neutral

PATH = "/responses"
DIALECT = "openai.responses"
STATE = DIALECT  # the key of a reasoning item in an opaque state
MIN_OUTPUT = 16
SAME = frozenset(
    {
        "temperature", "top_p", "top_logprobs", "parallel_tool_calls", "metadata", "user",
        "safety_identifier", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "service_tier", "moderation", "stream_options",
        "max_tool_calls",
    }
)  # fmt: skip
HANDLED = frozenset(
    {
        "max_tokens", "reasoning_effort", "verbosity", "response_format", "store", "logprobs",
        "web_search_options", "include",
    }
)  # fmt: skip
REASONING = "reasoning."  # what this API knows of reasoning beside the effort
# Hints: the answer is one without them too.
HARMLESS = frozenset({"seed", "prediction"})


class Bridge:
    """Writes one request. `dropped` names what was left out; `sealed` is whether the model
    may be asked for encrypted reasoning."""

    def __init__(self, dialect: str, sealed: bool = True) -> None:
        self._sealed = sealed
        self._own = dialect.startswith("openai.")
        self._native = dialect == DIALECT
        self._dropped: dict[str, None] = {}
        self._custom: set[str] = set()

    @property
    def dropped(self) -> tuple[str, ...]:
        return tuple(self._dropped)

    def encode(self, request: gw.ChatRequest) -> dict[str, Any]:
        params = request.params
        body: dict[str, Any] = {
            "model": request.model,
            "input": [item for each in request.messages for item in self._items(each)],
            "store": params.get("store") is True,
            "stream": request.stream,
            "include": ["reasoning.encrypted_content"] if self._sealed else [],
        }
        body |= {name: params[name] for name in SAME if params.get(name) is not None}
        if (limit := params.get("max_tokens")) is not None:
            body["max_output_tokens"] = max(MIN_OUTPUT, limit) if isinstance(limit, int) else limit
        if reasoning := _reasoning(params):
            body["reasoning"] = reasoning
        if isinstance(include := params.get("include"), list):
            body["include"] += include
        if params.get("logprobs"):
            body["include"].append("message.output_text.logprobs")
        if text := _text(params):
            body["text"] = text
        if tools := self._tools(request):
            body["tools"] = tools
        if request.tool_choice is not None:
            body["tool_choice"] = self._choice(request.tool_choice)
        self._left_out(params)
        if self._native:
            return {**body, **request.extra}
        self._drop(list(request.extra))
        return body

    def _left_out(self, params: gw.Params) -> None:
        for name, value in params.items():
            if name in SAME or name in HANDLED or name.startswith(REASONING):
                continue
            if name not in HARMLESS and not neutral(name, value):
                raise gw.UnsupportedParameterError(
                    f"The model chosen does not take {name!r}; leave it out.", param=name
                )
            self._drop([name])

    def _tools(self, request: gw.ChatRequest) -> list[dict[str, Any]]:
        tools = [self._tool(each) for each in request.tools or ()]
        if isinstance(search := request.params.get("web_search_options"), dict):
            tools.append(_search(search))
        return tools

    def _items(self, message: gw.Message) -> Iterator[dict[str, Any]]:
        """The input items of one message, in its order; text before a call stays before it."""
        content: list[dict[str, Any]] = []
        if message.name is not None:
            self._drop(["messages.name"])
        beside = message.extra if self._native else {}
        self._drop([f"messages.{name}" for name in message.extra if not self._native])
        for part in message.parts:
            item = self._item(part, message.role)
            if item is None:
                content.append(self._part(part, message.role))
                continue
            if content:
                yield {**_message(message, content), **beside}
                content = []
            if item:
                yield item
        if content:
            yield {**_message(message, content), **beside}

    def _item(self, part: gw.Part, role: str) -> dict[str, Any] | None:
        """What stands beside messages; empty for what is left out, None for content."""
        if isinstance(part, gw.ToolCallPart):
            return self._call(part)
        if isinstance(part, gw.ToolResultPart):
            if part.is_error:
                self._drop(["is_error"])
            kind = "custom_tool_call" if part.call_id in self._custom else "function_call"
            output = self._output(part.parts)
            named = {"type": f"{kind}_output", "call_id": part.call_id, "output": output}
            return {**named, **self._extra(part.extra)}
        if isinstance(part, gw.ReasoningPart):
            state = part.state.get(STATE)
            if not isinstance(state, dict) or gw.MADE_BY in part.state:
                self._drop(gw.beside(part.extra))  # a client's own item is in its state whole
            if not isinstance(state, dict):
                self._drop(["reasoning"])
                return {}
            return dict(state)
        if isinstance(part, gw.UnknownPart) and part.dialect == DIALECT and role == "assistant":
            return dict(part.raw)  # the call of a tool that the vendor runs
        return None

    def _call(self, part: gw.ToolCallPart) -> dict[str, Any]:
        custom = part.kind == "custom"
        if custom:
            self._custom.add(part.id)
        return {
            "type": "custom_tool_call" if custom else "function_call",
            "call_id": part.id,
            "name": part.name,
            "input" if custom else "arguments": part.arguments,
            **self._extra(part.extra),
        }

    def _output(self, parts: tuple[gw.Part, ...]) -> object:
        texts = [each.text for each in parts if isinstance(each, gw.TextPart)]
        if len(texts) == len(parts) < 2:
            return "".join(texts)
        return [self._part(each, "user") for each in parts]

    def _part(self, part: gw.Part, role: str) -> dict[str, Any]:
        if isinstance(part, gw.TextPart):
            kind = "output_text" if role == "assistant" else "input_text"
            return {"type": kind, "text": part.text, **self._extra(part.extra)}
        if isinstance(part, gw.RefusalPart):
            return {"type": "refusal", "refusal": part.text, **self._extra(part.extra)}
        if isinstance(part, gw.ImagePart):
            url = part.url or f"data:{part.media_type};base64,{part.data}"
            image = {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
            return {**image, **self._extra(part.extra)}
        if isinstance(part, gw.FilePart):
            return {**_file(part), **self._extra(part.extra)}
        if isinstance(part, gw.UnknownPart) and part.dialect == DIALECT:
            return dict(part.raw)
        raise gw.UnsupportedParameterError(
            "The model chosen does not take this kind of content.", param="messages"
        )

    def _tool(self, tool: gw.Tool) -> dict[str, Any]:
        if tool.kind == "vendor":
            if self._native:
                return dict(tool.extra)
            raise gw.unsupported_tool(tool)
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
        strict = tool.strict if self._native else bool(tool.strict)
        return {**flat, "parameters": tool.parameters, "strict": strict, **self._extra(tool.extra)}

    def _choice(self, choice: gw.ToolChoice) -> object:
        if not choice.extra:
            return _choice(choice)
        made = _choice(choice)
        if isinstance(made, dict):
            return {**made, **self._extra(choice.extra)}
        self._drop(gw.beside(choice.extra))  # a word has no members
        return made

    def _extra(self, extra: gw.Params) -> gw.Params:
        """What stood within a member of the other form has no place in this one."""
        kept = dict(extra) if self._native else {}
        if self._own and not self._native:
            kept = {n: v for n, v in extra.items() if not isinstance(v, gw.Within)}
        self._drop(gw.beside({n: v for n, v in extra.items() if n not in kept}))
        return kept

    def _drop(self, names: list[str]) -> None:
        self._dropped |= dict.fromkeys(names)


def _message(message: gw.Message, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "role": message.role, "content": content}


def _reasoning(params: gw.Params) -> dict[str, Any]:
    found = {
        name.removeprefix(REASONING): value
        for name, value in params.items()
        if name.startswith(REASONING)
    }
    if (effort := params.get("reasoning_effort")) is not None:
        found["effort"] = effort
    return found


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


def _search(options: Mapping[str, Any]) -> dict[str, Any]:
    """Chat's ``web_search_options`` as the tool; the place is nested there and flat here."""
    tool = {"type": "web_search", **options}
    place = options.get("user_location")
    if isinstance(place, dict) and isinstance(place.get("approximate"), dict):
        tool["user_location"] = {"type": place.get("type"), **place["approximate"]}
    return tool


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


def _choice(choice: gw.ToolChoice) -> object:
    if choice.mode == "named":
        return {"type": choice.kind, "name": choice.names[0]}
    if choice.mode.startswith("allowed"):
        mode = "required" if choice.mode == "allowed_required" else "auto"
        tools = [{"type": choice.kind, "name": name} for name in choice.names]
        return {"type": "allowed_tools", "mode": mode, "tools": tools}
    return choice.mode
