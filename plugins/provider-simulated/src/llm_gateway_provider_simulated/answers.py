"""What the simulated provider says: a pure function of the request, without time or chance."""

import hashlib
import json
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice

import llm_gateway_api as gw

from llm_gateway_provider_simulated.instance import minimal

SHOWN = 200
_WORD = re.compile(r"\s*\S+|\s+$")
_CALL = re.compile(r"\bcall:([A-Za-z0-9_.-]+)")
_FORCED = ("required", "named", "allowed_required")
_FILLER = "This is filler text of the simulated provider and means nothing at all."


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice: `words` joined are the text; `calls` are (tool, arguments)."""

    words: tuple[str, ...]
    calls: tuple[tuple[gw.Tool, str], ...]
    reason: gw.FinishReason


def answer(request: gw.ChatRequest, length: int) -> Answer:
    """Decide between tool calls, JSON and text. `length` fills the text up to words."""
    calls = _calls(request)
    if calls:
        return Answer((), calls, "tool_calls")
    text = _json(request.params.get("response_format")) or _text(request, length)
    return _limited(text, request.params)


def last_user_text(request: gw.ChatRequest) -> str:
    for message in reversed(request.messages):
        if message.role == "user":
            return _joined(message.parts)
    return ""


def words(text: str) -> tuple[str, ...]:
    """Split `text` into words with their blanks; joined they are `text` again."""
    return tuple(_WORD.findall(text))


def input_words(request: gw.ChatRequest) -> int:
    return sum(len(_joined(message.parts).split()) for message in request.messages)


def vector(item: str | tuple[int, ...], dimensions: int) -> tuple[float, ...]:
    """A unit vector that depends on `item` alone."""
    seed = hashlib.sha256(repr(item).encode("utf-8", "surrogateescape")).digest()
    chance = random.Random(seed)
    values = [chance.gauss(0.0, 1.0) for _ in range(dimensions)]
    norm = math.sqrt(sum(value * value for value in values))
    return tuple(value / norm for value in values)


def overlap(query: str, document: str) -> float:
    """The share of the query's words that stand in the document."""
    asked = set(query.lower().split())
    return len(asked & set(document.lower().split())) / len(asked) if asked else 0.0


def _text(request: gw.ChatRequest, length: int) -> str:
    last = request.messages[-1] if request.messages else None
    if last is not None and last.role == "tool":
        said, verb = _joined(last.parts), "The tool answered"
    else:
        said, verb = last_user_text(request), "You said"
    said = " ".join(said.split())
    if len(said) > SHOWN:
        said = said[: SHOWN - 1] + "…"
    text = f'This answer is simulated; no model was asked. {verb}: "{said}"'
    missing = length - len(text.split())
    return " ".join([text, *islice(cycle(_FILLER.split()), max(missing, 0))])


def _json(response_format: object) -> str | None:
    if not isinstance(response_format, Mapping):
        return None
    kind = response_format.get("type")
    if kind == "json_object":
        return json.dumps({"simulated": True})
    if kind != "json_schema":
        return None
    named = response_format.get("json_schema")
    schema = named.get("schema") if isinstance(named, Mapping) else response_format.get("schema")
    return json.dumps(minimal(schema))


def _limited(text: str, params: Mapping[str, object]) -> Answer:
    """Apply ``stop``, then ``max_tokens``; a word counts as a token."""
    stops = params.get("stop") or ()
    for stop in (
        (stops,) if isinstance(stops, str) else stops if isinstance(stops, list | tuple) else ()
    ):
        if stop and isinstance(stop, str):
            text = text.partition(stop)[0]
    split = words(text)
    limit = params.get("max_tokens")
    if isinstance(limit, int) and len(split) > limit:
        return Answer(split[:limit], (), "length")
    return Answer(split, (), "stop")


def _calls(request: gw.ChatRequest) -> tuple[tuple[gw.Tool, str], ...]:
    for each in request.tools or ():
        if each.kind == "vendor":
            raise gw.unsupported_tool(each)
    tools = {tool.name: tool for tool in request.tools or ()}
    choice = request.tool_choice or gw.ToolChoice("auto")
    if not tools or choice.mode == "none":
        return ()
    if choice.names:
        tools = {name: tools[name] for name in choice.names if name in tools}
    last_is_user = request.messages[-1:] != () and request.messages[-1].role == "user"
    asked = _CALL.findall(last_user_text(request)) if last_is_user else []
    named = list(dict.fromkeys(name for name in asked if name in tools))
    if not named and choice.mode in _FORCED:
        named = list(tools)[:1]
    if request.params.get("parallel_tool_calls") is False:
        named = named[:1]
    return tuple((tools[name], _arguments(tools[name])) for name in named)


def _arguments(tool: gw.Tool) -> str:
    if tool.kind == "custom":
        return "simulated"
    return json.dumps(minimal(tool.parameters or {"type": "object"}))


def _joined(parts: tuple[gw.Part, ...]) -> str:
    texts = []
    for part in parts:
        if isinstance(part, gw.TextPart):
            texts.append(part.text)
        elif isinstance(part, gw.ToolResultPart):
            texts.append(_joined(part.parts))
    return " ".join(texts)
