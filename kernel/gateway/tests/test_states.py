"""Who made a state is written into it, and nobody else gets it back."""

from typing import Any

import pytest
from llm_gateway.lanes import TranslateLane
from llm_gateway.states import readable, strangers
from llm_gateway_api import (
    MADE_BY,
    ChatRequest,
    EmbeddingsRequest,
    Event,
    Finished,
    MalformedBodyError,
    Message,
    ReasoningDelta,
    ReasoningPart,
    Target,
    TextPart,
    ToolCallPart,
)

SIGNED = {"acme": {"signature": "c2ln"}}
CALL = ToolCallPart("c", "f", "{}")


class Silent:
    def render(self, events: object) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""


def chat(*states: dict[str, object]) -> ChatRequest:
    thoughts = tuple(ReasoningPart("Hm", each) for each in states)
    asked = Message("user", (TextPart("Hi"),))
    return ChatRequest("m", (asked, Message("assistant", (*thoughts, CALL)), asked))


def states(request: object) -> list[object]:
    assert isinstance(request, ChatRequest)
    return [part.state for part in request.messages[1].parts if isinstance(part, ReasoningPart)]


def test_a_state_gets_the_name_of_who_answers() -> None:
    lane = TranslateLane(None, Silent(), maker="acme/a")

    lane.render((ReasoningDelta("Hm"), ReasoningDelta("", state=SIGNED), Finished("stop")))

    events: list[Event] = lane.events
    assert events[:2] == [
        ReasoningDelta("Hm"),
        ReasoningDelta("", state={**SIGNED, MADE_BY: "acme/a"}),
    ]


def test_what_a_cache_repeats_keeps_its_maker() -> None:
    state = {**SIGNED, MADE_BY: "acme/a"}
    lane = TranslateLane(None, Silent())

    lane.render((ReasoningDelta("", state=state), Finished("stop")))

    assert lane.events[0] == ReasoningDelta("", state=state)


@pytest.mark.parametrize("other", ["acme/b", "bolt/a"])
def test_another_model_or_provider_gets_the_text_alone(other: str) -> None:
    """And the one that made it gets it as it was, also beside one of another."""
    request = chat({**SIGNED, MADE_BY: "acme/a"}, {**SIGNED, MADE_BY: other})

    ours, lost = readable(request, "acme/a")
    theirs, _ = readable(request, other)

    assert lost and states(ours) == [{**SIGNED, MADE_BY: "acme/a"}, {}]
    assert states(theirs) == [{}, {**SIGNED, MADE_BY: other}]
    assert isinstance(ours, ChatRequest) and ours.messages[1].parts[-1] is CALL
    assert [p.text for p in ours.messages[1].parts if isinstance(p, ReasoningPart)] == ["Hm", "Hm"]


def test_a_state_of_nobody_stays_until_the_call_moves() -> None:
    """It passed as the vendor's bytes; after a failure elsewhere it is a stranger's."""
    request = chat(SIGNED)

    assert readable(request, "acme/a") == (request, False)
    moved, lost = readable(request, "bolt/b", moved=True)
    assert lost and states(moved) == [{}]


def test_what_has_no_state_is_not_copied() -> None:
    plain, vectors = chat({}), EmbeddingsRequest("m", ("a",))

    assert readable(plain, "acme/a")[0] is plain
    assert readable(vectors, "acme/a")[0] is vectors


class Moved:
    """A call that failed elsewhere before, with a body that may be one no frontend reads."""

    def __init__(self, request: ChatRequest | None, fallback: str | None = "overloaded") -> None:
        self.moved = fallback is not None
        self._request = request

    def canonical(self) -> ChatRequest:
        if self._request is None:
            raise MalformedBodyError("what is it?")
        return self._request


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (Moved(chat(SIGNED)), True),
        (Moved(chat({})), False),
        (Moved(chat(SIGNED), fallback=None), False),
        (Moved(None), False),
    ],
)
def test_a_call_that_moved_is_looked_at_before_its_bytes_pass(call: Any, found: bool) -> None:
    """What cannot be read passes: the vendor judges it."""
    assert strangers(call, Target("bolt", "b")) is found
