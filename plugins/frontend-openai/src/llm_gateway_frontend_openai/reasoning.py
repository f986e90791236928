"""Opaque reasoning state in ``reasoning_details``, both ways.

A vendor's state (a signature, encrypted content) must come back with the turn that it
belongs to. A chat message has no place for it but the extension that OpenRouter made
known: a list of details that a client sends back unchanged. Details of that form pass as
they are; the state of another vendor is wrapped in one of type ``gateway.state``, together
with the text that it signs and the deployment that made it.
"""

from collections.abc import Mapping
from typing import Any

from llm_gateway_api.events import ReasoningDelta
from llm_gateway_api.opaque import MADE_BY
from llm_gateway_api.requests import ReasoningPart

OWN = "openai.chat"
WRAPPED = "gateway.state"


class Details:
    """Makes the details of one choice; numbers them so that clients can merge a stream."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._count = 0

    def take(self, event: ReasoningDelta) -> list[Any]:
        """The details that `event` completes."""
        if event.text:
            self._text.append(event.text)
        if not event.state:
            return []
        details: list[Any] = []
        made = {MADE_BY: event.state[MADE_BY]} if MADE_BY in event.state else {}
        for key, value in event.state.items():
            if key == OWN and isinstance(value, list):
                details += value
            elif key != MADE_BY:
                text, self._text = "".join(self._text), []
                state = {key: value, **made}
                details.append(
                    {"index": self._count, "type": WRAPPED, "text": text, "state": state}
                )
                self._count += 1
        return details


def parts(text: str | None, details: list[Any]) -> list[ReasoningPart]:
    """The reasoning of an earlier turn; what is wrapped has its own text."""
    found: list[ReasoningPart] = []
    own: list[Any] = []
    for each in details:
        if isinstance(each, Mapping) and each.get("type") == WRAPPED:
            state, signed = each.get("state"), each.get("text")
            if isinstance(state, dict):
                found.append(ReasoningPart(signed if isinstance(signed, str) else "", state))
        else:
            own.append(each)
    if own or (text and not found):
        found.append(ReasoningPart(text or "", {OWN: own} if own else {}))
    return found
