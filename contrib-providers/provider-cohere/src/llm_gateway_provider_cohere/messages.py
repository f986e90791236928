"""The history as the vendor wants it: one system turn first, each call id once."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw

from llm_gateway_provider_cohere.tools import Names

DETAILS = {"original": "high"}


class CallIds:
    """Call ids that are unique in the whole history, as the vendor demands.

    The first use of an id keeps it; a later one gets a number, in the call and in its answer.
    """

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._open: dict[str, deque[str]] = {}
        self._last: dict[str, str] = {}

    def called(self, given: str) -> str:
        sent, number = given, 2
        while sent in self._used:
            sent, number = f"{given}_{number}", number + 1
        self._used.add(sent)
        self._open.setdefault(given, deque()).append(sent)
        return sent

    def answered(self, given: str) -> str:
        """The id of the call that is answered; an unknown one stays, for the vendor to refuse."""
        waiting = self._open.get(given)
        if waiting:
            self._last[given] = waiting.popleft()
        return self._last.get(given, given)


class History:
    """Writes the messages of one request; `dropped` names what was left out."""

    def __init__(self, names: Names, reasons: bool, late_system: str) -> None:
        self._names = names
        self._reasons = reasons
        self._merge = late_system == "merge"
        self._ids = CallIds()
        self._system: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self.dropped: dict[str, None] = {}

    def written(self, messages: Sequence[gw.Message]) -> list[dict[str, Any]]:
        for at, each in enumerate(messages):
            self._message(each, f"messages[{at}]")
        first = [{"role": "system", "content": "\n\n".join(self._system)}] if self._system else []
        return [*first, *self._rows]

    def _message(self, each: gw.Message, path: str) -> None:
        if each.extra or each.name is not None:
            self._drop(each)
        if each.role in ("system", "developer"):
            self._instruct(texts(each.parts, path))
        elif each.role == "assistant":
            self._rows.append(self._assistant(each, path))
        else:
            self._user(each, path)

    def _drop(self, each: gw.Message) -> None:
        extra = set(each.extra) - ({"citations"} if each.role == "assistant" else set())
        if each.name is not None:
            extra.add("name")
        self.dropped |= dict.fromkeys(f"messages.{name}" for name in sorted(extra))

    def _instruct(self, text: str) -> None:
        """The vendor refuses a system turn that is not first."""
        if self._rows and not self._merge:
            self._rows.append({"role": "user", "content": text})
        else:
            self._system.append(text)

    def _user(self, each: gw.Message, path: str) -> None:
        rest: list[gw.Part] = []
        for part in each.parts:
            if isinstance(part, gw.ToolResultPart):
                self._rows.append(self._result(part, path))
            else:
                rest.append(part)
        if not rest:
            return
        plain = each.text_only and all(isinstance(part, gw.TextPart) for part in rest)
        content = texts(rest, path) if plain else [_item(part, path) for part in rest]
        self._rows.append({"role": "user", "content": content})

    def _result(self, part: gw.ToolResultPart, path: str) -> dict[str, Any]:
        text = texts(part.parts, path)
        # The vendor has no mark for a failed call; the model has to read it.
        content = f"Error: {text}" if part.is_error else text
        call = self._ids.answered(part.call_id)
        return {"role": "tool", "tool_call_id": call, "content": content}

    def _assistant(self, each: gw.Message, path: str) -> dict[str, Any]:
        calls = [part for part in each.parts if isinstance(part, gw.ToolCallPart)]
        thought = "".join(part.text for part in each.parts if isinstance(part, gw.ReasoningPart))
        said = [p for p in each.parts if not isinstance(p, (gw.ToolCallPart, gw.ReasoningPart))]
        text = texts(said, path)
        row: dict[str, Any] = {"role": "assistant"}
        thinking = [{"type": "thinking", "thinking": thought}] if thought and self._reasons else []
        if calls:
            # What models without reasoning showed as reasoning beside calls was their plan.
            plan = text if self._reasons else "\n".join(each for each in (thought, text) if each)
            row |= {"tool_plan": plan} if plan else {}
            row |= {"content": thinking} if thinking else {}
            row["tool_calls"] = [self._call(part) for part in calls]
        elif thinking:
            row["content"] = [*thinking, *([{"type": "text", "text": text}] if text else [])]
        else:
            row["content"] = text
        if citations := each.extra.get("citations"):
            row["citations"] = citations
        return row

    def _call(self, part: gw.ToolCallPart) -> dict[str, Any]:
        if part.kind != "function":
            raise refused("messages", "calls of custom tools")
        inner = {"name": self._names.sent(part.name), "arguments": part.arguments or "{}"}
        return {"id": self._ids.called(part.id), "type": "function", "function": inner}


def texts(parts: Sequence[gw.Part], path: str) -> str:
    """The text of `parts`, which may be nothing else."""
    found: list[str] = []
    for part in parts:
        if not isinstance(part, (gw.TextPart, gw.RefusalPart)):
            raise refused(f"{path}.content", f"{_kind(part)} parts in this place")
        found.append(part.text)
    return "".join(found)


def _item(part: gw.Part, path: str) -> dict[str, Any]:
    if isinstance(part, gw.ImagePart):
        image = {"url": part.url or f"data:{part.media_type};base64,{part.data}"}
        if part.detail:
            image["detail"] = DETAILS.get(part.detail, part.detail)
        return {"type": "image_url", "image_url": image}
    return {"type": "text", "text": texts((part,), path)}


def _kind(part: gw.Part) -> str:
    if isinstance(part, gw.UnknownPart):
        return str(part.raw.get("type", "unknown"))
    return type(part).__name__.removesuffix("Part").lower()


def refused(param: str, what: str) -> gw.UnsupportedParameterError:
    return gw.UnsupportedParameterError(f"Cohere does not take {what}.", param=param)
