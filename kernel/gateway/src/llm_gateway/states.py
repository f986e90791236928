"""Opaque state of reasoning goes back to the deployment that made it, and to no other."""

from typing import TYPE_CHECKING

from llm_gateway_api import (
    MADE_BY,
    CanonicalRequest,
    ChatRequest,
    GatewayError,
    Part,
    ReasoningDelta,
    ReasoningPart,
    Target,
)
from msgspec import structs

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

DROPPED = "reasoning"  # what ``x-gateway-dropped`` calls it


def signed(event: ReasoningDelta, deployment: str) -> ReasoningDelta:
    """`event` with its state under the name of who made it."""
    return structs.replace(event, state={**event.state, MADE_BY: deployment})


def readable(
    request: CanonicalRequest, deployment: str, *, moved: bool = False
) -> tuple[CanonicalRequest, bool]:
    """`request` without the state that `deployment` did not make, and whether any was there.

    `moved` says that the request comes from another deployment, which failed: then a state
    that names nobody is a stranger's too. Texts of reasoning stay.
    """
    if not isinstance(request, ChatRequest):
        return request, False
    messages = list(request.messages)
    changed = False
    for at, message in enumerate(messages):
        if message.role != "assistant":
            continue
        parts = tuple(_emptied(part, deployment, moved) for part in message.parts)
        if any(new is not old for new, old in zip(parts, message.parts, strict=True)):
            messages[at] = structs.replace(message, parts=parts)
            changed = True
    if not changed:
        return request, False
    return structs.replace(request, messages=tuple(messages)), True


def _emptied(part: Part, deployment: str, moved: bool) -> Part:
    if not isinstance(part, ReasoningPart) or not part.state:
        return part
    maker = part.state.get(MADE_BY, None if moved else deployment)
    return part if maker == deployment else structs.replace(part, state={})


def strangers(call: "Call", target: Target) -> bool:
    """Whether a call that moved here carries state of whoever was asked before; the relay
    lane could not leave it out. Decodes the request, which a first attempt does not need."""
    if not call.moved:
        return False
    try:
        return readable(call.canonical(), target.name, moved=True)[1]
    except GatewayError:  # what only the vendor can judge
        return False
