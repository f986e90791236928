"""Events that are a piece of a text, whichever text it is: for what holds back and changes what a
stream says."""

from typing import TypeAlias

from msgspec import structs

from llm_gateway_api.events import ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta

Delta: TypeAlias = TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta
DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)


def delta_channel(event: Delta) -> object:
    """What tells the texts of one choice apart: pieces of one channel follow each other."""
    return (ToolCallDelta, event.call) if isinstance(event, ToolCallDelta) else type(event)


def delta_text(event: Delta) -> str:
    return event.arguments if isinstance(event, ToolCallDelta) else event.text


def with_text(event: Delta, text: str) -> Delta:
    """`event` with `text` in the place of its own."""
    name = "arguments" if isinstance(event, ToolCallDelta) else "text"
    return structs.replace(event, **{name: text})


def bare_delta(event: Delta) -> Delta:
    """An event of the same channel that carries nothing."""
    if isinstance(event, ToolCallDelta):
        return ToolCallDelta(event.call, index=event.index, kind=event.kind)
    return type(event)("", event.index)
