"""Every text of a canonical request, each with the field that an error would name.

What is opaque stays: pictures, audio and files, their addresses, the ids of calls, and
vendors' own state.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from llm_gateway_api import (
    CanonicalRequest,
    ChatRequest,
    EmbeddingsRequest,
    FilePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    RerankRequest,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)
from msgspec import structs

MAX_WORD = 128
V = TypeVar("V")


class Walk:
    """`text` changes a text, `json` one that is JSON; `at` is the field in hand."""

    def __init__(self, text: Callable[[str], str], json: Callable[[str], str]) -> None:
        self._text = text
        self._json = json
        self.at = "body"

    def request(self, request: CanonicalRequest) -> CanonicalRequest:
        if isinstance(request, ChatRequest):
            return self._chat(request)
        if isinstance(request, EmbeddingsRequest):
            self.at = "input"
            inputs = tuple(self._text(e) if isinstance(e, str) else e for e in request.inputs)
            return self._rest(_changed(request, inputs=inputs))
        assert isinstance(request, RerankRequest)
        self.at = "query"
        query = self._text(request.query)
        self.at = "documents"
        documents = tuple(map(self._text, request.documents))
        return self._rest(_changed(request, query=query, documents=documents))

    def anything(self, value: Any) -> Any:
        """Texts inside `value`, a tree as JSON has it; one long word is no text but data."""
        if isinstance(value, str):
            opaque = len(value) > MAX_WORD and " " not in value
            return value if opaque else self._text(value)
        if isinstance(value, Mapping):
            fixed = {key: self.anything(each) for key, each in value.items()}
            return value if all(fixed[key] is value[key] for key in fixed) else fixed
        if isinstance(value, (tuple, list)):
            items = [self.anything(each) for each in value]
            if all(one is other for one, other in zip(items, value, strict=True)):
                return value
            return type(value)(items)
        return value

    def _chat(self, request: ChatRequest) -> CanonicalRequest:
        messages = tuple(self._message(at, each) for at, each in enumerate(request.messages))
        tools = request.tools
        if tools is not None:
            tools = tuple(self._tool(at, each) for at, each in enumerate(tools))
        return self._rest(_changed(request, messages=messages, tools=tools))

    def _rest(self, request: V) -> V:
        for name in ("params", "extra"):
            members = getattr(request, name, None)
            if not members:
                continue
            fixed = dict(members)
            for key, value in members.items():
                self.at = key
                fixed[key] = self.anything(value)
            request = _changed(request, **{name: fixed})
        return request

    def _message(self, number: int, message: Message) -> Message:
        self.at = f"messages[{number}]"
        name = None if message.name is None else self._text(message.name)
        parts = tuple(map(self.part, message.parts))
        return _changed(message, name=name, parts=parts, extra=self.anything(message.extra))

    def _tool(self, number: int, tool: Tool) -> Tool:
        self.at = f"tools[{number}]"
        description = None if tool.description is None else self._text(tool.description)
        return _changed(tool, description=description, parameters=self.anything(tool.parameters))

    def part(self, part: Part) -> Part:
        if isinstance(part, (TextPart, ReasoningPart, RefusalPart)):
            return _changed(part, text=self._text(part.text), extra=self.anything(part.extra))
        if isinstance(part, ToolCallPart):
            fix = self._text if part.kind == "custom" else self._json
            return _changed(part, arguments=fix(part.arguments))
        if isinstance(part, ToolResultPart):
            return _changed(part, parts=tuple(map(self.part, part.parts)))
        if isinstance(part, FilePart) and part.filename is not None:
            return _changed(part, filename=self._text(part.filename))
        if isinstance(part, UnknownPart):
            return _changed(part, raw=self.anything(part.raw))
        return part


def _changed(value: V, **members: Any) -> V:
    """`value` itself where nothing differs."""
    new = {name: each for name, each in members.items() if each != getattr(value, name)}
    return structs.replace(value, **new) if new else value  # type: ignore[type-var]  # a struct
